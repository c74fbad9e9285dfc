"""The mean of each window of an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node, Value
from .kind import Kind, floats
from .window import POOL, ROUNDINGS, pool_shape, taps


class AveragePool(Kind):
    """The sum of each window, row by row from 0, divided by the number of its places.

    As in MXNet's pooling, each number is divided before it is added where the last windows reach beyond the padding, to
    which "ceil" can lead.

    count : "all" counts the places in the padded image, "inside" those in the image
    """

    name = "average_pool"
    attributes = {**POOL, "rounding": ROUNDINGS, "count": ("all", "inside")}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        return Value("float", pool_shape(taken[0], node.attributes))

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        shape = pool_shape(taken[0], node.attributes)[:2]
        y = np.zeros((len(x), *shape, x.shape[-1]), np.float32)
        counts = self.counts(node.attributes, shape, x.shape[1:])
        divides_first = shape != pool_shape(taken[0], {**node.attributes, "rounding": "floor"})[:2]
        for _, index, values in taps(node.attributes, shape, x):
            y[index] += values / counts[index[1:]] if divides_first else values
        return y if divides_first else y / counts

    def counts(self, attributes: dict[str, Any], shape: Sequence[int], taken: Sequence[int]) -> np.ndarray:
        """How many places of each window count, float32 (*shape, 1), of an image with the height and width `taken`."""
        down, across = (self._counts(attributes, axis, shape[axis], taken[axis]) for axis in range(2))
        return (down[:, None, None] * across[:, None]).astype(np.float32)

    def _counts(self, attributes, axis, outputs, size):
        """How many places of each window along an axis count."""
        kernel, stride, padding = (attributes[name][axis] for name in POOL)
        begin = np.arange(outputs) * stride - padding
        if attributes["count"] == "all":
            return np.minimum(begin + kernel, size + padding) - begin
        return np.minimum(begin + kernel, size) - np.maximum(begin, 0)
