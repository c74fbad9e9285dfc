"""The compiled kernels on NumPy arrays: arguments checked, memory kept alive, errors raised.

Bits, shapes and arithmetic are those of include/gluon_bnn.h and of `gluon_bnn.reference.bits`. Every function
raises TypeError for a wrong dtype, ValueError for a wrong shape or value, OSError without the library, and
MemoryError where there is none. Arrays that are not contiguous are copied.
"""

import ctypes
import math
import weakref

import numpy as np

from . import library

__all__ = [
    "LANES",
    "Model",
    "WORD",
    "binary_dense",
    "binary_dense_u8",
    "empty",
    "pack_inputs",
    "pack_inputs_u8",
    "pack_weights",
    "words",
    "xnor_dense",
    "xnor_dense_bits",
]


def __dir__():
    return __all__


WORD = 32  # inputs per word
LANES = 16  # units per block of weights
_START = ctypes.c_char * 0  # from_buffer gives the address of an array that can be written
_SMALL = 1 << 14  # bytes that are copied in less time than it takes to ask an array for its address
_ERRORS = {2: MemoryError, 4: OSError}  # of GLUON_BNN_NO_MEMORY and GLUON_BNN_NO_FILE; ValueError for all others


def empty(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """An array of 4-byte elements that begins at a multiple of 64 bytes: no load or store of a whole vector then
    touches two cache lines, and large results can be stored past the caches."""
    size = math.prod(shape)
    memory: np.ndarray = np.empty(size + 15, dtype)
    return memory[-memory.ctypes.data // 4 % 16 :][:size].reshape(shape)


def words(inputs: int) -> int:
    """How many words hold this many bits."""
    return -(-inputs // WORD)


def _array(value, name, dtype, shape):
    """value as a contiguous array of this dtype; in `shape`, None stands for any size above 0."""
    value = np.asarray(value)
    if value.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype)}, got {value.dtype}")
    if value.ndim != len(shape) or any(
        size == 0 or (want is not None and size != want) for size, want in zip(value.shape, shape)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}) and not be empty, got {value.shape}")
    return np.ascontiguousarray(value)


def _call(name, *arguments):
    """Call a function of the library with the addresses of arrays; raises where it returns an error code."""
    handle = library.handle()
    code = getattr(handle, f"gluon_bnn_{name}")(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))
    if code:
        raise _error(handle, code, f"{name}: ")


def _error(handle, code, before=""):
    """What to raise for a code other than 0 of the function that was called last."""
    return _ERRORS.get(code, ValueError)(before + handle.gluon_bnn_error().decode(errors="replace"))


def pack_inputs(x: np.ndarray) -> np.ndarray:
    """Signs of x, float32 (rows, inputs), as int32 bits (rows, ceil(inputs / 32)).

    >>> pack_inputs(np.array([[-1, 1, -0.5, 0]], np.float32))
    array([[5]], dtype=int32)
    """
    x = _array(x, "x", np.float32, (None, None))
    bits = empty((len(x), words(x.shape[1])), np.int32)
    _call("pack_inputs", x, *x.shape, bits)
    return bits


