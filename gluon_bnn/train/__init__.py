"""Training any Gluon net: `fit`, with checkpoints that resume to the bit, in one process or in several."""

from .arrays import batches
from .evaluation import evaluate, predict
from .fit import fit, rates
from .statistics import reestimate

__all__ = ["batches", "evaluate", "fit", "predict", "rates", "reestimate"]


def __dir__():
    return __all__
