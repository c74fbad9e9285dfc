"""Gluon blocks with binary weights and binary activations, and a fast batch norm to go between them."""

from .. import initializer, optimizer  # noqa: F401 (MXNet then finds theirs by name)
from .activations import Activation, BinaryActivation, BinarySigmoid
from .batch_norm import BatchNorm
from .conv import BinaryConv1D, BinaryConv2D, BinaryConv3D
from .dense import BinaryDense
from .real_weights import with_real_weights

__all__ = [
    "Activation",
    "BatchNorm",
    "BinaryActivation",
    "BinaryConv1D",
    "BinaryConv2D",
    "BinaryConv3D",
    "BinaryDense",
    "BinarySigmoid",
    "with_real_weights",
]


def __dir__():
    return __all__
