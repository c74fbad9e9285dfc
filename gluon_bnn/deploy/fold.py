"""The numbers of a frozen layer, in NumPy: packed signs, folded batch norm, thresholds, uint8 inputs.

All in float32, operation for operation as the trained net computes: for the same inputs a folded layer gives the
same bits as the layers that it stands for.
"""

import dataclasses
import math
from typing import Optional

import numpy as np

from ..graph import bits
from ..graph.graph import Node
from ..graph.kinds.batch_norm import NORM

Arrays = dict[str, np.ndarray]
NEVER, ALWAYS = np.iinfo(np.int32).min, np.iinfo(np.int32).max  # as thresholds: bit = dot < threshold


def norm(gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float) -> Arrays:
    """{"mean", "factor", "beta"} of batch norm as MXNet does it for inference: (x - mean) * factor + beta.

    All float32 (units,). Raises ValueError where factor = gamma / sqrt(var + eps) is not finite.
    """
    with np.errstate(all="ignore"):
        factor = gamma / np.sqrt(var + np.float32(eps))
    bad = np.flatnonzero(~np.isfinite(factor))
    if bad.size:
        unit = bad[0]
        raise ValueError(
            f"gamma / sqrt(var + eps) must be finite, got {gamma[unit]} / sqrt({var[unit]} + "
            f"{eps}) for unit {unit}, {bad.size} units in all"
        )
    return {"mean": mean, "factor": factor, "beta": beta}


def _outputs(dot, alpha, bias, norm):
    """The pre-activations, float32, of integer dot products."""
    y = alpha * dot.astype(np.float32) + bias
    return (y - norm["mean"]) * norm["factor"] + norm["beta"] if norm else y


