"""Converters of convolutions and pooling, and of the packed operators on images."""

from typing import Any

import numpy as np

from ... import nn
from ..steps import Conv, FloatConv, Held, PackedConv, PackedFlatten, PackedMaxPool, PackImage, Pool
from .build import Build, constant, converts, literal
from .layers import float_arrays, native_layer, packed_arrays, signs_of


@converts(nn.BinaryConv1D, nn.BinaryConv2D, nn.BinaryConv3D)
def binary_conv(build: Build, x: Any, weight: Any, bias: Any = None) -> Any:
    layer: Any = build.node.layer
    sizes = dict(strides=layer.strides, padding=layer.padding, dilation=layer.dilation, groups=layer.groups)
    return _float_conv(build, x, *signs_of(layer, weight), bias, pad_value=layer.pad_value, **sizes)


def _float_conv(build, x, signs, alpha, bias, **options):
    return build(FloatConv, x, arrays=float_arrays(signs, alpha, bias), **options)


@converts("gluon_bnn_binary_conv")
def native_binary_conv(build: Build, x: Any, weight: Any, *others: Any) -> Any:
    if not constant(weight, *others):
        return None
    x, bias, signs, alpha = native_layer(build, x, weight, others)
    sizes = _sizes(build, weight.ndim - 2, strides="strides", padding="padding", dilation="dilation")
    return _float_conv(build, x, signs, alpha, bias, pad_value=build.get("pad_value", 0), **sizes)


@converts("Convolution")
def convolution(build: Build, x: Any, weight: Any, bias: Any = None) -> Any:
    """Of constant weights, with the channels first; a Pad before it becomes its padding and pad_value, where it can."""
    layout = build.get("layout") or "NC"
    if not constant(weight, bias) or layout[:2] != "NC":
        return None
    axes = weight.ndim - 2
    sizes = _sizes(build, axes, strides="stride", padding="pad", dilation="dilate")
    binary = (np.abs(weight) == 1).all()  # a binary layer, whatever operators computed its signs
    value = 0
    if not any(sizes["padding"]):
        x, sizes["padding"], value = _unpadded(build, x, axes, (0, 1, -1) if binary else (0,))
    sizes["groups"] = build.get("num_group", 1)
    if binary:
        return _float_conv(build, x, weight, np.ones(1, np.float32), bias, pad_value=value, **sizes)
    return build(Conv, x, arrays={"weight": weight} if bias is None else {"weight": weight, "bias": bias}, **sizes)


def _sizes(build, axes, **names):
    """{name: the attribute of that name}, a tuple of as many numbers as there are axes of space."""
    sizes = {}
    for name, attribute in names.items():
        given = build.get(attribute) or (0 if attribute in ("pad", "padding") else 1,) * axes
        sizes[name] = given if isinstance(given, tuple) else (given,) * axes
    return sizes


def _unpadded(build, x, axes, values):
    """(what is padded, the padding, the value outside) where x comes from MXNet's Pad with one of these values, the
    same on both sides of each axis of space; x itself without padding where it does not."""
    nothing = x, (0,) * axes, 0
    outer = _held(build, x, "squeeze", axis=2) if axes == 1 else None  # as `ops` pads sequences
    if axes == 1 and not outer:
        return nothing
    pad = _held(build, outer.sources[0] if outer else x, "Pad", mode="constant")
    inner = _held(build, pad.sources[0], "expand_dims", axis=2) if pad and outer else pad
    if not inner:
        return nothing
    attributes = pad.graph["nodes"][-1]["attrs"]
    width, value = literal(attributes["pad_width"]), float(literal(attributes.get("constant_value", "0")))
    before, after = width[0::2], width[1::2]
    if before != after or any(before[:-axes]) or value not in values:
        return nothing
    return inner.sources[0], before[-axes:], int(value)


def _held(build, place, operator, **attributes):
    """The Held step that gives a value, if it is this operator with these attributes."""
    step = build.step(place, Held)
    if not step or step.operator != operator:
        return None
    given = step.graph["nodes"][-1].get("attrs", {})
    same = all(literal(given.get(name, "")) in (value, (value,)) for name, value in attributes.items())
    return step if same else None


@converts("Pooling")
def pooling(build: Build, x: Any) -> Any:
    """Max and average pooling, with the channels first."""
    function, kernel = build.get("pool_type", "max"), build.get("kernel", ())
    rounding = {"valid": "floor", "full": "ceil"}.get(build.get("pooling_convention", "valid"))
    layout = build.get("layout") or "NC"
    if not kernel or function not in ("max", "avg") or not rounding or layout[:2] != "NC":
        return None
    kernel = kernel if isinstance(kernel, tuple) else (kernel,)
    axes = len(kernel)
    if build.get("global_pool"):
        return build(Pool, x, function=function, axes=axes)
    count = "inside" if build.get("count_include_pad", True) is False else "all"
    sizes = _sizes(build, axes, strides="stride", padding="pad", dilation="dilate")
    return build(Pool, x, function=function, axes=axes, window=kernel, rounding=rounding, count=count, **sizes)


@converts("gluon_bnn_pack_image")
def pack_image(build: Build, x: Any) -> Any:
    return build(PackImage, x, channels=build.get("channels"))


@converts("gluon_bnn_packed_conv")
def packed_conv(build: Build, x: Any, *arrays: Any) -> Any:
    """From the export of a net that was frozen in the packed form."""
    if not constant(*arrays):
        return None
    kernel = build.get("kernel")
    options = _sizes(build, len(kernel), strides="strides", padding="padding", dilation="dilation")
    options.update(units=build.get("channels"), in_channels=build.get("in_channels"), window=kernel)
    options.update(packed_arrays(build, x, arrays), pad=build.get("pad", "zero"))
    return build(PackedConv, x, **options)


@converts("gluon_bnn_packed_max_pool")
def packed_max_pool(build: Build, x: Any, falls: Any = None) -> Any:
    if not constant(falls):
        return None
    kernel = build.get("kernel", ())
    options: dict[str, Any] = {"window": kernel, "axes": build.get("axes"), "channels": build.get("channels")}
    if kernel:
        options.update(_sizes(build, len(kernel), strides="strides", padding="padding", dilation="dilation"))
        options["rounding"] = build.get("rounding")
    return build(PackedMaxPool, x, arrays={} if falls is None else {"falls": falls}, **options)


@converts("gluon_bnn_packed_flatten")
def packed_flatten(build: Build, x: Any) -> Any:
    return build(PackedFlatten, x, channels=build.get("channels"), in_units=build.get("in_units"))
