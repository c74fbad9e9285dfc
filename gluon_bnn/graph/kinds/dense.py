"""A dense layer with float weights, over the last axis."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .kind import SIZE, Arrays, Ends, Kind, floats, halves, shape_of, sum_error, with_overflow

SUM = 256  # the products of so many inputs are added up on their own, then these sums


class Dense(Kind):
    """y = sum_k x_k weight[k, unit] + bias: weight float32 (inputs, units), bias float32 (units,) or absent.

    Products are rounded, then added one after the other: those of SUM inputs from 0, then these sums from 0.
    """

    name = "dense"
    attributes = {"units": SIZE}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        return Value("float", shape_of(taken[0], node.attributes["units"]))

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        units = node.attributes["units"]
        return {"weight": (np.float32, (taken[0].channels, units))}, {"bias": (np.float32, (units,))}

    def macs(self, node: Node, taken: Sequence[Value]) -> int:
        return node.attributes["units"] * taken[0].size

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        return real_bounds(self, node, taken, ends[0])

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        y = ordered_dot(x, node.arrays["weight"])
        return y + node.arrays["bias"] if "bias" in node.arrays else y


def real_bounds(kind: Kind, node: Node, taken: Sequence[Value], ends: Ends) -> Ends:
    """The bounds of a node with real weights and biases."""
    middle, radius = halves(*ends)
    error = sum_error(len(node.arrays["weight"]))
    y = kind.run(node, taken, middle)
    magnitudes = {name: np.abs(array) * (error if name == "bias" else 1) for name, array in node.arrays.items()}
    spread = kind.run(dataclasses.replace(node, arrays=magnitudes), taken, error * (np.abs(middle) + radius) + radius)
    spread = with_overflow(spread * np.float32(1.001), len(node.arrays["weight"]))  # more, for its own rounding
    return y - spread, y + spread


def ordered_dot(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (..., inputs) times weight (inputs, units), added up in blocks of SUM inputs."""
    y = np.zeros((*x.shape[:-1], weight.shape[1]), np.float32)
    for begin in range(0, len(weight), SUM):
        part = np.zeros_like(y)
        for k in range(begin, min(begin + SUM, len(weight))):
            part += x[..., k, None] * weight[k]
        y += part
    return y
