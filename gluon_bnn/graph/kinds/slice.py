"""A part of the last axis."""

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .kind import PLACE, SIZE, Kind, floats


class Slice(Kind):
    """The channels from begin to before end."""

    name = "slice"
    attributes = {"begin": PLACE, "end": SIZE}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        begin, end = node.attributes["begin"], node.attributes["end"]
        if not begin < end <= taken[0].channels:
            raise ValueError(f"slice must have begin < end <= {taken[0].channels}, got begin {begin}, end {end}")
        return Value("float", (*taken[0].shape[:-1], end - begin))

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x[..., node.attributes["begin"] : node.attributes["end"]])
