"""Signs, scales and the binary dense layer: formulas and every gradient rule.

Weights W have shape (units, ...), a batch of inputs (rows, in_units). s is the sign of a weight, alpha the scale that
its group G of n weights shares, g the gradient to the binary weight alpha * s.

    s_i   = -1 if W_i < 0 else +1      (+1 for 0.0, -0.0 and NaN)
    alpha = mean over G of |W_j|       G: the layer, a channel (output unit), or no scale: alpha = 1
    alpha = sum L_j |W_j| / sum L_j    scale="loss": over the layer, weighted by the curvature L of the loss

A sign has no useful derivative, so the gradients below are straight-through estimates: they are defined by their
formula and not by differentiation.
"""

from typing import Callable, Optional, Union

import numpy as np

__all__ = [
    "GRADIENTS",
    "Gradient",
    "SCALES",
    "binary_dense",
    "binary_dense_backward",
    "binary_sigmoid",
    "binary_sigmoid_backward",
    "sign",
    "sign_backward",
    "sign_scale",
    "sign_scale_backward",
    "stochastic_sign",
]


def __dir__():
    return __all__


SCALES = ("layer", "channel", "loss", None)
GRADIENTS = ("ste", "xnor", "exact", "notebook")
Gradient = Union[str, tuple[Callable, bool]]  # one of these, or a formula of the caller's: see `sign_scale_backward`


def sign(x: np.ndarray) -> np.ndarray:
    """-1 where x < 0, else +1 (also for 0.0, -0.0 and NaN), in the shape and dtype of x.

    >>> sign(np.array([-2.0, -0.0, 0.0, 3.0]))
    array([-1.,  1.,  1.,  1.])
    """
    x = np.asarray(x)
    return np.where(x < 0, -1, 1).astype(x.dtype)


def sign_backward(d: np.ndarray, x: np.ndarray, clip: Optional[float] = 1.0) -> np.ndarray:
    """Gradient of `sign` by the straight-through estimator: d where |x| <= clip, else 0; clip=None passes d on.

    NaN is not within a clip: its gradient is 0, whatever d is. Hubara et al. 2016, Binarized Neural Networks,
    section 1.3.
    """
    return d if clip is None else np.where(np.abs(x) <= clip, d, 0).astype(np.asarray(d).dtype)


