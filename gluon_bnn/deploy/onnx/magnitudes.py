"""Which values are finite for all inputs: operators serve for these that treat NaN and infinities in their own ways.

Pixels are bounded, and so are signs; what layers make of them is as long as their numbers are not huge.
"""

import math
from collections.abc import Sequence

import numpy as np

from ...graph.graph import Graph, Node, Value
from ...graph.kinds.activation import FUNCTIONS, STEEPEST

FINITE = 1e38  # of float32's 3.4e38: the rest is for rounding
MOVES = "image", "flatten", "slice", "concat", "max_pool"
SIGNS = "sign", "binary_sigmoid"  # activations that NaN does not pass


def finite(graph: Graph) -> set[int]:
    """The nodes whose values are finite, whatever the inputs are, that is pixels where the net has an input scale."""
    return {index for index, most in enumerate(magnitudes(graph)) if most < FINITE}


def magnitudes(graph: Graph) -> list[float]:
    """A bound of the magnitude of each node's value; what is at least FINITE says nothing."""
    found: list[float] = []
    for index, node in enumerate(graph.nodes):
        most = max((found[source] for source in node.sources), default=math.inf)
        found.append(_magnitude(node, graph.taken(index), most, [found[source] for source in node.sources]))
    return found


def _magnitude(node: Node, taken: Sequence[Value], most: float, each: Sequence[float]) -> float:
    """A bound of the magnitude of the value, and of all numbers on the way to it; inf where nothing is known."""
    arrays = {name: np.abs(array.astype(np.float64)) for name, array in node.arrays.items() if name != "weight_bits"}
    function = node.attributes.get("function", "")
    if node.kind == "input":
        return float((255 * arrays["scale"] + arrays["shift"]).max()) if arrays else math.inf
    if node.attributes.get("to", "float") != "float" or function in SIGNS:
        return 1.0
    if not most < FINITE:
        return math.inf
    if node.kind == "activation":
        steepest = float(STEEPEST) * max(1, float(arrays["slope"].max()) if arrays else 0)
        return 1.0 if FUNCTIONS[function].bounded else 1 + most * steepest
    if node.kind in ("dense", "conv2d"):
        return float((most * arrays["weight"].sum(axis=0) + arrays.get("bias", 0)).max())
    if node.kind in ("binary_dense", "binary_conv2d"):
        inputs = math.prod(node.attributes.get("kernel", (1,))) * taken[0].channels
        dot = max(most, 255) * inputs
        y = dot * arrays["alpha"] + arrays["bias"]
        if "alpha_u8" in arrays:
            y = np.maximum(y, dot * arrays["alpha_u8"] + arrays["bias_u8"])
        return max(dot, _normalized(arrays, y) if "mean" in arrays else float(y.max()))
    if node.kind == "batch_norm":
        return _normalized(arrays, most)
    if node.kind == "arithmetic":
        other = each[1] if len(each) == 2 else float(arrays["operand"].max())
        bounds = {"divide": math.inf, "multiply": each[0] * other, "maximum": max(each[0], other)}
        return bounds.get(function, each[0] + other)
    if node.kind == "average_pool":
        return most if most * math.prod(node.attributes["kernel"]) < FINITE else math.inf  # the sum comes first
    return most if node.kind in MOVES else math.inf


def _normalized(arrays, y):
    moved = y + arrays["mean"]
    return float(max(moved.max(), (moved * arrays["factor"] + arrays["beta"]).max()))
