"""What the checks of all binary layers have in common: the reference's numbers, and how large their terms are."""

from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import binary
from .measure import Errors, awkward, backward, in_mode, units
from .sign_scale import reference_rule, weight_magnitude


class Reference(NamedTuple):
    """The layer's functions in `gluon_bnn.reference`, of (x, w, ...) and of (d, x, w, ...): with binary weights, and
    the product alone, of magnitudes."""

    forward: Callable
    backward: Callable
    product: Callable
    product_backward: Callable


def errors(
    layer: nn.binary_layer.BinaryLayer,
    reference: Reference,
    x: np.ndarray,
    d: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    dweight: np.ndarray,
    dbias: Optional[np.ndarray],
) -> Errors:
    """(forward, backward) errors of a layer's y and gradients, from its x and upstream d, all NumPy arrays.

    Outputs are axis 1 of y. The layer's own activation is left aside; dbias is None where it has no bias.
    """
    dtype = y.dtype
    x, d, w = (np.asarray(a, np.float64) for a in (x, d, layer.weight.data().asnumpy()))
    bias = None if layer.bias is None else layer.bias.data().asnumpy().astype(np.float64)
    scale: dict[str, Any] = dict(scale=layer.scale)
    if layer.curvature is not None:
        scale["curvature"] = layer.curvature.data().asnumpy().astype(np.float64)
    expected = reference.forward(x, w, bias, **scale)
    gradients = reference.backward(d, x, w, **scale, gradient=reference_rule(layer.gradient), clip=layer.clip)
    along = (1, -1) + (1,) * (x.ndim - 2)
    alpha, ones = binary.sign_scale(w, **scale)[1].reshape(along), np.ones_like(w)
    size = 0 if bias is None else np.abs(bias).reshape(along)
    forward = units(y, expected, alpha * reference.product(np.abs(x), ones) + size, dtype)
    weights = reference.product_backward(np.abs(d), np.abs(x), ones)["weight"]
    backward = [
        units(dx, gradients["x"], reference.product_backward(np.abs(d) * alpha, np.abs(x), ones)["x"], dtype),
        units(dweight, gradients["weight"], weight_magnitude(weights, w, layer.scale, layer.gradient), dtype),
    ]
    if bias is not None and dbias is not None:
        sums = reference.backward(np.abs(d), x, w, **scale, gradient="ste")["bias"]
        backward.append(units(dbias, gradients["bias"], sums, dtype))
    return forward, max(backward)


def new_layer_errors(
    layer: nn.binary_layer.BinaryLayer,
    errors: Callable,
    shape: Sequence[int],
    dtype: str,
    mode: str,
    generator: np.random.Generator,
    directory: str,
) -> Errors:
    """`errors` of a new layer with a bias and its number of inputs, over random weights, inputs of this shape and
    gradients."""
    layer.cast(dtype)
    layer.initialize()
    weights = layer.weight.shape
    layer.weight.set_data(mx.nd.array(awkward(generator, weights, dtype), dtype=dtype))
    if layer.curvature is not None:
        layer.curvature.set_data(mx.nd.array(generator.random(weights) + 0.01, dtype=dtype))
    x = mx.nd.array(awkward(generator, shape, dtype), dtype=dtype)
    d = generator.standard_normal(layer(x).shape).astype(dtype)
    run = in_mode(layer, [x], mode, directory)
    (y,) = backward(run, [x], [mx.nd.array(d, dtype=dtype)])
    gradients = [run.collect_params()[f"{layer.prefix}{name}"].grad().asnumpy() for name in ("weight", "bias")]
    return errors(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy(), *gradients)
