"""The input of a net: float32, or uint8 p that stand for x = scale * p + shift."""

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .kind import SIZES, Arrays, Kind, together


class Input(Kind):
    """The batch, each row in one piece, whatever the shape that its user gives it.

    scale float32 (1,) or (inputs,), nowhere 0, and shift float32 (inputs,), where uint8 is taken too. With one scale
    above 0 the integers themselves may go on as pixels.
    """

    name = "input"
    attributes = {"shape": SIZES}
    sources = 0, 0

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        scale = node.arrays.get("scale")
        one = isinstance(scale, np.ndarray) and scale.dtype == np.float32 and scale.shape == (1,) and bool(scale[0] > 0)
        return Value("float", (math.prod(node.attributes["shape"]),), one)

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        inputs = self.value(node, taken).shape
        scale = getattr(node.arrays.get("scale"), "shape", None)
        return {}, {"scale": (np.float32, (1,) if scale == (1,) else inputs), "shift": (np.float32, inputs)}

    def check(self, node: Node, taken: Sequence[Value]) -> None:
        together(node, ("scale", "shift"))
        if "scale" in node.arrays and not node.arrays["scale"].all():
            zero = np.flatnonzero(node.arrays["scale"] == 0)[0]
            raise ValueError(f"scale must not be 0, got {node.arrays['scale'][zero]} at {zero}")

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        if x.dtype != np.uint8:
            return x
        return node.arrays["scale"] * x.astype(np.float32) + node.arrays["shift"]
