"""The input, kinds that move or choose elements, and pools."""

import math

import numpy as np
import onnx

from ...graph import bits
from ...graph.graph import Node, Value
from ...graph.kinds.average_pool import AveragePool
from ...graph.kinds.window import POOL, pool_shape
from .builder import Builder, Tensor

LOWEST = np.finfo(np.float32).min


def floats_of_pixels(b: Builder, node: Node, x: str) -> Tensor:
    """scale * pixel + shift of the input x, as a row."""
    shape, size = node.attributes["shape"], (math.prod(node.attributes["shape"]),)
    if any(len(np.unique(array)) > 1 for array in node.arrays.values()):
        x, shape = b.reshape(x, size), size
    y = _scaled(b, node, x)
    return Tensor(b.reshape(b.declare(y, shape), size))


def _scaled(b, node, x):
    wide = x if not b.integers else b.add("Cast", x, to=onnx.TensorProto.FLOAT)
    scale, shift = node.arrays["scale"], node.arrays["shift"]
    scaled = b.add("Mul", wide, b.constant(scale, "scale"))
    if not shift.any() and (scale > 0).all():  # then it would not even change the sign of a zero
        return scaled
    return b.add("Add", scaled, b.constant(shift[:1] if (shift == shift[0]).all() else shift, "shift"))


def image(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    height, width, channels = node.attributes["shape"]
    return x._replace(name=b.reshape(x.name, (channels, height, width)))


def flatten(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    value, name = taken[0], x.name
    if len(value.shape) > 1 and 1 not in (value.channels, value.size // value.channels):
        name = b.add("Transpose", name, perm=[0, 2, 3, 1])
    row = b.reshape(name, (value.size,))
    if len(value.shape) == 3:
        b.is_row_of(row, x.name, value.shape)
    return x._replace(name=row)


def concat(b: Builder, node: Node, taken: tuple[Value, ...], *xs: Tensor) -> Tensor:
    return Tensor(b.add("Concat", *(x.name for x in xs), axis=1))


def slice_(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    ends = (np.array([node.attributes[name]], np.int64) for name in ("begin", "end"))
    return Tensor(b.add("Slice", x.name, *ends, np.array([1], np.int64)))


def max_pool(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """MaxPool; NaN and -inf count as the lowest finite number, as in the graph. Channels that want the smaller number
    are turned over before and after."""
    value, falls = taken[0], node.arrays.get("falls")
    if value.form == "float" and node.sources[0] in b.finite:
        return Tensor(_max_pool(b, node, value, x.name))
    if value.form == "float":
        return Tensor(_max_pool(b, node, value, b.add("Where", b.add("Greater", x.name, LOWEST), x.name, LOWEST)))
    if falls is None or not falls.any():
        return x._replace(name=_max_pool(b, node, value, x.name))
    turned = bits.unpack(falls, value.channels)[:, None, None]  # -1 where a channel is turned over
    if b.integers:
        mask = b.constant(np.where(turned < 0, np.uint8(x.high), np.uint8(0)), "falls")
        return x._replace(name=b.add("BitwiseXor", _max_pool(b, node, value, b.add("BitwiseXor", x.name, mask)), mask))
    mask = b.constant(turned, "falls")
    pooled = _max_pool(b, node, value, b.add("Mul", x.name, mask))
    pooled = b.add("Mul", pooled, mask)
    return x._replace(name=pooled)


def _max_pool(b, node, value, name):
    """Padding is said place by place: what runtimes take ceil_mode for has changed."""
    kernel, strides, padding = (node.attributes[attribute] for attribute in POOL)
    sizes = pool_shape(value, node.attributes)
    ends = [
        max(0, (sizes[axis] - 1) * strides[axis] - padding[axis] + kernel[axis] - value.shape[axis])
        for axis in range(2)
    ]
    pads = [*padding, *ends]
    return b.add("MaxPool", name, kernel_shape=kernel, strides=strides, pads=pads if any(pads) else None)


def average_pool(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """The elements of each window, in the order in which the graph adds them, from 0: AveragePool has another order.

    An image is a row of places per channel, before which there is a 0 for all places outside. CumSum adds one after the
    other, along an axis; the last sum is that of the window."""
    value, attributes = taken[0], node.attributes
    height, width, channels = value.shape
    sizes = pool_shape(value, attributes)[:2]
    places = math.prod(sizes)
    row = b.add("Pad", b.reshape(x.name, (channels, height * width)), np.array([0, 0, 1, 0, 0, 0], np.int64))
    windows = b.add("Gather", row, b.constant(_taps(attributes, sizes, (height, width)), "taps"), axis=2)
    counts = b.constant(AveragePool().counts(attributes, sizes, value.shape).reshape(places), "counts")
    first = sizes != pool_shape(value, {**attributes, "rounding": "floor"})[:2]
    windows = b.add("Div", windows, counts) if first else windows
    last = math.prod(attributes["kernel"])
    ends = (np.array([end], np.int64) for end in (last, last + 1))
    sums = b.add("Slice", b.add("CumSum", windows, np.int64(2)), *ends, np.array([2], np.int64))
    sums = b.reshape(sums, (channels, places))
    return Tensor(b.reshape(sums if first else b.add("Div", sums, counts), (channels, *sizes)))


def _taps(attributes, sizes, image):
    """Where the elements of each window are, int64 (1 + taps, places of the result): 0 first and for places outside."""
    kernel, strides, padding = (attributes[name] for name in POOL)
    rows, columns = (
        np.arange(kernel[axis])[:, None] + np.arange(sizes[axis]) * strides[axis] - padding[axis] for axis in range(2)
    )
    y = rows[:, None, :, None]
    x = columns[None, :, None, :]
    inside = (y >= 0) & (y < image[0]) & (x >= 0) & (x < image[1])
    taps = np.where(inside, 1 + y * image[1] + x, 0).reshape(math.prod(kernel), math.prod(sizes))
    return np.concatenate([np.zeros((1, taps.shape[1]), np.int64), taps])
