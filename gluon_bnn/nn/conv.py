"""Convolutions with binary weights, over one, two and three axes of space."""

import math
from typing import Any, Optional, Union

import numpy as np

from .._compat import mx
from ..ops.composed import convolution, padded
from . import tracing
from .arguments import sizes, whole
from .binary_layer import BinaryLayer, described
from .deployed import Deployed, Held, bits_of, packed

CONVOLUTIONS = mx.gluon.nn.Conv1D, mx.gluon.nn.Conv2D, mx.gluon.nn.Conv3D
Sizes = Union[int, tuple[int, ...], list[int]]  # one number for all axes of space, or one for each

_DOC = """A convolution over {space} whose weights are binary in the forward pass.

    y = alpha * conv(x, sign(W)) + b, alpha = mean |W|

    with Gluon's convolution of x, which is a cross-correlation, and W (channels, in_channels / groups, *kernel).
    The gradient to x is that of a convolution with alpha sign(W), and that to b the sum of dL/dy over rows and places.

    {weights}

    Parameters
    ----------
    channels, kernel_size, strides, padding, dilation, groups, activation, use_bias, weight_initializer,
    bias_initializer, in_channels : as in `mxnet.gluon.nn.{gluon}`
    layout : "{layout}"
    {options}
    pad_value : what stands outside of the image where there is padding: 0, +1 or -1. Over inputs of +-1 a padding of
        0 is a third value: the 1-bit form of the net has to correct the sums at the borders, and does so exactly.
        Padding with +1 or -1 needs no correction, but a net cannot tell this border from the image.

    Inputs: ({inputs}), float32, or float64 after `cast("float64")`.
    Outputs: ({outputs}), with sizes of
    floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    Raises ValueError when the layer is made with arguments outside of these, and when the first array that it is called
    on has another number of axes, or channels that the groups do not divide; MXNetError for inputs of other channels or
    another dtype, or smaller than the kernel.

    >>> net = {name}(8, {example}, padding=1)
    >>> net.initialize()
    >>> net(mx.nd.ones({shape})).shape
    {result}
    """


def _doc(axes):
    inner = ("", "width", "height, width", "depth, height, width")[axes]
    outputs = ", ".join(f"out_{name}" for name in inner.split(", "))
    return described(_DOC).format_map(
        dict(
            space=("", "sequences", "images", "volumes")[axes],
            gluon=f"Conv{axes}D",
            name=f"BinaryConv{axes}D",
            layout=_layout(axes),
            inputs=f"rows, in_channels, {inner}",
            outputs=f"rows, channels, {outputs}",
            example=3,
            shape=(2, 3) + (5,) * axes,
            result=(2, 8) + (5,) * axes,
        )
    )


def _layout(axes):
    return "NC" + "DHW"[-axes:]


