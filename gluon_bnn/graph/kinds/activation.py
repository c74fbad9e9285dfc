"""Activations, element by element, each with its formula.

Those with exp are computed in float64 by the same operations as in the compiled library, and so with the same bits,
and rounded once to float32. They do not call libm, whose last bits differ from machine to machine.
"""

import math
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import numpy as np

from ..graph import Node, Value
from .kind import Arrays, Ends, Kind, exact, floats, ordered

ROUNDING, TINY = np.float32(2.0**-20), np.float32(1e-37)
# (1 + 2 x) exp(x^2) erfc(x) for x >= 0, as a polynomial of t = 1 - 7.5 / (x + 3.75), the constant first: 23 terms
# of its Chebyshev series on -1 <= t <= 1, the least of which is 2e-16 (Shepherd and Laframboise 1981).
ERFC = (
    1.2375126308378275,
    -0.14024059858554525,
    0.0035854154854790257,
    0.08227673848999506,
    -0.10880393014244462,
    0.09230432116428125,
    -0.05869339857664934,
    0.02836227737211114,
    -0.009746579683265262,
    0.0017556261651970652,
    0.000293714378044958,
    -0.00029015535246077655,
    5.164652974177416e-05,
    2.2387565714911816e-05,
    -1.1438048033346894e-05,
    -9.792625707303523e-07,
    1.7419821586224816e-06,
    -5.084465378687302e-08,
    -2.4857126248016745e-07,
    1.879082322370048e-08,
    3.197926671666804e-08,
    -1.9551358868985616e-09,
    -2.623107347133476e-09,
)


def exp(x: np.ndarray) -> np.ndarray:
    """exp of float64: 2^n exp(r), n the integer nearest to x / ln 2; the Taylor series to r^13 is exact to one ulp."""
    x = np.clip(x, -708.0, 709.0)
    n = np.rint(x * 1.4426950408889634)
    r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10
    return np.ldexp(_taylor(r, 0), n.astype(np.int32))


def _taylor(x, first):
    """x^0 / first! + x^1 / (first + 1)! + ... + x^(13 - first) / 13!"""
    p = np.full_like(x, 1.0 / math.factorial(13))
    for k in range(12, first - 1, -1):
        p = p * x + 1.0 / math.factorial(k)
    return p


def expm1(x: np.ndarray) -> np.ndarray:
    """exp(x) - 1 of float64; near 0, where the difference would lose digits, the series without its first term."""
    return np.where(np.abs(x) < 0.25, x * _taylor(x, 1), exp(x) - 1.0)


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x) of float64 x >= 0, within 7e-16, and within 2e-15 of itself."""
    t = 1.0 - 7.5 / (x + 3.75)
    p = np.full_like(t, ERFC[-1])
    for coefficient in ERFC[-2::-1]:
        p = p * t + coefficient
    return exp(-(x * x)) * (p / (1.0 + 2.0 * x))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x.astype(np.float64)))


def tanh(x: np.ndarray) -> np.ndarray:
    """Near zero 1 - 2 / (exp(2a) + 1) would lose what distinguishes it from a; beyond 20 it is 1."""
    x = x.astype(np.float64)
    a = np.abs(x)
    large = 1.0 - 2.0 / (exp(2.0 * np.minimum(a, 20.0)) + 1.0)
    return np.copysign(np.where(a < 2.0**-12, a - a * a * a / 3.0, large), x)


def softrelu(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) = max(x, 0) + log1p(u), u = exp(-|x|) <= 1; log1p(u) = 2 artanh(s), s = u / (2 + u) <= 1/3,
    whose series s + s^3/3 + ... ends at s^35, below a unit of float64."""
    x = x.astype(np.float64)
    u = exp(-np.abs(x))
    s = u / (2.0 + u)
    q = s * s
    p = np.full_like(q, 1.0 / 35.0)
    for k in range(33, 0, -2):
        p = p * q + 1.0 / k
    return np.maximum(x, 0.0) + 2.0 * s * p


def elu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """x where x > 0, else slope * (exp(x) - 1)."""
    wide = x.astype(np.float64)
    return np.where(x > 0, wide, slope.astype(np.float64) * expm1(wide))


