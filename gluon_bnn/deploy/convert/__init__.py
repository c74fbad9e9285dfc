"""From a traced net to a plan: one small function for each of MXNet's operators, and each kind of binary layer.

A converter gets a `Build`, and what the operator takes: the place of a value in the plan, or a NumPy array where it
depends on parameters only; at least one is a place. It returns what the operator gives, again a place, or a list with a
place for each output, or None where it does not convert this one: the operator then stays, as a `Held` step.

    @converts("tanh")
    def tanh(build, x):
        return build(Activation, x, function="tanh")
"""

import dataclasses
import inspect
from typing import Any

import numpy as np

from ..plan import Plan
from ..steps import Held
from ..trace import INPUT, Entry, Node, Trace, alone, constants, evaluated, is_open, is_random
from . import arithmetic, convs, functions, layers, shapes  # noqa: F401 (they register their converters)
from .build import Build, converter

__all__ = ["convert"]


def convert(traced: Trace) -> Plan:
    """The plan of a traced net. Raises ValueError where the weights of a binary layer depend on the input, where what a
    layer takes or an output of the net does not, where batch norm's factor is not finite, and where an operator of an
    export takes another number of values, or values that MXNet refuses."""
    plan = Plan(format=traced.format)
    rows: dict[int, Any] = {}
    known, arrays = constants(traced)
    values: dict[Entry, Any] = dict(arrays)  # or what `_outputs` gives, or a Node that is open
    for place, node in enumerate(traced.nodes):
        if node.name == INPUT and node.operator == "null":
            values[place, 0] = 0
        elif is_open(node):
            values[place, 0] = node
        elif place not in known:
            rows[id(node.row)] = node.row
            for output, value in enumerate(_outputs(traced, place, Build(plan, node), values)):
                values[place, output] = value
    outputs = tuple(values[entry] for entry in traced.outputs)
    if not all(isinstance(value, int) for value in outputs):
        raise ValueError("freeze takes a net whose outputs depend on its input, got one with a constant output")
    return dataclasses.replace(plan, outputs=outputs, rows=list(rows.values()))


def _outputs(traced, place, build, values):
    """What each output of an operator gives."""
    node, count = build.node, traced.count(place)
    inputs = [values[entry] for entry in node.inputs]
    if node.layer is not None and not isinstance(inputs[0], int):
        raise ValueError(
            f"freeze takes layers of what depends on the net's input, and {node.layer.name} takes an array that does "
            "not"
        )
    # A converter has found that they depend on parameters only: the layers of an export may take their own input as a
    # hint of their weights' shape.
    if inputs and all(isinstance(value, np.ndarray) for value in inputs) and not is_random(node):
        return [evaluated(node, inputs, output, count) for output in range(count)]
    # Steps compute in float32; an operator of ours says itself what it takes.
    fits = node.operator.startswith("gluon_bnn_") or traced.is_float32(place)
    converts = converter(node) if fits and not any(isinstance(value, Node) for value in inputs) else None
    if converts:
        try:
            inspect.signature(converts).bind(build, *inputs)
        except TypeError:
            raise ValueError(f"{node.operator} does not take {len(inputs)} values, as {node.name} gives it") from None
    found = converts(build, *inputs) if converts else None
    if found is None:
        return [_held(build, inputs, output, count) for output in range(count)]
    return found if isinstance(found, list) else [found] * count


def _held(build, inputs, output, outputs):
    """A step for one output of an operator that has no converter."""
    # A block has an input, so one that takes no value, as random numbers do, gets that of the net.
    sources = list(dict.fromkeys(value for value in inputs if isinstance(value, int))) or [0]
    order, arrays = [], {}
    for value in inputs:
        if isinstance(value, int):
            order.append(sources.index(value))
        elif isinstance(value, Node):
            order.append(value)
        else:
            order.append(len(sources) + len(arrays))
            arrays[f"x{order[-1]}"] = value
    graph = alone(build.node, order, output, outputs)
    return build(Held, *sources, arrays=arrays, operator=build.node.operator, graph=graph)
