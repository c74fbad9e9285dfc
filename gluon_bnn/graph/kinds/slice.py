"""A part of the last axis."""

import numpy as np

from ..graph import Value
from .kind import PLACE, SIZE, Kind, floats


class Slice(Kind):
    """The channels from begin to before end."""

    name = "slice"
    attributes = {"begin": PLACE, "end": SIZE}

    def value(self, node, taken):
        floats(self, taken)
        begin, end = node.attributes["begin"], node.attributes["end"]
        if not begin < end <= taken[0].channels:
            raise ValueError(f"slice must have begin < end <= {taken[0].channels}, got begin {begin}, end {end}")
        return Value("float", (*taken[0].shape[:-1], end - begin))

    def run(self, node, taken, x):
        return np.ascontiguousarray(x[..., node.attributes["begin"] : node.attributes["end"]])
