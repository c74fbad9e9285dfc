"""Windows over images, (height, width, channels): what convolutions and pools have in common."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..graph import MOST_ELEMENTS, Value
from .kind import PLACES, SIZES

__all__ = ["CONV", "POOL", "ROUNDINGS", "conv_shape", "patches", "pool_shape", "taps"]


def __dir__():
    return __all__


POOL: dict[str, object] = {"kernel": SIZES, "strides": SIZES, "padding": PLACES}
CONV: dict[str, object] = {**POOL, "dilation": SIZES}  # all of them are (vertical, horizontal)

ROUNDINGS = "floor", "ceil"


def conv_shape(taken: Value, attributes: dict[str, Any]) -> tuple[int, int, int]:
    """The shape that a convolution gives, (height, width, channels); ValueError where there is none."""
    return (*_outputs(taken, attributes, attributes["dilation"], "floor"), attributes["channels"])


def pool_shape(taken: Value, attributes: dict[str, Any]) -> tuple[int, int, int]:
    """The shape that a pool gives; ValueError where there is none, or where a window lies wholly outside."""
    sizes = _outputs(taken, attributes, (1, 1), attributes["rounding"])
    for axis in range(2):
        kernel, stride, padding = (attributes[name][axis] for name in POOL)
        if padding >= kernel or (sizes[axis] - 1) * stride - padding >= taken.shape[axis]:
            raise ValueError(
                f"every window must have places inside of the image: kernel {kernel}, strides {stride} and padding "
                f"{padding} over {taken.shape[axis]} places have one without"
            )
    return (*sizes, taken.channels)


def _outputs(taken, attributes, dilations, rounding):
    """The number of windows along each axis."""
    if len(taken.shape) != 3:
        raise ValueError(f"windows need an image, height x width x channels, got {taken}")
    for name in attributes.keys() & CONV.keys():
        if len(attributes[name]) != 2:
            raise ValueError(f"{name} must be two numbers, vertical and horizontal, got {attributes[name]}")
    sizes = []
    for axis, dilation in enumerate(dilations):
        kernel, stride, padding = (attributes[name][axis] for name in POOL)
        extent = (kernel - 1) * dilation + 1
        left = taken.shape[axis] + 2 * padding - extent
        if left < 0:
            raise ValueError(
                f"a window must fit into the padded image: kernel {kernel} with dilation {dilation} covers {extent} "
                f"places, of {taken.shape[axis] + 2 * padding} with padding {padding}"
            )
        sizes.append((left if rounding == "floor" else left + stride - 1) // stride + 1)
    channels = attributes.get("channels", taken.channels)
    if sizes[0] * sizes[1] * channels > MOST_ELEMENTS:
        raise ValueError(
            f"a value must have at most {MOST_ELEMENTS} elements, got {'x'.join(map(str, (*sizes, channels)))}"
        )
    return sizes


def taps(attributes: dict[str, Any], shape: Sequence[int], x: np.ndarray) -> Iterator[tuple[int, Any, np.ndarray]]:
    """For each tap that lies inside of the image for some output, row by row: (its number, the index of these outputs,
    what lies there).

    x (rows, height, width, n); the index is one into a result (rows, *shape, m), shape its height and width.
    """
    columns = list(_inside(attributes, 1, shape[1], x.shape[2]))
    for i, down, ys in _inside(attributes, 0, shape[0], x.shape[1]):
        for j, across, xs in columns:
            index = (slice(None), down[:, None], across)
            yield i * attributes["kernel"][1] + j, index, x[:, ys[:, None], xs]


def _inside(attributes, axis, outputs, size):
    """(tap, the outputs for which it lies inside of the image, where it lies) along an axis."""
    dilation = attributes["dilation"][axis] if "dilation" in attributes else 1
    starts = np.arange(outputs) * attributes["strides"][axis] - attributes["padding"][axis]
    for tap in range(attributes["kernel"][axis]):
        places = starts + tap * dilation
        found = np.flatnonzero((places >= 0) & (places < size))
        if found.size:
            yield tap, found, places[found]


def patches(attributes: dict[str, Any], shape: Sequence[int], x: np.ndarray, outside: float) -> np.ndarray:
    """The windows (rows, *shape, taps, channels) of x (rows, height, width, channels), with `outside` outside of the
    image."""
    kernel = attributes["kernel"]
    y = np.full((len(x), *shape, kernel[0] * kernel[1], x.shape[-1]), outside, x.dtype)
    for tap, index, values in taps(attributes, shape, x):
        y[(*index, tap)] = values
    return y
