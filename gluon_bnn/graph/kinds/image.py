"""A row of features as an image with the channels innermost."""

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .kind import SIZES, Kind, floats


class Image(Kind):
    """(features,) in the order channels, height, width, Gluon's NCHW, to (height, width, channels)."""

    name = "image"
    attributes = {"shape": SIZES}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        value, shape = taken[0], node.attributes["shape"]
        if len(shape) != 3 or len(value.shape) != 1 or math.prod(shape) != value.size:
            raise ValueError(
                f"image takes a row of features and gives a height, width and channels of as many elements, "
                f"got {value} and {'x'.join(map(str, shape))}"
            )
        return Value("float", shape, value.pixels)

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        height, width, channels = node.attributes["shape"]
        return np.ascontiguousarray(x.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))