def thresholds(
    alpha: np.ndarray, bias: np.ndarray, norm: Arrays, most: int, sums: Optional[np.ndarray] = None, step: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """(threshold, falls): [output < 0] = [dot < threshold], or where falls [-dot < threshold], for every dot.

    dot takes the values -most, -most + step .. most. alpha and bias float32 (units,), norm as from `norm` or empty;
    sums int (units,), the sums of the signs, where inputs are 0 and 1: (dot + sums) / 2 then takes the place of dot.
    threshold int32 (units,), falls bool (units,).

    Each step of the output is monotone in dot, and stays so when it is rounded: as dot rises the output
    rises with it, or falls where one of alpha and factor is below 0. So the dots with an output below 0 lie on one
    side, and their number is found by bisection.

    Raises ValueError where the output is not finite at either end of dot.
    """
    falls = (alpha < 0) != (norm["factor"] < 0 if norm else False)
    last = 2 * most // step

    def output(place):  # of the dot in this place, counted from the side where outputs are lowest
        dot = step * place - most
        dot = np.where(falls, -dot, dot)
        return _outputs(dot if sums is None else (dot + sums) // 2, alpha, bias, norm)

    with np.errstate(all="ignore"):
        for place in (0, last):
            ends = output(np.full(alpha.shape, place, np.int64))
            bad = np.flatnonzero(~np.isfinite(ends))
            if bad.size:
                raise ValueError(
                    f"the output of unit {bad[0]} must be finite for every product from {-most} to {most}, "
                    f"got {ends[bad[0]]}, {bad.size} units in all"
                )
        low, high = np.zeros(alpha.shape, np.int64), np.full(alpha.shape, last + 1, np.int64)
        while (low < high).any():  # outputs of places below low are below 0, those from high on are not
            middle = (low + high) // 2
            below = (output(middle) < 0) & (low < high)
            low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    threshold = np.where(low == 0, NEVER, np.where(low == last + 1, ALWAYS, step * low - most))
    return threshold.astype(np.int32), falls


def pack_signs(signs: np.ndarray, source: str) -> np.ndarray:
    """weight_bits of signs (units, channels, *kernel): places in the order of the kernel, the channels of a place next
    to each other. From bits, each place begins with a new word, as in the bits of an image."""
    by_place = np.moveaxis(signs, 1, -1)
    if source != "float":
        more = bits.WORD * bits.words(signs.shape[1]) - signs.shape[1]
        by_place = np.pad(by_place, [(0, 0)] * (signs.ndim - 1) + [(0, more)], constant_values=1)
    return bits.pack_weights(by_place.reshape(len(signs), -1))


def unpack_signs(weight_bits: np.ndarray, shape: tuple[int, ...], source: str) -> np.ndarray:
    """The signs of this shape, float32, of which `pack_signs` made weight_bits."""
    units, channels, *kernel = shape
    width = channels if source == "float" else bits.WORD * bits.words(channels)
    by_place = bits.unpack_weights(weight_bits, units, math.prod(kernel) * width).reshape(units, *kernel, width)
    return np.ascontiguousarray(np.moveaxis(by_place[..., :channels], -1, 1))


def places_first(inputs: int, channels: int) -> np.ndarray:
    """The order of a dense layer's inputs where these are an image with the channels of a place next to each other: of
    the i-th input, the number that it has in Gluon's order, where the places of a channel are next to each other."""
    return np.arange(inputs).reshape(channels, -1).T.reshape(-1)


def packed(
    signs: np.ndarray, alpha: np.ndarray, bias: np.ndarray, norm: Arrays, source: str, to: str, step: int = 2
) -> Arrays:
    """The arrays of a binary_dense or binary_conv2d of signs (units, inputs) or (units, channels, *kernel), alpha and
    bias float32 (units,), norm or empty.

    From bits to bits it has one threshold per unit, and units whose output falls with dot have their signs inverted;
    step is 1 where a padding of 0 allows every product, else 2. Raises ValueError as `thresholds`.
    """
    inputs, others = math.prod(signs.shape[1:]), tuple(range(1, signs.ndim))
    sums = signs.sum(axis=others, dtype=np.int64).astype(np.int32) if source == "bits01" else None
    if source == "float" or to == "float":
        arrays = {"alpha": alpha, "bias": bias, **norm, **({} if sums is None else {"sums": sums})}
    else:
        threshold, falls = thresholds(alpha, bias, norm, inputs, sums, step)
        signs = np.where(np.expand_dims(falls, others), -signs, signs)
        arrays = {"threshold": threshold}
    return {"weight_bits": pack_signs(signs, source), **arrays}


def with_uint8(node: Node, scale: float, shift: np.ndarray) -> Node:
    """`node`, with the arrays that it needs to work on uint8 p in the place of what it takes, x = scale * p + shift.

    scale is a number above 0, shift float32 in the shape of the value. A node that does not take them stays as it is.
    """
    if node.kind == "pack":
        p = np.arange(256, dtype=np.float32)[:, None]
        below = np.float32(scale) * p + shift.reshape(-1) < 0  # True up to some p, False from there on, since scale > 0
        return _with(node, threshold_u8=below.sum(axis=0, dtype=np.int32))
    if node.kind == "binary_dense":
        signs = bits.unpack_weights(node.arrays["weight_bits"], node.attributes["units"], len(shift))
        return _with(node, **_scaled(node, scale, signs @ shift.astype(np.float64)))
    if node.kind == "binary_conv2d":
        return _conv_with_uint8(node, scale, shift)
    return node


def _conv_with_uint8(node, scale, shift):
    """Where shifts differ by place, or there is padding that is not the pixel 0, the integers say too little."""
    outside = any(node.attributes["padding"])
    if not (shift == shift[0, 0]).all() or outside and (node.attributes["pad"] != "zero" or shift.any()):
        return node
    units, taps = node.attributes["channels"], math.prod(node.attributes["kernel"])
    signs = bits.unpack_weights(node.arrays["weight_bits"], units, taps * shift.shape[-1])
    arrays = _scaled(node, scale, signs @ np.tile(shift[0, 0], taps).astype(np.float64))
    if node.attributes["to"] == "float":
        return _with(node, **arrays)
    norm = {name: node.arrays[name] for name in NORM if name in node.arrays}
    threshold, falls = thresholds(arrays["alpha_u8"], arrays["bias_u8"], norm, 255 * signs.shape[1], step=1)
    # All outputs rise with the product: where one falls, both it and alpha change their signs.
    alpha = np.where(falls, -node.arrays["alpha"], node.arrays["alpha"])
    signs = np.where(falls[:, None], -signs, signs)
    return _with(node, weight_bits=bits.pack_weights(signs), alpha=alpha, threshold_u8=threshold)


def _scaled(node, scale, shifts):
    """alpha_u8 and bias_u8 of products of pixels; shifts float64 (units,), the products with the shift."""
    alpha, bias = (node.arrays[name].astype(np.float64) for name in ("alpha", "bias"))
    return {
        "alpha_u8": (alpha * np.float32(scale)).astype(np.float32),
        "bias_u8": (bias + alpha * shifts).astype(np.float32),
    }


def _with(node, **arrays):
    return dataclasses.replace(node, arrays={**node.arrays, **arrays})
