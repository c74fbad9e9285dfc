"""Convolutions with 1-bit weights and with floats, the signs of images as bits, and bits from an image to a row."""

import dataclasses
import math
from typing import Any

import numpy as np

from ...graph.graph import Node
from ...graph.kinds.batch_norm import NORM
from ...graph.kinds.binary_conv2d import PADS
from ...ops.composed import convolution, padded
from .. import fold
from ..plan import Row, Shape, Step, step
from .elementwise import Arithmetic
from .windows import Places, Windowed


@step
class _Convolution(Windowed):
    """What all convolutions have in common; groups as in Gluon's."""

    groups: int = 1

    @property
    def units(self) -> int:
        raise NotImplementedError

    @property
    def in_channels(self) -> int:
        raise NotImplementedError

    @property
    def products(self) -> int:
        return self.in_channels // self.groups * math.prod(self.window)

    def convolve(self, F: Any, x: Any, weight: Any, *bias: Any) -> Any:
        """MXNet's own convolution of x."""
        sizes = convolution(self.units, self.window, self.strides, self.padding, self.dilation, self.groups)
        return F.Convolution(x, weight, *bias, no_bias=not bias, name="fwd", **sizes)

    def __repr__(self):
        groups = "" if self.groups == 1 else f", groups={self.groups}"
        return f"{type(self).__name__}({self.in_channels} -> {self.units}, {self.geometry()}{groups}{self._more()})"

    def _more(self):
        return ""


@step
class _OfArray(_Convolution):
    """A convolution whose sizes are those of an array."""

    @property
    def _weight(self) -> np.ndarray:
        return self.arrays["weight"]

    @property
    def window(self) -> Places:
        return self._weight.shape[2:]

    @property
    def units(self) -> int:
        return self._weight.shape[0]

    @property
    def in_channels(self) -> int:
        return self._weight.shape[1] * self.groups


@step
class Conv(_OfArray):
    """Gluon's convolution: arrays weight (channels, in_channels / groups, *kernel), and bias (channels,) or none."""

    def forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        return self.convolve(F, x, weight, *(() if bias is None else (bias,)))

    def node(self, x: Shape) -> Node:
        by_input = self._weight.reshape(self.units, -1, math.prod(self.window)).transpose(2, 1, 0)
        arrays = {**self.arrays, "weight": np.ascontiguousarray(by_input.reshape(-1, self.units))}
        return Node("conv2d", (), {"channels": self.units, **self.pairs(), "groups": self.groups}, arrays)

    text = "Conv"


@step
class FloatConv(_OfArray):
    """A convolution with its signs baked in: y = alpha * Convolution(pad(x), signs) + bias.

    arrays: signs, +-1, (channels, in_channels / groups, *kernel), alpha and bias (channels,), float32. A bias of -0.0
    changes nothing, so a layer without one needs no other code. pad_value is what stands outside of the image.
    """

    pad_value: int = 0

    binary = "signs"

    @property
    def _weight(self) -> np.ndarray:
        return self.arrays["signs"]

    def signs(self) -> np.ndarray:
        return self.arrays["signs"]

    def forward(self, F: Any, x: Any, signs: Any, alpha: Any, bias: Any) -> Any:
        conv = self
        if self.pads_with:
            x = padded(F, x, self.padding, self.pad_value)
            conv = dataclasses.replace(self, padding=(0,) * self.axes)
        along = (1, -1) + (1,) * self.axes
        dot = F.broadcast_mul(conv.convolve(F, x, signs), F.reshape(alpha, shape=along))
        return F.broadcast_add(dot, F.reshape(bias, shape=along))

    @property
    def without_bits(self) -> str:
        """What the packed form has no bits for, so that it stays as it is there; "" where it has."""
        return "three axes of space" if self.axes > 2 else "groups" if self.groups > 1 else ""

    def in_runtime(self, x: Shape) -> bool:
        return False  # but as a PackedConv, or as what `in_floats` makes of it

    def in_floats(self) -> list[Step]:
        """A float convolution of the signs, and what is done with its result: to the bit the same values. It has no
        sources. Empty where it pads with +1 or -1, which float convolutions do not."""
        if self.pads_with:
            return []
        sizes = {name: getattr(self, name) for name in ("strides", "padding", "dilation", "groups")}
        made: list[Step] = [Conv((), {"weight": self.signs()}, self.row, **sizes)]
        for name, function, nothing in (("alpha", "multiply", 1.0), ("bias", "add", -0.0)):
            array = self.arrays[name]
            if (array != nothing).any() or (np.signbit(array) != np.signbit(nothing)).any():
                arrays = {"operand": array.reshape(-1, *(1 for _ in self.window))}
                made.append(Arithmetic((), arrays, self.row, function=function))
        return made

    @property
    def pads_with(self) -> int:
        """pad_value, 0 where nothing stands outside of the image."""
        return self.pad_value if any(self.padding) else 0

    @property
    def unit_axes(self) -> tuple[int, ...]:
        """The axes that are that of its channels."""
        return 1, -1 - self.axes

    def packed(
        self, sources: tuple[int, ...], arrays: dict[str, np.ndarray], folded: tuple[Row, ...], source: str, to: str
    ) -> Step:
        """The same layer on bits."""
        names = "units", "in_channels", "window", "strides", "padding", "dilation"
        options = {name: getattr(self, name) for name in names}
        pad = next(name for name, value in PADS.items() if value == self.pads_with)
        return PackedConv(sources, arrays, self.row, folded, pad=pad, source=source, to=to, **options)

    def _more(self):
        pad = f", pad_value={self.pads_with:+d}" if self.pads_with else ""
        return pad + (f"; {self.without_bits} have no 1-bit form" if self.without_bits else "")


