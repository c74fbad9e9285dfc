"""From the trained net to the one that is deployed: `freeze`."""

import contextlib
import math
import operator
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from .. import ops
from .._compat import mx
from ..native import library
from . import steps
from .blocks import HeldBlock, StepBlock
from .convert import convert
from .exported import library_operators
from .frozen import Frozen
from .lower import input_of
from .passes import pack, simplify
from .plan import Shape
from .trace import blocks_of, is_container, trace

GLUON_FORMS = ("packed", "float")
CONTAINERS = {"HybridSequential", "Sequential"}


def freeze(
    net: mx.gluon.Block,
    form: str = "packed",
    *,
    input_shape: Optional[Sequence[int]] = None,
    input_scale: Any = None,
    input_shift: Any = None,
    verbose: bool = True,
) -> Frozen:
    """The net for inference: binary layers with 1-bit weights, batch norm folded, dropout gone.

    net : an initialised HybridBlock of one input, or a Sequential of HybridBlocks: a chain of layers, residual and
        concurrent blocks, blocks with a hybrid_forward of their own, what `load_exported` returns. It is traced, as
        MXNet does to export it. Parameters are copied: the frozen net stays as it is when `net` trains on. An operator
        that freeze does not know stays, and so does a block in the net whose forward takes arrays only: the same
        block, with the same parameters. The runtime has none of these.
    form : "packed" (our library's operators on bits) or "float" (MXNet's own operators, +-1 as float32). The float
        form takes no operator of our library that stays.
    input_shape : for the runtime, the shape of one input, like (1, 28, 28); by default (inputs of the first layer,).
        Nets with convolutions or pooling need it there: (channels, height, width), or (channels, width) of sequences.
        The Gluon forms do without.
    input_scale, input_shift : for the runtime, which then takes uint8 inputs p as x = scale * p + shift, in
        float32. Each is a number; an array with the axes of input_shape, whose sizes are 1 or those; or one with a
        number for each input, or for each channel (the first axis of input_shape). No scale may be 0; the shift is 0
        by default. With one scale above 0 for all inputs the first layer works on the uint8 themselves, which is
        faster. A convolution does so where the shift is one per channel and it has no padding, or where the shift and
        its pad_value are 0.
    verbose : print `summary`, what became of each layer

    ReLU keeps NaN in every form, and in the runtime. Gluon's own Activation("relu"), in the net as trained, makes 0
    of it.

    Batch norm always uses its running averages. A BatchNorm right after a binary layer is folded into it if it
    normalises the layer's units, which are the channels of a convolution; a binary activation between such layers then
    costs nothing: the first passes bits to the second, each by comparing its integer product with a threshold. Max
    pooling between a convolution and the binary activation, before batch norm or after it, works on these bits. Where
    other layers take the values in between, as a shortcut does, these stay floats, and the signs of them become bits.
    Whatever pad_value is, nothing is rounded at the borders.

    Convolutions with groups or over three axes of space have no 1-bit form: they stay as MXNet's own convolutions of
    +-1, and `summary` says so. The runtime has those with groups where they pad with 0, and none over three axes.

    Returns a `Frozen`. Raises TypeError for another kind of net, and a shape, scale or shift of another type;
    ValueError for another form, a wrong shape, scale or shift, a net that is frozen already, a net in which nothing
    is binary, layers that do not fit together or into the form, and parameters that are not initialised, not float32
    or not finite; OSError for form="packed" without the library.

    >>> from gluon_bnn import nn
    >>> net = mx.gluon.nn.HybridSequential()
    >>> net.add(nn.BinaryDense(64, in_units=100), mx.gluon.nn.BatchNorm(in_channels=64),
    ...         nn.BinaryActivation(), nn.BinaryDense(10, in_units=64))
    >>> net.initialize()
    >>> frozen = freeze(net, "float", verbose=False)
    >>> [node.kind for node in frozen.graph.nodes]
    ['input', 'binary_dense', 'binary_dense']
    """
    if form not in GLUON_FORMS:
        raise ValueError(f"form must be one of {', '.join(GLUON_FORMS)}, got {form!r}")
    _check_net(net)
    if form == "packed":
        if not library.available():
            raise OSError(
                f"the packed form runs on the native library, and {library.problem()}; form='float' runs without it"
            )
        library.load_operators()
    traced = trace(net)
    _check_parameters(traced)
    plan = convert(traced)
    if not any(map(steps.is_binary, plan.steps)):
        raise ValueError(
            "freeze takes a net with a binary layer, BinaryActivation or BinarySigmoid in it; got "
            + (", ".join(sorted({type(block).__name__ for block in blocks_of(net)} - CONTAINERS)) or "an empty net")
        )
    shape = _shape(input_shape)
    plan.shapes(Shape())  # raises where layers do not fit
    plan = simplify(plan)
    given = Shape() if shape is None else input_of(plan, shape)
    if form == "packed":
        plan = pack(plan, given)
    else:
        _check_operators(plan)
    frozen = Frozen(plan, form, shape)
    if any(option is not None for option in (input_shape, input_scale, input_shift)):
        shape = frozen.graph.input_shape  # raises where the runtime does not take the layers, or the shape
        frozen.input_scale, frozen.input_shift = _input(shape, input_scale, input_shift)
        frozen.graph  # raises now where it cannot be made
    if verbose:
        frozen.summary()
    return frozen