def gelu(x: np.ndarray) -> np.ndarray:
    """x / 2 * (1 + erf(x / sqrt(2))), whose parenthesis is erfc(-x / sqrt(2)): exact where it is close to 0, too."""
    x = x.astype(np.float64)
    tail = erfc(np.abs(x) * 0.7071067811865476)
    return 0.5 * x * np.where(x < 0, tail, 2.0 - tail)


def swish(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """x * sigmoid(slope * x): three float32 operations, as in MXNet."""
    return x * sigmoid(slope * x).astype(np.float32)


class Function(NamedTuple):
    """formula : a function of x, and of slope where there is one, whose result is then rounded to float32
    slope : None without one; "layer" for a slope float32 (1,), "channel" for one float32 (channels,)
    rises : whether it never falls where x rises, at a slope of at least 0
    bounded : whether it is within -1 and 1, but for NaN
    rounded : whether each runtime rounds it in its own way

    At 0 all are within -1 and 1, and none is steeper than STEEPEST times the larger of 1 and |slope|, but where it
    jumps from one to the other of -1, 0 and 1."""

    formula: Callable
    slope: Optional[str] = None
    rises: bool = False
    bounded: bool = False
    rounded: bool = False


STEEPEST = np.float32(1.2)


def _leaky(x, slope):
    return np.where(x > 0, x, slope * x)


FUNCTIONS = {
    "relu": Function(lambda x: np.where(x <= 0, np.float32(0), x), rises=True),
    "leaky": Function(_leaky, "layer", rises=True),
    "prelu": Function(_leaky, "channel", rises=True),
    "elu": Function(elu, "layer", rises=True, rounded=True),
    "gelu": Function(gelu, rounded=True),
    "sigmoid": Function(sigmoid, rises=True, bounded=True, rounded=True),
    "tanh": Function(tanh, rises=True, bounded=True, rounded=True),
    "softrelu": Function(softrelu, rises=True, rounded=True),
    "softsign": Function(lambda x: x / (1 + np.abs(x)), rises=True, bounded=True),
    "swish": Function(swish, "layer", rounded=True),
    "sign": Function(lambda x: np.where(x < 0, -1, 1), rises=True, bounded=True),
    "binary_sigmoid": Function(lambda x: np.where(x < 0, 0, 1), rises=True, bounded=True),
}


class Activation(Kind):
    """y = function(x), of FUNCTIONS. NaN stays NaN, but for sign and binary_sigmoid, which give 1."""

    name = "activation"
    attributes = {"function": tuple(FUNCTIONS)}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        floats(self, taken)
        return Value("float", taken[0].shape)

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        slope = FUNCTIONS[node.attributes["function"]].slope
        shapes = {"layer": (1,), "channel": (taken[0].channels,)}
        return {"slope": (np.float32, shapes[slope])} if slope else {}, {}

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        return FUNCTIONS[node.attributes["function"]].formula(x, *node.arrays.values()).astype(np.float32, copy=False)

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        """What falls somewhere rises and falls by no more than `steepest` times what x does."""
        name, slope, x = node.attributes["function"], node.arrays.get("slope", np.float32(0)), ends[0][0]
        function = FUNCTIONS[name]
        low, high = super().bounds(node, taken, *ends)
        if not exact(*ends):
            low, high = ordered(low, high)
            if not function.rises or (slope < 0).any():
                steepest = STEEPEST * np.maximum(1, np.abs(slope))
                more = steepest * (ends[0][1] - x)
                low, high = low - more, high + more
        if function.rounded:
            size = np.abs(x) if name == "gelu" else np.maximum(np.abs(low), np.abs(high))
            size += np.float32(name == "softrelu")  # MXNet rounds 1 + exp(x)
            more = ROUNDING * size + TINY
            low, high = low - more, high + more
        if name in ("sigmoid", "tanh"):  # which bound everything but NaN
            unknown = np.isinf(x) & (x != ends[0][1])
            low, high = np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)
        return low, high

    def title(self, node: Node) -> str:
        return node.attributes["function"]
