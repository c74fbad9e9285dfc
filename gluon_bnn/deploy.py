"""From the trained net to the one that is deployed: `freeze`."""
import numbers

import numpy as np

from . import nn as binary, ops
from ._compat import mx
from .frozen import FloatDense, FloatSign, Frozen, Row, fuse, inputs_of, norm_of, set_parameter, value
from .native import library

nn = mx.gluon.nn
FORMS = ("packed", "float")
CONTAINERS = (nn.HybridSequential, nn.Sequential)


def freeze(net, form="packed", *, input_scale=None, input_shift=None, verbose=True):
    """The net for inference: binary layers with 1-bit weights, batch norm folded, dropout gone.

    net : an initialised HybridSequential or Sequential, nested or not. Taken apart are BinaryDense,
        BinaryActivation, BinarySigmoid, Dense, BatchNorm, Dropout, Flatten and Activation. Their parameters
        are copied: the frozen net stays as it is when `net` trains on. A layer of any other type, or
        with a forward of its own, stays as it is: the very same block, with the same parameters.
    form : "packed" (our library's operators on bits) or "float" (MXNet's own operators, +-1 as float32)
    input_scale, input_shift : for the runtime, which then takes uint8 inputs p as x = scale * p + shift.
        scale is a number above 0, shift a number (by default 0) or one for each input.
    verbose : print `summary`, what became of each layer

    Batch norm always uses its running averages. A BatchNorm right after a BinaryDense is folded into it if
    it normalises the layer's units; a binary activation between such layers then costs nothing: the first
    passes bits to the second, each by comparing its integer product with a threshold.

    Returns a `Frozen`. Raises TypeError for another kind of net; ValueError for another form, wrong scale or
    shift, a net in which nothing is binary, layers that do not fit together, and parameters that are
    not initialised, not float32 or not finite; OSError for form="packed" without the library.

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
        raise TypeError("freeze takes an mxnet.gluon.nn.HybridSequential or Sequential whose forward is "
                        f"Gluon's own, got {type(net).__name__}")
    if form == "packed":
        if not library.available():
            raise OSError(f"the packed form runs on the native library, and {library.problem()}; "
                          "form='float' runs without it")
        library.load_operators()
    frozen, leaves, steps = Frozen(form), list(_leaves(net)), []  # steps: blocks, each with its row
    with frozen.name_scope():
        for leaf in leaves:
            frozen.rows.append(Row(leaf.name, _bytes(leaf)))
            for block in _float_form(leaf):
                if block.prefix.startswith(frozen.prefix):  # made here: errors shall name the layer it is of
                    block._name = leaf.name
                steps.append((block, frozen.rows[-1]))
        steps = _without_flatten(steps)
        blocks = [block for block, _ in steps]
        _check_binary(blocks, leaves)
        _check_widths(blocks)
        fused = fuse(blocks) if form == "packed" else [(block, 1) for block in blocks]
    for block, count in fused:
        (_, row), *folded = steps[:count]
        del steps[:count]
        frozen.add(block)
        _describe(row, block)
        for _, other in folded:
            other.form = f"folded into {row.layer}"
    if input_scale is not None or input_shift is not None:
        frozen.input_scale, frozen.input_shift = _input(frozen.input_shape[0], input_scale, input_shift)
        list(frozen.layers)  # raises now where they cannot be made
    if verbose:
        frozen.summary()
    return frozen


def _is(block, *kinds):
    """True where a block is of one of these kinds and runs as Gluon or we wrote it."""
    return any(isinstance(block, kind) and all(getattr(type(block), name, None) is getattr(kind, name, None)
                                               for name in ("__call__", "forward", "hybrid_forward"))
               for kind in kinds)


def _leaves(net):
    """The layers of nested containers, in the order in which they run."""
    if _is(net, *CONTAINERS):
        for child in net._children.values():
            yield from _leaves(child)
    else:
        yield net


def _bytes(block):
    return sum(p.data(p.list_ctx()[0]).size * np.dtype(p.dtype).itemsize
               for p in block.collect_params().values() if p._data is not None)


def _float_form(leaf):
    """The blocks of the float form that take the place of a layer; may be none."""
    if _is(leaf, nn.Dropout):
        return []
    if _is(leaf, binary.BinaryDense):
        weight = _checked(leaf.weight)
        # The layer's own alpha: implementations differ in its last bits.
        curvature = None if leaf.curvature is None else mx.nd.array(_checked(leaf.curvature))
        signs, alpha = ops.sign_scale(mx.nd, mx.nd.array(weight), leaf._scale, leaf._gradient, leaf._clip,
                                      implementation=leaf._implementation, curvature=curvature)
        alpha = np.broadcast_to(alpha.asnumpy(), (leaf._units,)).copy()
        bias = None if leaf.bias is None else _checked(leaf.bias)
        dense = FloatDense(signs.asnumpy(), alpha, bias, leaf._flatten)
        return [dense] if leaf.act is None else [dense, *_float_form(leaf.act)]
    if _is(leaf, nn.Dense):
        arrays = {name: _checked(getattr(leaf, name)) for name in ("weight", "bias")
                  if getattr(leaf, name) is not None}
        dense = nn.Dense(leaf._units, use_bias="bias" in arrays, flatten=leaf._flatten,
                         in_units=leaf.weight.shape[1])
        dense = _with_values(dense, arrays)
        return [dense] if leaf.act is None else [dense, *_float_form(leaf.act)]
    if _is(leaf, nn.BatchNorm, binary.BatchNorm):
        options = leaf._kwargs
        arrays = {name: _checked(getattr(leaf, name)) for name in ("beta", "running_mean", "running_var")}
        arrays["gamma"] = np.ones_like(arrays["beta"]) if options["fix_gamma"] else _checked(leaf.gamma)
        norm_of(leaf)  # raises where it is not finite
        norm = nn.BatchNorm(options["axis"], epsilon=options["eps"], scale=not options["fix_gamma"],
                            use_global_stats=True, in_channels=leaf.gamma.shape[0])
        return [_with_values(norm, arrays)]
    if _is(leaf, binary.BinaryActivation, binary.BinarySigmoid):
        return [FloatSign("bits01" if isinstance(leaf, binary.BinarySigmoid) else "bits")]
    if _is(leaf, nn.Activation):
        return [nn.Activation(leaf._act_type)]
    if _is(leaf, nn.Flatten):
        return [nn.Flatten()]
    if not isinstance(leaf, mx.gluon.HybridBlock):
        raise TypeError(f"a frozen net is a HybridBlock, so its layers must be; got {leaf.name}, a "
                        f"{type(leaf).__name__}")
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
        advice = ("call the net once on a batch" if parameter._deferred_init
                  else "call net.initialize(), train or load_parameters")
        raise ValueError("freeze takes a net whose parameters have values; "
                         f"{parameter.name} has none: {advice}")
    array = value(parameter)
    if dtype and array.dtype != dtype:
        raise ValueError(f"freeze takes {dtype} parameters, {parameter.name} is {array.dtype}: "
                         f"net.cast({dtype!r}) first")
    wrong = array.size - np.count_nonzero(np.isfinite(array))
    if wrong:
        raise ValueError(f"freeze takes finite parameters, {parameter.name} has {wrong} of {array.size} "
                         "that are not")
    return array


def _without_flatten(steps):
    """The steps without each Flatten right before or after a dense layer that flattens by itself."""
    flattens = [False, *(type(b) in (FloatDense, nn.Dense) and b._flatten for b, _ in steps), False]
    return [step for step, before, after in zip(steps, flattens, flattens[2:])
            if not (type(step[0]) is nn.Flatten and (before or after))]


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
                raise ValueError(f"{block.name} has {inputs} inputs, but {last.name} before it has {width} "
                                 "outputs")
            if dense:
                width = block.units if type(block) is FloatDense else block._units
                flat, last = flattens, block
        elif type(block) is nn.Flatten:
            width, flat = (width if flat else None), True
        elif type(block) not in (FloatSign, nn.Activation):
            width, flat = None, False


def _check_binary(blocks, leaves):
    if not any(type(block) in (FloatDense, FloatSign) for block in blocks):
        kinds = sorted({type(leaf).__name__ for leaf in leaves})
        raise ValueError("freeze takes a net with a BinaryDense, BinaryActivation or BinarySigmoid in it or "
                         "in the containers in it (it does not look into other blocks); got "
                         + (", ".join(kinds) or "an empty net"))


def _describe(row, block):
    """Add a block to what became of a layer."""
    text = repr(block) if type(block).__module__.startswith("gluon_bnn") else type(block).__name__
    if type(block) is nn.Activation:
        text = block._act_type
    row.form = text if row.form == "dropped" else f"{row.form}, {text}"
    row.after += _bytes(block)


def _input(inputs, scale, shift):
    """input_scale as a float and input_shift as float32 (inputs,), both as float32 has them."""
    if scale is None:
        raise ValueError("input_shift needs input_scale, got None")
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real):
        raise TypeError(f"input_scale must be a number, got {scale!r}")
    shift = np.asarray(0 if shift is None else shift)
    if shift.dtype.kind not in "iuf" or shift.shape not in ((), (inputs,)):
        raise ValueError(f"input_shift must be a number or one for each of {inputs} inputs, "
                         f"got {shift.dtype} {shift.shape}")
    with np.errstate(over="ignore"):
        scale, shift = np.float32(scale), shift.astype(np.float32)
    if not (0 < scale < np.inf and np.isfinite(shift).all()):
        raise ValueError("input_scale must be a finite float32 above 0 and input_shift finite, "
                         f"got {scale} and {shift if shift.ndim == 0 else shift[~np.isfinite(shift)]}")
    return float(scale), np.broadcast_to(shift, (inputs,)).copy()
