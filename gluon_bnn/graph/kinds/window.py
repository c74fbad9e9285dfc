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
ELEMENTS = 1 << 22  # most inputs of windows at a time, where one window does not have more


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
    kernel, dilation = attributes["kernel"][axis], _dilation(attributes)[axis]
    starts = np.arange(outputs) * attributes["strides"][axis] - attributes["padding"][axis]
    first, end = (np.clip(-((starts - size) // dilation), 0, kernel) for size in (0, size))
    done = 0
    for output in range(outputs - 1, -1, -1):  # neither end of the taps inside falls
        for tap in range(max(done, first[output]), end[output]):
            places = starts + tap * dilation
            found = np.flatnonzero((places >= 0) & (places < size))
            yield tap, found, places[found]
        done = max(done, end[output])


def _dilation(attributes):
    return attributes.get("dilation", (1, 1))


def patches(attributes: dict[str, Any], shape: Sequence[int], x: np.ndarray, outside: float) -> Iterator[np.ndarray]:
    """The windows of x (rows, height, width, channels), row by row, (places, taps, channels), in blocks of at most
    ELEMENTS elements; with `outside` outside of the image. shape is the height and width of the result."""
    (height, width), (down, across), (top, left) = (attributes[name] for name in POOL)
    below, beside = _dilation(attributes)
    places = len(x) * shape[0] * shape[1]
    step = max(1, ELEMENTS // (height * width * x.shape[-1]))
    for begin in range(0, places, step):
        row, place = np.divmod(np.arange(begin, min(begin + step, places)), shape[0] * shape[1])
        out_y, out_x = np.divmod(place, shape[1])
        y = np.full((len(place), height * width, x.shape[-1]), outside, x.dtype)
        for tap, (i, j) in enumerate(np.ndindex(height, width)):
            ys, xs = out_y * down - top + i * below, out_x * across - left + j * beside
            found = (ys >= 0) & (ys < x.shape[1]) & (xs >= 0) & (xs < x.shape[2])
            y[found, tap] = x[row[found], ys[found], xs[found]]
        yield y
