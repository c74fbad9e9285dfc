"""Convolutions over any number of axes of space, with real and with binary weights, forward and backward; pooling.

x (rows, in_channels, *sizes), w (channels, in_channels / groups, *kernel). With X, the image x with pad_value outside,

    y[r, o, p] = sum over c, k of w[o, c, k] X[r, c, p strides + k dilation]

where p and k are places, one number for each axis of space, and c goes over the channels of o's group. What machine
learning calls a convolution is this cross-correlation. A padding of pad_value is constant: no gradient goes there.

strides, padding, dilation : one number for all axes of space, or one for each.

`conv` is linear in x and in w, so tests hold its gradients to finite differences; signs and scales, and what reaches
the real weights behind them, are those of `binary`.
"""

from typing import Optional, Union

import numpy as np

from .binary import Gradient, sign_scale, sign_scale_backward

__all__ = ["average_pool", "binary_conv", "binary_conv_backward", "conv", "conv_backward", "max_pool", "output_sizes"]


def __dir__():
    return __all__


Sizes = Union[int, tuple[int, ...]]


def output_sizes(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil: bool = False,
) -> tuple:
    """How many places y has along each axis of space, where the last step is rounded down, or up with `ceil`. Raises
    ValueError where it would have none.

    >>> output_sizes((28, 28), (5, 5), strides=2, padding=1)
    (13, 13)
    """
    axes = len(sizes)
    each = zip(sizes, kernel, _each(strides, axes), _each(padding, axes), _each(dilation, axes))
    found = tuple((size + 2 * p - d * (k - 1) - 1 + ceil * (s - 1)) // s + 1 for size, k, s, p, d in each)
    if min(found) < 1:
        raise ValueError(f"the kernel {kernel} with dilation {dilation} is larger than {sizes} with padding {padding}")
    return found


def conv(
    x: np.ndarray,
    w: np.ndarray,
    strides: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    pad_value: float = 0,
) -> np.ndarray:
    """y (rows, channels, *output_sizes), in the type of the product. Raises ValueError for shapes that do not fit.

    >>> conv(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 10.0]]]), padding=1)
    array([[[10., 21., 42.,  4.]]])
    """
    x, w = np.asarray(x), np.asarray(w)
    sizes = _output_sizes(x, w, strides, padding, dilation, groups)
    image = _padded(x, padding, pad_value)
    y = np.zeros((len(x), len(w), *sizes), np.result_type(x, w))
    for place, seen in _places(w, sizes, strides, dilation):
        for ins, outs in _groups(w, groups):
            y[:, outs] += np.einsum("rc...,oc->ro...", image[:, ins][seen], w[outs][(..., *place)])
    return y


def conv_backward(
    d: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    strides: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    pad_value: float = 0,
) -> dict[str, np.ndarray]:
    """{"x", "weight"}: the gradients of `conv` from d = dL/dy, each in the shape of its array. Raises ValueError as
    `conv`, and for a d of another shape than y."""
    x, w, d = np.asarray(x), np.asarray(w), np.asarray(d)
    sizes = _output_sizes(x, w, strides, padding, dilation, groups)
    if d.shape != (len(x), len(w), *sizes):
        raise ValueError(f"d must have the shape of y, {(len(x), len(w), *sizes)}, got {d.shape}")
    image = _padded(x, padding, pad_value)
    others = (0, *range(2, x.ndim))  # all axes but that of channels
    dimage, dw = np.zeros(image.shape, np.result_type(d, w)), np.zeros(w.shape, np.result_type(d, x))
    for place, seen in _places(w, sizes, strides, dilation):
        for ins, outs in _groups(w, groups):
            dw[outs][(..., *place)] = np.tensordot(d[:, outs], image[:, ins][seen], (others, others))
            dimage[:, ins][seen] += np.einsum("ro...,oc->rc...", d[:, outs], w[outs][(..., *place)])
    inside = [slice(p, p + size) for p, size in zip(_each(padding, x.ndim - 2), x.shape[2:])]
    return {"x": dimage[(slice(None), slice(None), *inside)], "weight": dw}


def binary_conv(
    x: np.ndarray,
    w: np.ndarray,
    bias: Optional[np.ndarray] = None,
    scale: Optional[str] = "layer",
    curvature: Optional[np.ndarray] = None,
    *,
    strides: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    pad_value: float = 0,
) -> np.ndarray:
    """y = alpha * conv(x, signs) + bias, in this order: over binary inputs the product is exact.

    bias (channels,) or None; scale, curvature and errors as in `binary.sign_scale`.
    """
    x, w = np.asarray(x), np.asarray(w)
    signs, alpha = sign_scale(w, scale, curvature)
    y = _along(alpha, x) * conv(x, signs, strides, padding, dilation, groups, pad_value)
    return y if bias is None else y + _along(bias, x)


def binary_conv_backward(
    d: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    scale: Optional[str] = "layer",
    gradient: Gradient = "xnor",
    clip: Optional[float] = 1.0,
    curvature: Optional[np.ndarray] = None,
    *,
    strides: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    pad_value: float = 0,
) -> dict[str, np.ndarray]:
    """{"x", "weight", "bias"}: the gradients of `binary_conv` from d = dL/dy.

    That to x goes through a convolution with alpha signs; that to alpha signs is a convolution's to its weights, and
    `binary.sign_scale_backward` takes it to the real ones.
    """
    d, x, w = np.asarray(d), np.asarray(x), np.asarray(w)
    signs, alpha = sign_scale(w, scale, curvature)
    options = (strides, padding, dilation, groups, pad_value)
    return {
        "x": conv_backward(d * _along(alpha, x), x, signs, *options)["x"],
        "weight": sign_scale_backward(
            conv_backward(d, x, signs, *options)["weight"], w, scale, gradient, clip, curvature
        ),
        "bias": d.sum(axis=(0, *range(2, d.ndim))),
    }


def max_pool(
    x: np.ndarray, kernel: tuple[int, ...], strides: Sizes, padding: Sizes = 0, ceil: bool = False
) -> np.ndarray:
    """The largest number of each window of x (rows, channels, *sizes); places outside of x do not count. As in MXNet,
    NaN does not count either, and nothing is below the least finite number: that is what a window has which is outside
    altogether, as `ceil` makes possible.

    >>> max_pool(np.array([[[1.0, 5.0, 2.0]]]), (2,), 2, ceil=True)
    array([[[5., 2.]]])
    """
    x = np.asarray(x)
    least = np.finfo(x.dtype).min
    return np.fmax.reduce(_windows(x, kernel, strides, padding, ceil, least), axis=0, initial=least)


def average_pool(
    x: np.ndarray,
    kernel: tuple[int, ...],
    strides: Sizes,
    padding: Sizes = 0,
    ceil: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """The mean of each window of x (rows, channels, *sizes). Padding counts as zeros, or with count_include_pad=False
    not at all; what `ceil` adds beyond it never counts.

    >>> average_pool(np.array([[[2.0, 4.0, 6.0]]]), (2,), 2, ceil=True)
    array([[[3., 6.]]])
    """
    x = np.asarray(x)
    counted = np.ones(x.shape)
    if count_include_pad:
        counted = _padded(counted, padding, 1)
        x, padding = _padded(x, padding, 0), 0
    sums, counts = (_windows(each, kernel, strides, padding, ceil, 0).sum(axis=0) for each in (x, counted))
    with np.errstate(invalid="ignore"):  # NaN for a window that is outside altogether
        return (sums / counts).astype(x.dtype)


def _windows(x, kernel, strides, padding, ceil, outside):
    """(places of the kernel, rows, channels, *output_sizes)"""
    axes = x.ndim - 2
    sizes = output_sizes(x.shape[2:], kernel, strides, padding, ceil=ceil)
    image = _padded(x, padding, outside)
    image = np.pad(image, [(0, 0), (0, 0)] + [(0, s) for s in _each(strides, axes)], constant_values=outside)
    return np.stack([image[seen] for _, seen in _places(np.empty((1, 1, *kernel)), sizes, strides, 1)])


def _each(value, axes):
    return (value,) * axes if np.ndim(value) == 0 else tuple(value)


def _along(values, x):
    """Numbers of channels, to be broadcast to arrays like x."""
    return np.reshape(values, (1, -1) + (1,) * (np.ndim(x) - 2))


def _output_sizes(x, w, strides, padding, dilation, groups):
    if x.ndim < 3 or w.ndim != x.ndim or x.shape[1] != groups * w.shape[1] or w.shape[0] % groups:
        raise ValueError(
            "x must be (rows, in_channels, *sizes) and w (channels, in_channels / groups, *kernel), with channels a "
            f"multiple of groups, got {x.shape} and {w.shape} with groups={groups}"
        )
    return output_sizes(x.shape[2:], w.shape[2:], strides, padding, dilation)


def _padded(x, padding, pad_value):
    widths = [(0, 0), (0, 0)] + [(p, p) for p in _each(padding, x.ndim - 2)]
    return np.pad(x, widths, constant_values=pad_value)


def _places(w, sizes, strides, dilation):
    """Each place of the kernel, and the index of what all places of y see of an image there."""
    axes = w.ndim - 2
    strides, dilation = _each(strides, axes), _each(dilation, axes)
    for place in np.ndindex(*w.shape[2:]):
        seen = [slice(k * d, k * d + s * (n - 1) + 1, s) for k, d, s, n in zip(place, dilation, strides, sizes)]
        yield place, (..., *seen)


def _groups(w, groups):
    """The channels of x and of y of each group."""
    ins, outs = w.shape[1], len(w) // groups
    for group in range(groups):
        yield slice(group * ins, (group + 1) * ins), slice(group * outs, (group + 1) * outs)
