"""A deployed net as data: nodes, their kinds, their check, and the engine that runs them in NumPy. Needs no MXNet."""
