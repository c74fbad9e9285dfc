"""Kinds that compute element by element, in the order of the graph's own float32 operations.

Activations with exp are computed in float64 and rounded once, as in the graph, but for tanh, which ONNX Runtime has in
float32 to a few units of the last place. NaN stays NaN where the graph keeps it. ONNX's Relu, Max and Min do not
promise that: Relu serves where there is none.
"""

import numpy as np
import onnx

from ...graph.graph import Node, Value
from .builder import Builder, Tensor, per_channel

OPERATORS = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div"}
SMALL = 1e-5  # below it the first two terms of exp(x) - 1 are closer than the difference


def batch_norm(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    return Tensor(normalized(b, node.arrays, x.name, len(taken[0].shape)))


def normalized(b: Builder, arrays: dict[str, np.ndarray], x: str, rank: int) -> str:
    """(x - mean) * factor + beta."""
    for operator, name in (("Sub", "mean"), ("Mul", "factor"), ("Add", "beta")):
        x = scaled(b, operator, x, arrays[name], rank, name)
    return x


def scaled(b: Builder, operator: str, x: str, array: np.ndarray, rank: int, name: str) -> str:
    """x times numbers of the channels, or these added or subtracted; x itself where that changes nothing, the sign of a
    zero included: -0.0 + 0.0 is 0.0, and -0.0 + -0.0 is -0.0."""
    nothing = {"Mul": 1.0, "Add": -0.0, "Sub": 0.0}[operator]
    if (array == nothing).all() and (np.signbit(array) == np.signbit(nothing)).all():
        return x
    return b.add(operator, x, b.constant(per_channel(array, rank), name))


def arithmetic(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor, *others: Tensor) -> Tensor:
    function = node.attributes["function"]
    arrays = {name: per_channel(array, len(taken[0].shape)) for name, array in node.arrays.items()}
    y = others[0].name if others else b.constant(arrays["operand"], "operand")
    if function in OPERATORS:
        name = b.add(OPERATORS[function], x.name, y)
        if function == "subtract":
            b.differences[name] = x.name, y
        is_scaled = function in ("multiply", "divide") and not others and arrays["operand"].size == 1
        return Tensor(b.as_it_is(name) if is_scaled else name)
    beyond = b.add("Greater" if function == "maximum" else "Less", x.name, y)
    return Tensor(b.add("Where", b.add("Or", beyond, b.add("IsNaN", x.name)), x.name, y))


def pack(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    to = node.attributes["to"]
    if not x.pixels:
        return b.signs(x.name, np.float32(0), to, finite=node.sources[0] in b.finite)
    threshold = np.clip(node.arrays["threshold_u8"], 0, 256).reshape(taken[0].shape)
    if threshold.ndim == 3:
        threshold = threshold.transpose(2, 0, 1)
    if (threshold == threshold.flat[0]).all():
        threshold = threshold.reshape(-1)[:1]
    if not b.integers:
        return b.signs(x.name, b.constant(threshold.astype(np.float32), "threshold"), to, finite=True)
    if (threshold == 128).all():
        return Tensor(b.add("BitwiseAnd", x.name, np.uint8(128)), 128)
    return b.larger(
        b.add("Cast", x.name, to=onnx.TensorProto.INT32), b.constant(threshold.astype(np.int32), "threshold")
    )


def activation(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    name, slope = node.attributes["function"], node.arrays.get("slope", np.zeros(1, np.float32))
    slope = per_channel(slope, len(taken[0].shape))
    if name in ("sign", "binary_sigmoid"):
        below = np.float32(-1 if name == "sign" else 0)
        return Tensor(b.add("Where", b.add("Less", x.name, np.float32(0)), below, np.float32(1)))
    finite = node.sources[0] in b.finite
    if finite and name in ("relu", "tanh"):
        return Tensor(b.add({"relu": "Relu", "tanh": "Tanh"}[name], x.name))
    if name == "relu":
        return Tensor(b.add("Where", b.add("LessOrEqual", x.name, np.float32(0)), np.float32(0), x.name))
    if name in ("leaky", "prelu"):
        return Tensor(_above_zero(b, x.name, b.add("Mul", x.name, b.constant(slope, "slope"))))
    if name == "softsign":
        return Tensor(b.add("Div", x.name, b.add("Add", b.add("Abs", x.name), np.float32(1))))
    if name == "swish":
        return Tensor(b.add("Mul", x.name, _rounded(b, _sigmoid(b, b.add("Mul", x.name, b.constant(slope, "slope"))))))
    if name == "elu":
        return Tensor(_elu(b, x.name, b.constant(slope.astype(np.float64), "slope")))
    return Tensor({"sigmoid": _only_sigmoid, "tanh": _tanh, "softrelu": _softrelu, "gelu": _gelu}[name](b, x.name))


def _wide(b, x):
    return b.add("Cast", x, to=onnx.TensorProto.DOUBLE)


def _rounded(b, x):
    return b.add("Cast", x, to=onnx.TensorProto.FLOAT)


def _above_zero(b, x, below):
    """x where it is above 0, else `below`, of the same type."""
    return b.add("Where", b.add("Greater", x, np.float32(0)), x, below)


def _sigmoid(b, x):
    """1 / (1 + exp(-x)), float64 of float32: ONNX Runtime's Sigmoid loses what is far below 0."""
    return b.add("Div", np.float64(1), b.add("Add", b.add("Exp", b.add("Neg", _wide(b, x))), np.float64(1)))


def _only_sigmoid(b, x):
    return _rounded(b, _sigmoid(b, x))


def _tanh(b, x):
    return _rounded(b, b.add("Tanh", _wide(b, x)))


def _softrelu(b, x):
    """max(x, 0) + log(1 + u), u = exp(-|x|), where log(1 + u) = log(w) u / (w - 1) with w = 1 + u as it was rounded."""
    x = _wide(b, x)
    u = b.add("Exp", b.add("Neg", b.add("Abs", x)))
    w = b.add("Add", u, np.float64(1))
    quotient = b.add("Div", b.add("Mul", b.add("Log", w), u), b.add("Sub", w, np.float64(1)))
    log = b.add("Where", b.add("Equal", w, np.float64(1)), u, quotient)
    positive = b.add("Where", b.add("Less", x, np.float64(0)), np.float64(0), x)
    return _rounded(b, b.add("Add", positive, log))


def _elu(b, x, slope):
    """x, or slope (exp(x) - 1) where x is not above 0."""
    wide = _wide(b, x)
    squares = b.add("Mul", b.add("Mul", wide, wide), np.float64(0.5))
    small = b.add("Less", b.add("Abs", wide), np.float64(SMALL))
    difference = b.add("Sub", b.add("Exp", wide), np.float64(1))
    minus_one = b.add("Where", small, b.add("Add", wide, squares), difference)
    return _above_zero(b, x, _rounded(b, b.add("Mul", minus_one, slope)))


def _gelu(b, x):
    """x / 2 (1 + erf(x / sqrt(2))), in float32: ONNX Runtime has no other Erf."""
    erf = b.add("Erf", b.add("Mul", x, np.float32(0.5**0.5)))
    return b.add("Mul", b.add("Mul", x, np.float32(0.5)), b.add("Add", erf, np.float32(1)))
