"""The steps of a frozen net: what each computes in MXNet, and which node of the runtime's graph it is.

Those named Float use MXNet's own operators, `PackedDense` and `Pack` those of our library. All others are the same in
both forms. A new kind of step is a class here, or in a file of its own.
"""

import dataclasses
from typing import Any, Optional

import numpy as np

from ..graph.graph import Node
from . import fold
from .plan import Step, Width

NORM = ("mean", "factor", "beta")


def step(cls):
    """The decorator of all classes of steps."""
    return dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)


class _Product:
    """What steps with a matrix have in common: `inputs`, `units` and `flatten`, as in Gluon's Dense."""

    @property
    def flattens(self):
        return self.flatten

    def after(self, x):
        whole = x.flat or not self.flatten
        if x.channels is not None and (self.inputs != x.channels if whole else self.inputs % x.channels):
            raise ValueError(f"{self.name} has {self.inputs} inputs, but {x.layer} before it has {x.channels} outputs")
        return Width(self.units, self.flatten or x.flat, self.name)


@step
class FloatDense(_Product, Step):
    """A dense layer with its signs baked in: y = alpha * FullyConnected(x, signs) + bias.

    arrays: signs, +-1, (units, inputs), alpha and bias (units,), float32; flatten as in Dense. A bias of -0.0 changes
    nothing, so a layer without one needs no other code.
    """

    flatten: bool = True

    @property
    def units(self):
        return self.arrays["signs"].shape[0]

    @property
    def inputs(self):
        return self.arrays["signs"].shape[1]

    def forward(self, F, x, signs, alpha, bias):
        dot = F.FullyConnected(x, signs, no_bias=True, num_hidden=self.units, flatten=self.flatten)
        return F.broadcast_add(F.broadcast_mul(dot, alpha), bias)

    def __repr__(self):
        return f"FloatDense({self.inputs} -> {self.units})"


@step
class PackedDense(_Product, Step):
    """A dense layer on our library's operator, from `source` to `to`, each float, bits or bits01; arrays as those of
    the runtime's binary_dense."""

    units: int = 0
    in_units: int = 0
    source: str = "float"
    to: str = "float"
    flatten: bool = True

    ORDER = ("weight_bits", "alpha", "bias", *NORM, "threshold", "sums")  # the operator's

    @property
    def inputs(self):
        return self.in_units

    def forward(self, F, x, **arrays):
        return F.gluon_bnn_packed_dense(
            x,
            *(arrays[name] for name in self.ORDER if name in arrays),
            units=str(self.units),
            in_units=str(self.in_units),
            source=self.source,
            target="float" if self.to == "float" else "bits",
            norm=str("mean" in arrays),
            flatten=str(self.flatten),
        )

    def node(self, x):
        return Node("binary_dense", (), {"units": self.units, "to": self.to}, self.arrays)

    def __repr__(self):
        folded = ", batch norm" if "mean" in self.arrays else ""
        return f"PackedDense({self.in_units} -> {self.units}, {self.source} to {self.to}{folded})"


@step
class Pack(Step):
    """The signs of x as int32 words, bit = 1 where x < 0, for a PackedDense from bits or bits01."""

    in_units: int = 0
    to: str = "bits"
    flatten: bool = True

    @property
    def flattens(self):
        return self.flatten

    @property
    def inputs(self):
        return self.in_units

    def after(self, x):
        if x.flat and x.channels not in (None, self.in_units):
            raise ValueError(f"{self.name} takes {self.in_units} inputs, but {x.layer} before it has {x.channels}")
        return Width(self.in_units, self.flatten or x.flat, x.layer)

    def forward(self, F, x):
        return F.gluon_bnn_pack(x, in_units=str(self.in_units), flatten=str(self.flatten))

    def node(self, x):
        return Node("pack", (), {"to": self.to})

    def __repr__(self):
        return f"Pack({self.in_units})"


@step
class Dense(_Product, Step):
    """Gluon's Dense: arrays weight (units, inputs), and bias (units,) or none."""

    flatten: bool = True

    @property
    def units(self):
        return self.arrays["weight"].shape[0]

    @property
    def inputs(self):
        return self.arrays["weight"].shape[1]

    def forward(self, F, x, weight, bias=None):
        given = () if bias is None else (bias,)
        return F.FullyConnected(
            x, weight, *given, no_bias=bias is None, num_hidden=self.units, flatten=self.flatten, name="fwd"
        )

    def node(self, x):
        arrays = {**self.arrays, "weight": np.ascontiguousarray(self.arrays["weight"].T)}
        return Node("dense", (), {"units": self.units}, arrays)

    text = "Dense"

    def __repr__(self):
        return f"Dense({self.inputs} -> {self.units})"


