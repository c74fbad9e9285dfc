"""Max and average pooling, of floats and of bits."""

import dataclasses
from typing import Any

import numpy as np

from ...graph.graph import Node
from ..plan import Shape, step
from .windows import Places, Windowed


@step
class Pool(Windowed):
    """Gluon's pooling: the max or the average of a window, or of the whole image where `window` is empty. axes is the
    number of axes of space; rounding, of the number of windows, is "floor" or "ceil"; count says whether an average
    counts the places outside of the image, "all" or "inside"."""

    function: str = "max"
    window: Places = ()
    axes: int = 2
    rounding: str = "floor"
    count: str = "all"

    def after(self, x: Shape) -> Shape:
        return dataclasses.replace(super().after(x), layer=x.layer)

    def _places(self, size, axis):
        return super()._places(size, axis) if self.window else 1

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

    def node(self, x: Shape) -> Node:
        whole = dataclasses.replace(self, window=self.window or tuple(size or 0 for size in x.sizes[1:]))
        attributes = {**whole.pairs(), "rounding": self.rounding}
        del attributes["dilation"]
        if self.function == "max":
            return Node("max_pool", (), attributes)
        return Node("average_pool", (), {**attributes, "count": self.count})

    def packed(self, sources: tuple[int, ...], arrays: dict[str, np.ndarray], channels: int) -> "PackedMaxPool":
        """The same pooling of bits."""
        names = "strides", "padding", "dilation", "window", "axes", "rounding"
        options = {name: getattr(self, name) for name in names}
        return PackedMaxPool(sources, arrays, self.row, self.folded, channels=channels, **options)

    @property
    def text(self) -> str:
        return f"{'Max' if self.function == 'max' else 'Average'}Pool"

    def __repr__(self):
        return f"{self.text}({self.geometry() if self.window else 'whole image'})"


@step
class PackedMaxPool(Pool):
    """Max pooling of the bits of signs, -1 being the smaller; the minimum for channels whose bit is 1 in the array
    `falls`, int32 (words of channels,), where there is one."""

    channels: int = 0

    is_packed = True

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], self.channels, *shape[1:-1])

    def forward(self, F: Any, x: Any, falls: Any = None) -> Any:
        return F.gluon_bnn_packed_max_pool(
            *((x,) if falls is None else (x, falls)),
            channels=str(self.channels),
            axes=str(self.axes),
            rounding=self.rounding,
            falls=str(falls is not None),
            **{name: str(each) for name, each in self.sizes().items() if self.window},
        )

    def node(self, x: Shape) -> Node:
        return dataclasses.replace(super().node(x), arrays=self.arrays)

    text = "PackedMaxPool"
