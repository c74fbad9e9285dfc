"""`nn.BinaryDense`, every scale and rule: what `check`, `check_net` and the tests compare it with."""

from typing import Any, Optional

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import binary
from .measure import Errors, Rows, awkward, backward, in_mode, units
from .sign_scale import all_rules, reference_rule, weight_magnitude


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
    dbias: Optional[np.ndarray],
) -> Errors:
    """(forward, backward) errors of a BinaryDense's y and gradients, from its x and upstream d, all NumPy arrays.

    The layer's own activation is left aside; dbias is None where it has no bias.
    """
    dtype = y.dtype
    x, d, w = (np.asarray(a, np.float64) for a in (x, d, layer.weight.data().asnumpy()))
    bias = None if layer.bias is None else layer.bias.data().asnumpy().astype(np.float64)
    x = x.reshape(len(x), -1) if layer._flatten else x.reshape(-1, x.shape[-1])
    y, d, dx = y.reshape(len(x), -1), d.reshape(len(x), -1), dx.reshape(x.shape)
    scale: dict[str, Any] = dict(scale=layer.scale)
    if layer.curvature is not None:
        scale["curvature"] = layer.curvature.data().asnumpy().astype(np.float64)
    expected = binary.binary_dense(x, w, bias, **scale)
    gradients = binary.binary_dense_backward(d, x, w, **scale, gradient=reference_rule(layer.gradient), clip=layer.clip)
    alpha = binary.sign_scale(w, **scale)[1]
    forward = units(y, expected, alpha * np.abs(x).sum(1, keepdims=True) + (0 if bias is None else np.abs(bias)), dtype)
    backward = [
        units(dx, gradients["x"], (np.abs(d) * alpha).sum(1, keepdims=True), dtype),
        units(
            dweight,
            gradients["weight"],
            weight_magnitude(np.abs(d).T @ np.abs(x), w, layer.scale, layer.gradient),
            dtype,
        ),
    ]
    if bias is not None and dbias is not None:
        backward.append(units(dbias, gradients["bias"], np.abs(d).sum(0), dtype))
    return forward, max(backward)


def new_layer_errors(dtype: str, mode: str, generator: np.random.Generator, directory: str, **options: Any) -> Errors:
    """(forward, backward) errors of a new BinaryDense with these options, over random weights, inputs and gradients."""
    layer = nn.BinaryDense(7, in_units=33, dtype=dtype, bias_initializer=mx.init.Normal(1), **options)
    layer.initialize()
    layer.weight.set_data(mx.nd.array(awkward(generator, (7, 33), dtype), dtype=dtype))
    if layer.curvature is not None:
        layer.curvature.set_data(mx.nd.array(generator.random((7, 33)) + 0.01, dtype=dtype))
    x = mx.nd.array(awkward(generator, (5, 33), dtype), dtype=dtype)
    d = generator.standard_normal((5, 7)).astype(dtype)
    run = in_mode(layer, [x], mode, directory)
    (y,) = backward(run, [x], [mx.nd.array(d, dtype=dtype)])
    gradients = [run.collect_params()[f"{layer.prefix}{name}"].grad().asnumpy() for name in ("weight", "bias")]
    return errors(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy(), *gradients)
