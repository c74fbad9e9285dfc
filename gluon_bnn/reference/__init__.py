"""The NumPy reference: readable, slow, and what everything else is checked against.

It needs NumPy and SciPy only and imports nothing of the rest of the package.

- `notebook`: the twelve functions of the notebook, weights (in, hidden)
- `dense`: affine layer, activations, losses and batch norm, forward and backward
- `binary`: signs, scales and the binary dense layer, with every gradient rule
- `conv`: convolutions over any number of axes, with real and with binary weights
- `optimizer`: Adam, with what binary weights need after a step
- `bits`: the 1-bit encoding and the product over it
- `graph`: what the nodes of a deployed net mean, its activations among them

Limits: whole arrays in memory, no threads, floats in the dtype of the input.
"""

from . import binary, bits, conv, dense, graph, notebook, optimizer

__all__ = ["binary", "bits", "conv", "dense", "graph", "notebook", "optimizer"]


def __dir__():
    return __all__
