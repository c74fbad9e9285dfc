"""What a net for 1-bit inference is made of: a list of layers, plain NumPy, and the check of such a list.

`freeze` makes the list, `runtime` saves, loads and runs it; the kernels trust a list that was checked here.
What each kind computes, bit for bit, is in native/include/gluon_bnn.h.
"""

import dataclasses
import math

import numpy as np

# (from, to) that each kind takes and gives. A layer to "bits" is followed by one from "bits", whose inputs
# are +1 and -1, or from "bits01", where the same bits stand for 1 (bit 0) and 0 (bit 1).
FORMS = {
    "binary_dense": (
        ("float", "float"),
        ("float", "bits"),
        ("bits", "float"),
        ("bits", "bits"),
        ("bits01", "float"),
        ("bits01", "bits"),
    ),
    "dense": (("float", "float"),),
    "batch_norm": (("float", "float"),),
    "activation": (("float", "float"),),
    "pack": (("float", "bits"),),
}
KINDS = tuple(FORMS)
FUNCTIONS = ("relu", "sigmoid", "tanh", "softrelu", "softsign", "sign", "binary_sigmoid")
NORM = ("mean", "factor", "beta")  # y = (x - mean) * factor + beta

MOST_INPUTS = 1 << 30  # and units: the product of so many signs is an int32
MOST_INPUTS_U8 = 8421504  # 255 times it is below 2^31
MOST_AXES = 31  # of one input: NumPy has 32, one of which counts the rows


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One layer: `kind` of KINDS, sizes, forms of FORMS[kind], for "activation" a function of FUNCTIONS.

    arrays is {name: ndarray}, as `arrays_of` lists them.
    """

    kind: str
    inputs: int
    units: int
    source: str = "float"
    target: str = "float"
    function: str = None
    arrays: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return f"{self.function or self.kind} {self.inputs} -> {self.units}"

    @property
    def nbytes(self):
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def arrays_of(layer, uint8=False):
    """Two dicts {name: (dtype, shape)}: the arrays that a layer must have, and those it may have in addition.

    With K inputs and N units; `uint8` for the first layer of a net that takes uint8 inputs as they are (`keeps_uint8`):

    - binary_dense: weight_bits int32 (ceil(N/16), ceil(K/32), 16); from bits to bits threshold int32 (N,);
      else alpha and bias float32 (N,), possibly mean, factor and beta float32 (N,), and from bits01 sums
      int32 (N,). With uint8 alpha_u8 and bias_u8 float32 (N,).
    - dense: weight float32 (K, N), possibly bias float32 (N,)
    - batch_norm: mean, factor and beta float32 (N,)
    - pack: with uint8 threshold_u8 int32 (K,)
    """
    inputs, units = layer.inputs, layer.units
    floats, integers = (np.float32, (units,)), (np.int32, (units,))
    must, may = {}, {}
    if layer.kind == "binary_dense":
        must["weight_bits"] = np.int32, (-(-units // 16), -(-inputs // 32), 16)
        if layer.source != "float" and layer.target == "bits":
            must["threshold"] = integers
        else:
            must.update(alpha=floats, bias=floats)
            may.update(dict.fromkeys(NORM, floats))
            if layer.source == "bits01":
                must["sums"] = integers
        if uint8:
            must.update(alpha_u8=floats, bias_u8=floats)
    elif layer.kind == "dense":
        must["weight"] = np.float32, (inputs, units)
        may["bias"] = floats
    elif layer.kind == "batch_norm":
        must.update(dict.fromkeys(NORM, floats))
    elif layer.kind == "pack" and uint8:
        must["threshold_u8"] = np.int32, (inputs,)
    return must, may


def sign_sums(weight_bits, units, inputs):
    """The sum of each unit's signs, int32 (units,): inputs - 2 * popcount.

    weight_bits int32 (ceil(units/16), ceil(inputs/32), 16) with tail bits 0.
    """
    v = weight_bits.view(np.uint32)
    v = v - ((v >> 1) & 0x55555555)
    v = (v & 0x33333333) + ((v >> 2) & 0x33333333)
    ones = (((v + (v >> 4)) & 0x0F0F0F0F) * 0x01010101) >> 24
    return (inputs - 2 * ones.sum(axis=1, dtype=np.int64)).reshape(-1)[:units].astype(np.int32)


def keeps_uint8(scale):
    """True where uint8 inputs go into the first layer as they are: one number above 0 scales them all.

    Its integer product, or its thresholds of pixels, then stand for x = scale * p + shift. With a negative
    scale or several scales the first layer gets the float32 numbers x.
    """
    return scale is not None and np.ndim(scale) == 0 and scale > 0


def check(layers, input_shape=None, input_scale=None, input_shift=None):
    """Raise unless this is a net that the kernels can run without looking.

    `input_shape` is the shape of one input, a tuple, by default (inputs of the first layer,). Where uint8
    inputs p are taken as x = scale * p + shift, `input_scale` is a float or float32 (inputs,), finite and
    nowhere 0, and `input_shift` float32 (inputs,).

    Raises TypeError for a thing of the wrong type, ValueError for one with a wrong value, naming the layer.
    """
    layers = list(layers)
    if not layers:
        raise ValueError("a net must have at least one layer, got none")
    for index, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer {index} must be a gluon_bnn.graph.layers.Layer, got {type(layer).__name__}")
        try:
            _check_form(layer)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {index}: {error}") from None
    _check_chain(layers)
    uint8 = _check_input(layers[0], input_shape, input_scale, input_shift)
    for index, layer in enumerate(layers):
        try:
            _check_arrays(layer, uint8 and index == 0)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {index}, {layer}: {error}") from None


def _check_form(layer):
    """Kind, sizes, forms and function."""
    if layer.kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {layer.kind!r}")
    for name in ("inputs", "units"):
        size = getattr(layer, name)
        if type(size) is not int:
            raise TypeError(f"{name} must be an int, got {size!r}")
        if not 1 <= size <= MOST_INPUTS:
            raise ValueError(f"{name} must be 1 to {MOST_INPUTS}, got {size}")
    if not isinstance(layer.arrays, dict):
        raise TypeError(f"arrays must be a dict, got {type(layer.arrays).__name__}")
    if layer.kind not in ("binary_dense", "dense") and layer.inputs != layer.units:
        raise ValueError(
            f"{layer.kind} must have as many units as inputs, got {layer.inputs} inputs, {layer.units} units"
        )
    if (layer.source, layer.target) not in FORMS[layer.kind]:
        allowed = ", ".join(" to ".join(form) for form in FORMS[layer.kind])
        raise ValueError(f"{layer.kind} must be from {allowed}, got {layer.source} to {layer.target}")
    if layer.kind == "activation" and layer.function not in FUNCTIONS:
        raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, got {layer.function!r}")
    if layer.kind != "activation" and layer.function is not None:
        raise ValueError(f"{layer.kind} must have no function, got {layer.function!r}")


def _check_chain(layers):
    """From float to float, each taking what the one before it gives."""
    if layers[0].source != "float":
        raise ValueError(f"layer 0, {layers[0]}, must be from float: it is the first, got {layers[0].source}")
    for index, (before, layer) in enumerate(zip(layers, layers[1:]), 1):
        if layer.inputs != before.units:
            raise ValueError(
                f"layer {index}, {layer}, must have {before.units} inputs, the units of layer "
                f"{index - 1}, {before}; got {layer.inputs}"
            )
        if (layer.source == "float") != (before.target == "float"):
            allowed = "float" if before.target == "float" else "bits or bits01"
            raise ValueError(
                f"layer {index}, {layer}, must be from {allowed}, since layer {index - 1}, "
                f"{before}, is to {before.target}; got {layer.source}"
            )
    last = layers[-1]
    if last.target != "float":
        raise ValueError(f"layer {len(layers) - 1}, {last}, must be to float: it is the last, got {last.target}")


def _check_input(first, shape, scale, shift):
    """The shape of one input, scale and shift; True where the first layer takes uint8 inputs as they are."""
    if shape is not None:
        if not isinstance(shape, tuple) or any(type(size) is not int for size in shape):
            raise TypeError(f"input_shape must be a tuple of int, got {shape!r}")
        if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1 or math.prod(shape) != first.inputs:
            raise ValueError(
                f"input_shape must have 1 to {MOST_AXES} axes and {first.inputs} elements, the "
                f"inputs of layer 0, {first}; got {shape}"
            )
    if (scale is None) != (shift is None):
        raise ValueError(
            "input_scale and input_shift must be given together or not at all, got only "
            + ("input_shift" if scale is None else "input_scale")
        )
    if scale is None:
        return False
    if isinstance(scale, np.ndarray):
        _check_array("input_scale", scale, np.float32, (first.inputs,))
        rounded = scale
    elif isinstance(scale, (int, float, np.floating)) and not isinstance(scale, bool):
        with np.errstate(over="ignore"):
            rounded = np.float32(scale if abs(scale) < 1e39 else np.inf)  # an int may be too large for a float
    else:
        raise TypeError(f"input_scale must be a float, or a NumPy array of one for each input, got {scale!r}")
    if not (np.isfinite(rounded) & (rounded != 0)).all():
        raise ValueError(f"input_scale must be finite in float32 and not 0, got {scale!r}")
    _check_array("input_shift", shift, np.float32, (first.inputs,))
    if not keeps_uint8(scale):
        return False
    if first.kind == "binary_dense" and first.inputs > MOST_INPUTS_U8:
        raise ValueError(f"layer 0, {first}: at most {MOST_INPUTS_U8} uint8 inputs are allowed, got {first.inputs}")
    return True


def _check_arrays(layer, uint8):
    """Names, dtypes, shapes and values of a layer's arrays; its form has been checked."""
    must, may = arrays_of(layer, uint8)
    for names, allowed in (
        ([n for n in must if n not in layer.arrays], "is missing"),
        ([n for n in layer.arrays if n not in {**must, **may}], "is not allowed"),
    ):
        if names:
            also = f" and may have {', '.join(may)}" if may else ""
            raise ValueError(
                f"array {names[0]!r} {allowed}: {layer.kind} from {layer.source} to "
                f"{layer.target}{' with uint8 inputs' if uint8 else ''} must have "
                f"{', '.join(must) or 'no arrays'}{also}; "
                f"got {', '.join(layer.arrays) or 'none'}"
            )
    for name, array in layer.arrays.items():
        _check_array(name, array, *{**must, **may}[name])
    norm = [name for name in NORM if name in layer.arrays]
    if len(norm) not in (0, len(NORM)):
        raise ValueError(f"{', '.join(NORM)} must be there together or not at all, got {', '.join(norm)}")
    if "weight_bits" in layer.arrays:
        _check_bits(layer)


def _check_array(name, array, dtype, shape):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} must be {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name} must be C-contiguous and aligned, got strides {array.strides}")
    if dtype == np.float32 and not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array))
        raise ValueError(f"{name} must be finite, got {array.flat[bad[0]]} at {bad[0]}, {bad.size} such in all")


def _check_bits(layer):
    """Tail bits and padding units are 0, since dot counts them; and sums is what the bits say."""
    bits, tail = layer.arrays["weight_bits"], layer.inputs % 32
    if tail and (bits[:, -1].view(np.uint32) >> tail).any():
        raise ValueError(f"weight_bits must be 0 past input {layer.inputs - 1}, got bits set in the last words")
    if layer.units % 16 and bits[-1, :, layer.units % 16 :].any():
        raise ValueError(f"weight_bits must be 0 past unit {layer.units - 1}, got bits set in the last block")
    if "sums" in layer.arrays:
        expected, sums = sign_sums(bits, layer.units, layer.inputs), layer.arrays["sums"]
        wrong = np.flatnonzero(sums != expected)
        if wrong.size:
            unit = wrong[0]
            raise ValueError(
                f"sums must be the sums of the signs, {expected[unit]} for unit {unit}, "
                f"got {sums[unit]}, {wrong.size} such in all"
            )
