"""A deployed net as data: its layers, their check, and the engine that runs them in NumPy. Needs no MXNet."""