def pack_inputs_u8(x: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Bits x[row, k] < threshold[k] of x, uint8 (rows, inputs); threshold int32 (inputs,)."""
    x = _array(x, "x", np.uint8, (None, None))
    threshold = _array(threshold, "threshold", np.int32, x.shape[1:])
    bits = empty((len(x), words(x.shape[1])), np.int32)
    _call("pack_inputs_u8", x, threshold, *x.shape, bits)
    return bits


def pack_weights(w: np.ndarray) -> np.ndarray:
    """Signs of w, float32 (units, inputs), as int32 (ceil(units / 16), ceil(inputs / 32), 16)."""
    w = _array(w, "w", np.float32, (None, None))
    bits = empty((-(-len(w) // LANES), words(w.shape[1]), LANES), np.int32)
    _call("pack_weights", w, *w.shape, bits)
    return bits


def _weights(weight_bits, units, inputs):
    return _array(
        weight_bits,
        f"weight_bits of {inputs} inputs to {units} units",
        np.int32,
        (-(-units // LANES), words(inputs), LANES),
    )


def _scaled(name, x, weight_bits, alpha, bias, inputs):
    alpha = _array(alpha, "alpha", np.float32, (None,))
    units = len(alpha)
    weight_bits = _weights(weight_bits, units, inputs)
    bias = _array(bias, "bias", np.float32, (units,))
    y = empty((len(x), units))
    _call(name, x, weight_bits, alpha, bias, len(x), units, inputs, y)
    return y


def xnor_dense(
    bits: np.ndarray, weight_bits: np.ndarray, alpha: np.ndarray, bias: np.ndarray, inputs: int
) -> np.ndarray:
    """alpha * dot + bias, float32 (rows, units), from the bits of `inputs` inputs.

    dot is the exact product of signs. alpha and bias float32 (units,).
    """
    bits = _array(bits, f"bits of {inputs} inputs", np.int32, (None, words(inputs)))
    return _scaled("xnor_dense", bits, weight_bits, alpha, bias, inputs)


def xnor_dense_bits(bits: np.ndarray, weight_bits: np.ndarray, threshold: np.ndarray, inputs: int) -> np.ndarray:
    """Bits dot < threshold, int32 (rows, ceil(units / 32)); threshold int32 (units,)."""
    bits = _array(bits, f"bits of {inputs} inputs", np.int32, (None, words(inputs)))
    threshold = _array(threshold, "threshold", np.int32, (None,))
    weight_bits = _weights(weight_bits, len(threshold), inputs)
    y = empty((len(bits), words(len(threshold))), np.int32)
    _call("xnor_dense_bits", bits, weight_bits, threshold, len(bits), len(threshold), inputs, y)
    return y


def binary_dense(x: np.ndarray, weight_bits: np.ndarray, alpha: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """alpha * dot + bias, float32 (rows, units), dot = x, float32 (rows, inputs), times signs.

    Added in one order, see include/gluon_bnn.h: every instruction set gives the same bits.
    """
    x = _array(x, "x", np.float32, (None, None))
    return _scaled("binary_dense", x, weight_bits, alpha, bias, x.shape[1])


def binary_dense_u8(x: np.ndarray, weight_bits: np.ndarray, alpha: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The same for x uint8 (rows, inputs): dot is an exact integer."""
    x = _array(x, "x", np.uint8, (None, None))
    return _scaled("binary_dense_u8", x, weight_bits, alpha, bias, x.shape[1])


class Model:
    """A net that the library has loaded from `content`, the bytes of its file, and runs in one call.

    Safe to use from several threads at once. `address` is the gluon_bnn_model. Raises ValueError, with what is wrong,
    for bytes that are not the file of a net. What `run` and `run_u8` take is not checked here, where that would cost as
    much as to run a small net: runtime.Model does it.
    """

    def __init__(self, content: bytes):
        self._handle = library.handle()
        address = ctypes.c_void_p()
        self._check(self._handle.gluon_bnn_load_bytes(content, len(content), ctypes.byref(address)))
        self.address = address.value
        weakref.finalize(self, self._handle.gluon_bnn_free, self.address)
        self.inputs = self._handle.gluon_bnn_inputs(self.address)
        self.outputs = self._handle.gluon_bnn_outputs(self.address)
        self.takes_u8 = bool(self._handle.gluon_bnn_takes_u8(self.address))

    def run(self, x: np.ndarray) -> np.ndarray:
        """float32 (rows, outputs) from x, contiguous float32 (rows, inputs)."""
        return self._result(self._handle.gluon_bnn_run, x)

    def run_u8(self, x: np.ndarray) -> np.ndarray:
        """The same from x, contiguous uint8 (rows, inputs); ValueError for a net without a scale for pixels."""
        return self._result(self._handle.gluon_bnn_run_u8, x)

    def _result(self, function, x):
        # To ask an array for its address, x.ctypes.data, takes several times as long as to run a small net.
        y, rows = self._empty(len(x)), len(x)
        given = x.tobytes() if x.nbytes <= _SMALL else x.ctypes.data
        code = function(self.address, given, rows, _START.from_buffer(y))
        if code:
            raise _error(self._handle, code)
        return y

    def _empty(self, rows):
        # To align an array costs a microsecond, as much as to run a small net.
        if rows * self.outputs < 1 << 20:
            return np.empty((rows, self.outputs), np.float32)
        return empty((rows, self.outputs))

    def _check(self, code):
        if code:
            raise _error(self._handle, code)
