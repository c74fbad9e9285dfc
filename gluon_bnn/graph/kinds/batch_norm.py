"""Batch norm of inference, per channel: y = (x - mean) * factor + beta, each operation rounded to float32."""

import numpy as np

from ..graph import Value
from .kind import Kind, floats

NORM = ("mean", "factor", "beta")


def normalize(arrays, x):
    """(x - mean) * factor + beta over the last axis of x."""
    return (x - arrays["mean"]) * arrays["factor"] + arrays["beta"]


class BatchNorm(Kind):
    """mean, factor and beta float32 (channels,), factor = gamma / sqrt(variance + eps)."""

    name = "batch_norm"

    def value(self, node, taken):
        floats(self, taken)
        return Value("float", taken[0].shape)

    def arrays(self, node, taken):
        return dict.fromkeys(NORM, (np.float32, (taken[0].channels,))), {}

    def run(self, node, taken, x):
        return normalize(node.arrays, x)
