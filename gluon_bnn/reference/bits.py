"""The 1-bit encoding, executable: how signs are packed, and the product over packed signs.

bit = 1 where x < 0, so 0.0, -0.0 and NaN are 0, that is +1. Bit t of word w is input 32 w + t; tail bits are 0. Since
equal signs multiply to +1 and different ones to -1, for K inputs

    dot = K - 2 * popcount(a xor b)

with no mask: tail bits are 0 on both sides. dot needs |dot| <= K < 2^31, which int32 holds.

- inputs: (rows, ceil(K / 32)) int32
- weights: (ceil(units / 16), ceil(K / 32), 16) int32: word [b, w, l] holds unit 16 b + l, inputs from 32 w on. Units
  past the last are 0.
"""

import numpy as np

__all__ = ["LANES", "WORD", "pack_inputs", "pack_weights", "popcount", "unpack_inputs", "unpack_weights", "xnor_dense"]


def __dir__():
    return __all__


WORD = 32  # inputs per word
LANES = 16  # units per block of weights


def _matrix(x, name):
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name} must have shape (rows, in_units), in_units above 0, got {x.shape}")
    return x


def pack_inputs(x: np.ndarray) -> np.ndarray:
    """Signs of x (rows, K) as int32 words (rows, ceil(K / 32)).

    >>> pack_inputs(np.array([[-1.0, 1.0, -0.5, 0.0]]))
    array([[5]], dtype=int32)
    """
    x = _matrix(x, "inputs")
    rows, k = x.shape
    words = -(-k // WORD)
    bits = np.zeros((rows, words * WORD), np.uint32)
    bits[:, :k] = x < 0
    shifts = np.arange(WORD, dtype=np.uint32)
    packed = (bits.reshape(rows, words, WORD) << shifts).sum(axis=2, dtype=np.uint32)
    return packed.view(np.int32)


def unpack_inputs(bits: np.ndarray, in_units: int) -> np.ndarray:
    """+-1 as float32 (rows, in_units) from words (rows, ceil(in_units / 32))."""
    bits = np.asarray(bits)
    if bits.ndim != 2 or bits.dtype != np.int32 or bits.shape[1] != -(-in_units // WORD):
        raise ValueError(
            f"bits must be int32 (rows, {-(-in_units // WORD)}) for {in_units} inputs, got {bits.dtype} {bits.shape}"
        )
    shifts = np.arange(WORD, dtype=np.uint32)
    ones = (bits.view(np.uint32)[:, :, None] >> shifts) & 1
    return 1 - 2 * ones.reshape(len(bits), -1)[:, :in_units].astype(np.float32)


def pack_weights(w: np.ndarray) -> np.ndarray:
    """Signs of w (units, K) as int32 words (ceil(units / 16), ceil(K / 32), 16)."""
    rows = pack_inputs(_matrix(w, "weights"))
    units, words = rows.shape
    padded = np.zeros((-(-units // LANES) * LANES, words), np.int32)
    padded[:units] = rows
    return np.ascontiguousarray(padded.reshape(-1, LANES, words).transpose(0, 2, 1))


def unpack_weights(bits: np.ndarray, units: int, in_units: int) -> np.ndarray:
    """+-1 as float32 (units, in_units) from words (ceil(units / 16), ceil(in_units / 32), 16)."""
    bits = np.asarray(bits)
    expected = (-(-units // LANES), -(-in_units // WORD), LANES)
    if bits.dtype != np.int32 or bits.shape != expected:
        raise ValueError(
            f"bits must be int32 {expected} for {units} units of {in_units} inputs, got {bits.dtype} {bits.shape}"
        )
    rows = np.ascontiguousarray(bits.transpose(0, 2, 1)).reshape(-1, bits.shape[1])
    return unpack_inputs(rows[:units], in_units)


def popcount(x: np.ndarray) -> np.ndarray:
    """The number of one bits in each word of an int32 array, as int32."""
    x = np.ascontiguousarray(x)
    return np.unpackbits(x.view(np.uint8).reshape(x.shape + (4,)), axis=-1).sum(-1, dtype=np.int32)


def xnor_dense(input_bits: np.ndarray, weight_bits: np.ndarray, units: int, in_units: int) -> np.ndarray:
    """The exact integer products of signs: int32 (rows, units), each K - 2 popcount(a xor b).

    input_bits (rows, ceil(in_units / 32)) of `pack_inputs`, weight_bits of `pack_weights`. Raises ValueError for other
    shapes.
    """
    blocks, words = -(-units // LANES), -(-in_units // WORD)
    if input_bits.shape[1:] != (words,) or weight_bits.shape != (blocks, words, LANES):
        raise ValueError(
            f"bits of {in_units} inputs to {units} units must be (rows, {words}) and "
            f"{(blocks, words, LANES)}, got {input_bits.shape} and {weight_bits.shape}"
        )
    rows = np.ascontiguousarray(weight_bits.transpose(0, 2, 1)).reshape(-1, words)[:units]
    dots = [in_units - 2 * popcount(row ^ rows).sum(axis=1, dtype=np.int32) for row in input_bits]
    return np.array(dots, np.int32).reshape(len(input_bits), units)
