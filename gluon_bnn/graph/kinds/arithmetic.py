"""One operation of float32 between two values, or between a value and a constant."""

from collections.abc import Sequence
from typing import Callable, Optional

import numpy as np

from ..graph import Node, Value
from .kind import Arrays, Ends, Kind, exact, floats, ordered

MORE = np.float32(2.0**-19)
# As in MXNet, maximum and minimum give NaN where either number is NaN, and the second of two equal ones, which matters
# for 0.0 and -0.0.
FUNCTIONS: dict[str, Callable] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": lambda x, y: np.where((x > y) | np.isnan(x), x, y),
    "minimum": lambda x, y: np.where((x < y) | np.isnan(x), x, y),
}


class Arithmetic(Kind):
    """x function y: of two values of the same shape, or of one value and `operand`, float32 (1,) or (channels,)."""

    name = "arithmetic"
    attributes = {"function": tuple(FUNCTIONS)}
    sources = 1, 2

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        if taken[0].shape != taken[-1].shape:
            raise ValueError(
                f"arithmetic takes two values of the same shape, got {taken[0].sizes} and {taken[1].sizes}"
            )
        return Value("float", taken[0].shape)

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        if len(taken) == 2:
            return {}, {}
        given = getattr(node.arrays.get("operand"), "shape", None)
        return {"operand": (np.float32, (1,) if given == (1,) else (taken[0].channels,))}, {}

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        """Of both ends of both; anything where a divisor may be 0. A runtime may add a value to a product while it sums
        this, so that it is rounded more than once."""
        function = FUNCTIONS[node.attributes["function"]]
        if exact(*ends):
            return super().bounds(node, taken, *ends)
        (a, b), (c, d) = ends if len(ends) == 2 else (*ends, (node.arrays["operand"], node.arrays["operand"]))
        low, high = ordered(*(function(x, y) for x in (a, b) for y in (c, d)))
        if node.attributes["function"] == "divide":
            zero = (c <= 0) & (d >= 0)
            low, high = np.where(zero, np.nan, low), np.where(zero, np.inf, high)  # nothing is known
        if node.attributes["function"] in ("add", "subtract"):
            more = MORE * (np.maximum(np.abs(a), np.abs(b)) + np.maximum(np.abs(c), np.abs(d)))
            low, high = low - more, high + more
        return low, high

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray, y: Optional[np.ndarray] = None) -> np.ndarray:
        return FUNCTIONS[node.attributes["function"]](x, node.arrays["operand"] if y is None else y)

    def title(self, node: Node) -> str:
        return node.attributes["function"]
