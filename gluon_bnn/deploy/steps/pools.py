"""Max and average pooling, of floats and of bits."""

from typing import Any, Optional

from ...graph.graph import Node
from ..plan import Shape, step
from .windows import Places, Windowed


@step
class Pool(Windowed):
    """Gluon's pooling: the max or the average of a window, or of the whole image where `window` is empty and `axes` says
    over how many axes of space. rounding, of the number of places, is "floor" or "ceil"; count says whether an average
    counts the places outside of the image, "all" or "inside"."""

    function: str = "max"
    window: Places = ()
    axes: int = 2
    rounding: str = "floor"
    count: str = "all"

    def after(self, x: Shape) -> Shape:
        if self.window:
            return super().after(x)
        if not x.open and len(x.sizes) != self.axes + 1:
            raise ValueError(f"{self.name} takes {self.axes} axes of space, but {x.layer} before it has {x}")
        return Shape((None if x.open else x.sizes[0],) + (1,) * self.axes, False, x.layer)

    def _steps(self, room, stride):
        return room // stride if self.rounding == "floor" else -(-room // stride)

    def forward(self, F: Any, x: Any) -> Any:
        options = {"count_include_pad": self.count == "all"} if self.function == "avg" else {}
        if not self.window:
            return F.Pooling(x, kernel=(1,) * self.axes, global_pool=True, pool_type=self.function, name="fwd")
        return F.Pooling(
            x,
            kernel=self.window,
            stride=self.strides,
            pad=self.padding,
            pool_type=self.function,
            pooling_convention={"floor": "valid", "ceil": "full"}[self.rounding],
            name="fwd",
            **options,
        )

    def in_runtime(self, x: Shape) -> bool:
        return self.axes <= 2

    def of(self, x: Shape) -> "Pool":
        """The same with the window that it has on an image of this shape."""
        ...

    def node(self, x: Shape) -> Node:
        ...
