"""What convolutions and pooling have in common: a window that moves over the axes of space of (channels, *places)."""

from typing import Optional

from ..plan import Shape, Step, step

Places = tuple[int, ...]


@step
class Windowed(Step):
    """A step with a window. strides, padding and dilation have a number for each axis of space; the dilation of pooling
    is 1."""

    strides: Places = (1, 1)
    padding: Places = (0, 0)
    dilation: Places = (1, 1)

    @property
    def window(self) -> Places:
        """The size of the window along each axis of space."""
        raise NotImplementedError

    @property
    def units(self) -> Optional[int]:
        """The number of channels that it gives, None where these are as many as it takes."""
        return None

    @property
    def in_channels(self) -> Optional[int]:
        """The number of channels that it takes, None for any."""
        return None

    @property
    def axes(self) -> int:
        """The number of axes of space."""
        return len(self.window)

    @property
    def image_shape(self) -> str:
        """The shape of an image that it takes, as text."""
        return f"(channels, {', '.join(('depth', 'height', 'width')[-self.axes :])})"

    def after(self, x: Shape) -> Shape:
        if not x.open and len(x.sizes) != self.axes + 1:
            raise ValueError(f"{self.name} takes images of {self.image_shape}, but {x.layer} before it has {x}")
        if not x.open and self.in_channels and x.units not in (None, self.in_channels):
            raise ValueError(f"{self.name} takes {self.in_channels} channels, but {x.layer} before it has {x.units}")
        before = (None,) * self.axes if x.open else x.sizes[1:]
        places = tuple(None if size is None else self._places(size, axis) for axis, size in enumerate(before))
        return Shape((self.units or (None if x.open else x.sizes[0]), *places), False, self.name)

    def _places(self, size, axis):
        """Over how many places the window moves along an axis of this size."""
        room = size + 2 * self.padding[axis] - self.dilation[axis] * (self.window[axis] - 1) - 1
        if room < 0:
            raise ValueError(
                f"the window of {self.name} is larger than the image: {self} takes at least "
                f"{size - room} places along axis {axis + 2}, got {size}"
            )
        return self._steps(room, self.strides[axis]) + 1

    def _steps(self, room, stride):
        return room // stride

    def in_runtime(self, x: Shape) -> bool:
        return self.axes <= 2

    def layout(self, x: Shape) -> str:
        return "image"

    def sizes(self) -> dict[str, Places]:
        """The window as attributes of our operators."""
        return {"kernel": self.window, "strides": self.strides, "padding": self.padding, "dilation": self.dilation}

    def pairs(self) -> dict[str, Places]:
        """The window as attributes of a node: a sequence is an image of height 1."""
        return {name: (int(name != "padding"),) * (2 - len(each)) + each for name, each in self.sizes().items()}

    def geometry(self) -> str:
        """The window as text: 3x3, and what is not the default."""
        text = "x".join(map(str, self.window))
        for name, given, usual in (
            ("strides", self.strides, 1),
            ("padding", self.padding, 0),
            ("dilation", self.dilation, 1),
        ):
            if any(each != usual for each in given):
                text += f", {name} " + "x".join(map(str, given))
        return text
