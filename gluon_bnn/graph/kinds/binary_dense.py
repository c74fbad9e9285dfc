"""A dense layer with 1-bit weights, over the last axis of floats, pixels or bits."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import bits
from ..graph import FORMS, MOST_ELEMENTS_U8, Node, Value
from .batch_norm import NORM, normalize
from .kind import (
    SIZE,
    Arrays,
    Ends,
    Kind,
    exact,
    halves,
    ordered,
    shape_of,
    sum_error,
    together,
    widened,
    with_overflow,
)

ELEMENTS = 1 << 22  # most weights whose signs are unpacked at a time, where one block does not have more
SUM = 256  # float products of so many inputs are added up on their own, then these sums
EXACT = 1 << 16  # so many products of a sign and a uint8 add up below 2^24: exact in float32, in any order


class BinaryDense(Kind):
    """dot = x times the signs in weight_bits; y = ((alpha * dot + bias) - mean) * factor + beta, or its signs.

    Without mean, factor and beta, y = alpha * dot + bias. From bits01, 0 and 1, (dot + sums) / 2 takes the place of
    dot, sums the sum of each unit's signs. From bits or bits01 to bits or bits01 the result is dot < threshold. For
    uint8 pixels p = (x - shift) / scale, one image per row, dot is that of p, with alpha_u8 = alpha * scale and bias_u8
    = bias + alpha * sum_k s_k shift_k.

    With K inputs and N units weight_bits is int32 (ceil(N / 16), ceil(K / 32), 16), threshold and sums int32 (N,), all
    else float32 (N,).
    """

    name = "binary_dense"
    attributes = {"units": SIZE, "to": FORMS}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        if self.takes_pixels(node, taken) and taken[0].size > MOST_ELEMENTS_U8:
            raise ValueError(f"at most {MOST_ELEMENTS_U8} uint8 inputs are allowed, got {taken[0].size}")
        return Value(node.attributes["to"], shape_of(taken[0], node.attributes["units"]))

    def takes_pixels(self, node: Node, taken: Sequence[Value]) -> bool:
        return taken[0].pixels and len(taken[0].shape) == 1  # each pixel of an image has a shift of its own

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        must, may = sign_arrays(node, taken[0], node.attributes["units"], (1, taken[0].channels))
        if self.takes_pixels(node, taken):
            must.update(dict.fromkeys(("alpha_u8", "bias_u8"), must["alpha"]))
        return must, may

    def check(self, node: Node, taken: Sequence[Value]) -> None:
        check_signs(node, node.attributes["units"], (1, taken[0].channels))

    def weights(self, node: Node, taken: Sequence[Value]) -> tuple[int, int]:
        others = sum(array.size for name, array in node.arrays.items() if name != "weight_bits")
        return node.attributes["units"] * taken[0].channels, others

    def macs(self, node: Node, taken: Sequence[Value]) -> int:
        return node.attributes["units"] * taken[0].size

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        return sign_bounds(self, node, taken[0], taken[0].channels, ends[0])

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        signs = x if taken[0].form == "float" else bits.unpack(x, taken[0].channels)
        dot = self.dot(node, taken[0], signs)
        return from_dot(node.attributes["to"], node.arrays, taken[0], dot, x.dtype == np.uint8)

    def dot(self, node: Node, taken: Value, x: np.ndarray) -> np.ndarray:
        """The product of the signs with x: floats, pixels, or the signs of bits."""
        product = float_dot if taken.form == "float" and x.dtype != np.uint8 else integer_dot
        dot = product(x.reshape(-1, x.shape[-1]), node.arrays["weight_bits"], node.attributes["units"])
        return dot.reshape(*x.shape[:-1], -1)


def sign_arrays(node: Node, taken: Value, units: int, inputs: tuple[int, int]) -> tuple[Arrays, Arrays]:
    """The arrays of a product with 1-bit weights but those for pixels, as `Kind.arrays` gives them.

    inputs : how many runs of inputs a unit has, and the size of each; a run begins in a word of its own
    """
    real, whole = (np.float32, (units,)), (np.int32, (units,))
    words = inputs[0] * bits.words(inputs[1])
    must: Arrays = {"weight_bits": (np.int32, (-(-units // bits.LANES), words, bits.LANES))}
    may: Arrays = {}
    if taken.form != "float" and node.attributes["to"] != "float":
        must["threshold"] = whole
    else:
        must.update(alpha=real, bias=real)
        may.update(dict.fromkeys(NORM, real))
        if taken.form == "bits01":
            must["sums"] = whole
    return must, may


def check_signs(node: Node, units: int, inputs: tuple[int, int]) -> None:
    """ValueError unless tail bits and units past the last are 0, since dot counts them, and sums is what the bits say.

    inputs : as `sign_arrays` takes it
    """
    together(node, NORM)
    runs, size = inputs
    words, tail = node.arrays["weight_bits"], size % bits.WORD
    last = words[:, bits.words(size) - 1 :: bits.words(size)]
    if tail and (last.view(np.uint32) >> np.uint32(tail)).any():
        raise ValueError(f"weight_bits must be 0 past input {size - 1}, got bits set in the last words")
    if units % bits.LANES and words[-1, :, units % bits.LANES :].any():
        raise ValueError(f"weight_bits must be 0 past unit {units - 1}, got bits set in the last block")
    if "sums" in node.arrays:
        expected, sums = bits.sign_sums(words, units, runs * size), node.arrays["sums"]
        wrong = np.flatnonzero(sums != expected)
        if wrong.size:
            raise ValueError(
                f"sums must be the sums of the signs, {expected[wrong[0]]} for unit {wrong[0]}, "
                f"got {sums[wrong[0]]}, {wrong.size} wrong in all"
            )


def sign_bounds(kind: Any, node: Node, taken: Value, inputs: int, ends: Ends) -> Ends:
    """The bounds of a node with signs as weights, of so many inputs a unit; `kind` has a `dot`.

    Exact from bits and pixels, and from floats that are whole numbers with an exact sum.
    """
    if exact(ends) and (taken.form != "float" or ends[0].dtype == np.uint8):
        y = kind.run(node, (taken,), ends[0])
        return y, y
    # With all weights +1 and 0 outside of the image: how much the sums of magnitudes leave open.
    plus = {"weight_bits": np.zeros_like(node.arrays["weight_bits"])}
    padded = {"pad": "zero"} if "pad" in node.attributes else {}
    open_ = dataclasses.replace(node, attributes={**node.attributes, **padded}, arrays=plus)
    if taken.form == "float":
        middle, radius = halves(*ends)
        axes = tuple(range(1, middle.ndim))
        whole = (middle == np.rint(middle)).all(axes, keepdims=True) & (radius == 0).all(axes, keepdims=True)
        whole &= np.abs(middle).sum(axes, keepdims=True) + inputs < 1 << 24
        error = np.where(whole, np.float32(0), sum_error(inputs))
        spread = kind.dot(open_, taken, error * (np.abs(middle) + radius) + radius)
        spread += error * inputs * (node.attributes.get("pad", "zero") != "zero")  # of +-1 outside of the image
        spread = with_overflow(spread * np.float32(1.001), inputs)  # a little more, for its own rounding
    else:
        low, high = (bits.unpack(end, taken.channels) for end in ends)
        middle = (low + high) / 2
        spread = kind.dot(open_, dataclasses.replace(taken, form="bits"), (high - low) / 2)
    dot = kind.dot(node, taken, middle)
    to, real = node.attributes["to"], taken.form == "float" or node.attributes["to"] == "float"
    low, high = (
        from_dot("float" if real else to, node.arrays, taken, end, False) for end in (dot - spread, dot + spread)
    )
    if not real:
        return low, high
    low, high = widened(*ordered(low, high))
    return (bits.pack(low < 0), bits.pack(high < 0)) if to != "float" else (low, high)


def from_dot(to: str, arrays: dict[str, np.ndarray], taken: Value, dot: np.ndarray, pixels: bool) -> np.ndarray:
    """The value of the form `to` from the product of the signs with `taken`, or with its pixels: (..., units)."""
    if taken.form != "float" and to != "float":
        return bits.pack(dot < arrays["threshold"])
    if pixels and "threshold_u8" in arrays:
        return bits.pack(dot < arrays["threshold_u8"])
    if taken.form == "bits01":
        dot = (dot.astype(np.int64) + arrays["sums"]) >> 1  # even: both differ from K by an even number
    alpha, bias = ("alpha_u8", "bias_u8") if pixels else ("alpha", "bias")
    y = arrays[alpha] * dot.astype(np.float32, copy=False) + arrays[bias]
    if "mean" in arrays:
        y = normalize(arrays, y)
    return bits.pack(y < 0) if to != "float" else y


def float_dot(x: np.ndarray, weight_bits: np.ndarray, units: int) -> np.ndarray:
    """float32 (rows, units): x times signs, ((+-x0 +- x1) + (+-x2 +- x3)) added up in blocks of SUM inputs.

    For each group of four inputs the 16 signed sums are formed once per row; four bits of a unit's weights select one
    of them. The last group is padded with 0.0 of sign +1.
    """
    rows, inputs = x.shape
    groups = -(-inputs // 4)
    padded = np.zeros((rows, groups, 4), np.float32)
    padded.reshape(rows, -1)[:, :inputs] = x
    signs = 1 - 2 * (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.float32)
    y = np.zeros((rows, units), np.float32)
    for begin in range(0, groups, SUM // 4):
        part = np.zeros_like(y)
        for group in range(begin, min(begin + SUM // 4, groups)):
            a, b, c, d = (padded[:, group, i, None] * signs[:, i] for i in range(4))
            sums = (a + b) + (c + d)  # (rows, 16)
            word, place = divmod(group, 8)
            code = (weight_bits[:, word] >> 4 * place & 15).reshape(-1)[:units]
            part += sums[:, code]
        y += part
    return y


def integer_dot(x: np.ndarray, weight_bits: np.ndarray, units: int) -> np.ndarray:
    """Exact int32 (rows, units): x, +-1 or uint8, times signs, in blocks of inputs and units.

    Every sum of a block's products is an integer below 2^24, which float32 holds whatever the order.
    """
    inputs = x.shape[1]
    dot = np.zeros((len(x), units), np.int32)
    step = min(inputs, EXACT)
    blocks = max(1, ELEMENTS // (bits.LANES * step))
    for k in range(0, inputs, EXACT):
        part = x[:, k : k + EXACT].astype(np.float32)
        for block in range(0, len(weight_bits), blocks):
            words = weight_bits[block : block + blocks, k // bits.WORD : bits.words(k + step)]
            begin = bits.LANES * block
            signs = bits.unpack_weights(words, units - begin, part.shape[1])
            dot[:, begin : begin + len(signs)] += (part @ signs.T).astype(np.int32)
    return dot
