"""A net between its trace and what is made of it: steps in the order in which they run. NumPy only.

`convert` makes a plan of the operators of a traced net, `passes` makes plans of plans, and each step says what it is in
Gluon (a block) and in the runtime (a node of `graph.Graph`). The steps themselves are in `steps`.
"""

import dataclasses
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
class Width:
    """What is known of a value: the size of its last axis or None, whether it is certainly (rows, channels), and the
    layer that gave it this width."""

    channels: Optional[int] = None
    flat: bool = False
    layer: str = "the input"


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

    def signs(self) -> np.ndarray:
        """Its 1-bit weights as float32 +-1 (units, inputs)."""
        raise NotImplementedError

    @property
    def matrix(self) -> Optional[tuple[int, int]]:
        """(units, inputs) of the product that it computes over the last axis, None without one."""
        return None

    @property
    def name(self) -> str:
        """The name of the layer that it stands for."""
        return self.row.layer if self.row else type(self).__name__

    @property
    def inputs(self) -> Optional[int]:
        """The number of inputs that it takes, None for any."""
        return None

    def forward(self, F: Any, *xs: Any, **arrays: Any) -> Any:
        """What it gives in MXNet; F is mx.nd or mx.sym."""
        raise NotImplementedError

    def after(self, *xs: Any) -> Width:
        """What is known of its value, from what it takes; ValueError where that cannot be."""
        return xs[0]

    def in_runtime(self, flat: Optional[bool]) -> bool:
        """Whether the runtime has it over rows. `flat` says whether its values are (rows, features) in Gluon as well,
        None where that is not certain."""
        return True

    def node(self, *xs: Any) -> Optional[Node]:
        """Its node in the runtime's graph, without sources; None where it does nothing there."""
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

    def widths(self, given: Width) -> list[Width]:
        """What is known of each value, where the input is `given`; ValueError where two layers do not fit."""
        widths = [given]
        for step in self.steps:
            widths.append(step.after(*(widths[source] for source in step.sources)))
        return widths
