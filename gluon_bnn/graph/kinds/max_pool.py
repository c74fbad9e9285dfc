"""The largest of each window of an image, of floats or bits."""

from collections.abc import Sequence

import numpy as np

from .. import bits
from ..graph import Node, Value
from .kind import Arrays, Kind
from .window import POOL, ROUNDINGS, pool_shape, taps


class MaxPool(Kind):
    """The largest number of each window and channel, the first of equal ones; places outside are ignored.

    As in MXNet's pooling NaN is ignored, and nothing is below the lowest finite float. Of bits, where 1 stands for the
    smaller number, the smaller one of channels whose bit in `falls` is 1, int32 (ceil(channels / 32),): the batch norm
    that was folded into these bits falls, and came after the pool.
    """

    name = "max_pool"
    attributes = {**POOL, "rounding": ROUNDINGS}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        return Value(taken[0].form, pool_shape(taken[0], node.attributes))

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        of_bits = taken[0].form != "float"
        return {}, {"falls": (np.int32, (bits.words(taken[0].channels),))} if of_bits else {}

    def check(self, node: Node, taken: Sequence[Value]) -> None:
        tail = taken[0].channels % bits.WORD
        if "falls" in node.arrays and tail and node.arrays["falls"].view(np.uint32)[-1] >> np.uint32(tail):
            raise ValueError(f"falls must be 0 past channel {taken[0].channels - 1}, got bits set in the last word")

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        shape = pool_shape(taken[0], node.attributes)[:2]
        if taken[0].form == "float":
            y = np.full((len(x), *shape, x.shape[-1]), np.finfo(np.float32).min, np.float32)
            for _, index, values in taps(node.attributes, shape, x):
                y[index] = np.where(values > y[index], values, y[index])
            return y
        smallest = np.full((len(x), *shape, x.shape[-1]), -1, np.int32)
        largest = np.zeros_like(smallest)
        for _, index, values in taps(node.attributes, shape, x):
            smallest[index] &= values
            largest[index] |= values
        falls = node.arrays.get("falls", np.int32(0))
        return smallest & ~falls | largest & falls
