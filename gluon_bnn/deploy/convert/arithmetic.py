"""Converters of arithmetic, and of signs and swish, which are composed of arithmetic."""

from typing import Any

import numpy as np

from ...graph.kinds.arithmetic import FUNCTIONS
from ..steps import Activation, Arithmetic, FloatSign, Held
from .build import Build, converts


def _is(array, number):
    """Whether all of an array is this number, 0.0 and -0.0 being different."""
    return (
        isinstance(array, np.ndarray)
        and np.array_equal(array, np.full_like(array, number))
        and (np.signbit(array) == np.signbit(number)).all()
    )


def _operation(name, turned=None):
    """A converter of x name y. `turned` converts it with its sides exchanged."""

    def operation(build, x, y):
        if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):  # two of what add_n takes
            return FUNCTIONS[name](x, y)
        if isinstance(y, np.ndarray):
            return build(Arithmetic, x, arrays={"operand": np.atleast_1d(y)}, function=name)
        if isinstance(x, np.ndarray):
            return turned and turned(build, y, x)
        return build(Arithmetic, x, y, function=name)

    return operation


def _minus(build, x, y):
    """y - x, for an array y: -x + y has the same bits."""
    return add(build, multiply(build, x, np.array(-1, np.float32)), y)


def _over(build, x, y):
    """y / x, for an array y: the array, as min(max(x, y), y), over x. NaN stays NaN; what y / x is at 0 depends on the
    sign of zeros, which max and min may change."""
    known = np.isfinite(y).all() and np.all(y != 0)
    return divide(build, minimum(build, maximum(build, x, y), y), x) if known else None


_add, _multiply = _operation("add"), _operation("multiply")
subtract, divide = _operation("subtract", _minus), _operation("divide", _over)


@converts("elemwise_add", "broadcast_add")
def add(build: Build, x: Any, y: Any) -> Any:
    """x + y. A sign plus what is always 0, by which our composed operators give it a gradient, is the sign."""
    for value, other in ((x, y), (y, x)):
        if build.step(value, FloatSign) and isinstance(other, int) and _zero(build, other):
            return value
    return _add(build, x, y) if isinstance(x, int) else _add(build, y, x)


@converts("elemwise_mul", "broadcast_mul")
def multiply(build: Build, x: Any, y: Any) -> Any:
    """x * y. x * sigmoid(c * x), with one number c, is swish."""
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
def add_n(build: Build, *xs: Any) -> Any:
    """The order is MXNet's: up to four arrays are added from the last to the first, more than four from the first."""
    total, *others = xs if len(xs) > 4 else xs[::-1]
    for x in others:
        total = add(build, total, x)
    return total


@converts("square")
def square(build: Build, x: Any) -> Any:
    return build(Arithmetic, x, x, function="multiply")


@converts("negative")
def negative(build: Build, x: Any) -> Any:
    return multiply(build, x, np.array(-1, np.float32))


@converts("clip")
def clip(build: Build, x: Any) -> Any:
    """min(max(x, a_min), a_max)."""
    low, high = (np.array(build.get(name), np.float32) for name in ("a_min", "a_max"))
    return None if low > high else minimum(build, maximum(build, x, low), high)  # MXNet then gives both of them


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
def rminus_scalar(build: Build, x: Any) -> Any:
    """c - x; 1 - 2 * (x < 0) and 1 - (x < 0) are signs."""
    if build.get("scalar") == 1:
        doubled = build.step(x, Arithmetic)
        twice = doubled and doubled.function == "multiply" and _is(doubled.arrays.get("operand"), 2)
        below = build.step(doubled.sources[0] if twice else x, Held)
        if below and below.operator == "_lesser_scalar" and _attribute(below, "scalar") == 0:
            return build(FloatSign, *below.sources, form="bits" if twice else "bits01")
    return _minus(build, x, np.array(build.get("scalar"), np.float32))


@converts("_rdiv_scalar")
def rdiv_scalar(build: Build, x: Any) -> Any:
    return _over(build, x, np.array(build.get("scalar"), np.float32))


# Our composed operators get their own gradient by adding a term that is 0 for every x. Those of version 0.1.0 turned
# the sign 0 into 1 by adding a half and taking the sign again.


@converts("_contrib_sign_ste")
def sign_ste(build: Build, x: Any) -> Any:
    """sign(sign(x) + 0.5), which is 1 at 0, is a sign of ours; MXNet's own, which is 0 there, stays."""
    half = build.step(x, Arithmetic)
    if half and half.function == "add" and _is(half.arrays.get("operand"), 0.5):
        taken = _sign_ste(build, half.sources[0])
        return build(FloatSign, *taken) if taken else None
    return None


@converts("where")
def where(build: Build, condition: Any, x: Any, y: Any) -> Any:
    """Only of two values that are always 0: our composed sign cuts its gradient off beyond the clip in this way."""
    return x if all(isinstance(each, int) and _zero(build, each) for each in (x, y)) else None


def _zero(build, place):
    """Whether a value is 0 for every input."""
    step = build.step(place, Held, Arithmetic)
    if isinstance(step, Held):
        return step.operator == "zeros_like"
    if step is None or step.function != "subtract" or len(step.sources) != 2:
        return False
    x, y = step.sources
    return _finite(build, x) and (x == y or _sign_ste(build, x) == _sign_ste(build, y) != ())


def _finite(build, place):
    """Whether a value is finite for every input, NaN included."""
    sigmoid = build.step(place, Activation)
    if sigmoid is None or sigmoid.function != "sigmoid":
        return _sign_ste(build, place) != ()
    known = build.step(sigmoid.sources[0], Held)  # where(x == x, x, 0)
    equal = known and known.operator == "where" and build.step(known.sources[0], Held)
    return bool(equal) and equal.operator == "_equal" and len(equal.sources) == 1


def _sign_ste(build, place):
    """What MXNet's own straight-through sign takes, () for anything else."""
    step = build.step(place, Held)
    return step.sources if step and step.operator == "_contrib_sign_ste" else ()


def _attribute(held, name):
    return float(held.graph["nodes"][-1]["attrs"][name])
