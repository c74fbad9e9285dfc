"""What the nodes of a deployed net mean, in float64 and whole matrices: no bits, no blocks, no order of sums.

A node is its kind, {attribute: value} and {array: ndarray}, as in a model file. Where the net has bits, the values here
are +1 and -1. x is (rows, features) or (rows, height, width, channels).
"""

from typing import Callable

import numpy as np
from scipy.special import erf, expit

from .bits import unpack_weights

__all__ = ["ACTIVATIONS", "ARITHMETIC", "node", "scaled"]


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


def node(kind: str, attributes: dict, arrays: dict, *xs: np.ndarray, zeros_and_ones: bool = False) -> np.ndarray:
    """The value of a node, from those that it takes, float64.

    zeros_and_ones : the +1 and -1 that a binary_dense takes stand for 1 and 0
    """
    arrays = {name: array if array.dtype == np.int32 else array.astype(np.float64) for name, array in arrays.items()}
    if zeros_and_ones and "threshold" not in arrays:  # a threshold is one of the product of signs
        xs = tuple((x + 1) / 2 for x in xs)
    return _KINDS[kind](attributes, arrays, *xs)


def _binary_dense(attributes, arrays, x):
    signs = unpack_weights(arrays["weight_bits"], attributes["units"], x.shape[-1]).astype(np.float64)
    dot = x @ signs.T
    if "threshold" in arrays:
        return np.where(dot < arrays["threshold"], -1.0, 1.0)
    y = _norm(arrays, arrays["alpha"] * dot + arrays["bias"])
    return y if attributes["to"] == "float" else _signs(y)


def _signs(y):
    return np.where(y < 0, -1.0, 1.0)


def _norm(arrays, y):
    return (y - arrays["mean"]) * arrays["factor"] + arrays["beta"] if "mean" in arrays else y


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
    "slice": lambda attributes, arrays, x: x[..., attributes["begin"] : attributes["end"]],
}


def _image(shape, x):
    """(rows, channels * height * width) to (rows, height, width, channels)."""
    height, width, channels = shape
    y = np.empty((len(x), height, width, channels))
    for channel, row, column in np.ndindex(channels, height, width):
        y[:, row, column, channel] = x[:, (channel * height + row) * width + column]
    return y
