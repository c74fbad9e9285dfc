"""From a traced net to a plan: one small function for each of MXNet's operators, and each kind of binary layer.

A converter gets a `Build`, and what the operator takes: the place of a value in the plan, or a NumPy array where it
depends on parameters only. It returns what the operator gives, again a place or an array, or None where it does not
convert this one: the operator then stays, as a `Held` step.

    @converts("tanh")
    def tanh(build, x):
        return build(Activation, x, function="tanh")
"""

import ast
import dataclasses

import numpy as np

from .. import nn
from .._compat import mx
from .plan import Plan, Step
from .steps import (
    NORM,
    Activation,
    Arithmetic,
    BatchNorm,
    Concat,
    Dense,
    Flatten,
    FloatDense,
    FloatSign,
    Held,
    Pack,
    PackedDense,
    Slice,
)
from .trace import INPUT, Node, Trace, alone, constants

_converters = {}  # by the name of an operator, or the class of a layer


def converts(*names):
    """Registers a converter for operators of these names, or layers of these classes."""

    def register(function):
        _converters.update(dict.fromkeys(names, function))
        return function

    return register


@dataclasses.dataclass
class Build:
    """What a converter builds the plan with: called with the class of a step and the places of its sources, it appends
    the step and returns its place."""

    plan: Plan
    node: Node

    def __call__(self, kind, *sources, arrays=None, **options) -> int:
        return self.plan.add(kind(sources, arrays or {}, self.node.row, **options))

    def step(self, value, *kinds) -> Step:
        """The step that gives a value, if it is of one of these kinds, else None."""
        found = self.plan[value] if isinstance(value, int) else None
        return found if isinstance(found, kinds) else None

    def get(self, name, default=None):
        """An attribute of the operator, as Python's literal."""
        text = self.node.attributes.get(name)
        if text is None:
            return default
        try:
            value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
        except (ValueError, SyntaxError):
            return text
        return tuple(value) if isinstance(value, list) else value


def convert(traced: Trace) -> Plan:
    """The plan of a traced net. Raises ValueError where a binary layer's weights depend on the input."""
    plan, rows = Plan(format=traced.format), {}
    known, values = constants(traced)
    for place, node in enumerate(traced.nodes):
        if node.name == INPUT and node.operator == "null":
            values[place, 0] = 0
        elif place not in known:
            rows[id(node.row)] = node.row
            for output, value in enumerate(_outputs(traced, place, Build(plan, node), values)):
                values[place, output] = value
    outputs = tuple(values[entry] for entry in traced.outputs)
    if _constant(*outputs):
        raise ValueError("freeze takes a net whose outputs depend on its input")
    return dataclasses.replace(plan, outputs=outputs, rows=list(rows.values()))


def _outputs(traced, place, build, values):
    """What each output of an operator gives."""
    node, count = build.node, traced.graph["node_row_ptr"][place + 1] - traced.graph["node_row_ptr"][place]
    inputs = [values[entry] for entry in node.inputs]
    kinds = [node.operator] if node.layer is None else type(node.layer).__mro__
    converter = next((_converters[kind] for kind in kinds if kind in _converters), None)
    found = converter(build, *inputs) if converter else None
    if found is None:
        return [_held(build, inputs, output, count) for output in range(count)]
    return found if isinstance(found, list) else [found] * count


def _held(build, inputs, output, outputs):
    """A step for one output of an operator that nobody converts."""
    sources = list(dict.fromkeys(value for value in inputs if isinstance(value, int)))
    order, arrays = [], {}
    for value in inputs:
        if isinstance(value, int):
            order.append(sources.index(value))
        else:
            order.append(len(sources) + len(arrays))
            arrays[f"x{order[-1]}"] = value
    graph = alone(build.node, order, output, outputs)
    return build(Held, *sources, arrays=arrays, operator=build.node.operator, graph=graph)


def _constant(*values):
    return all(isinstance(value, np.ndarray) for value in values)


def _is(array, number):
    """Whether all of an array is this number, 0.0 and -0.0 being different."""
    return (
        isinstance(array, np.ndarray)
        and np.array_equal(array, np.full_like(array, number))
        and (np.signbit(array) == np.signbit(number)).all()
    )


# Layers with 1-bit weights, and what else has a matrix.


