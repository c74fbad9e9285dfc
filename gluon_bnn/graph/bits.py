"""The 1-bit encoding in NumPy: bit = 1 where a number is below 0, so 0.0, -0.0 and NaN are 0, that is +1.

Bit t of word w is element 32 w + t of the last axis, tail bits are 0. Weights are int32 (ceil(units / 16),
ceil(inputs / 32), 16): word [b, w, l] holds unit 16 b + l, inputs from 32 w on; units past the last are 0.
"""

import numpy as np

__all__ = ["LANES", "WORD", "pack", "pack_weights", "sign_sums", "unpack", "unpack_weights", "words"]


def __dir__():
    return __all__


WORD = 32  # elements per word
LANES = 16  # units per block of weights


def words(size: int) -> int:
    """How many words hold this many bits."""
    return -(-size // WORD)


def pack(negative: np.ndarray) -> np.ndarray:
    """int32 (..., words) from booleans (..., size), True where the bit is 1.

    >>> pack(np.array([True, False, True]))
    array([5], dtype=int32)
    """
    octets = np.packbits(negative, axis=-1, bitorder="little")
    padded = np.zeros((*octets.shape[:-1], 4 * words(negative.shape[-1])), np.uint8)
    padded[..., : octets.shape[-1]] = octets
    return padded.view("<i4").astype(np.int32, copy=False)


def unpack(bits: np.ndarray, size: int) -> np.ndarray:
    """+1 and -1 as float32 (..., size) from int32 (..., words)."""
    octets = np.ascontiguousarray(bits, "<i4").view(np.uint8)
    return 1 - 2 * np.unpackbits(octets, axis=-1, count=size, bitorder="little").astype(np.float32)


def pack_weights(weight: np.ndarray) -> np.ndarray:
    """The signs of weight (units, inputs) as int32 (ceil(units / 16), ceil(inputs / 32), 16)."""
    rows = pack(weight < 0)
    padded = np.zeros((-(-len(rows) // LANES) * LANES, rows.shape[1]), np.int32)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(-1, LANES, rows.shape[1]).transpose(0, 2, 1))


def unpack_weights(weight_bits: np.ndarray, units: int, inputs: int) -> np.ndarray:
    """+1 and -1 as float32 (units, inputs) from what `pack_weights` gives."""
    rows = np.ascontiguousarray(weight_bits.transpose(0, 2, 1)).reshape(-1, weight_bits.shape[1])
    return unpack(rows[:units], inputs)


def sign_sums(weight_bits: np.ndarray, units: int, inputs: int) -> np.ndarray:
    """The sum of each unit's signs, int32 (units,): inputs - 2 * popcount."""
    v = weight_bits.view(np.uint32)
    v = v - ((v >> 1) & 0x55555555)
    v = (v & 0x33333333) + ((v >> 2) & 0x33333333)
    ones = (((v + (v >> 4)) & 0x0F0F0F0F) * 0x01010101) >> 24
    return (inputs - 2 * ones.sum(axis=1, dtype=np.int64)).reshape(-1)[:units].astype(np.int32)