@step
class PackedConv(_Convolution):
    """A convolution on our library's operator, from `source` to `to`, each float, bits or bits01; arrays as those of
    the runtime's binary_conv2d. pad is what stands outside of the image: zero, plus or minus."""

    units: int = 0
    in_channels: int = 0
    window: Places = ()
    source: str = "float"
    to: str = "float"
    pad: str = "zero"

    binary, is_packed = "weight_bits", True
    ORDER = ("weight_bits", "alpha", "bias", *NORM, "threshold", "sums")  # the operator's

    def signs(self) -> np.ndarray:
        return fold.unpack_signs(self.arrays["weight_bits"], (self.units, self.in_channels, *self.window), self.source)

    @property
    def takes_bits(self) -> bool:
        return self.source != "float"

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.to == "float" else (shape[0], self.units, *shape[1:-1])

    def forward(self, F: Any, x: Any, **arrays: Any) -> Any:
        return F.gluon_bnn_packed_conv(
            x,
            *(arrays[name] for name in self.ORDER if name in arrays),
            channels=str(self.units),
            in_channels=str(self.in_channels),
            pad=self.pad,
            source=self.source,
            target="float" if self.to == "float" else "bits",
            norm=str("mean" in arrays),
            **{name: str(each) for name, each in self.sizes().items()},
        )

    def node(self, x: Shape) -> Node:
        attributes = {"channels": self.units, **self.pairs(), "pad": self.pad, "to": self.to}
        return Node("binary_conv2d", (), attributes, self.arrays)

    def _more(self):
        pad = f", outside {self.pad}" if any(self.padding) and self.pad != "zero" else ""
        return f"{pad}, {self.source} to {self.to}" + (", batch norm" if "mean" in self.arrays else "")


@step
class PackImage(Step):
    """The signs of an image as int32 words, bit = 1 where x < 0: (rows, *places, words of channels)."""

    channels: int = 0
    to: str = "bits"

    is_packed = True

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], self.channels, *shape[1:-1])

    def forward(self, F: Any, x: Any) -> Any:
        return F.gluon_bnn_pack_image(x, channels=str(self.channels))

    def layout(self, x: Shape) -> str:
        return "image"

    def node(self, x: Shape) -> Node:
        return Node("pack", (), {"to": self.to})

    def __repr__(self):
        return f"PackImage({self.channels})"


@step
class PackedFlatten(Step):
    """The bits of an image as one row, the channels of each place next to each other."""

    channels: int = 0
    in_units: int = 0

    flattens, is_packed = True, True

    @property
    def inputs(self) -> int:
        return self.in_units

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], self.in_units)

    def after(self, x: Shape) -> Shape:
        if x.size not in (None, self.in_units):
            raise ValueError(f"{self.name} takes {self.in_units} inputs, but {x.layer} before it has {x.size}")
        return Shape((self.in_units,), False, x.layer)

    def forward(self, F: Any, x: Any) -> Any:
        return F.gluon_bnn_packed_flatten(x, channels=str(self.channels), in_units=str(self.in_units))

    def layout(self, x: Shape) -> str:
        return "image"

    def node(self, x: Shape) -> Node:
        return Node("flatten")

    def __repr__(self):
        return f"PackedFlatten({self.in_units})"
