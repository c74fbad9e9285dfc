"""What nobody converts."""

from typing import Any, Optional

from ..plan import Step, Width, step


@step
class Held(Step):
    """An operator that nobody converts: MXNet runs it, the runtime does not.

    graph : the JSON of a graph of this operator alone, whose inputs are the variables x0, x1 ..: first one for each of
    the sources, then the arrays of these names
    """

    operator: str = ""
    graph: Optional[dict] = None

    flattens = None

    def after(self, *xs: Width) -> Width:
        return Width()

    def in_runtime(self, flat: Optional[bool]) -> bool:
        return False

    def __repr__(self):
        return self.operator


@step
class Kept(Step):
    """A block whose forward takes arrays only: it stays as it is, the very same with the same parameters."""

    block: Any = None

    flattens = None

    def after(self, x: Width) -> Width:
        return Width()

    def in_runtime(self, flat: Optional[bool]) -> bool:
        return False

    def forward(self, F: Any, x: Any) -> Any:
        return self.block(x)

    @property
    def text(self) -> str:
        return type(self.block).__name__

    def __repr__(self):
        return repr(self.block)
