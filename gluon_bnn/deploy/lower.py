"""From a plan to the runtime's graph, which works on rows: `graph_of`."""

import dataclasses
import math
from typing import Optional

import numpy as np

from ..graph.check import check
from ..graph.graph import MOST_AXES, Graph, Node
from ..graph.kinds.activation import FUNCTIONS
from . import fold
from .passes import pack
from .plan import Plan, Width


def graph_of(
    plan: Plan,
    shape: Optional[tuple[int, ...]] = None,
    scale: Optional[np.ndarray] = None,
    shift: Optional[np.ndarray] = None,
) -> Graph:
    """The graph of a plan for inputs of this shape, by default (inputs of the first layer,), checked.

    scale, float32 (1,) or (inputs,), and shift, float32 (inputs,), are those of uint8 inputs, or None. Raises
    ValueError where the runtime does not take a layer, the net has several outputs, or the shape does not fit.
    """
    plan = pack(plan.ending(plan.outputs))
    _check_layers(plan, shape)
    first = _first(plan)
    if shape is None and first is None:
        raise ValueError(
            "the runtime needs input_shape in freeze, since the net does not begin with a dense layer or BatchNorm, "
            f"which would say how many inputs there are; got {', '.join(map(repr, plan.steps))}"
        )
    shape = (first.inputs,) if shape is None else shape
    inputs = first.inputs if first else math.prod(shape)
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1 or math.prod(shape) != inputs:
        wanted = f"{inputs} elements, the inputs of {first.name}" if first else "no empty one"
        raise ValueError(f"input_shape must have 1 to {MOST_AXES} axes and {wanted}; got {shape}")
    if len(plan.outputs) != 1:
        raise ValueError(f"the runtime takes nets with one output, got {len(plan.outputs)}")
    arrays = {} if scale is None or shift is None else {"scale": scale, "shift": shift}
    nodes, places = [Node("input", (), {"shape": shape}, arrays)], [0]
    pixels = scale is not None and scale.shape == (1,) and scale[0] > 0
    widths = plan.widths(Width(math.prod(shape), True))
    for step in plan.steps:
        node = step.node(*(widths[source] for source in step.sources))
        sources = tuple(places[source] for source in step.sources)
        if node is None:
            places.append(sources[0])
            continue
        if pixels and sources == (0,) and node.kind in ("pack", "binary_dense"):
            node = fold.with_uint8(node, arrays["scale"][0], arrays["shift"])
        nodes.append(dataclasses.replace(node, sources=sources))
        places.append(len(nodes) - 1)
    return check(Graph(tuple(nodes)))


def _first(plan):
    """The first layer that says how many inputs the net has, or None."""
    same = {0}  # places of values as wide as the input
    for place, step in plan.places():
        if same.intersection(step.sources):
            if step.inputs:
                return step
            if step.keeps:
                same.add(place)
    return None


def _check_layers(plan, shape):
    flat = _flat(plan, shape)
    unknown = [f"{step.name} ({step!r})" for step in plan.steps if not step.in_runtime(flat[step.sources[0]])]
    if unknown:
        raise ValueError(
            "the runtime takes binary and other dense layers, BatchNorm, Concat and slices over the units (with axis=1 "
            "only where that is certain: next to a layer that flattens, or with input_shape=(inputs,) in freeze; else "
            f"axis=-1), Flatten, arithmetic, and the activations {', '.join(FUNCTIONS)}; got {', '.join(unknown)}"
        )


def _flat(plan, shape):
    """For each place whether its value is certainly (rows, features): True, False, or None where that is open.

    A step that works on an axis or on each element gives as many axes as it takes. A layer that flattens gives rows;
    what it takes has as many elements as the layer has inputs, and is assumed to have one axis unless more are known.
    """
    flat = [None if shape is None else len(shape) == 1] + [None] * len(plan.steps)
    before = None
    while before != flat:
        before = list(flat)
        for place, step in plan.places():
            if step.flattens:
                flat[place] = True
                flat[step.sources[0]] = True if flat[step.sources[0]] is None else flat[step.sources[0]]
            elif step.flattens is False:
                group = [place, *step.sources]
                known = {flat[each] for each in group} - {None}
                for each in group if known else ():
                    flat[each] = flat[each] if flat[each] is not None else known == {True}
    return flat
