"""`nn.BinaryDense`, every scale and rule: what `check`, `check_net` and the tests compare it with."""

from typing import Any, Optional

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import binary, dense
from . import binary_layer
from .measure import Errors, Rows
from .sign_scale import all_rules

LAYERS = (nn.BinaryDense,)


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for every scale with each of its rules, and for signs that are drawn in training only."""
    for scale, gradient in all_rules():
        yield (
            new_layer_errors(dtype, mode, generator, directory, scale=scale, gradient=gradient),
            dict(operator="BinaryDense", gradient=gradient, scale=str(scale)),
        )
    yield (
        new_layer_errors(dtype, mode, generator, directory, scale=None, stochastic=True),
        dict(operator="BinaryDense, stochastic, in inference", gradient="ste", scale="None"),
    )


def errors(
    layer: nn.BinaryDense,
    x: np.ndarray,
    d: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    dweight: np.ndarray,
    dbias: Optional[np.ndarray] = None,
) -> Errors:
    """`binary_layer.errors` of a BinaryDense, whose arrays may have any shape that it takes and gives."""
    x = x.reshape(len(x), -1) if layer._flatten else x.reshape(-1, x.shape[-1])
    y, d, dx = y.reshape(len(x), -1), d.reshape(len(x), -1), dx.reshape(x.shape)
    reference = binary_layer.Reference(
        binary.binary_dense, binary.binary_dense_backward, dense.affine, dense.affine_backward
    )
    return binary_layer.errors(layer, reference, x, d, y, dx, dweight, dbias)


def new_layer_errors(dtype: str, mode: str, generator: np.random.Generator, directory: str, **options: Any) -> Errors:
    """(forward, backward) errors of a new BinaryDense with these options, over random weights, inputs and gradients."""
    layer = nn.BinaryDense(7, in_units=33, bias_initializer=mx.init.Normal(1), **options)
    return binary_layer.new_layer_errors(layer, errors, (5, 33), dtype, mode, generator, directory)
