"""A convolution with float weights."""

from collections.abc import Sequence

import numpy as np

from ..graph import Node, Value
from .dense import ordered_dot, real_bounds
from .kind import SIZE, Arrays, Ends, Kind, floats
from .window import CONV, conv_shape, patches


class Conv2D(Kind):
    """y = sum_k x_k weight[k, unit] + bias over each window, with zeros outside of the image.

    weight float32 (kernel height * width * channels of the input / groups, channels), bias float32 (channels,) or
    absent: the inputs of a window row by row, channels innermost. Group g of the output's channels takes group g of the
    input's. Sums are those of `dense`.
    """

    name = "conv2d"
    attributes = {"channels": SIZE, **CONV, "groups": SIZE}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        shape, groups = conv_shape(taken[0], node.attributes), node.attributes["groups"]
        if shape[2] % groups or taken[0].channels % groups:
            raise ValueError(
                f"groups must divide the channels, got {groups} groups of {taken[0].channels} to {shape[2]} channels"
            )
        return Value("float", shape)

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        units = node.attributes["channels"]
        return {"weight": (np.float32, (self._inputs(node, taken), units))}, {"bias": (np.float32, (units,))}

    def _inputs(self, node, taken):
        kernel = node.attributes["kernel"]
        return kernel[0] * kernel[1] * (taken[0].channels // node.attributes["groups"])

    def macs(self, node: Node, taken: Sequence[Value]) -> int:
        return self.value(node, taken).size * self._inputs(node, taken)

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        return real_bounds(self, node, taken, ends[0])

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        shape, groups, weight = conv_shape(taken[0], node.attributes), node.attributes["groups"], node.arrays["weight"]
        units = shape[2] // groups
        blocks = []
        for windows in patches(node.attributes, shape[:2], x, 0):
            parts = [
                ordered_dot(part.reshape(len(part), -1), weight[:, group * units : (group + 1) * units])
                for group, part in enumerate(np.split(windows, groups, axis=-1))
            ]
            blocks.append(np.concatenate(parts, axis=-1))
        y = np.concatenate(blocks).reshape(len(x), *shape)
        return y + node.arrays["bias"] if "bias" in node.arrays else y
