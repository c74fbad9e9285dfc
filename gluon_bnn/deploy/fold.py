"""The numbers of a frozen layer, in NumPy: packed signs, folded batch norm, thresholds, uint8 inputs.

All in float32, operation for operation as the trained net computes: for the same inputs a folded layer gives the
same bits as the layers that it stands for.
"""

import dataclasses

import numpy as np

from ..graph import engine
from ..graph.layers import Layer

NEVER, ALWAYS = np.iinfo(np.int32).min, np.iinfo(np.int32).max  # as thresholds: bit = dot < threshold


def pack_weights(signs):
    """Weight bits int32 (ceil(units/16), ceil(inputs/32), 16) of signs (units, inputs): 1 where below 0."""
    rows = engine.pack(signs < 0)
    padded = np.zeros((-(-len(rows) // 16) * 16, rows.shape[1]), np.int32)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(-1, 16, rows.shape[1]).transpose(0, 2, 1))


def unpack_weights(weight_bits, units, inputs):
    """Signs, +-1 float32 (units, inputs), of weight bits."""
    rows = np.ascontiguousarray(weight_bits.transpose(0, 2, 1)).reshape(-1, weight_bits.shape[1])
    return engine.unpack(rows[:units], inputs)


def norm(gamma, beta, mean, var, eps):
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
            f"{eps}) for unit {unit}, {bad.size} such in all"
        )
    return {"mean": mean, "factor": factor, "beta": beta}


def _outputs(dot, alpha, bias, norm):
    """The float32 numbers whose signs are wanted, from dot, an array of int."""
    y = alpha * dot.astype(np.float32) + bias
    return (y - norm["mean"]) * norm["factor"] + norm["beta"] if norm else y


def thresholds(alpha, bias, norm, inputs, sums=None):
    """(threshold, falls): [output < 0] = [dot < threshold], or where falls [-dot < threshold], for every dot.

    Dots are those that can be reached, -inputs, -inputs + 2 .. inputs. alpha and bias float32 (units,), norm
    as from `norm` or empty; sums int (units,), the sums of the signs, where inputs are 0 and 1: the output
    is then that of (dot + sums) / 2. threshold int32 (units,), falls bool (units,).

    Each step of the output is monotone in dot, and stays so when it is rounded: as dot rises the output
    rises with it, or falls where factor < 0. So the dots with an output below 0 lie on one side, and their
    number is found by bisection.

    Raises ValueError where the output is not finite at either end of dot.
    """
    falls = norm["factor"] < 0 if norm else np.zeros(alpha.shape, bool)

    def output(step):  # of the step-th dot from the side where outputs are lowest
        dot = 2 * step - inputs
        dot = np.where(falls, -dot, dot)
        return _outputs(dot if sums is None else (dot + sums) // 2, alpha, bias, norm)

    with np.errstate(all="ignore"):
        for step in (0, inputs):
            ends = output(np.full(alpha.shape, step, np.int64))
            bad = np.flatnonzero(~np.isfinite(ends))
            if bad.size:
                raise ValueError(
                    f"the output of unit {bad[0]} must be finite for every product of {inputs} "
                    f"signs, got {ends[bad[0]]}, {bad.size} such units in all"
                )
        low, high = np.zeros(alpha.shape, np.int64), np.full(alpha.shape, inputs + 1, np.int64)
        while (low < high).any():  # outputs of steps below low are below 0, those from high on are not
            middle = (low + high) // 2
            below = (output(middle) < 0) & (low < high)
            low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    threshold = np.where(low == 0, NEVER, np.where(low == inputs + 1, ALWAYS, 2 * low - inputs))
    return threshold.astype(np.int32), falls


def packed_dense(signs, alpha, bias, norm, source, target):
    """The "binary_dense" Layer of signs (units, inputs), alpha and bias float32 (units,), norm or empty.

    From bits to bits it has a threshold a unit, and units whose output falls with dot have their signs
    inverted. Raises ValueError as `thresholds`.
    """
    units, inputs = signs.shape
    sums = signs.sum(axis=1, dtype=np.int64).astype(np.int32) if source == "bits01" else None
    if source == "float" or target == "float":
        arrays = {"alpha": alpha, "bias": bias, **norm, **({} if sums is None else {"sums": sums})}
    else:
        threshold, falls = thresholds(alpha, bias, norm, inputs, sums)
        signs = np.where(falls[:, None], -signs, signs)
        arrays = {"threshold": threshold}
    return Layer("binary_dense", inputs, units, source, target, arrays={"weight_bits": pack_weights(signs), **arrays})


def with_uint8(layer, scale, shift):
    """`layer`, the first of a net, with what it needs for uint8 inputs p, where x = scale * p + shift.

    scale a number above 0, shift float32 (inputs,).
    """
    if layer.kind == "pack":
        p = np.arange(256, dtype=np.float32)[:, None]
        below = np.float32(scale) * p + shift < 0  # for the first so many p, since scale > 0
        return _with(layer, threshold_u8=below.sum(axis=0, dtype=np.int32))
    if layer.kind == "binary_dense":
        alpha, bias = (layer.arrays[name].astype(np.float64) for name in ("alpha", "bias"))
        signs = unpack_weights(layer.arrays["weight_bits"], layer.units, layer.inputs)
        return _with(
            layer,
            alpha_u8=(alpha * np.float32(scale)).astype(np.float32),
            bias_u8=(bias + alpha * (signs @ shift.astype(np.float64))).astype(np.float32),
        )
    return layer


def _with(layer, **arrays):
    return dataclasses.replace(layer, arrays={**layer.arrays, **arrays})
