"""Gluon blocks with binary weights and binary activations, and a fast batch norm to go between them."""

from .. import initializer, optimizer  # noqa: F401 (MXNet then finds theirs by name)
from .activations import Activation, BinaryActivation, BinarySigmoid
from .batch_norm import BatchNorm
from .dense import BinaryDense
from .real_weights import with_real_weights

__all__ = ["BinaryDense", "Activation", "BinaryActivation", "BinarySigmoid", "BatchNorm", "with_real_weights"]


def __dir__():
    return __all__