class _BinaryConv(BinaryLayer):
    """What the layers below share; each is one of Gluon's convolutions as well, and says over how many axes."""

    _axes: int

    def __init__(
        self,
        channels: int,
        kernel_size: Sizes,
        strides: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        layout: Optional[str] = None,
        activation: Optional[str] = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        *,
        scale: Optional[str] = "layer",
        gradient: Optional[str] = None,
        clip: Optional[float] = 1.0,
        stochastic: bool = False,
        pad_value: int = 0,
        prefix: Optional[str] = None,
        params: Any = None,
    ):
        self._choose(activation, scale, gradient, clip, stochastic)
        channels, groups = whole("channels", channels, 1), whole("groups", groups, 1)
        in_channels = whole("in_channels", in_channels, 0)
        for name, number in (("channels", channels), ("in_channels", in_channels)):
            if number % groups:
                raise ValueError(f"{name} must be a multiple of groups, {groups}, got {number}")
        if layout not in (None, _layout(self._axes)):
            raise ValueError(f'layout must be "{_layout(self._axes)}", channels first, got {layout!r}')
        if (
            not isinstance(pad_value, (int, float, np.number))
            or isinstance(pad_value, bool)
            or abs(pad_value) not in (0, 1)
        ):
            raise ValueError(f"pad_value must be 0, +1 or -1, got {pad_value!r}")
        self._pad_value = int(pad_value)
        super().__init__(
            channels,
            sizes("kernel_size", kernel_size, self._axes, 1),
            sizes("strides", strides, self._axes, 1),
            sizes("padding", padding, self._axes, 0),
            sizes("dilation", dilation, self._axes, 1),
            groups,
            _layout(self._axes),
            activation=activation,
            use_bias=use_bias,
            weight_initializer=weight_initializer,
            bias_initializer=bias_initializer,
            in_channels=in_channels,
            prefix=prefix,
            params=params,
        )
        self._complete(activation)

    @property
    def channels(self) -> int:
        """The number of channels that it gives."""
        return self._channels

    @property
    def kernel(self) -> tuple[int, ...]:
        """The size of the kernel along each axis of space."""
        return self._kwargs["kernel"]

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride along each axis of space."""
        return self._kwargs["stride"]

    @property
    def padding(self) -> tuple[int, ...]:
        """How many places are added on both sides of each axis of space."""
        return self._kwargs["pad"]

    @property
    def dilation(self) -> tuple[int, ...]:
        """The distance of the kernel's places along each axis of space."""
        return self._kwargs["dilate"]

    @property
    def groups(self) -> int:
        """How many groups the channels are divided into, each of which sees its own share of the inputs."""
        return self._kwargs["num_group"]

    @property
    def pad_value(self) -> int:
        """What stands outside of the image: 0, +1 or -1."""
        return self._pad_value

    def deployed(self, x: Any, y: Any) -> Deployed:
        """What it holds and multiplies when deployed; x are the arrays that it took, y is what it gave.

        With groups, and over volumes, it stays a convolution of floats, whose weights are signs of 4 bytes each.
        """
        if self.groups == 1 and self._axes < 3:
            places = math.prod(self.kernel) if bits_of(x) == 1 else 1
            return self._deployed(y, packed(self.weight, self._scales(), places))
        numbers = self.weight.data().size
        return self._deployed(y, Held(0, numbers, 4 * (numbers + self._scales())), weight_bits=32)

    def infer_shape(self, x: Any, *args: Any) -> None:
        """The shape of the weight from that of the input, when the layer is called by itself."""
        if len(x.shape) != self._axes + 2 or x.shape[1] % self.groups:
            raise ValueError(
                f"{type(self).__name__} takes arrays of {self._axes + 2} axes, {_layout(self._axes)}, and of a number "
                f"of channels that is a multiple of groups, {self.groups}, got shape {x.shape}"
            )
        self._set_shape(self._channels, x.shape[1] // self.groups, *self.kernel)

    def _with_real_weights(self, **options):
        values_outside = self._pad_value != 0 and any(self.padding)
        real = CONVOLUTIONS[self._axes - 1](
            self._channels,
            self.kernel,
            strides=self.strides,
            padding=0 if values_outside else self.padding,
            dilation=self.dilation,
            groups=self.groups,
            in_channels=self.weight.shape[1] * self.groups,
            **options,
        )
        if not values_outside:
            return real
        padding, value = self.padding, self._pad_value
        both = mx.gluon.nn.HybridSequential()
        both.add(mx.gluon.nn.HybridLambda(lambda F, x: padded(F, x, padding, value)), real)
        return both

    def _stand_in(self, F, x, weight, bias):
        given = () if bias is None else (bias,)
        return tracing.stand_in(self, F.Convolution, x, weight, *given, **self._kwargs)

    def _product(self, F, x, weight, bias, curvature, options, of_signs):
        window = convolution(self._channels, self.kernel, self.strides, self.padding, self.dilation, self.groups)
        return self._ops.binary_conv(
            F, x, weight, bias, curvature, options, sizes=window, pad_value=self._pad_value, of_signs=of_signs
        )

    def _alias(self):
        return type(self).__name__.lower()  # as of all blocks but Gluon's convolutions

    def __repr__(self):
        padded = "" if self._pad_value == 0 else f", pad_value={self._pad_value:+d}"
        return f"{super().__repr__()[:-1]}{padded})"


class BinaryConv1D(_BinaryConv, mx.gluon.nn.Conv1D):
    __doc__ = _doc(1)
    _axes = 1


class BinaryConv2D(_BinaryConv, mx.gluon.nn.Conv2D):
    __doc__ = _doc(2)
    _axes = 2


class BinaryConv3D(_BinaryConv, mx.gluon.nn.Conv3D):
    __doc__ = _doc(3)
    _axes = 3
