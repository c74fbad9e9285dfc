"""A product of real numbers with many signs, as products of integers where there are few rows.

For a few rows, reading the weights is all the time that a large product takes, and as int8 they have a quarter of the
bytes of float32. So each row x is rounded to whole numbers q = x MOST / max |x|. Their three digits in base 256, from
-128 to 127, are rows of one MatMulInteger:

    q = 65536 a + 256 b + c,    x @ s = max |x| / MOST * (65536 (a @ s) + 256 (b @ s) + c @ s)

The rounding moves each of n numbers by at most half of max |x| / MOST, which is 0.4% more than 2^-24 max |x|, so that
the sum is as close as one of float32, which n roundings move by up to 2^-24 times the sum of |x|. All the rest is
float64. For more rows three products of integers take longer than one of floats: the model has both, and chooses by the
number of rows that it is given.
"""

import numpy as np
import onnx

from .builder import Builder

LARGE = 1 << 21  # weights: smaller ones stay in the cache
FEW = 4  # rows
BASE = 256
DIGITS = np.array([BASE**2, BASE, 1]).reshape(3, 1, 1)
HALF = BASE // 2  # what is added to a digit, which then is from 0 to 255
MOST = (HALF - 1) * DIGITS.sum()
LEAST = np.float64(1e-60)  # below all of float32 but 0


def product(b: Builder, x: str, weights: str) -> str:
    """x @ weights, of finite float32 (batch, inputs) and int8 (inputs, units) that are +-1."""
    rows = b.add("Shape", x, start=0, end=1)
    return b.choose(
        b.add("LessOrEqual", rows, np.array([FEW], np.int64)),
        lambda: _in_pieces(b, x, weights),
        lambda: b.add("MatMul", x, b.add("Cast", weights, to=onnx.TensorProto.FLOAT)),
    )


def _in_pieces(b, x, weights):
    most = b.add("ReduceMax", b.add("Abs", x), np.array([1], np.int64))
    most = b.add("Max", b.add("Cast", most, to=onnx.TensorProto.DOUBLE), LEAST)
    wide = b.add("Cast", x, to=onnx.TensorProto.DOUBLE)
    whole = b.add("Round", b.add("Mul", wide, b.add("Div", np.float64(MOST), most)))
    above = b.add("Cast", b.add("Add", whole, np.float64(HALF * DIGITS.sum())), to=onnx.TensorProto.UINT32)
    digits = b.add("BitShift", above, np.log2(DIGITS).astype(np.uint32), direction="RIGHT")
    digits = b.add("Cast", digits, to=onnx.TensorProto.UINT8)  # the lowest bits
    dots = b.add("MatMulInteger", digits, weights, np.uint8(HALF))
    shares = b.add("Mul", b.add("Cast", dots, to=onnx.TensorProto.DOUBLE), DIGITS / MOST)
    dot = b.add("ReduceSum", shares, np.array([0], np.int64), keepdims=0)
    return b.add("Cast", b.add("Mul", dot, most), to=onnx.TensorProto.FLOAT)
