"""What a frozen net is made of: Gluon blocks for inference, and the net itself.

The "float" form uses MXNet's own operators only, so its exports load anywhere. The "packed" form, which
`fuse` makes of it, uses two operators of our library: `Pack` and `PackedDense`.
"""

import dataclasses

import numpy as np

from .._compat import mx
from ..graph import layers
from ..graph.layers import Layer
from ..nn import Activation
from . import fold

nn = mx.gluon.nn


def add_parameter(block, name, array):
    """Give `block` a parameter of that name and value, on the CPU, with no gradient."""
    parameter = block.params.get(name, shape=array.shape, dtype=array.dtype, grad_req="null", differentiable=False)
    set_parameter(parameter, array)
    setattr(block, name, parameter)


def set_parameter(parameter, array):
    """Initialise a parameter with a value, no gradient, and without a draw from MXNet's generator."""
    parameter.grad_req = "null"
    parameter.initialize(mx.init.Zero(), ctx=mx.cpu())
    parameter.set_data(mx.nd.array(array, dtype=array.dtype))


def value(parameter):
    """A parameter's value as a NumPy array, from the first device that has it."""
    return parameter.list_data()[0].asnumpy()


class FloatDense(mx.gluon.HybridBlock):
    """A BinaryDense with its signs baked in: y = alpha * FullyConnected(x, signs) + bias.

    signs, +-1, (units, in_units), alpha (units,), bias (units,) or None, float32; flatten as in Dense.
    """

    def __init__(self, signs, alpha, bias, flatten=True, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self.units, self.in_units = signs.shape
        self._flatten = flatten
        # x + -0.0 is x for every x, so that no bias needs no other code.
        bias = np.full(self.units, -0.0, np.float32) if bias is None else bias
        for name, array in (("signs", signs), ("alpha", alpha), ("bias", bias)):
            add_parameter(self, name, array)

    def hybrid_forward(self, F, x, signs, alpha, bias):
        dot = F.FullyConnected(x, signs, no_bias=True, num_hidden=self.units, flatten=self._flatten)
        return F.broadcast_add(F.broadcast_mul(dot, alpha), bias)

    def __repr__(self):
        return f"FloatDense({self.in_units} -> {self.units})"


class FloatSign(mx.gluon.HybridBlock):
    """-1 where x < 0, else 1; with form="bits01" 0 where x < 0, else 1."""

    def __init__(self, form="bits", prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self.form = form

    def hybrid_forward(self, F, x):
        return 1 - 2 * (x < 0) if self.form == "bits" else 1 - (x < 0)

    def __repr__(self):
        return f"FloatSign({'-1' if self.form == 'bits' else '0'}, 1)"


class PackedDense(mx.gluon.HybridBlock):
    """A "binary_dense" layer on our library's operator; its arrays are parameters of the same names."""

    ARRAYS = ("weight_bits", "alpha", "bias", *layers.NORM, "threshold", "sums")  # in the operator's order

    def __init__(self, layer, flatten=True, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self._form, self.in_units = dataclasses.replace(layer, arrays={}), layer.inputs
        self._flatten = flatten
        self._names = [name for name in self.ARRAYS if name in layer.arrays]
        for name in self._names:
            add_parameter(self, name, layer.arrays[name])

    @property
    def layer(self):
        """The `Layer` with the parameters as they are now."""
        return dataclasses.replace(self._form, arrays={n: value(self._reg_params[n]) for n in self._names})

    def hybrid_forward(self, F, x, **arrays):
        form = self._form
        return F.gluon_bnn_packed_dense(
            x,
            *(arrays[name] for name in self._names),
            units=str(form.units),
            in_units=str(self.in_units),
            source=form.source,
            target=form.target,
            norm=str("mean" in self._names),
            flatten=str(self._flatten),
        )

    def __repr__(self):
        folded = ", batch norm" if "mean" in self._names else ""
        return f"PackedDense({self.in_units} -> {self._form.units}, {self._form.source} to {self._form.target}{folded})"


class Pack(mx.gluon.HybridBlock):
    """The signs of x (rows, in_units) as int32 words, bit = 1 where x < 0, for a PackedDense from bits."""

    def __init__(self, in_units, flatten=True, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self.layer, self.in_units = Layer("pack", in_units, in_units, "float", "bits"), in_units
        self._flatten = flatten

    def hybrid_forward(self, F, x):
        return F.gluon_bnn_pack(x, in_units=str(self.in_units), flatten=str(self._flatten))

    def __repr__(self):
        return f"Pack({self.in_units})"


def norm_of(block):
    """{"mean", "factor", "beta"} of a BatchNorm, as MXNet runs it for inference."""
    gamma, beta, mean, var = map(value, (block.gamma, block.beta, block.running_mean, block.running_var))
    # MXNet takes gamma as 1 with scale=False, but adds beta with center=False too, whatever it is.
    gamma = np.ones_like(gamma) if block._kwargs["fix_gamma"] else gamma
    try:
        return fold.norm(gamma, beta, mean, var, block._kwargs["eps"])
    except ValueError as error:
        raise ValueError(f"{block.name}: {error}") from None


def fuse(blocks):
    """The packed form of blocks in the float form: a list of (block, number of blocks it stands for).

    A FloatDense takes in the BatchNorm after it where that normalises its units, and the FloatSign after
    that where a FloatDense follows, to which it passes bits. Any other FloatSign before a FloatDense
    becomes a Pack. The rest stays as it is, PackedDense and Pack included.
    """
    fused, source, rest = [], "float", list(blocks)
    while rest:
        block = rest.pop(0)
        before = len(rest)
        if type(block) is FloatDense:
            norm, target, following = {}, "float", "float"
            if (
                rest
                and type(rest[0]) is nn.BatchNorm
                and rest[0]._kwargs["axis"] in ((1, -1) if block._flatten else (-1,))
            ):  # flattened, the units are axis 1 of 2
                norm = norm_of(rest.pop(0))
            if _bits_follow(rest) and rest[1].in_units == block.units:  # else it flattens (rows, T, units)
                target, following = "bits", rest.pop(0).form
            try:
                layer = fold.packed_dense(*map(value, (block.signs, block.alpha, block.bias)), norm, source, target)
            except ValueError as error:
                raise ValueError(f"{block.name}: {error}") from None
            packed, source = PackedDense(layer, block._flatten), following
        elif _bits_follow([block, *rest]):
            packed, source = Pack(rest[0].in_units, rest[0]._flatten), block.form
        else:
            packed = block
        packed._name = block.name
        fused.append((packed, 1 + before - len(rest)))
    return fused


def _bits_follow(blocks):
    return [type(block) for block in blocks[:2]] == [FloatSign, FloatDense]


def inputs_of(block):
    """The number of inputs of a block of a frozen net, or None where any number will do."""
    if type(block) in (FloatDense, PackedDense, Pack):
        return block.in_units
    parameter = {nn.Dense: "weight", nn.BatchNorm: "gamma"}.get(type(block))
    return getattr(block, parameter).shape[-1] if parameter else None


def _flattens(block):
    """Whether a block makes (rows, units) of any input; None for one that keeps whatever shape it gets."""
    return True if type(block) is nn.Flatten else getattr(block, "_flatten", None)


def _layer(block, width, flat):
    """The Layer of a block that gets `width` inputs, `flat` where certainly as (rows, width); None for one that
    the runtime does not know."""
    if type(block) in (PackedDense, Pack):
        return block.layer
    if type(block) is nn.Dense:
        weight = value(block.weight)
        arrays = {"weight": np.ascontiguousarray(weight.T)}
        if block.bias is not None:
            arrays["bias"] = value(block.bias)
        return Layer("dense", *arrays["weight"].shape, arrays=arrays)
    if type(block) is nn.BatchNorm and (block._kwargs["axis"] == -1 or block._kwargs["axis"] == 1 and flat):
        channels = block.gamma.shape[0]
        return Layer("batch_norm", channels, channels, arrays=norm_of(block))
    function = None
    if type(block) is FloatSign:
        function = "sign" if block.form == "bits" else "binary_sigmoid"
    elif type(block) is Activation:
        function = block._act_type
    return Layer("activation", width, width, function=function) if function in layers.FUNCTIONS else None


def bytes_of(block):
    """The bytes of all parameters of a block that have values."""
    return sum(
        p.data(p.list_ctx()[0]).size * np.dtype(p.dtype).itemsize
        for p in block.collect_params().values()
        if p._data is not None
    )


@dataclasses.dataclass
class Row:
    """What became of one layer of the net that was frozen: a line of `Frozen.summary`.

    blocks are those of the frozen net that stand for it; `folded` names the layer that took it in.
    """

    layer: str
    before: int
    blocks: list = dataclasses.field(default_factory=list)
    folded: str = None

    @property
    def form(self):
        """What it became, as text."""
        return ", ".join(map(_text, self.blocks)) or (f"folded into {self.folded}" if self.folded else "dropped")

    @property
    def after(self):
        """The bytes that it takes now."""
        return sum(map(bytes_of, self.blocks))


def _text(block):
    if type(block) is Activation:
        return block._act_type
    return repr(block) if type(block).__module__.startswith("gluon_bnn") else type(block).__name__


class Frozen(nn.HybridSequential):
    """A net for inference, made by `freeze`: hybridize, export, save_parameters as with any HybridBlock.

    form : "packed" or "float"
    input_shape : for the runtime, the shape of one input; None stands for (inputs of the first layer,)
    input_scale, input_shift : for the runtime, which takes uint8 inputs p as scale * p + shift: a float or float32
        (inputs,), and float32 (inputs,); or both None

    A slice, `frozen[:k]`, is a Frozen as well. One that starts with the first block has the same inputs, and so the
    same input shape, scale and shift; any other takes the values between two layers and has none of these.
    """

    def __init__(self, form="packed", input_shape=None, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self.form, self._input_shape = form, input_shape
        self.input_scale = self.input_shift = None
        self.rows = []

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if not isinstance(key, slice):
            return part
        places = range(len(self))[key]
        part.form = self.form
        if places and places[0] == 0:
            part._input_shape, part.input_scale, part.input_shift = (
                self._input_shape,
                self.input_scale,
                self.input_shift,
            )
        place, kept = 0, 0 in places
        for row in self.rows:
            blocks = [block for i, block in enumerate(row.blocks, place) if i in places]
            place += len(row.blocks)
            kept = bool(blocks) if row.blocks else kept  # a layer that left no block goes with the one before it
            if kept:
                part.rows.append(dataclasses.replace(row, blocks=blocks))
        return part

    @property
    def layers(self):
        """The net as a list of `gluon_bnn.graph.layers.Layer` for the runtime, in the packed form; NumPy arrays.

        The runtime works on rows, (rows, inputs), so flattening is not in the list. Raises ValueError where
        the net has layers that the runtime does not know, or layers that do not fit together on rows.
        """
        blocks = [block for block, _ in fuse(self._children.values())]
        width = next((inputs_of(block) for block in blocks if inputs_of(block)), None)
        if width is None:
            raise ValueError(
                "the runtime takes nets with at least one dense layer or BatchNorm, got " + ", ".join(map(repr, blocks))
            )
        found, unknown = [], []
        flat, flattens = len(self._input_shape or ()) == 1, list(map(_flattens, blocks))
        for place, block in enumerate(blocks):
            if type(block) is nn.Flatten:
                continue
            # Axis 1 of a value is its last one where an earlier layer has flattened it, and also where the next layer
            # to care flattens: that one has as many inputs as there are channels, so all axes behind have size 1.
            rows = flat or any(flattens[:place]) or next((f for f in flattens[place:] if f is not None), False)
            layer = _layer(block, width, rows)
            if layer is None:
                unknown.append(f"{block.name} ({block!r})")
            else:
                found.append(layer)
                width = layer.units
        if unknown:
            raise ValueError(
                "the runtime takes binary and other dense layers, BatchNorm over the units (with axis=1 "
                "only where that is certain: next to a layer that flattens, or with "
                "input_shape=(inputs,) in freeze; else axis=-1), Flatten, and the activations "
                f"{', '.join(layers.FUNCTIONS)}; got {', '.join(unknown)}"
            )
        if layers.keeps_uint8(self.input_scale):
            found[0] = fold.with_uint8(found[0], self.input_scale, self.input_shift)
        layers.check(found, self._input_shape, self.input_scale, self.input_shift)
        return found

    @property
    def input_shape(self):
        """The shape of one input that `freeze` was given, else (inputs of the first layer,); raises as `layers`."""
        return self._input_shape or (self.layers[0].inputs,)

    def cast(self, dtype):
        """Refused for all but float32: the signs are exact there, and packed words are not numbers."""
        if np.dtype(dtype) != np.float32:
            raise ValueError(f"a frozen net computes in float32, got {dtype!r}")

    def summary(self, *inputs):
        """Print what became of each layer, and its bytes before and after; with inputs Gluon's summary."""
        if inputs:
            super().summary(*inputs)
            return
        cells = [("layer", "became", "bytes before", "bytes after")]
        cells += [(r.layer, r.form, f"{r.before:,}", f"{r.after:,}") for r in self.rows]
        cells.append(
            (
                "total",
                "",
                *(f"{sum(sizes):,}" for sizes in ([r.before for r in self.rows], [r.after for r in self.rows])),
            )
        )
        widths = [max(map(len, column)) for column in zip(*cells)]
        for name, form, before, after in cells:
            print(f"{name:<{widths[0]}}  {form:<{widths[1]}}  {before:>{widths[2]}}  {after:>{widths[3]}}")
