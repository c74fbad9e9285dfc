"""A net between its trace and what is made of it: steps in the order in which they run. NumPy only.

`convert` makes a plan of the operators of a traced net, `passes` makes plans of plans, and each step says what it is in
Gluon (a block) and in the runtime (a node of `graph.Graph`). The steps themselves are in `steps`.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Optional

import numpy as np

from ..graph.graph import Node


@dataclasses.dataclass
class Row:
    """What became of one layer of the net that was frozen: a line of `Frozen.summary`.

    blocks are those of the frozen net that stand for it; `folded` names the layer that took it in.
    """

    layer: str
    before: int = 0
    blocks: list = dataclasses.field(default_factory=list)
    folded: Optional[str] = None

    @property
    def form(self) -> str:
        """What it became, as text."""
        return ", ".join(block.text for block in self.blocks) or (
            f"folded into {self.folded}" if self.folded else "dropped"
        )

    @property
    def after(self) -> int:
        """The bytes that it takes now."""
        return sum(block.nbytes for block in self.blocks)


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is known of the shape of a row of a value in Gluon.

    sizes : of its axes, None where one is not known: (features,), or (channels, height, width) of an image
    open : whether there may be more axes before these
    layer : the layer that gave it this shape
    """

    sizes: tuple[Optional[int], ...] = (None,)
    open: bool = True
    layer: str = "the input"

    @property
    def flat(self) -> bool:
        """Whether it is certainly (features,)."""
        return not self.open and len(self.sizes) == 1

    @property
    def image(self) -> bool:
        """Whether it certainly has channels, and places after them."""
        return not self.open and len(self.sizes) > 1

    @property
    def last(self) -> Optional[int]:
        """The size of the last axis."""
        return self.sizes[-1]

    @property
    def units(self) -> Optional[int]:
        """The size of the axis over which layers work in the runtime: an image's channels, or the last axis."""
        return self.last if self.open else self.sizes[0]

    @property
    def size(self) -> Optional[int]:
        """The number of elements, None where it is not known."""
        known = [size for size in self.sizes if size is not None]
        return math.prod(known) if not self.open and len(known) == len(self.sizes) else None

    def along(self, axis: int) -> Optional[int]:
        """The size of an axis, None where it is not known; as MXNet counts axes, where 0 is that of the rows."""
        if axis < 0:
            return self.sizes[axis] if -axis <= len(self.sizes) else None
        return None if self.open or not 0 < axis <= len(self.sizes) else self.sizes[axis - 1]

    def over_units(self, axis: int) -> bool:
        """Whether this axis is certainly that of a dense layer's units, or of an image's channels."""
        return axis == 1 and not self.open or axis == -1 and not self.image

    def with_size(self, axis: int, size: Optional[int], layer: str) -> "Shape":
        """The shape with another size of an axis."""
        sizes = list(self.sizes)
        place = axis if axis < 0 else axis - 1
        if axis < 0 or not self.open:
            if -len(sizes) <= place < len(sizes):
                sizes[place] = size
            return Shape(tuple(sizes), self.open, layer)
        return Shape(layer=layer)  # it may be any of those that are known

    def __str__(self):
        text = ", ".join("?" if size is None else str(size) for size in self.sizes)
        return text if self.flat else f"(..., {text})" if self.open else f"({text})"


if TYPE_CHECKING:
    from dataclasses import dataclass as step  # which type checkers know
else:

    def step(cls: type) -> type:
        """The decorator of all classes of steps, which are dataclasses."""
        return dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)


