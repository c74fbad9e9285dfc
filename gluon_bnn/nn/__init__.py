"""Gluon blocks with binary weights and binary activations, and fast batch norm and max pooling to go between them."""

from .. import initializer, optimizer  # noqa: F401 (MXNet then finds theirs by name)
from .activations import Activation, BinaryActivation, BinarySigmoid
from .batch_norm import BatchNorm
from .conv import BinaryConv1D, BinaryConv2D, BinaryConv3D
from .dense import BinaryDense
from .pooling import MaxPool2D
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
    "MaxPool2D",
    "with_real_weights",
]


def __dir__():
    return __all__
