"""An image as one row of features, in the order in which it lies in memory."""

from collections.abc import Sequence

import numpy as np

from .. import bits
from ..graph import Node, Value
from .kind import Kind


class Flatten(Kind):
    """(height, width, channels) to (features,), row by row, channels innermost. Bits are packed again: a word of the
    row may hold bits of several pixels."""

    name = "flatten"

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        return Value(taken[0].form, (taken[0].size,), taken[0].pixels)

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        if taken[0].form != "float" and taken[0].channels % bits.WORD:
            signs = bits.unpack(x, taken[0].channels)
            return bits.pack(signs.reshape(len(x), -1) < 0)
        return x.reshape(len(x), -1)
