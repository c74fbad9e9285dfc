"""A deployed net as data: nodes, their kinds, their check, and the engine that runs them in NumPy. Needs no MXNet."""

from . import bits, bounds, check, engine, graph, kinds

__all__ = ["bits", "bounds", "check", "engine", "graph", "kinds"]


def __dir__():
    return __all__
