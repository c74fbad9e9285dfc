"""Steps that change shapes: Flatten, Concat and Slice."""

from typing import Any, Optional

from ...graph.graph import Node
from ..plan import Step, Width, step


@step
class Flatten(Step):
    """(rows, features) of (rows, ...); with `shape`, (0 or -1, features), Gluon's reshape to it."""

    shape: Optional[tuple] = None

    flattens = True
    keeps = True

    @property
    def inputs(self) -> Optional[int]:
        return self.shape[1] if self.shape and self.shape[1] > 0 else None

    def after(self, x: Width) -> Width:
        width = x.channels if x.flat else None
        if self.inputs and width not in (None, self.inputs):
            raise ValueError(f"{self.name} makes rows of {self.inputs}, but {x.layer} before it has {width} outputs")
        return Width(self.inputs or width, True, x.layer)

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=self.shape) if self.shape else F.Flatten(x)

    def node(self, x: Width) -> None:
        return None

    text = "Flatten"

    def __repr__(self):
        return f"Flatten({self.shape or ''})"


@step
class _OverAxis(Step):
    """What steps that work along an axis have in common."""

    axis: int = 1

    def in_runtime(self, flat: Optional[bool]) -> bool:
        return flat is not False and self.axis == -1 or self.axis == 1 and bool(flat)


@step
class Concat(_OverAxis):
    """Values one after the other."""

    MOST = 64  # values of one node of the runtime

    def after(self, *xs: Width) -> Width:
        flat = all(x.flat for x in xs)
        sizes = [x.channels for x in xs if x.channels is not None]
        known = (flat or self.axis == -1) and len(sizes) == len(xs)
        return Width(sum(sizes) if known else None, flat, self.name)

    def forward(self, F: Any, *xs: Any) -> Any:
        return F.concat(*xs, dim=self.axis)

    def node(self, *xs: Width) -> Node:
        return Node("concat")

    def __repr__(self):
        return f"Concat(axis={self.axis})"


@step
class Slice(_OverAxis):
    """The part from begin to end (None for the rest), which count from the end where they are negative; or, with
    `parts`, part number `begin` of that many equal parts."""

    begin: int = 0
    end: Optional[int] = None
    parts: int = 0

    def after(self, x: Width) -> Width:
        known = x.channels is not None and (x.flat or self.axis == -1)
        if known:
            begin, end = self._places(x.channels)
        return Width(end - begin if known else None, x.flat, self.name)

    def _places(self, width):
        if not self.parts:
            begin, end, _ = slice(self.begin, self.end).indices(width)
            return begin, max(begin, end)
        if width % self.parts:
            raise ValueError(f"{self.name} makes {self.parts} equal parts, but gets {width} outputs")
        size = width // self.parts
        return self.begin * size, (self.begin + 1) * size

    def forward(self, F: Any, x: Any) -> Any:
        if self.parts:
            return F.split(x, num_outputs=self.parts, axis=self.axis)[self.begin]
        return F.slice_axis(x, axis=self.axis, begin=self.begin, end=self.end)

    def node(self, x: Width) -> Node:
        begin, end = self._places(x.channels)
        return Node("slice", (), {"begin": begin, "end": end})

    def __repr__(self):
        part = f"part {self.begin} of {self.parts}" if self.parts else f"{self.begin} to {self.end}"
        return f"Slice(axis={self.axis}, {part})"
