"""From the trained net to the one that is deployed: `freeze`."""

import contextlib
import json
import math
import operator

import numpy as np

from .. import nn as binary
from .. import ops
from .._compat import mx
from ..native import library
from .blocks import (
    FloatDense,
    FloatSign,
    Frozen,
    Pack,
    PackedDense,
    Row,
    bytes_of,
    fuse,
    inputs_of,
    norm_of,
    set_parameter,
    value,
)
from .exported import library_operators

nn = mx.gluon.nn
FORMS = ("packed", "float")
CONTAINERS = (nn.HybridSequential, nn.Sequential)


def freeze(net, form="packed", *, input_shape=None, input_scale=None, input_shift=None, verbose=True):
    """The net for inference: binary layers with 1-bit weights, batch norm folded, dropout gone.

    net : an initialised HybridSequential or Sequential, nested or not. Taken apart are BinaryDense,
        BinaryActivation, BinarySigmoid, Dense, BatchNorm, Dropout, Flatten and Activation. Their parameters
        are copied: the frozen net stays as it is when `net` trains on. A layer of any other type, or
        with a forward of its own, stays as it is: the very same block, with the same parameters.
    form : "packed" (our library's operators on bits) or "float" (MXNet's own operators, +-1 as float32). The float
        form takes no layer that stays as it is and has operators of our library in it.
    input_shape : for the runtime, the shape of one input, like (1, 28, 28); by default (inputs of the first layer,)
    input_scale, input_shift : for the runtime, which then takes uint8 inputs p as x = scale * p + shift, in
        float32. Each is a number, an array that broadcasts to input_shape, or one with a number for each
        input or for each channel (the first axis of input_shape). No scale is 0, the shift is 0 by default. With one
        scale above 0 for all inputs the first layer works on the uint8 themselves, which is faster.
    verbose : print `summary`, what became of each layer

    ReLU keeps NaN in every form, and in the runtime. Gluon's own Activation("relu"), in the net as trained, makes 0
    of it.

    Batch norm always uses its running averages. A BatchNorm right after a BinaryDense is folded into it if
    it normalises the layer's units; a binary activation between such layers then costs nothing: the first
    passes bits to the second, each by comparing its integer product with a threshold.

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
    >>> [str(layer) for layer in frozen.layers]
    ['binary_dense 100 -> 64', 'binary_dense 64 -> 10']
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if not _is(net, *CONTAINERS):
        raise TypeError(
            "freeze takes an mxnet.gluon.nn.HybridSequential or Sequential whose forward is "
            f"Gluon's own, got {type(net).__name__}"
        )
    if form == "packed":
        if not library.available():
            raise OSError(
                f"the packed form runs on the native library, and {library.problem()}; form='float' runs without it"
            )
        library.load_operators()
    frozen = Frozen(form, _shape(input_shape))
    leaves, steps = list(_leaves(net)), []  # steps: blocks, each with its row
    with frozen.name_scope():
        for leaf in leaves:
            frozen.rows.append(Row(leaf.name, bytes_of(leaf)))
            for block in _float_form(leaf):
                if block.prefix.startswith(frozen.prefix):  # made here: errors name the layer that it stands for
                    block._name = leaf.name
                steps.append((block, frozen.rows[-1]))
        steps = _without_flatten(steps)
        blocks = [block for block, _ in steps]
        _check_binary(blocks, leaves)
        _check_widths(blocks)
        if form == "float":
            for block in blocks:
                if not block.prefix.startswith(frozen.prefix):
                    _check_operators(block)
        fused = fuse(blocks) if form == "packed" else [(block, 1) for block in blocks]
    for block, count in fused:
        (_, row), *folded = steps[:count]
        del steps[:count]
        frozen.add(block)
        row.blocks.append(block)
        for _, other in folded:
            other.folded = row.layer
    if any(given is not None for given in (input_shape, input_scale, input_shift)):
        list(frozen.layers)  # raises where the runtime does not take the layers, or the shape
        frozen.input_scale, frozen.input_shift = _input(frozen.input_shape, input_scale, input_shift)
        list(frozen.layers)  # raises now where they cannot be made
    if verbose:
        frozen.summary()
    return frozen


def _is(block, *kinds):
    """True where a block is of one of these kinds and runs as Gluon or we wrote it."""
    return any(
        isinstance(block, kind)
        and all(
            getattr(type(block), name, None) is getattr(kind, name, None)
            for name in ("__call__", "forward", "hybrid_forward")
        )
        for kind in kinds
    )


def _leaves(net):
    """The layers of nested containers, in the order in which they run."""
    if isinstance(net, (Frozen, FloatDense, FloatSign, PackedDense, Pack)):
        what = f"is frozen already (form={net.form!r})" if isinstance(net, Frozen) else "is a layer of a frozen net"
        raise ValueError(
            f"freeze takes a net as it was trained, but {net.name} {what}: freeze the net that it was "
            "made from, with the form and the input scale that are wanted"
        )
    if _is(net, *CONTAINERS):
        for child in net._children.values():
            yield from _leaves(child)
    else:
        yield net


def _float_form(leaf):
    """The blocks of the float form that take the place of a layer; may be none."""
    if _is(leaf, nn.Dropout):
        return []
    if _is(leaf, binary.BinaryDense):
        _checked(leaf.weight)
        # The layer's own alpha: implementations differ in its last bits.
        if leaf.curvature is not None:
            _checked(leaf.curvature)
        alpha = np.broadcast_to(leaf.alpha().asnumpy(), (leaf.units,)).copy()
        bias = None if leaf.bias is None else _checked(leaf.bias)
        dense = FloatDense(leaf.signs().asnumpy(), alpha, bias, leaf._flatten)
        return [dense] if leaf.act is None else [dense, *_float_form(leaf.act)]
    if _is(leaf, nn.Dense):
        arrays = {name: _checked(getattr(leaf, name)) for name in ("weight", "bias") if getattr(leaf, name) is not None}
        dense = nn.Dense(leaf._units, use_bias="bias" in arrays, flatten=leaf._flatten, in_units=leaf.weight.shape[1])
        dense = _with_values(dense, arrays)
        return [dense] if leaf.act is None else [dense, *_float_form(leaf.act)]
    if _is(leaf, nn.BatchNorm, binary.BatchNorm):
        options = leaf._kwargs
        arrays = {name: _checked(getattr(leaf, name)) for name in ("beta", "running_mean", "running_var")}
        arrays["gamma"] = np.ones_like(arrays["beta"]) if options["fix_gamma"] else _checked(leaf.gamma)
        norm_of(leaf)  # raises where it is not finite
        norm = nn.BatchNorm(
            options["axis"],
            epsilon=options["eps"],
            scale=not options["fix_gamma"],
            use_global_stats=True,
            in_channels=leaf.gamma.shape[0],
        )
        return [_with_values(norm, arrays)]
    if _is(leaf, binary.BinaryActivation, binary.BinarySigmoid):
        return [FloatSign("bits01" if isinstance(leaf, binary.BinarySigmoid) else "bits")]
    if _is(leaf, nn.Activation, binary.Activation):
        return [binary.Activation(leaf._act_type)]
    if _is(leaf, nn.Flatten):
        return [nn.Flatten()]
    if not isinstance(leaf, mx.gluon.HybridBlock):
        raise TypeError(
            f"a frozen net is a HybridBlock, so its layers must be; got {leaf.name}, a {type(leaf).__name__}"
        )
    for parameter in leaf.collect_params().values():
        _checked(parameter, dtype=None)
    return [leaf]


def _with_values(block, arrays):
    for name, array in arrays.items():
        set_parameter(getattr(block, name), array)
    return block


def _checked(parameter, dtype="float32"):
    """The value of a parameter; ValueError where there is none, or it is not float32, or not finite."""
    if parameter._data is None:
        advice = (
            "call the net once on a batch"
            if parameter._deferred_init
            else "call net.initialize(), train or load_parameters"
        )
        raise ValueError(f"freeze takes a net whose parameters have values; {parameter.name} has none: {advice}")
    array = value(parameter)
    if dtype and array.dtype != dtype:
        raise ValueError(
            f"freeze takes {dtype} parameters, {parameter.name} is {array.dtype}: net.cast({dtype!r}) first"
        )
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if wrong:
        raise ValueError(f"freeze takes finite parameters, {parameter.name} has {wrong} of {array.size} that are not")
    return array


def _without_flatten(steps):
    """The steps without each Flatten right before or after a dense layer that flattens by itself."""
    flattens = [False, *(type(b) in (FloatDense, nn.Dense) and b._flatten for b, _ in steps), False]
    return [
        step
        for step, before, after in zip(steps, flattens, flattens[2:])
        if not (type(step[0]) is nn.Flatten and (before or after))
    ]


def _check_widths(blocks):
    """ValueError where a layer cannot take what the one before gives; unknown layers may give anything."""
    width, flat, last = None, False, None  # flat: (rows, width) for certain, else width is the last axis
    for block in blocks:
        inputs = inputs_of(block)
        if inputs is not None:
            dense = type(block) is not nn.BatchNorm
            flattens = dense and block._flatten
            whole = flat or (not flattens if dense else block._kwargs["axis"] == -1)
            if width is not None and (inputs != width if whole else flattens and inputs % width):
                raise ValueError(f"{block.name} has {inputs} inputs, but {last.name} before it has {width} outputs")
            if dense:
                width = block.units if type(block) is FloatDense else block._units
                flat, last = flattens, block
        elif type(block) is nn.Flatten:
            width, flat = (width if flat else None), True
        elif type(block) not in (FloatSign, binary.Activation):
            width, flat = None, False


def _check_binary(blocks, leaves):
    if not any(type(block) in (FloatDense, FloatSign) for block in blocks):
        kinds = sorted({type(leaf).__name__ for leaf in leaves})
        raise ValueError(
            "freeze takes a net with a BinaryDense, BinaryActivation or BinarySigmoid in it or "
            "in the containers in it (it does not look into other blocks); got " + (", ".join(kinds) or "an empty net")
        )


def _check_operators(block):
    """ValueError where a block that freeze leaves as it is has operators of our library."""
    parameters = [(p, vars(p).copy()) for p in block.collect_params().values()]
    try:
        graph = block(mx.sym.var("data"))
        graph = mx.sym.Group(list(graph)) if isinstance(graph, (list, tuple)) else graph
        found = library_operators(json.loads(graph.tojson()))
    except Exception:  # a forward of the user's own, which takes no symbol: then by what its layers were made for
        found = []
        block.apply(lambda b: found.append(b.name) if getattr(b, "_ops", None) is ops.native else None)
    finally:
        for parameter, state in parameters:  # as they were: tracing leaves marks on them
            parameter.__dict__ = state
    if found:
        raise ValueError(
            f"form='float' is for MXNet's own operators only, but {block.name}, a {type(block).__name__}, "
            f"which freeze does not take apart, runs on our library ({', '.join(found)}): use "
            "form='packed', put its layers into the Sequential itself, or make them inside of "
            "gluon_bnn.ops.use('composed')"
        )


def _shape(shape):
    """input_shape as a tuple of int, or None."""
    try:
        return shape if shape is None else tuple(map(operator.index, shape))
    except TypeError:
        raise TypeError(f"input_shape must be a tuple of whole numbers, got {shape!r}") from None


def _input(shape, scale, shift):
    """(input_scale, input_shift) as the runtime takes them, for one input of this shape; (None, None) without both."""
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
            f"{name} must be a number, an array that broadcasts to one input, {shape}, or one for each of "
            f"{inputs} inputs or {shape[0]} channels; got {array.dtype} {array.shape}"
        )
    with np.errstate(over="ignore"):
        return np.broadcast_to(fitted, shape).astype(np.float32).reshape(-1)
