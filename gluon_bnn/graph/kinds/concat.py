"""Values one after the other on the last axis."""

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .kind import Kind, floats

MOST_ELEMENTS = 1 << 24  # of a row: else a small file could double a value's size from each concat to the next


class Concat(Kind):
    """Floats of the same height and width, or rows of features; their channels in the order of the sources."""

    name = "concat"
    sources = 2, 64

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        for value in taken:
            if value.shape[:-1] != taken[0].shape[:-1]:
                raise ValueError(
                    f"concat takes values that differ in the last axis only, got {taken[0].sizes} and {value.sizes}"
                )
        value = Value("float", (*taken[0].shape[:-1], sum(value.channels for value in taken)))
        if value.size > MOST_ELEMENTS:
            raise ValueError(f"concat gives at most {MOST_ELEMENTS} elements, got {value.sizes}")
        return value

    def run(self, node: Node, taken: Sequence[Value], *xs: np.ndarray) -> np.ndarray:
        return np.concatenate(xs, axis=-1)
