"""Converters of functions of each element."""

from typing import Any

import numpy as np

from ..steps import Activation
from .build import Build, converts


def _function(name):
    @converts(name)
    def convert(build, x):
        return build(Activation, x, function=name, operator=name)


for _name in ("relu", "sigmoid", "tanh", "softsign"):
    _function(_name)


@converts("Activation")
def activation(build: Build, x: Any) -> Any:
    function = build.get("act_type")
    known = function in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    return build(Activation, x, function=function) if known else None


@converts("LeakyReLU")
def leaky_relu(build: Build, x: Any, slope: Any = None) -> Any:
    function = build.get("act_type", "leaky")
    if function in ("leaky", "elu"):
        return build(Activation, x, function=function, slope=float(build.get("slope", 0.25)))
    if function == "gelu":
        return build(Activation, x, function=function)
    if function == "prelu" and isinstance(x, int) and isinstance(slope, np.ndarray):
        return build(Activation, x, function=function, arrays={"slope": slope.reshape(-1)})
    return None
