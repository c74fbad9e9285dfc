"""Steps that change shapes: Flatten, Concat and Slice."""

from typing import Any, Optional

from ...graph.graph import Node
from ..plan import Shape, Step, step


@step
class Flatten(Step):
    """(rows, features) of (rows, ...); with `shape`, (0 or -1, features), Gluon's reshape to it."""

    shape: Optional[tuple] = None

    flattens = True
    keeps = True

    @property
    def inputs(self) -> Optional[int]:
        return self.shape[1] if self.shape and self.shape[1] > 0 else None

    def keeps_rows(self, x: Shape) -> bool:
        """Whether it certainly makes one row of each."""
        return not self.shape or self.shape[0] == 0 or x.size == self.shape[1]

    def after(self, x: Shape) -> Shape:
        if self.inputs and x.size not in (None, self.inputs):
            raise ValueError(f"{self.name} makes rows of {self.inputs}, but {x.layer} before it has {x.size} outputs")
        return Shape((self.inputs or x.size,), False, x.layer)

    def layout(self, x: Shape) -> str:
        return "row"

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=self.shape) if self.shape else F.Flatten(x)

    def node(self, x: Shape) -> None:
        return None

    text = "Flatten"

    def __repr__(self):
        return f"Flatten({self.shape or ''})"


@step
class _OverAxis(Step):
    """What steps that work along an axis have in common."""

    axis: int = 1

    def in_runtime(self, *xs: Shape) -> bool:
        return all(x.over_units(self.axis) for x in xs)

    def layout(self, *xs: Shape) -> str:
        return "image"


@step
class Concat(_OverAxis):
    """Values one after the other."""

    MOST = 64  # values of one node of the runtime

    def after(self, *xs: Shape) -> Shape:
        sizes = [x.along(self.axis) for x in xs]
        known = [size for size in sizes if size is not None]
        most = max(xs, key=lambda x: not x.open)  # that has as many axes as all
        return most.with_size(self.axis, sum(known) if len(known) == len(sizes) else None, self.name)

    def forward(self, F: Any, *xs: Any) -> Any:
        return F.concat(*xs, dim=self.axis)

    def node(self, *xs: Shape) -> Node:
        return Node("concat")

    def __repr__(self):
        return f"Concat(axis={self.axis})"


@step
class Slice(_OverAxis):
    """The part from begin to end (None for the rest), which count from the end where they are negative; or, with
    `parts`, part number `begin` of that many equal parts. Where these need not be `equal`, the first are larger by one
    if there is a rest."""

    begin: int = 0
    end: Optional[int] = None
    parts: int = 0
    equal: bool = True

    def after(self, x: Shape) -> Shape:
        size = x.along(self.axis)
        if size is not None:
            begin, end = self._places(size)
            size = end - begin
        return x.with_size(self.axis, size, self.name)

    def _places(self, width):
        if not self.parts:
            begin, end, _ = slice(self.begin, self.end).indices(width)
            return begin, max(begin, end)
        size, rest = divmod(width, self.parts)
        if rest and self.equal:
            raise ValueError(f"{self.name} makes {self.parts} equal parts, but gets {width} outputs")
        begin, end = (part * size + min(part, rest) for part in (self.begin, self.begin + 1))
        return begin, end

    def forward(self, F: Any, x: Any) -> Any:
        if self.parts and self.equal:
            return F.split(x, num_outputs=self.parts, axis=self.axis)[self.begin]
        if self.parts:
            return F._internal._split_v2(x, indices=(), sections=self.parts, axis=self.axis)[self.begin]
        return F.slice_axis(x, axis=self.axis, begin=self.begin, end=self.end)

    def node(self, x: Shape) -> Node:
        begin, end = self._places(x.units)
        return Node("slice", (), {"begin": begin, "end": end})

    def __repr__(self):
        part = f"part {self.begin} of {self.parts}" if self.parts else f"{self.begin} to {self.end}"
        return f"Slice(axis={self.axis}, {part})"