def stochastic_sign(x: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """+1 with probability (x + 1) / 2, held within [0, 1], else -1: `uniform`, over [0, 1), is below it.

    Courbariaux, Bengio, David 2015, BinaryConnect, section 2.2.

    >>> stochastic_sign(np.array([-1.0, 0.5, 0.5, 1.0]), np.array([0.0, 0.7, 0.8, 0.99]))
    array([-1.,  1., -1.,  1.])
    """
    return np.where(uniform < np.clip((x + 1) / 2, 0, 1), 1, -1).astype(np.asarray(x).dtype)


def _check(w, scale, gradient="ste", clip=1.0, curvature=None):
    if np.ndim(w) < 1:
        raise ValueError("weights must have at least one axis, got a scalar")
    if np.size(w) == 0:
        raise ValueError(f"weights must not be empty, got shape {np.shape(w)}")
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {SCALES}, got {scale!r}")
    if not isinstance(gradient, tuple):
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient must be one of {GRADIENTS}, got {gradient!r}")
        if scale in (None, "loss") and gradient != "ste":
            raise ValueError(f"scale={scale!r} allows gradient='ste' only, got {gradient!r}")
    if (scale == "loss") != (curvature is not None):
        raise ValueError(
            f"scale='loss' takes a curvature and no other does, got scale={scale!r} and "
            f"{'no ' if curvature is None else 'a '}curvature"
        )
    if scale == "loss" and not (np.shape(curvature) == np.shape(w) and np.min(curvature) > 0):
        raise ValueError(
            f"the curvature must be positive and have the shape of the weights, {np.shape(w)}, "
            f"got shape {np.shape(curvature)}, least {np.min(curvature)}"
        )
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be above 0 or None, got {clip!r}")


def _groups(w, scale):
    """w as a matrix with one group per row."""
    return w.reshape(w.shape[0], -1) if scale == "channel" else w.reshape(1, -1)


def sign_scale(
    w: np.ndarray, scale: Optional[str] = "layer", curvature: Optional[np.ndarray] = None
) -> tuple[np.ndarray, np.ndarray]:
    """(signs, alpha) of weights w: signs in the shape of w, alpha (1,) or, by channel, (units,).

    Rastegari et al. 2016, XNOR-Net, section 3.1: alpha * signs is the binary tensor nearest to w. With
    scale="loss" it is the nearest in the norm that weights each square by the curvature of the loss there:
    Hou, Yao, Kwok 2017, Loss-aware Binarization of Deep Networks, section 3. Raises ValueError for a scalar or empty w,
    another scale, and a curvature that is missing, not positive, of another shape or given without scale="loss".

    >>> signs, alpha = sign_scale(np.array([[1.0, -3.0], [0.5, 0.5]]), scale="channel")
    >>> signs
    array([[ 1., -1.],
           [ 1.,  1.]])
    >>> alpha
    array([2. , 0.5])
    """
    w = np.asarray(w)
    _check(w, scale, curvature=curvature)
    if scale is None:
        return sign(w), np.ones(1, w.dtype)
    if curvature is not None:  # scale="loss"
        return sign(w), np.reshape(np.sum(np.abs(w) * curvature) / np.sum(curvature), 1)
    return sign(w), np.abs(_groups(w, scale)).mean(axis=1)


def sign_scale_backward(
    g: np.ndarray,
    w: np.ndarray,
    scale: Optional[str] = "layer",
    gradient: Gradient = "xnor",
    clip: Optional[float] = 1.0,
    curvature: Optional[np.ndarray] = None,
) -> np.ndarray:
    """dL/dW from g = dL/d(alpha s), by one of four rules; with m = 1[|W| <= clip], m = 1 for clip=None:

    - "ste": g m
    - "xnor": g (1/n + alpha m), XNOR-Net, section 3
    - "exact": alpha m g + s/n * sum over G of g_j s_j, the full product rule
    - "notebook": g (1/n + 1[|W| <= 5] W alpha / n), the notebook's formula unchanged; clip is ignored

    or by another: a pair (factor, through_alpha) of a function of (W, alpha, n, m) that g is multiplied with, and
    whether the second term of "exact" is added. A group whose weights are all zero (alpha = 0) gets no gradient.

    g, w and the result have the same shape. Raises ValueError as `sign_scale`, and for a g of another shape, another
    rule or one that does not go with the scale, and a clip that is not above 0.
    """
    w, g = np.asarray(w), np.asarray(g)
    _check(w, scale, gradient, clip, curvature)
    if g.shape != w.shape:
        raise ValueError(f"g must have the shape of w, {w.shape}, got {g.shape}")
    signs, alpha = sign_scale(w, scale, curvature)
    shape, w, g, s = w.shape, _groups(w, scale), _groups(g, scale), _groups(signs, scale)
    alpha = alpha.reshape(-1, 1)
    n = w.shape[1]
    m = np.ones_like(w) if clip is None else (np.abs(w) <= clip).astype(w.dtype)
    if isinstance(gradient, tuple):
        factor, through_alpha = gradient
        dw = g * factor(w, alpha, n, m) + (s / n * (g * s).sum(axis=1, keepdims=True) if through_alpha else 0)
    elif gradient == "ste":
        dw = g * m
    elif gradient == "xnor":
        dw = g * (1 / n + alpha * m)
    elif gradient == "exact":
        dw = alpha * m * g + s / n * (g * s).sum(axis=1, keepdims=True)
    else:
        dw = g * (1 / n + (np.abs(w) <= 5) * w * alpha / n)
    return np.where(alpha == 0, 0, dw).astype(w.dtype).reshape(shape)


def binary_dense(
    x: np.ndarray,
    w: np.ndarray,
    bias: Optional[np.ndarray] = None,
    scale: Optional[str] = "layer",
    curvature: Optional[np.ndarray] = None,
) -> np.ndarray:
    """y = alpha * (x @ signs.T) + bias, in this order: over binary inputs the product is exact.

    x (rows, in_units), w (units, in_units), bias (units,) or None; returns (rows, units). Raises ValueError for x and w
    of other shapes, and as `sign_scale`.
    """
    x, w = np.asarray(x), np.asarray(w)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"x must be (rows, in_units) and w (units, in_units), got {x.shape} and {w.shape}")
    signs, alpha = sign_scale(w, scale, curvature)
    y = alpha * (x @ signs.T)
    return y if bias is None else y + bias


def binary_dense_backward(
    d: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    scale: Optional[str] = "layer",
    gradient: Gradient = "xnor",
    clip: Optional[float] = 1.0,
    curvature: Optional[np.ndarray] = None,
) -> dict[str, np.ndarray]:
    """{"x", "weight", "bias"}: the gradients of `binary_dense` from d = dL/dy (rows, units).

    dL/dx = d @ (alpha signs); the gradient to alpha * signs is d.T @ x, and `sign_scale_backward` takes it to the
    weights; that of the bias is the sum of d over the rows. Raises ValueError for d, x and w of other shapes, and as
    `sign_scale_backward`.
    """
    d, x, w = np.asarray(d), np.asarray(x), np.asarray(w)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1] or d.shape != (len(x), len(w)):
        raise ValueError(
            "d must be (rows, units), x (rows, in_units) and w (units, in_units), got "
            f"{d.shape}, {x.shape} and {w.shape}"
        )
    signs, alpha = sign_scale(w, scale, curvature)
    return {
        "x": (d * alpha) @ signs,
        "weight": sign_scale_backward(d.T @ x, w, scale, gradient, clip, curvature),
        "bias": d.sum(axis=0),
    }


def binary_sigmoid(x: np.ndarray) -> np.ndarray:
    """The sigmoid's value rounded to a bit: 0 where x < 0, else 1; that is (1 + sign(x)) / 2."""
    return (1 + sign(x)) / 2


def binary_sigmoid_backward(d: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d passed through the sigmoid's own gradient: d * sigmoid(x) * (1 - sigmoid(x)); 0 where x is NaN."""
    from scipy.special import expit

    s = expit(x)
    return np.where(np.isnan(x), 0, d * s * (1 - s)).astype(np.asarray(d).dtype)
