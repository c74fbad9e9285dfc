"""The signs of floats, or of pixels, as bits."""

from collections.abc import Sequence

import numpy as np

from .. import bits
from ..graph import FORMS, Node, Value
from .kind import Arrays, Kind, floats


class Pack(Kind):
    """bit = x < 0. For uint8 pixels p, bit = p < threshold_u8, int32 (elements of a row,): never 1 for a threshold of
    at most 0, always for one of at least 256."""

    name = "pack"
    attributes = {"to": FORMS[1:]}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        return Value(node.attributes["to"], taken[0].shape)

    def takes_pixels(self, node: Node, taken: Sequence[Value]) -> bool:
        return taken[0].pixels

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        return {"threshold_u8": (np.int32, (taken[0].size,))} if taken[0].pixels else {}, {}

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        return bits.pack(x < (node.arrays["threshold_u8"].reshape(taken[0].shape) if x.dtype == np.uint8 else 0))