@step
class Step:
    """One step of a plan.

    sources : the places of the values that it takes; place 0 is the input of the net, place i the i-th step
    arrays : {name: ndarray}, in Gluon parameters of the same names
    row : the layer that it stands for; folded : the layers that it took in
    """

    sources: tuple[int, ...] = ()
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    row: Optional[Row] = None
    folded: tuple[Row, ...] = ()

    @property
    def flattens(self) -> Optional[bool]:
        """Whether it makes (rows, features) of any input; None where that is not known."""
        return False

    @property
    def keeps(self) -> bool:
        """Whether what it gives has the shape of what it takes."""
        return False

    binary: ClassVar[Optional[str]] = None  # the name of the array that is its 1-bit weights
    is_packed: ClassVar[bool] = False  # whether it is an operator of our library

    def signs(self) -> np.ndarray:
        """Its 1-bit weights as float32 +-1 (units, inputs)."""
        raise NotImplementedError

    @property
    def products(self) -> Optional[int]:
        """How many products add up to one of its outputs, None where it is no product."""
        return None

    @property
    def takes_bits(self) -> bool:
        """Whether its inputs are bits in MXNet as well."""
        return False

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of its outputs, where its array in MXNet has this shape: not the same where it holds bits."""
        return shape

    @property
    def name(self) -> str:
        """The name of the layer that it stands for."""
        return self.row.layer if self.row else type(self).__name__

    @property
    def inputs(self) -> Optional[int]:
        """The number of inputs that it takes where these are a row or the last axis of one, None for any."""
        return None

    def forward(self, F: Any, *xs: Any, **arrays: Any) -> Any:
        """What it gives in MXNet; F is mx.nd or mx.sym."""
        raise NotImplementedError

    def reordered(self, order: np.ndarray) -> "Step":
        """The same product where its inputs come in another order, number order[i] as the i-th."""
        raise NotImplementedError

    def after(self, *xs: Any) -> Shape:
        """What is known of the shape of its value, from those that it takes; ValueError where these cannot be."""
        return xs[0]

    def in_runtime(self, *xs: Any) -> bool:
        """Whether the runtime has it for values of these shapes."""
        return True

    def layout(self, *xs: Any) -> str:
        """How the runtime must have the values that it takes where they are images: "any"; "image", with the channels
        innermost; or "row", in Gluon's order."""
        return "any"

    def node(self, *xs: Any) -> Optional[Node]:
        """Its node in the runtime's graph, without sources; None where it does nothing there. xs are Shapes."""
        raise NotImplementedError

    def __repr__(self):
        return type(self).__name__

    @property
    def text(self) -> str:
        """What a summary shows."""
        return repr(self)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """steps : in order, the first at place 1; outputs : the places of the values that the net gives, in the structure
    `format`, as Gluon flattens it; rows : the layers of the net that was frozen."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    outputs: tuple[int, ...] = ()
    format: Any = 0
    rows: list[Row] = dataclasses.field(default_factory=list)

    def __getitem__(self, place: int) -> Optional[Step]:
        """The step at a place, None for the input, and for -1, which stands for an output among `users`."""
        return self.steps[place - 1] if place > 0 else None

    def places(self) -> Iterator[tuple[int, "Step"]]:
        """Pairs (place, step)."""
        return enumerate(self.steps, 1)

    def add(self, step: Step) -> int:
        """Append a step; its place."""
        self.steps.append(step)
        return len(self.steps)

    def users(self) -> list[list[int]]:
        """For each place the places of the steps that take its value; -1 stands for an output of the net."""
        users: list[list[int]] = [[] for _ in range(len(self.steps) + 1)]
        for place, step in self.places():
            for source in step.sources:
                users[source].append(place)
        for place in self.outputs:
            users[place].append(-1)
        return users

    def empty(self) -> "Plan":
        """A plan for the same net without steps."""
        return dataclasses.replace(self, steps=[], outputs=())

    def ending(self, outputs: Sequence[int]) -> "Plan":
        """The steps that these places need, with these outputs."""
        wanted = set(outputs)
        for place in range(len(self.steps), 0, -1):
            if place in wanted:
                wanted.update(self.steps[place - 1].sources)
        now, plan = {0: 0}, self.empty()
        for place, step in self.places():
            if place in wanted:
                now[place] = plan.add(dataclasses.replace(step, sources=tuple(now[s] for s in step.sources)))
        return dataclasses.replace(plan, outputs=tuple(now[place] for place in outputs))

    def shapes(self, given: Shape) -> list[Shape]:
        """What is known of the shape of each value, where the input is `given`; ValueError where layers do not fit."""
        shapes = [given]
        for step in self.steps:
            shapes.append(step.after(*(shapes[source] for source in step.sources)))
        return shapes
