"""The two operators at the ends of a binary layer, sign_scale and scale_bias, by themselves."""

import functools
from typing import Any, Optional

import numpy as np

from .. import ops, quantizers
from .._compat import mx
from ..reference import binary
from .measure import Errors, Rows, awkward, backward, exact, in_mode, units


def all_rules() -> list[tuple[Optional[str], str]]:
    """Every scale with each of its rules, as pairs (scale, name)."""
    return [(scale, rule.name) for scale in quantizers.SCALES for rule in quantizers.rules(scale)]


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for every scale with each of its rules, and for every form of scale_bias."""
    common = dtype, mode, generator, directory
    for scale, gradient in all_rules():
        yield (
            sign_scale_errors(scale, gradient, *common),
            dict(operator="sign_scale", gradient=gradient, scale=str(scale)),
        )
    for scale in ("layer", "channel"):
        for gradient in ("exact", "xnor"):  # with a gradient to alpha, and without one
            yield (
                _scale_bias_errors(scale, gradient, *common),
                dict(operator="scale_bias", gradient=gradient, scale=scale),
            )


def weight_magnitude(g: np.ndarray, w: np.ndarray, scale: Optional[str], gradient: str) -> np.ndarray:
    """The rule's own terms of dL/dW with |g| = g, every one of them counted as positive."""
    axes = tuple(range(1, w.ndim)) if scale == "channel" else None
    alpha = np.abs(w).mean(axis=axes, keepdims=True)
    n = w[0].size if scale == "channel" else w.size
    rule = quantizers.rule(gradient)
    found = g * np.abs(rule.factor(np, np.abs(w), alpha, n, np.ones_like(w)))
    return found + g.sum(axis=axes, keepdims=True) / n if rule.through_alpha else found


def reference_rule(gradient: str) -> binary.Gradient:
    """What the reference takes for the rule of this name: that itself, or for a rule that it does not know the
    factor."""
    if gradient in binary.GRADIENTS:
        return gradient
    rule = quantizers.rule(gradient)
    return functools.partial(rule.factor, np), rule.through_alpha


class _SignScale(mx.gluon.HybridBlock):
    """The operator as a block, which can be hybridized and exported."""

    def __init__(self, scale, gradient):
        super().__init__()
        self._rule = scale, gradient
        self._ops = ops.current()

    def hybrid_forward(self, F: Any, x: Any, curvature: Any = None) -> Any:
        return self._ops.sign_scale(F, x, *self._rule, curvature=curvature)


def sign_scale_errors(
    scale: Optional[str], gradient: str, dtype: str, mode: str, generator: np.random.Generator, directory: str
) -> Errors:
    """(forward, backward) errors of the operator over random weights and gradients."""
    w = awkward(generator, (7, 33), dtype)
    g = generator.standard_normal(w.shape)
    inputs, curvature = [mx.nd.array(w, dtype=dtype)], None
    if scale == "loss":
        values = (generator.random(w.shape) + 0.01).astype(dtype)
        inputs.append(mx.nd.array(values, dtype=dtype))
        curvature = values.astype(np.float64)
    signs, alpha = binary.sign_scale(w.astype(np.float64), scale, curvature)
    column = alpha.reshape(-1, 1)
    dsigns = (g * column).astype(dtype)
    per_group = (g * signs).sum(1) if scale == "channel" else (g * signs).sum().reshape(1)
    run = in_mode(_SignScale(scale, gradient), inputs, mode, directory)
    upstream = [mx.nd.array(dsigns, dtype=dtype), mx.nd.array(per_group, dtype=dtype)]
    found = backward(run, inputs, upstream)
    rule = reference_rule(gradient)
    expected = binary.sign_scale_backward(g, w.astype(np.float64), scale, rule, curvature=curvature)
    magnitude = weight_magnitude(np.abs(g), w.astype(np.float64), scale, gradient)
    return (
        max(exact(found[0].asnumpy(), signs), units(found[1].asnumpy(), alpha, alpha, dtype)),
        max(
            [units(inputs[0].grad.asnumpy(), expected, magnitude, dtype)]
            + [exact(array.grad.asnumpy(), 0 * w) for array in inputs[1:]]
        ),
    )


class _ScaleBias(mx.gluon.HybridBlock):
    """The operator as a block, which can be hybridized and exported."""

    def __init__(self, alpha_gradient):
        super().__init__()
        self._ops, self._alpha_gradient = ops.current(), alpha_gradient

    def hybrid_forward(self, F: Any, dot: Any, alpha: Any, bias: Any = None) -> Any:
        return self._ops.scale_bias(F, dot, alpha, bias, alpha_gradient=self._alpha_gradient)


def _scale_bias_errors(scale, gradient, dtype, mode, generator, directory):
    """The larger errors of y = alpha dot + bias with a bias and without one."""
    found = []
    for has_bias in (True, False):
        scales = generator.random(33 if scale == "channel" else 1) + 0.1
        scales[1:2] = 0  # a unit whose weights are all zero
        arrays = [awkward(generator, (5, 33), dtype), scales.astype(dtype)]
        arrays += [awkward(generator, (33,), dtype)] * has_bias
        inputs = [mx.nd.array(a, dtype=dtype) for a in arrays]
        d = generator.standard_normal((5, 33)).astype(dtype)
        run = in_mode(_ScaleBias(gradient == "exact"), inputs, mode, directory)
        (y,) = backward(run, inputs, [mx.nd.array(d, dtype=dtype)])
        dot, alpha, *bias = (a.astype(np.float64) for a in arrays)
        d = d.astype(np.float64)
        axis = 0 if scale == "channel" else None  # over which alpha is shared
        expected = [d * alpha, (d * dot).sum(axis).reshape(alpha.shape) if gradient == "exact" else 0 * alpha, d.sum(0)]
        magnitudes = [np.abs(d * alpha), np.abs(d * dot).sum(axis), np.abs(d).sum(0)]
        found.append(
            (
                units(y.asnumpy(), alpha * dot + sum(bias), np.abs(alpha * dot) + sum(map(np.abs, bias)), dtype),
                max(
                    units(array.grad.asnumpy(), value, magnitude, dtype)
                    for array, value, magnitude in zip(inputs, expected, magnitudes)
                ),
            )
        )
    return map(max, zip(*found))
