"""What the nodes of a deployed net mean, in float64 and whole matrices: no bits, no blocks, no order of sums.

A node is its kind, {attribute: value} and {array: ndarray}, as in a model file. Where the net has bits, the values here
are +1 and -1. x is (rows, features) or (rows, height, width, channels).
"""

import math
from typing import Callable

import numpy as np
from scipy.special import erf, expit

from .bits import unpack_inputs, unpack_weights

__all__ = ["ACTIVATIONS", "ARITHMETIC", "node", "scaled", "windows"]


def __dir__():
    return __all__


ACTIVATIONS: dict[str, Callable[..., np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x, slope: np.where(x > 0, x, slope * x),
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
    "elu": lambda x, slope: np.where(x > 0, x, slope * np.expm1(x)),
    "gelu": lambda x: x / 2 * (1 + erf(x / np.sqrt(2))),
    "sigmoid": expit,
    "tanh": np.tanh,
    "softrelu": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x, slope: x * expit(slope * x),
    "sign": lambda x: np.where(x < 0, -1.0, 1.0),
    "binary_sigmoid": lambda x: np.where(x < 0, 0.0, 1.0),
}

ARITHMETIC: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def scaled(x: np.ndarray, arrays: dict) -> np.ndarray:
    """What uint8 x stand for: scale * x + shift."""
    return arrays["scale"].astype(np.float64) * x + arrays["shift"]


def node(kind: str, attributes: dict, arrays: dict, *xs: np.ndarray, form: str = "float") -> np.ndarray:
    """The value of a node, from those that it takes, float64.

    form : of the values that a node with 1-bit weights takes: "float", "bits", +1 and -1, or "bits01", the same
        standing for 1 and 0
    """
    arrays = {name: array if array.dtype == np.int32 else array.astype(np.float64) for name, array in arrays.items()}
    if kind == "binary_conv2d":
        attributes = {**attributes, "form": form}
    if form == "bits01" and "weight_bits" in arrays and "threshold" not in arrays:  # it is one of the product of signs
        xs = tuple((x + 1) / 2 for x in xs)
    return _KINDS[kind](attributes, arrays, *xs)


def _binary_dense(attributes, arrays, x):
    signs = unpack_weights(arrays["weight_bits"], attributes["units"], x.shape[-1]).astype(np.float64)
    return _after(attributes, arrays, x @ signs.T)


def _binary_conv2d(attributes, arrays, x):
    form, channels, units = attributes["form"], x.shape[-1], attributes["channels"]
    outside = {"zero": 0, "plus": 1, "minus": -1}[attributes["pad"]]
    if form == "bits01" and "threshold" in arrays:
        outside = 2 * outside - 1
    rows = windows(attributes, x, outside)
    rows = rows.reshape(*rows.shape[:3], -1)
    taps = attributes["kernel"][0] * attributes["kernel"][1]
    weight_bits = arrays["weight_bits"]
    if form == "float":
        signs = unpack_weights(weight_bits, units, taps * channels)
    else:  # each tap begins in a word of its own
        parts = np.split(weight_bits, taps, axis=1)
        signs = np.concatenate([unpack_weights(part, units, channels) for part in parts], axis=1)
    return _after(attributes, arrays, rows @ signs.astype(np.float64).T)


def _after(attributes, arrays, dot):
    """What follows a product with signs."""
    if "threshold" in arrays:
        return np.where(dot < arrays["threshold"], -1.0, 1.0)
    y = _norm(arrays, arrays["alpha"] * dot + arrays["bias"])
    return y if attributes["to"] == "float" else _signs(y)


def _signs(y):
    return np.where(y < 0, -1.0, 1.0)


def _norm(arrays, y):
    return (y - arrays["mean"]) * arrays["factor"] + arrays["beta"] if "mean" in arrays else y


def windows(attributes: dict, x: np.ndarray, outside: float, beyond: float = 0) -> np.ndarray:
    """The windows of x (rows, height, width, channels), (rows, out height, out width, kernel height, width, channels).

    outside : what the padding is; beyond : what is behind the padding, where the last windows of a pool may reach
    """
    (down, across), (height, width), (top, left) = attributes["strides"], attributes["kernel"], attributes["padding"]
    below, beside = attributes.get("dilation", (1, 1))
    x = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)), constant_values=outside)
    rounded = math.ceil if attributes.get("rounding") == "ceil" else math.floor
    out_height = rounded((x.shape[1] - (height - 1) * below - 1) / down) + 1
    out_width = rounded((x.shape[2] - (width - 1) * beside - 1) / across) + 1
    y = np.full((len(x), out_height, out_width, height, width, x.shape[3]), beyond, np.float64)
    for out_y, out_x, i, j in np.ndindex(out_height, out_width, height, width):
        row, column = out_y * down + i * below, out_x * across + j * beside
        if row < x.shape[1] and column < x.shape[2]:
            y[:, out_y, out_x, i, j] = x[:, row, column]
    return y


def _conv2d(attributes, arrays, x):
    groups, weight = attributes["groups"], arrays["weight"]
    channels, units = x.shape[-1] // groups, attributes["channels"] // groups
    rows = windows(attributes, x, 0)
    y = np.empty((*rows.shape[:3], attributes["channels"]))
    for unit in range(attributes["channels"]):
        group = unit // units
        part = rows[..., group * channels : (group + 1) * channels]
        y[..., unit] = part.reshape(*part.shape[:3], -1) @ weight[:, unit]
    return y + arrays.get("bias", 0)


def _max_pool(attributes, arrays, x):
    """Of numbers that are not NaN, and none below the lowest float32; -1 is below 1 where x are signs."""
    lowest = np.finfo(np.float32).min

    def largest(x):
        return windows(attributes, np.maximum(np.where(np.isnan(x), lowest, x), lowest), lowest, lowest).max(
            axis=(3, 4)
        )

    if "falls" not in arrays:
        return largest(x)
    falls = unpack_inputs(arrays["falls"][None], x.shape[-1])[0] < 0
    return np.where(falls, -largest(-x), largest(x))


def _average_pool(attributes, arrays, x):
    counts = windows(attributes, np.ones(x.shape), 1 if attributes["count"] == "all" else 0)
    return windows(attributes, x, 0).sum(axis=(3, 4)) / counts.sum(axis=(3, 4))


_KINDS: dict[str, Callable[..., np.ndarray]] = {
    "binary_dense": _binary_dense,
    "dense": lambda attributes, arrays, x: x @ arrays["weight"] + arrays.get("bias", 0),
    "batch_norm": lambda attributes, arrays, x: _norm(arrays, x),
    "activation": lambda attributes, arrays, x: ACTIVATIONS[attributes["function"]](x, *arrays.values()),
    "pack": lambda attributes, arrays, x: _signs(x),
    "flatten": lambda attributes, arrays, x: x.reshape(len(x), -1),
    "image": lambda attributes, arrays, x: _image(attributes["shape"], x),
    "arithmetic": lambda attributes, arrays, x, *y: ARITHMETIC[attributes["function"]](x, *(y or arrays.values())),
    "concat": lambda attributes, arrays, *xs: np.concatenate(xs, axis=-1),
    "binary_conv2d": _binary_conv2d,
    "conv2d": _conv2d,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "slice": lambda attributes, arrays, x: x[..., attributes["begin"] : attributes["end"]],
}


def _image(shape, x):
    """(rows, channels * height * width) to (rows, height, width, channels)."""
    height, width, channels = shape
    y = np.empty((len(x), height, width, channels))
    for channel, row, column in np.ndindex(channels, height, width):
        y[:, row, column, channel] = x[:, (channel * height + row) * width + column]
    return y