@step
class BatchNorm(Step):
    """Gluon's BatchNorm with its running averages: arrays gamma, beta, running_mean, running_var (channels,)."""

    axis: int = 1
    eps: float = 1e-5

    keeps = True

    @property
    def inputs(self):
        return self.arrays["gamma"].size

    def after(self, x):
        if x.channels not in (None, self.inputs) and (self.axis == -1 or self.axis == 1 and x.flat):
            raise ValueError(f"{self.name} has {self.inputs} inputs, but {x.layer} before it has {x.channels} outputs")
        return x

    def forward(self, F, x, gamma, beta, running_mean, running_var):
        options = {"eps": self.eps, "axis": self.axis, "fix_gamma": False, "use_global_stats": True}
        return F.BatchNorm(x, gamma, beta, running_mean, running_var, name="fwd", **options)

    def in_runtime(self, flat):
        return self.axis == -1 or self.axis == 1 and bool(flat)

    def norm(self):
        """{"mean", "factor", "beta"} of (x - mean) * factor + beta."""
        arrays = (self.arrays[name] for name in ("gamma", "beta", "running_mean", "running_var"))
        try:
            return fold.norm(*arrays, self.eps)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def node(self, x):
        return Node("batch_norm", (), {}, self.norm())

    text = "BatchNorm"

    def __repr__(self):
        return f"BatchNorm(axis={self.axis}, in_channels={self.inputs})"


@step
class FloatSign(Step):
    """-1 where x < 0, else 1; with form="bits01" 0 where x < 0, else 1."""

    form: str = "bits"

    keeps = True

    def forward(self, F, x):
        return 1 - 2 * (x < 0) if self.form == "bits" else 1 - (x < 0)

    def node(self, x):
        return Node("activation", (), {"function": "sign" if self.form == "bits" else "binary_sigmoid"})

    def __repr__(self):
        return f"FloatSign({'-1' if self.form == 'bits' else '0'}, 1)"


@step
class Activation(Step):
    """A function of each element. `slope` is that of leaky and elu and swish's beta; prelu has an array `slope`.

    operator : the operator that it is in MXNet, whose last bits may differ from those of another one
    ReLU keeps NaN, of which Gluon's own Activation("relu") makes 0.
    """

    function: str = "relu"
    operator: str = "Activation"
    slope: Optional[float] = None

    keeps = True

    def forward(self, F, x, slope=None):
        if self.function == "relu":
            return F.relu(x)
        if self.function in ("leaky", "elu"):
            return F.LeakyReLU(x, act_type=self.function, slope=self.slope)
        if self.function == "gelu":
            return F.LeakyReLU(x, act_type="gelu")
        if self.function == "prelu":
            return F.LeakyReLU(x, slope, act_type="prelu")
        if self.function == "swish":
            return x * F.sigmoid(x if self.slope == 1 else self.slope * x)
        if self.operator == "Activation":
            return F.Activation(x, act_type=self.function)
        return getattr(F, self.operator)(x)

    def in_runtime(self, flat):
        return self.function != "prelu" or self.arrays["slope"].size == 1 or bool(flat)  # it is over axis 1

    def node(self, x):
        arrays = {} if self.slope is None else {"slope": np.array([self.slope], np.float32)}
        if self.function == "prelu":
            arrays = {"slope": np.broadcast_to(self.arrays["slope"], (x.channels,)).copy()}
        return Node("activation", (), {"function": self.function}, arrays)

    @property
    def text(self):
        return self.function

    def __repr__(self):
        return f"Activation({self.function})"


@step
class Arithmetic(Step):
    """An operation of two values, or of a value and the array `operand`, which broadcasts to it."""

    function: str = "add"

    OPERATORS = {
        "add": "broadcast_add",
        "subtract": "broadcast_sub",
        "multiply": "broadcast_mul",
        "divide": "broadcast_div",
        "maximum": "broadcast_maximum",
        "minimum": "broadcast_minimum",
    }

    @property
    def keeps(self):
        return len(self.sources) == 1

    def after(self, x, y=None):
        if y is None or x == y:
            return x
        return Width(x.channels if x.channels == y.channels else None, x.flat and y.flat, self.name)

    def forward(self, F, x, y=None, operand=None):
        return getattr(F, self.OPERATORS[self.function])(x, operand if y is None else y)

    def node(self, x, y=None):
        arrays = {name: array.reshape(-1) for name, array in self.arrays.items()}
        size = arrays["operand"].size if y is None else y.channels
        if size != x.channels and (y is not None or size > 1):
            raise ValueError(f"the runtime takes values of one size in {self.name}, got {x.channels} and {size}")
        return Node("arithmetic", (), {"function": self.function}, arrays)

    def __repr__(self):
        operand = self.arrays.get("operand")
        if operand is None:
            return f"Arithmetic({self.function})"
        return f"Arithmetic({self.function} {operand.flat[0] if operand.size == 1 else operand.shape})"


