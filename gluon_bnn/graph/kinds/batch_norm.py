"""Batch norm of inference, per channel: y = (x - mean) * factor + beta, each operation rounded to float32."""

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .kind import Arrays, Ends, Kind, floats, ordered

NORM = ("mean", "factor", "beta")


def normalize(arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(x - mean) * factor + beta over the last axis of x."""
    return (x - arrays["mean"]) * arrays["factor"] + arrays["beta"]


class BatchNorm(Kind):
    """mean, factor and beta float32 (channels,), factor = gamma / sqrt(variance + eps)."""

    name = "batch_norm"

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        return Value("float", taken[0].shape)

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        return dict.fromkeys(NORM, (np.float32, (taken[0].channels,))), {}

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        low, high = super().bounds(node, taken, *ends)
        return (low, low) if low is high else ordered(low, high)

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        return normalize(node.arrays, x)
