"""From a plan to the runtime's graph: `graph_of`.

A row of a value is (features,) in the runtime, in Gluon's order, or an image with the channels innermost. What is an
image in Gluon becomes one where the first step needs it; a sequence, (channels, width), has height 1, and where there
are more than two axes of space, all but the last count as the height.
"""

import dataclasses
import math
from typing import Optional

import numpy as np

from ..graph.check import check
from ..graph.graph import MOST_AXES, Graph, Node
from ..graph.kinds import KINDS
from ..graph.kinds.activation import FUNCTIONS
from . import fold
from .passes import in_floats, pack
from .plan import Plan, Shape, Step
from .steps import Held, Kept
from .steps.windows import Windowed


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
    plan = plan.ending(plan.outputs)
    unknown: list[Step] = [step for step in plan.steps if isinstance(step, (Held, Kept))]
    if not unknown:
        given = input_of(plan, shape)
        plan = in_floats(pack(plan, given))
        shapes = plan.shapes(given)
        unknown = [step for step in plan.steps if not step.in_runtime(*(shapes[source] for source in step.sources))]
    if unknown:
        raise ValueError(
            "the runtime takes binary and other dense layers (of images only with flatten=True), convolutions and "
            "pooling over one and two axes of space (binary ones with groups only with pad_value=0), BatchNorm (of "
            "images with axis=1), Concat and slices over the units (with axis=1 only where that is certain: next to a "
            "layer that flattens, or with input_shape in freeze; else axis=-1), Flatten, arithmetic, and the "
            f"activations {', '.join(FUNCTIONS)}; got " + ", ".join(f"{step.name} ({step!r})" for step in unknown)
        )
    if len(plan.outputs) != 1:
        raise ValueError(f"the runtime takes nets with one output, got {len(plan.outputs)}")
    return _Nodes(given.sizes, scale, shift).of(plan, shapes)


def input_of(plan: Plan, shape: Optional[tuple[int, ...]]) -> Shape:
    """The shape of the input; ValueError where it must be told, or cannot be this one."""
    first, images = _first(plan), [step for step in plan.steps if isinstance(step, Windowed)]
    if shape is None and images:
        raise ValueError(
            "the runtime needs input_shape in freeze, the shape of one image as the net takes it, since "
            f"{images[0].name} ({images[0]!r}) takes any {images[0].image_shape}"
        )
    if shape is None and first is None:
        raise ValueError(
            "the runtime needs input_shape in freeze, since the net does not begin with a dense layer or BatchNorm, "
            f"which would say how many inputs there are; got {', '.join(map(repr, plan.steps))}"
        )
    if shape is None:
        return Shape((first.inputs,), not _has_rows(plan))
    rows = first.inputs if first and first.flattens else math.prod(shape)
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1 or math.prod(shape) != rows:
        wanted = f"{rows} elements, the inputs of {first.name}" if first and first.flattens else "no empty one"
        raise ValueError(f"input_shape must have 1 to {MOST_AXES} axes and {wanted}; got {shape}")
    return Shape(shape, False)


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


def _has_rows(plan):
    """Whether the input counts as (features,) where its user did not give its shape.

    A step that does not flatten takes and gives values with the same number of axes; `same` holds the places of those
    that have as many as the input. The input is a row where a layer that flattens takes or gives one of them: what such
    a layer takes is assumed to have one axis already."""
    same, before = {0}, None
    while same != before:
        before = set(same)
        for place, step in plan.places():
            group = {place, *step.sources}
            if step.flattens is False and same & group:
                same |= group
    return any(step.flattens and same & {place, step.sources[0]} for place, step in plan.places())


class _Nodes:
    """A graph in the making.

    values : what each node gives
    scale, shifts : of uint8 inputs, or None; shifts is {node: the shift of its value, in the shape of that}, for nodes
        whose values can be passed as uint8
    moved : {(node, "flatten" or "image"): the node that moves its elements}
    """

    def __init__(self, shape, scale, shift):
        self.nodes, self.values, self.moved = [], [], {}
        self.scale, self.shifts = scale, {0: shift}
        self._append(Node("input", (), {"shape": shape}, {} if scale is None else {"scale": scale, "shift": shift}))

    def of(self, plan: Plan, shapes: list[Shape]) -> Graph:
        """The graph of a plan with values of these shapes."""
        places = [0]
        for step in plan.steps:
            xs = [shapes[source] for source in step.sources]
            sources = self._laid_out([places[source] for source in step.sources], xs, step.layout(*xs))
            value = self.values[sources[0]]
            if step.products and step.flattens and len(value.shape) > 1:
                sources = [self._flat(sources[0])]
                step = step.reordered(fold.places_first(value.size, value.channels))
            node = step.node(*xs)
            try:
                places.append(sources[0] if node is None else self._add(node, *sources))
            except ValueError as error:
                raise ValueError(f"the runtime does not take {step.name} ({step!r}): {error}") from None
        self._row(places[plan.outputs[0]])
        return check(Graph(tuple(self.nodes)))

    def _laid_out(self, nodes, xs, layout):
        """The nodes as a step needs them, see `Step.layout`; with "any", several are images where one of them is."""
        if layout == "row":
            return [self._row(node) for node in nodes]
        mixed = any(len(self.values[node].shape) > 1 for node in nodes) and len(nodes) > 1
        if layout == "any" and not mixed:
            return nodes
        return [self._image(node, x) for node, x in zip(nodes, xs)]

    def _image(self, node, x):
        """The node as an image, if it is one in Gluon: of height 1 where it has one axis of space, and of all but the
        last where it has more than two."""
        if not x.image or len(self.values[node].shape) > 1:
            return node
        channels, *places = x.sizes
        return self._once(node, Node("image", (), {"shape": (math.prod(places[:-1]), places[-1], channels)}))

    def _flat(self, node):
        """An image as a row in which the channels of a place are next to each other."""
        return self._once(node, Node("flatten")) if len(self.values[node].shape) > 1 else node

    def _row(self, node):
        """An image as a row in Gluon's order, where the places of a channel are next to each other. The node "image"
        transposes: as it takes the places for channels here, what it gives is (channels, places)."""
        value = self.values[node]
        row = self._flat(node)
        if row == node or 1 in (value.channels, value.size // value.channels):
            return row
        turned = Node("image", (), {"shape": (1, value.channels, value.size // value.channels)})
        return self._flat(self._once(row, turned))

    def _once(self, source, node):
        """The number of a node that moves the elements of another one's value; the same for the second who needs it."""
        key = source, node.kind
        if key not in self.moved:
            self.moved[key] = self._add(node, source)
            if self.values[source].pixels:
                index = self.moved[key]
                moved = KINDS[node.kind].run(node, (self.values[source],), self.shifts[source][None])
                self.shifts[index] = moved.reshape(self.values[index].shape)
        return self.moved[key]

    def _add(self, node, *sources):
        """A node that takes these; where they can be passed as uint8 and it can work on these, with arrays for that."""
        if self.values[sources[0]].pixels:
            node = fold.with_uint8(node, self.scale[0], self.shifts[sources[0]])
        return self._append(dataclasses.replace(node, sources=sources))

    def _append(self, node):
        self.nodes.append(node)
        self.values.append(KINDS[node.kind].value(node, tuple(self.values[source] for source in node.sources)))
        return len(self.nodes) - 1
