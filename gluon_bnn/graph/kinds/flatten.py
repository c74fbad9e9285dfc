"""An image as one row of features, in the order in which it lies in memory."""

from collections.abc import Sequence

import numpy as np

from ..bits import WORD
from ..graph import Node, Value
from .kind import Kind


class Flatten(Kind):
    """(height, width, channels) to (features,), row by row, channels innermost. Bits where no word has to be put
    together from two: the number of channels is a multiple of 32, or all elements are channels of one pixel."""

    name = "flatten"

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        value = taken[0]
        if value.form != "float" and value.channels % WORD and value.channels != value.size:
            raise ValueError(f"flatten takes bits where channels are a multiple of {WORD}, got {value}")
        return Value(value.form, (value.size,), value.pixels)

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)
