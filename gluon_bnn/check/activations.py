"""`nn.BinaryActivation`, `nn.BinarySigmoid` and the ReLU: what `check` and `check_net` compare them with."""

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import binary, dense
from .measure import Errors, Rows, awkward, backward, exact, in_mode, units


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for each activation."""
    for layer in nn.BinaryActivation(), nn.BinaryActivation(clip=None), nn.BinarySigmoid(), nn.Activation("relu"):
        yield (
            _new_layer_errors(layer, dtype, mode, generator, directory),
            dict(operator=repr(layer), gradient="-", scale="-"),
        )


def errors(layer: mx.gluon.Block, x: np.ndarray, d: np.ndarray, y: np.ndarray, dx: np.ndarray) -> Errors:
    """(forward, backward) errors of a BinaryActivation, BinarySigmoid or ReLU; what is exact must be."""
    if isinstance(layer, nn.Activation):
        return exact(y, dense.relu(x)), exact(dx, dense.relu_backward(d, x))
    if isinstance(layer, nn.BinarySigmoid):
        wide = x.astype(np.float64)
        return (
            exact(y, binary.binary_sigmoid(x)),
            units(dx, dense.sigmoid_backward(d.astype(np.float64), wide), np.abs(d), y.dtype),
        )
    return exact(y, binary.sign(x)), exact(dx, binary.sign_backward(d, x, layer.clip))


def _new_layer_errors(layer, dtype, mode, generator, directory):
    x = awkward(generator, (5, 33), dtype)
    d = generator.standard_normal(x.shape).astype(dtype)
    array = mx.nd.array(x, dtype=dtype)
    run = in_mode(layer, [array], mode, directory)
    (y,) = backward(run, [array], [mx.nd.array(d, dtype=dtype)])
    return errors(layer, x, d, y.asnumpy(), array.grad.asnumpy())
