"""Operators and blocks that have no converter: MXNet runs them, the runtime does not."""

from typing import Any, Optional

from ..plan import Shape, Step, step


@step
class Held(Step):
    """An operator that has no converter.

    graph : the JSON of a graph of this operator alone, whose inputs are the variables x0, x1 ..: first one for each
        source, then the arrays, under their names
    """

    operator: str = ""
    graph: Optional[dict] = None

    flattens = None

    def after(self, *xs: Shape) -> Shape:
        return Shape()

    def in_runtime(self, *xs: Shape) -> bool:
        return False

    @property
    def text(self) -> str:
        return self.operator

    def __repr__(self):
        given = {} if self.graph is None else self.graph["nodes"][-1]["attrs"]
        attributes = ", ".join(f"{name}={value}" for name, value in given.items() if not name.startswith("__"))
        return f"{self.operator}({attributes})" if attributes else self.operator


@step
class Kept(Step):
    """A block whose forward takes arrays only, and so cannot be traced: the same block, with the same parameters."""

    block: Any = None

    flattens = None

    def after(self, x: Shape) -> Shape:
        return Shape()

    def in_runtime(self, *xs: Shape) -> bool:
        return False

    def forward(self, F: Any, x: Any) -> Any:
        return self.block(x)

    @property
    def text(self) -> str:
        return type(self.block).__name__

    def __repr__(self):
        return repr(self.block)
