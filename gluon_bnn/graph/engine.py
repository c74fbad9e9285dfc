"""The kernels' arithmetic in NumPy alone, for where there is no compiled library: slower, the same bits.

`run` and `run_u8` take a list of layers that `layers.check` has passed. Formulas and their order are those
of include/gluon_bnn.h: every operation is rounded in float32, and no product is fused with a sum.
"""

import functools
import math

import numpy as np

ELEMENTS = 1 << 22  # at most so many numbers in a temporary array, where one row does not need more
SUM = 256  # float products of so many inputs are added up on their own, then these sums
EXACT = 1 << 16  # so many products of a sign and a uint8 add up below 2^24: exact in float32, in any order


def run(layers, x):
    """float32 (rows, units of the last layer) from x float32 (rows, inputs of the first)."""
    return _in_blocks(layers, x, functools.partial(_forward, layers))


def run_u8(layers, x, scale, shift):
    """The same from uint8 pixels that stand for scale * x + shift; scale a float or float32 (inputs,), shift float32
    (inputs,). A first layer that has no array for pixels gets the float32 numbers."""
    first, arrays = layers[0], layers[0].arrays

    def forward(x):
        if "alpha_u8" in arrays:
            x = _epilogue(
                first, _integer_dot(x, arrays["weight_bits"], first.units), arrays["alpha_u8"], arrays["bias_u8"]
            )
        elif "threshold_u8" in arrays:
            x = pack(x < arrays["threshold_u8"])
        else:
            return _forward(layers, np.float32(scale) * x.astype(np.float32) + shift)
        return _forward(layers[1:], x)

    return _in_blocks(layers, x, forward)


def _in_blocks(layers, x, forward):
    """forward over blocks of rows: memory is bounded whatever their number."""
    widest = max(max(layer.inputs, layer.units) for layer in layers)
    rows = max(1, ELEMENTS // widest)
    y = np.empty((len(x), layers[-1].units), np.float32)
    with np.errstate(all="ignore"):  # infinities and NaN are numbers like any other here
        for i in range(0, len(x), rows):
            y[i : i + rows] = forward(x[i : i + rows])
    return y


def _forward(layers, x):
    for layer in layers:
        x = _KINDS[layer.kind](layer, x)
    return x


def _binary_dense(layer, x):
    arrays = layer.arrays
    weight_bits = arrays["weight_bits"]
    if layer.source == "float":
        return _epilogue(layer, _float_dot(x, weight_bits, layer.units), arrays["alpha"], arrays["bias"])
    dot = _integer_dot(unpack(x, layer.inputs), weight_bits, layer.units)
    if layer.target == "bits":
        return pack(dot < arrays["threshold"])
    if layer.source == "bits01":
        dot = (dot.astype(np.int64) + arrays["sums"]) >> 1  # even: both differ from inputs by an even number
    return _epilogue(layer, dot, arrays["alpha"], arrays["bias"])


def _epilogue(layer, dot, alpha, bias):
    y = alpha * dot.astype(np.float32, copy=False) + bias
    if "mean" in layer.arrays:
        y = _batch_norm(layer, y)
    return pack(y < 0) if layer.target == "bits" else y


def _dense(layer, x):
    y = np.zeros((len(x), layer.units), np.float32)
    for begin in range(0, layer.inputs, SUM):
        part = np.zeros_like(y)
        for column, weights in zip(x.T[begin : begin + SUM], layer.arrays["weight"][begin : begin + SUM]):
            part += column[:, None] * weights
        y += part
    return y + layer.arrays["bias"] if "bias" in layer.arrays else y


def _batch_norm(layer, x):
    return (x - layer.arrays["mean"]) * layer.arrays["factor"] + layer.arrays["beta"]


def _float_dot(x, weight_bits, units):
    """float32 (rows, units): x times signs, ((+-x0 +- x1) + (+-x2 +- x3)) added up in blocks of SUM inputs.

    For each four inputs the 16 sums that their signs can make are formed once a row; four bits of a unit's
    weights choose one. The last four are padded with 0.0 of sign +1.
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


def _integer_dot(x, weight_bits, units):
    """Exact int32 (rows, units): x, +-1 or uint8, times signs, in blocks of inputs and units.

    Every sum of a block's products is an integer below 2^24, which float32 holds whatever the order.
    """
    inputs = x.shape[1]
    dot = np.zeros((len(x), units), np.int32)
    step = min(inputs, EXACT)
    blocks = max(1, ELEMENTS // (16 * step))
    for k in range(0, inputs, EXACT):
        part = x[:, k : k + EXACT].astype(np.float32)
        for block in range(0, len(weight_bits), blocks):
            words = weight_bits[block : block + blocks, k // 32 : (k + step + 31) // 32]
            words = np.ascontiguousarray(words.transpose(0, 2, 1)).reshape(-1, words.shape[1])
            signs = unpack(words[: units - 16 * block], part.shape[1])
            dot[:, 16 * block : 16 * block + len(signs)] += (part @ signs.T).astype(np.int32)
    return dot


def unpack(bits, inputs):
    """+-1 as float32 (rows, inputs) from words (rows, ceil(inputs / 32))."""
    octets = np.ascontiguousarray(bits, "<i4").view(np.uint8)
    ones = np.unpackbits(octets, axis=1, count=inputs, bitorder="little")
    return 1 - 2 * ones.astype(np.float32)


def pack(negative):
    """Words (rows, ceil(units / 32)) from booleans (rows, units)."""
    octets = np.packbits(negative, axis=1, bitorder="little")
    padded = np.zeros((len(octets), -(-octets.shape[1] // 4) * 4), np.uint8)
    padded[:, : octets.shape[1]] = octets
    return padded.view("<i4").astype(np.int32, copy=False)


def _exp(x):
    """exp of float64, by the same operations as in the compiled kernels and so with the same bits."""
    x = np.clip(x, -708.0, 709.0)
    n = np.rint(x * 1.4426950408889634)
    r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10
    p = np.full_like(r, 1.0 / math.factorial(13))
    for k in range(12, -1, -1):
        p = p * r + 1.0 / math.factorial(k)
    return np.ldexp(p, n.astype(np.int32))


def _sigmoid(x):
    return 1.0 / (1.0 + _exp(-x.astype(np.float64)))


def _tanh(x):
    x = x.astype(np.float64)
    a = np.abs(x)
    large = 1.0 - 2.0 / (_exp(2.0 * np.minimum(a, 20.0)) + 1.0)
    return np.copysign(np.where(a < 2.0**-12, a - a * a * a / 3.0, large), x)


def _softrelu(x):
    x = x.astype(np.float64)
    u = _exp(-np.abs(x))
    s = u / (2.0 + u)
    q = s * s
    p = np.full_like(q, 1.0 / 35.0)
    for k in range(33, 0, -2):
        p = p * q + 1.0 / k
    return np.maximum(x, 0.0) + 2.0 * s * p


_FUNCTIONS = {
    "relu": lambda x: np.where(x <= 0, np.float32(0), x),
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "softrelu": _softrelu,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sign": lambda x: np.where(x < 0, -1, 1),
    "binary_sigmoid": lambda x: np.where(x < 0, 0, 1),
}

_KINDS = {
    "binary_dense": _binary_dense,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "activation": lambda layer, x: _FUNCTIONS[layer.function](x).astype(np.float32, copy=False),
    "pack": lambda layer, x: pack(x < 0),
}
