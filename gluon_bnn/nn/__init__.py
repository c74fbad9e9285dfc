"""Gluon blocks with binary weights and binary activations, and a fast batch norm to go between them."""
from .dense import Activation, BatchNorm, BinaryActivation, BinaryDense, BinarySigmoid, with_real_weights

__all__ = ["BinaryDense", "Activation", "BinaryActivation", "BinarySigmoid", "BatchNorm", "with_real_weights"]
