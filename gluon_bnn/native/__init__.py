"""The compiled half of gluon_bnn: `library` finds and loads it, `src` holds its sources, `include` its header."""

from . import library

__all__ = ["library"]


def __dir__():
    return __all__