def _check_net(net):
    """TypeError for a net that cannot be traced, ValueError for one that is frozen, by itself or in parts."""
    if not isinstance(net, mx.gluon.HybridBlock) and not is_container(net):
        raise TypeError(
            "freeze takes an mxnet.gluon.HybridBlock, or an mxnet.gluon.nn.Sequential whose forward is Gluon's own, "
            f"got {type(net).__name__}"
        )
    for block in blocks_of(net):
        if isinstance(block, (Frozen, StepBlock, HeldBlock)):
            what = (
                f"is frozen already (form={block.form!r})"
                if isinstance(block, Frozen)
                else "is a layer of a frozen net"
            )
            raise ValueError(
                f"freeze takes a net as it was trained, but {block.name} {what}: freeze the net that it was "
                "made from, with the form and the input scale that you want"
            )
        if not isinstance(block, mx.gluon.HybridBlock) and not is_container(block):
            raise TypeError(
                f"a frozen net is a HybridBlock, so its layers must be; got {block.name}, a {type(block).__name__}"
            )


def _check_parameters(traced):
    """ValueError for a parameter of the graph, or of a layer of ours in it, without a value, or with one that is not
    float32 or not finite."""
    takes = {}  # for each node whether another takes its value, and not only its shape
    for node in traced.nodes:
        # With fix_gamma, gamma, which is input 1, counts as 1, whatever is stored.
        fixed = node.operator == "BatchNorm" and node.attributes.get("fix_gamma", "True") in ("True", "1", "true")
        for position, (place, _) in enumerate(node.inputs):
            takes[place] = takes.get(place, False) or not (fixed and position == 1 or node.operator == "ones_like")
    for place, node in enumerate(traced.nodes):
        if node.operator == "null" and node.name in traced.variables:
            _check_parameter(traced.variables[node.name], takes.get(place, True))
        if node.layer is not None:
            for parameter in node.layer.collect_params().values():  # the marked node may take only some of them
                _check_parameter(parameter)


def _check_parameter(parameter, finite=True):
    """ValueError for a parameter without a value, or of floats that are not float32 or, with `finite`, not finite."""
    if parameter._data is None:
        advice = (
            "call the net once on a batch"
            if parameter._deferred_init
            else "call net.initialize(), train or load_parameters"
        )
        raise ValueError(f"freeze takes a net whose parameters have values; {parameter.name} has none: {advice}")
    array = parameter.list_data()[0].asnumpy()
    if array.dtype.kind != "f":
        return
    if array.dtype != np.float32:
        raise ValueError(
            f"freeze takes float32 parameters, {parameter.name} is {array.dtype}: net.cast('float32') first"
        )
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if finite and wrong:
        raise ValueError(f"freeze takes finite parameters, {parameter.name} has {wrong} of {array.size} that are not")


def _check_operators(plan):
    """ValueError where something in the float form runs on our library."""
    for step in plan.steps:
        if step.is_packed:
            raise ValueError(
                f"form='float' is for MXNet's own operators only, but {step.name} was frozen in the packed form: "
                "freeze the net that it was made from, or use form='packed'"
            )
        found = library_operators(step.graph) if isinstance(step, steps.Held) else []
        if isinstance(step, steps.Kept):  # by what its layers were made for
            found = [block.name for block in blocks_of(step.block) if getattr(block, "_ops", None) is ops.native]
        if found:
            raise ValueError(
                f"form='float' is for MXNet's own operators only, but {step.name} ({step.text}), which freeze does not "
                f"take apart, runs on our library ({', '.join(found)}): use form='packed', or make it inside of "
                "gluon_bnn.ops.use('composed')"
            )


def _shape(shape):
    """input_shape as a tuple of int, or None."""
    try:
        return shape if shape is None else tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"input_shape must be a tuple of whole numbers, got {shape!r}") from None


def _input(shape, scale, shift):
    """(input_scale, input_shift) as the runtime takes them, for one input of this shape; (None, None) for None."""
    if scale is None and shift is None:
        return None, None
    if scale is None:
        raise ValueError("input_shift needs input_scale, got None")
    scale = _each_input("input_scale", scale, shape)
    shift = _each_input("input_shift", 0 if shift is None else shift, shape)
    wrong = scale[~np.isfinite(scale) | (scale == 0)]
    if wrong.size:
        raise ValueError(f"input_scale must be finite in float32 and not 0, got {wrong[0]}")
    wrong = shift[~np.isfinite(shift)]
    if wrong.size:
        raise ValueError(f"input_shift must be finite in float32, got {wrong[0]}")
    return float(scale[0]) if (scale == scale[0]).all() else scale, shift


def _each_input(name, given, shape):
    """A number, or an array of numbers that fits an input of this shape, as float32 (inputs,)."""
    array = given.asnumpy() if isinstance(given, mx.nd.NDArray) else np.asarray(given)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        array = array.astype(np.float64) if array.dtype.kind == "O" else array  # a Fraction, say
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a number or an array of numbers, got {given!r}")
    inputs = math.prod(shape)
    fitted = array
    if array.size == 1:
        fitted = array.reshape(())
    elif array.shape == (inputs,):
        fitted = array.reshape(shape)
    elif array.shape == shape[:1]:
        fitted = array.reshape(-1, *(1 for _ in shape[1:]))
    if fitted.ndim not in (0, len(shape)) or any(size not in (1, most) for size, most in zip(fitted.shape, shape)):
        raise ValueError(
            f"{name} must be a number, an array with the axes of one input, whose sizes are 1 or those of {shape}, or "
            f"one for each of {inputs} inputs or {shape[0]} channels; got {array.dtype} {array.shape}"
        )
    with np.errstate(over="ignore"):
        return np.broadcast_to(fitted, shape).astype(np.float32).reshape(-1)