@converts(nn.BinaryDense)
def binary_dense(build, x, weight, bias=None):
    layer = build.node.layer
    if not isinstance(weight, np.ndarray):
        raise ValueError(f"the weights of {layer.name} must not depend on the input")
    signs, alpha = layer.sign_scale(mx.nd.array(weight))
    return _float_dense(build, x, signs.asnumpy(), alpha.asnumpy(), bias, layer._flatten)


@converts(nn.BinaryActivation, "gluon_bnn_sign")
def binary_activation(build, x):
    return build(FloatSign, x)


@converts(nn.BinarySigmoid)
def binary_sigmoid(build, x):
    return build(FloatSign, x, form="bits01")


def _float_dense(build, x, signs, alpha, bias, flatten):
    units = len(signs)
    arrays = {
        "signs": signs,
        "alpha": np.broadcast_to(alpha.reshape(-1), (units,)).copy(),
        "bias": np.full(units, -0.0, np.float32) if bias is None else bias.reshape(-1),
    }
    return build(FloatDense, x, arrays=arrays, flatten=bool(flatten))


@converts("gluon_bnn_binary_dense")
def native_binary_dense(build, x, weight, *others):
    if not _constant(weight, *others):
        return None
    others = list(others)
    bias = None if build.get("no_bias") else others.pop(0)
    given = [mx.nd.array(array) for array in (weight, *others)]  # with a curvature where the scale is "loss"
    options = {name: build.node.attributes[name] for name in ("scale", "gradient", "clip")}
    signs, alpha = mx.nd.gluon_bnn_sign_scale(*given, **options)
    return _float_dense(build, x, signs.asnumpy(), alpha.asnumpy(), bias, build.get("flatten", True))


@converts("gluon_bnn_scale_bias")
def scale_bias(build, dot, alpha, bias=None):
    y = multiply(build, dot, alpha.reshape(-1))
    return y if bias is None else add(build, y, bias.reshape(-1))


@converts("gluon_bnn_pack")
def pack(build, x):
    return build(Pack, x, in_units=build.get("in_units"), flatten=build.get("flatten"))


@converts("gluon_bnn_packed_dense")
def packed_dense(build, x, *arrays):
    """Of the export of a net that was frozen in the packed form."""
    source, target = build.get("source"), build.get("target")
    for before in (build.step(x, Pack, PackedDense),) if source == "bits01" else ():
        build.plan.steps[x - 1] = dataclasses.replace(before, to="bits01")
    names = ["weight_bits", "threshold"]
    if source == "float" or target == "float":
        names = ["weight_bits", "alpha", "bias", *(NORM if build.get("norm") else ())]
        names += ["sums"] if source == "bits01" else []
    units, in_units = build.get("units"), build.get("in_units")
    options = {"units": units, "in_units": in_units, "source": source, "to": target, "flatten": build.get("flatten")}
    return build(PackedDense, x, arrays=dict(zip(names, arrays)), **options)


@converts("FullyConnected")
def fully_connected(build, x, weight, bias=None):
    if isinstance(x, np.ndarray) or not _constant(weight, *(() if bias is None else (bias,))):
        return None
    flatten = build.get("flatten", True)
    if (np.abs(weight) == 1).all():  # a binary layer, of whatever operators its signs were made
        return _float_dense(build, x, weight, np.ones(1, np.float32), bias, flatten)
    arrays = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return build(Dense, x, arrays=arrays, flatten=bool(flatten))


@converts("BatchNorm")
def batch_norm(build, x, gamma, beta, mean, var):
    if isinstance(x, np.ndarray) or not _constant(gamma, beta, mean, var) or build.get("output_mean_var"):
        return None
    gamma = np.ones_like(gamma) if build.get("fix_gamma", True) else gamma
    return _batch_norm(build, x, gamma, beta, mean, var, build.get("axis", 1), build.get("eps", 1e-3))


@converts("gluon_bnn_batch_norm")
def native_batch_norm(build, x, gamma, beta, mean, var, training):
    arrays = (array.reshape(-1) for array in (gamma, beta, mean, var))
    return _batch_norm(build, x, *arrays, -1, build.get("eps"))


def _batch_norm(build, x, gamma, beta, mean, var, axis, eps):
    arrays = {"gamma": gamma, "beta": beta, "running_mean": mean, "running_var": var}
    return build(BatchNorm, x, arrays=arrays, axis=axis, eps=float(eps))


