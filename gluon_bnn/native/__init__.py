"""The compiled half of gluon_bnn: `library` finds and loads it, `src` holds its sources."""
from . import library

__all__ = ["library"]
