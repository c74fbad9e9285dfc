"""Training any Gluon net: `fit`, with checkpoints that resume to the bit, in one process or in several."""

from .arrays import batches
from .fit import evaluate, fit, predict, rates

__all__ = ["batches", "evaluate", "fit", "predict", "rates"]


def __dir__():
    return __all__
