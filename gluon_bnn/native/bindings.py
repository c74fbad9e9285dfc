"""The compiled kernels on NumPy arrays: arguments checked, memory kept alive, errors raised.

Bits, shapes and arithmetic are those of include/gluon_bnn.h and of `gluon_bnn.reference.bits`. Every function
raises TypeError for a wrong dtype, ValueError for a wrong shape or value, OSError without the library, and
MemoryError where there is none. Arrays that are not contiguous are copied.
"""

import ctypes
import math

import numpy as np

from . import library

WORD = 32  # inputs a word
LANES = 16  # units a block of weights
ELEMENTS = 1 << 20  # at most so many pixels are converted to float32 at a time, where one row does not need more

KINDS = {"binary_dense": 1, "dense": 2, "batch_norm": 3, "activation": 4, "pack": 5}
FORMS = {"float": 0, "bits": 1, "bits01": 2}
FUNCTIONS = {None: 0, "relu": 1, "sigmoid": 2, "tanh": 3, "softrelu": 4, "softsign": 5, "sign": 6, "binary_sigmoid": 7}


def empty(shape, dtype=np.float32):
    """An array of 4-byte numbers that begins at a multiple of 64 bytes: no load or store of a whole vector
    then touches two lines of the cache, and results can be written past it."""
    size = math.prod(shape)
    memory = np.empty(size + 15, dtype)
    return memory[-memory.ctypes.data // 4 % 16 :][:size].reshape(shape)


def _aligned(array):
    """The array, or a copy that begins at a multiple of 64 bytes."""
    if array.flags.c_contiguous and array.ctypes.data % 64 == 0:
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def words(inputs):
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
    """Call a function of the library with addresses in the place of arrays; its error becomes ours."""
    handle = library.handle()
    code = getattr(handle, f"gluon_bnn_{name}")(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))
    if code:
        message = handle.gluon_bnn_error().decode()
        raise (MemoryError if code == 2 else ValueError)(f"{name}: {message}")


def pack_inputs(x):
    """Signs of x, float32 (rows, inputs), as int32 bits (rows, ceil(inputs / 32)).

    >>> pack_inputs(np.array([[-1, 1, -0.5, 0]], np.float32))
    array([[5]], dtype=int32)
    """
    x = _array(x, "x", np.float32, (None, None))
    bits = empty((len(x), words(x.shape[1])), np.int32)
    _call("pack_inputs", x, *x.shape, bits)
    return bits


def pack_inputs_u8(x, threshold):
    """Bits x[row, k] < threshold[k] of x, uint8 (rows, inputs); threshold int32 (inputs,)."""
    x = _array(x, "x", np.uint8, (None, None))
    threshold = _array(threshold, "threshold", np.int32, x.shape[1:])
    bits = empty((len(x), words(x.shape[1])), np.int32)
    _call("pack_inputs_u8", x, threshold, *x.shape, bits)
    return bits


def pack_weights(w):
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


def xnor_dense(bits, weight_bits, alpha, bias, inputs):
    """alpha * dot + bias, float32 (rows, units), from the bits of `inputs` inputs.

    dot is the exact product of signs. alpha and bias float32 (units,).
    """
    bits = _array(bits, f"bits of {inputs} inputs", np.int32, (None, words(inputs)))
    return _scaled("xnor_dense", bits, weight_bits, alpha, bias, inputs)


def xnor_dense_bits(bits, weight_bits, threshold, inputs):
    """Bits dot < threshold, int32 (rows, ceil(units / 32)); threshold int32 (units,)."""
    bits = _array(bits, f"bits of {inputs} inputs", np.int32, (None, words(inputs)))
    threshold = _array(threshold, "threshold", np.int32, (None,))
    weight_bits = _weights(weight_bits, len(threshold), inputs)
    y = empty((len(bits), words(len(threshold))), np.int32)
    _call("xnor_dense_bits", bits, weight_bits, threshold, len(bits), len(threshold), inputs, y)
    return y


def binary_dense(x, weight_bits, alpha, bias):
    """alpha * dot + bias, float32 (rows, units), dot = x, float32 (rows, inputs), times signs.

    Added in one order, see include/gluon_bnn.h: every instruction set gives the same bits.
    """
    x = _array(x, "x", np.float32, (None, None))
    return _scaled("binary_dense", x, weight_bits, alpha, bias, x.shape[1])


def binary_dense_u8(x, weight_bits, alpha, bias):
    """The same for x uint8 (rows, inputs): dot is an exact integer."""
    x = _array(x, "x", np.uint8, (None, None))
    return _scaled("binary_dense_u8", x, weight_bits, alpha, bias, x.shape[1])


class Net:
    """Layers (of `gluon_bnn.graph.layers`, checked by it) in the form in which the library runs them in one call.

    Safe to use from several threads at once. `address` and `count` are what gluon_bnn_run takes.
    """

    def __init__(self, layers):
        self._handle = library.handle()
        self._kept = [{name: _aligned(array) for name, array in layer.arrays.items()} for layer in layers]
        self._layers = (library.Layer * len(layers))()
        for to, layer, arrays in zip(self._layers, layers, self._kept):
            to.kind, to.function = KINDS[layer.kind], FUNCTIONS[layer.function]
            to.source, to.target = FORMS[layer.source], FORMS[layer.target]
            to.inputs, to.units = layer.inputs, layer.units
            for name, array in arrays.items():
                setattr(to, name, array.ctypes.data)
        self.address = ctypes.addressof(self._layers)
        self.count, self._units = len(layers), layers[-1].units

    def run(self, x):
        """float32 (rows, units) from x, contiguous float32 (rows, inputs)."""
        y = self._empty(len(x))
        self._check(self._handle.gluon_bnn_run(self.address, self.count, x.ctypes.data, len(x), y.ctypes.data))
        return y

    def run_u8(self, x, scale, shift):
        """float32 (rows, units) from x, contiguous uint8 (rows, inputs), which stands for scale * x + shift.

        scale is a float or float32 (inputs,), shift float32 (inputs,).
        """
        y = self._empty(len(x))
        if np.ndim(scale):  # the library takes one scale for all inputs
            rows = max(1, ELEMENTS // x.shape[1])
            for i in range(0, len(x), rows):
                with np.errstate(over="ignore"):
                    numbers = scale * x[i : i + rows].astype(np.float32) + shift
                y[i : i + rows] = self.run(numbers)
            return y
        self._check(
            self._handle.gluon_bnn_run_u8(
                self.address, self.count, x.ctypes.data, scale, shift.ctypes.data, len(x), y.ctypes.data
            )
        )
        return y

    def _empty(self, rows):
        # Finding the place costs a microsecond, as much as a small net.
        if rows * self._units < 1 << 20:
            return np.empty((rows, self._units), np.float32)
        return empty((rows, self._units))

    def _check(self, code):
        if code:
            raise (MemoryError if code == 2 else ValueError)(self._handle.gluon_bnn_error().decode())