@step
class Flatten(Step):
    """(rows, features) of (rows, ...); with `shape`, (0 or -1, features), Gluon's reshape to it."""

    shape: Optional[tuple] = None

    flattens = True
    keeps = True

    @property
    def inputs(self):
        return self.shape[1] if self.shape and self.shape[1] > 0 else None

    def after(self, x):
        width = x.channels if x.flat else None
        if self.inputs and width not in (None, self.inputs):
            raise ValueError(f"{self.name} makes rows of {self.inputs}, but {x.layer} before it has {width} outputs")
        return Width(self.inputs or width, True, x.layer)

    def forward(self, F, x):
        return F.reshape(x, shape=self.shape) if self.shape else F.Flatten(x)

    def node(self, x):
        return None

    text = "Flatten"

    def __repr__(self):
        return f"Flatten({self.shape or ''})"


class _OverAxis:
    """What steps that work along an axis have in common."""

    def in_runtime(self, flat):
        return flat is not False and self.axis == -1 or self.axis == 1 and bool(flat)


@step
class Concat(_OverAxis, Step):
    """Values one after the other."""

    axis: int = 1

    MOST = 64  # values of one node of the runtime

    def after(self, *xs):
        flat = all(x.flat for x in xs)
        known = (flat or self.axis == -1) and all(x.channels is not None for x in xs)
        return Width(sum(x.channels for x in xs) if known else None, flat, self.name)

    def forward(self, F, *xs):
        return F.concat(*xs, dim=self.axis)

    def node(self, *xs):
        return Node("concat")

    def __repr__(self):
        return f"Concat(axis={self.axis})"


@step
class Slice(_OverAxis, Step):
    """The part from begin to end (None for the last), from the end where they are negative; or, with `parts`, the
    part number `begin` of so many equal ones."""

    axis: int = 1
    begin: int = 0
    end: Optional[int] = None
    parts: int = 0

    def after(self, x):
        known = x.channels is not None and (x.flat or self.axis == -1)
        if known:
            begin, end = self._places(x.channels)
        return Width(end - begin if known else None, x.flat, self.name)

    def _places(self, width):
        if not self.parts:
            begin, end, _ = slice(self.begin, self.end).indices(width)
            return begin, max(begin, end)
        if width % self.parts:
            raise ValueError(f"{self.name} makes {self.parts} equal parts, but gets {width} outputs")
        size = width // self.parts
        return self.begin * size, (self.begin + 1) * size

    def forward(self, F, x):
        if self.parts:
            return F.split(x, num_outputs=self.parts, axis=self.axis)[self.begin]
        return F.slice_axis(x, axis=self.axis, begin=self.begin, end=self.end)

    def node(self, x):
        begin, end = self._places(x.channels)
        return Node("slice", (), {"begin": begin, "end": end})

    def __repr__(self):
        part = f"part {self.begin} of {self.parts}" if self.parts else f"{self.begin} to {self.end}"
        return f"Slice(axis={self.axis}, {part})"


@step
class Held(Step):
    """An operator that nobody converts: MXNet runs it, the runtime does not.

    graph : the JSON of a graph of this operator alone, whose inputs are the variables x0, x1 ..: first one for each of
    the sources, then the arrays of these names
    """

    operator: str = ""
    graph: Optional[dict] = None

    flattens = None

    def after(self, *xs):
        return Width()

    def in_runtime(self, flat):
        return False

    def __repr__(self):
        return self.operator


@step
class Kept(Step):
    """A block whose forward takes arrays only: it stays as it is, the very same with the same parameters."""

    block: Any = None

    flattens = None

    def after(self, x):
        return Width()

    def in_runtime(self, flat):
        return False

    def forward(self, F, x):
        return self.block(x)

    @property
    def text(self):
        return type(self.block).__name__

    def __repr__(self):
        return repr(self.block)


def is_binary(step: Step) -> bool:
    """Whether a step has 1-bit weights or gives signs."""
    return isinstance(step, (FloatDense, FloatSign, PackedDense, Pack))