# What gives in inference what it takes.


@converts("_copy", "BlockGrad", "identity", "stop_gradient", "make_loss")
def same(build, x):
    return x


@converts("Dropout")
def dropout(build, x):
    return None if build.get("mode", "training") == "always" else x


# Shapes.


@converts("Flatten")
def flatten(build, x):
    return build(Flatten, x)


@converts("Reshape")
def reshape(build, x):
    shape = build.get("shape")
    if build.get("reverse") or not isinstance(shape, tuple):
        return None
    if shape == (-2,):
        return x
    if len(shape) == 2 and shape[0] in (0, -1) and (shape[1] > 0 or shape == (0, -1)):
        return build(Flatten, x, shape=shape)
    return None


@converts("Concat")
def concat(build, *xs):
    if any(isinstance(x, np.ndarray) for x in xs):
        return None
    axis, most = build.get("dim", 1), Concat.MOST
    while len(xs) > 1:
        groups = [xs[i : i + most] for i in range(0, len(xs), most)]
        xs = [build(Concat, *group, axis=axis) if len(group) > 1 else group[0] for group in groups]
    return xs[0]


@converts("slice_axis")
def slice_axis(build, x):
    axis, begin, end = build.get("axis"), build.get("begin"), build.get("end")
    if axis == 0 and begin == 0 and end is None:  # a copy, as ops/composed.py makes it
        return x
    return build(Slice, x, axis=axis, begin=begin, end=end) if axis else None


@converts("slice")
def slice_(build, x):
    """Of (rows, features), where rows are left alone: x[:, begin:end]."""
    begin, end, step = (build.get(name, ()) for name in ("begin", "end", "step"))
    if len(begin) != 2 or len(end) != 2 or begin[0] not in (None, 0) or end[0] is not None:
        return None
    if any(each not in (None, 1) for each in step or ()):
        return None
    return build(Slice, x, axis=1, begin=begin[1] or 0, end=end[1])


@converts("SliceChannel")
def split(build, x):
    parts, axis = build.get("num_outputs"), build.get("axis", 1)
    if build.get("squeeze_axis") or axis == 0:
        return None
    return [build(Slice, x, axis=axis, begin=part, parts=parts) for part in range(parts)]


# Functions of each element.


def _activation(name, function):
    @converts(name)
    def convert(build, x):
        return build(Activation, x, function=function)


for _name in ("relu", "sigmoid", "tanh", "softsign"):
    _activation(_name, _name)


@converts("Activation")
def activation(build, x):
    function = build.get("act_type")
    known = function in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    return build(Activation, x, function=function) if known else None


@converts("LeakyReLU")
def leaky_relu(build, x, slope=None):
    function = build.get("act_type", "leaky")
    if function in ("leaky", "elu"):
        return build(Activation, x, function=function, slope=float(build.get("slope", 0.25)))
    if function == "gelu":
        return build(Activation, x, function=function)
    if function == "prelu" and isinstance(x, int) and isinstance(slope, np.ndarray):
        return build(Activation, x, function=function, arrays={"slope": slope.reshape(-1)})
    return None


# Arithmetic.


def _operation(name, turned=None):
    """A converter of x name y. `turned` converts it with its sides exchanged."""

    def operation(build, x, y):
        if isinstance(y, np.ndarray):
            return build(Arithmetic, x, arrays={"operand": np.atleast_1d(y)}, function=name)
        if isinstance(x, np.ndarray):
            return turned and turned(build, y, x)
        return build(Arithmetic, x, y, function=name)

    return operation


def _minus(build, x, y):
    """y - x, for an array y: -x + y has the same bits."""
    return add(build, multiply(build, x, np.array(-1, np.float32)), y)


_add, _multiply = _operation("add"), _operation("multiply")
subtract, divide = _operation("subtract", _minus), _operation("divide")


@converts("elemwise_add", "broadcast_add", "_grad_add")
def add(build, x, y):
    for value, other in ((x, y), (y, x)):
        if build.step(value, FloatSign) and isinstance(other, int) and _zero(build, other):
            return value
    return _add(build, x, y) if isinstance(x, int) else _add(build, y, x)


