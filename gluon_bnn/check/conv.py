"""`nn.BinaryConv1D`, 2D and 3D: what `check`, `check_net` and the tests compare them with."""

import functools
from typing import Any, Optional

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import conv
from . import binary_layer
from .measure import Errors, Rows
from .sign_scale import all_rules

LAYERS = nn.BinaryConv1D, nn.BinaryConv2D, nn.BinaryConv3D
SIZES = 7, 6, 5  # of images, along each axis of space
# For each number of axes: channels of 7 units and 9 inputs in one group, else of 6 and 4.
OPTIONS: tuple[tuple[type, dict[str, Any]], ...] = (
    (nn.BinaryConv1D, dict(kernel_size=3, strides=2, padding=1, pad_value=1)),
    (nn.BinaryConv1D, dict(kernel_size=2, dilation=2, groups=2, padding=3)),
    (nn.BinaryConv2D, dict(kernel_size=(3, 2), strides=(1, 2), padding=(2, 1), pad_value=-1)),
    (nn.BinaryConv2D, dict(kernel_size=(2, 3), dilation=(2, 1), groups=2, padding=(0, 1))),
    (nn.BinaryConv3D, dict(kernel_size=(3, 2, 1), padding=1, pad_value=1)),
    (nn.BinaryConv3D, dict(kernel_size=2, strides=2, dilation=(1, 2, 1), groups=2, padding=1)),
)


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for every scale with each of its rules over images, and for the sizes and groups of layers
    over one, two and three axes of space."""
    common = dtype, mode, generator, directory
    for scale, gradient in all_rules():
        yield (
            new_layer_errors(nn.BinaryConv2D, *common, kernel_size=3, padding=1, scale=scale, gradient=gradient),
            dict(operator="BinaryConv2D", gradient=gradient, scale=str(scale)),
        )
    for kind, options in OPTIONS:
        text = ", ".join(f"{name}={value}" for name, value in options.items())
        yield (
            new_layer_errors(kind, *common, **options),
            dict(operator=f"{kind.__name__}({text})", gradient="xnor", scale="layer"),
        )


def errors(
    layer: Any,
    x: np.ndarray,
    d: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    dweight: np.ndarray,
    dbias: Optional[np.ndarray] = None,
) -> Errors:
    """`binary_layer.errors` of a binary convolution."""
    sizes = {name: getattr(layer, name) for name in ("strides", "padding", "dilation", "groups")}
    reference = binary_layer.Reference(
        functools.partial(conv.binary_conv, **sizes, pad_value=layer.pad_value),
        functools.partial(conv.binary_conv_backward, **sizes, pad_value=layer.pad_value),
        functools.partial(conv.conv, **sizes, pad_value=abs(layer.pad_value)),
        functools.partial(_magnitudes_backward, **sizes, pad_value=abs(layer.pad_value)),
    )
    return binary_layer.errors(layer, reference, x, d, y, dx, dweight, dbias)


def _magnitudes_backward(d: np.ndarray, x: np.ndarray, w: np.ndarray, **sizes: Any) -> dict[str, np.ndarray]:
    """`conv_backward` of magnitudes. All weights of a kernel have the largest of its: Winograd's filtering rounds sums
    of which several weights have a share, also one that meets nothing but zeros."""
    gradients = conv.conv_backward(d, x, w, **sizes)
    of_kernel = gradients["weight"].max(axis=tuple(range(2, w.ndim)), keepdims=True)
    return {**gradients, "weight": np.broadcast_to(of_kernel, w.shape)}


def new_layer_errors(
    kind: type, dtype: str, mode: str, generator: np.random.Generator, directory: str, **options: Any
) -> Errors:
    """(forward, backward) errors of a new layer with these options, over random weights, inputs and gradients."""
    channels, in_channels = (7, 9) if options.get("groups", 1) == 1 else (6, 4)
    layer = kind(channels, in_channels=in_channels, bias_initializer=mx.init.Normal(1), **options)
    shape = (2, in_channels, *SIZES[: len(layer.kernel)])
    return binary_layer.new_layer_errors(layer, errors, shape, dtype, mode, generator, directory)