@converts("elemwise_mul", "broadcast_mul")
def multiply(build, x, y):
    for value, gate in ((x, y), (y, x)):
        inner = build.step(gate, Activation)
        if inner and inner.function == "sigmoid" and isinstance(value, int):
            if inner.sources == (value,):
                return build(Activation, value, function="swish", slope=1.0)
            scaled = build.step(inner.sources[0], Arithmetic)
            operand = scaled and scaled.arrays.get("operand")
            scalar = operand is not None and scaled.function == "multiply" and operand.size == 1
            if scalar and scaled.sources == (value,):
                return build(Activation, value, function="swish", slope=float(operand.flat[0]))
    return _multiply(build, x, y) if isinstance(x, int) else _multiply(build, y, x)


for _names, _function in ((("elemwise_sub", "broadcast_sub"), subtract), (("elemwise_div", "broadcast_div"), divide)):
    converts(*_names)(_function)


maximum, minimum = (_operation(name, _operation(name)) for name in ("maximum", "minimum"))
converts("_maximum", "broadcast_maximum")(maximum)
converts("_minimum", "broadcast_minimum")(minimum)


@converts("add_n")
def add_n(build, *xs):
    total = xs[0]
    for x in xs[1:]:
        total = add(build, total, x)
    return total


@converts("square")
def square(build, x):
    return build(Arithmetic, x, x, function="multiply")


@converts("negative")
def negative(build, x):
    return multiply(build, x, np.array(-1, np.float32))


@converts("clip")
def clip(build, x):
    low, high = (np.array(build.get(name), np.float32) for name in ("a_min", "a_max"))
    return minimum(build, maximum(build, x, low), high)


def _scalar(name, operation):
    @converts(name)
    def convert(build, x):
        return operation(build, x, np.array(build.get("scalar"), np.float32))


for _name, _function in (
    ("_plus_scalar", add),
    ("_minus_scalar", subtract),
    ("_mul_scalar", multiply),
    ("_div_scalar", divide),
    ("_maximum_scalar", maximum),
    ("_minimum_scalar", minimum),
):
    _scalar(_name, _function)


@converts("_rminus_scalar")
def rminus_scalar(build, x):
    """c - x; 1 - 2 * (x < 0) and 1 - (x < 0) are signs."""
    if build.get("scalar") == 1:
        doubled = build.step(x, Arithmetic)
        twice = doubled and doubled.function == "multiply" and _is(doubled.arrays.get("operand"), 2)
        below = build.step(doubled.sources[0] if twice else x, Held)
        if below and below.operator == "_lesser_scalar" and _attribute(below, "scalar") == 0:
            return build(FloatSign, *below.sources, form="bits" if twice else "bits01")
    return _minus(build, x, np.array(build.get("scalar"), np.float32))


# The composed operators of ours add what is 0 for every x, to have a gradient of their own.


@converts("where")
def where(build, condition, x, y):
    return x if all(isinstance(each, int) and _zero(build, each) for each in (x, y)) else None


def _zero(build, place):
    """Whether a value is 0 for every input."""
    step = build.step(place, Held, Arithmetic)
    if isinstance(step, Held):
        return step.operator == "zeros_like"
    return (
        bool(step)
        and step.function == "subtract"
        and step.sources == step.sources[::-1]
        and (len(step.sources) == 2 and _finite(build, step.sources[0]))
    )


def _finite(build, place):
    """Whether a value is finite for every input, NaN included."""
    step = build.step(place, Held, Activation)
    if isinstance(step, Activation):
        known = build.step(step.sources[0], Held)  # where(x == x, x, 0)
        equal = known and known.operator == "where" and build.step(known.sources[0], Held)
        return step.function == "sigmoid" and bool(equal) and equal.operator == "_equal" and len(equal.sources) == 1
    return bool(step) and step.operator == "_contrib_sign_ste"


def _attribute(held, name):
    return float(held.graph["nodes"][-1]["attrs"][name])


def layers() -> str:
    """The names of the layers that make a net binary, for messages."""
    names = [kind.__name__ for kind in _converters if isinstance(kind, type)]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def is_binary(step: Step) -> bool:
    """Whether a step has 1-bit weights or gives signs."""
    return isinstance(step, (FloatDense, FloatSign, PackedDense, Pack))
