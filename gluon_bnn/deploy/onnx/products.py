"""Dense layers and convolutions, of real weights and of signs.

With signs s = +-1 of inputs, uint8 v = high * (s + 1) / 2 and the zero point z = 0, high / 2 or high, a product of
v - z and weights +-1 with sum S is

    acc = high / 2 * (dot + c),  c = S, 0 or -S,

in which places outside of an image, where v = z, count as inputs of -1, 0 or +1. So dot < t is
acc < high (t + c) / 2, whose right side, rounded up, is an integer threshold. QLinearConv compares with it by its
saturation: with 1 - threshold as its bias and a scale of 255, its output is 0 where acc < threshold, and 255 elsewhere.
"""

import dataclasses
import math

import numpy as np
import onnx

from ...graph import bits
from ...graph.graph import Node, Value
from ...graph.kinds.batch_norm import NORM
from ...graph.kinds.binary_conv2d import PADS
from .. import fold
from .builder import Builder, Tensor, per_channel
from .elementwise import normalized, scaled

EXACT = 1 << 24  # sums of integers whose magnitudes add up to less are exact in float32, in any order
MOST_INPUTS = 1 << 22  # of a product: 255 times twice as many is below 2^31
ONE = dict(kernel=(1, 1), strides=(1, 1), padding=(0, 0), dilation=(1, 1))


def dense(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """MatMul; over the channels of an image, a convolution of one place."""
    if len(taken[0].shape) > 1:
        return conv2d(b, _over_places(node, groups=1), taken, x)
    product = b.add("MatMul", x.name, b.constant(node.arrays["weight"], "weight"))
    bias = node.arrays.get("bias")
    return Tensor(product if bias is None else b.add("Add", product, bias))


def conv2d(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    attributes, arrays, groups = node.attributes, node.arrays, node.attributes["groups"]
    weight = arrays["weight"].reshape(*attributes["kernel"], taken[0].channels // groups, attributes["channels"])
    weights = b.constant(weight.transpose(3, 2, 0, 1), "weight")
    bias = [b.constant(arrays["bias"], "bias")] if "bias" in arrays else []
    return Tensor(b.add("Conv", x.name, weights, *bias, group=groups, **_window(attributes)))


def binary_dense(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """MatMulInteger of bits and pixels, MatMul of floats; over the channels of an image, a convolution of one place."""
    value, arrays, to = taken[0], node.arrays, node.attributes["to"]
    if len(value.shape) > 1:
        return binary_conv2d(b, _over_places(node, pad="zero"), taken, x)
    check_inputs(value.channels)
    negative = _negative(node, value).reshape(-1, value.channels).T
    if not (b.integers and (x.high or x.pixels)):
        product = b.add("MatMul", x.name, b.weights(negative, real=True))
        return _from_dot(b, node, value, x, b.as_it_is(product))
    threshold = None
    if x.pixels and to != "float":
        threshold, negative = _threshold_of_pixels(arrays, negative)
    elif to != "float":
        threshold = _threshold_of_bits(arrays, value.channels, x.high, -1)
    weights = b.weights(negative, real=False)
    if x.pixels or to != "float":
        dot = b.add("MatMulInteger", x.name, weights)
    elif value.form == "bits01":
        dot = b.add("Div", b.add("MatMulInteger", b.two(x).name, weights), np.int32(2))  # of 0 and 1, not 2
    else:
        dot = b.add("MatMulInteger", b.two(x).name, weights, np.uint8(1))
    if threshold is None:
        return _from_dot(b, node, value, x, b.add("Cast", dot, to=onnx.TensorProto.FLOAT))
    return b.smaller(b.add("Less", dot, b.constant(threshold, "threshold")))


def _threshold_of_bits(arrays, inputs, high, outside):
    """What acc is compared with, int32, for bits of which places outside of the image count as `outside`."""
    sums = bits.sign_sums(arrays["weight_bits"], len(arrays["threshold"]), inputs).astype(np.int64)
    within = np.clip(arrays["threshold"].astype(np.int64), -inputs, inputs + 1)
    return -(-high * (within - outside * sums) // 2).astype(np.int32)


def _threshold_of_pixels(arrays, negative):
    """(threshold, negative): integers to compare with, and the weights to compare the product of; (None, the same
    weights) where some product gives no finite number."""
    norm = {name: arrays[name] for name in NORM if name in arrays}
    try:
        threshold, falls = fold.thresholds(arrays["alpha_u8"], arrays["bias_u8"], norm, 255 * len(negative), step=1)
    except ValueError:
        return None, negative
    return threshold, negative ^ falls


def binary_conv2d(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """QLinearConv from bits and pixels to bits; else Conv, which is exact on integers."""
    value, attributes, arrays = taken[0], node.attributes, node.arrays
    inputs = math.prod(attributes["kernel"]) * value.channels
    check_inputs(inputs)
    negative = _negative(node, value)
    threshold = arrays.get("threshold_u8" if x.pixels else "threshold")
    if not b.integers or threshold is None:
        return _conv_of_floats(b, node, value, x, negative)
    if x.pixels:
        zero, threshold = 0, np.clip(threshold, -255 * inputs, 255 * inputs + 1)
    else:
        outside = PADS[attributes["pad"]] if value.form == "bits" else 2 * PADS[attributes["pad"]] - 1
        outside = outside if any(attributes["padding"]) else -1  # which takes bits as they are
        x = b.two(x) if outside == 0 else x
        zero, threshold = x.high * (outside + 1) // 2, _threshold_of_bits(arrays, inputs, x.high, outside)
    given = np.float32(255), np.uint8(zero), b.weights(negative, real=False), np.float32(1), np.int8(0)
    gives = np.float32(1), np.uint8(0), b.constant((1 - threshold).astype(np.int32), "bias")
    return Tensor(b.add("QLinearConv", x.name, *given, *gives, **_window(attributes)), 255)


def _conv_of_floats(b, node, value, x, negative):
    """A convolution in float32, also of bits and pixels, whose sums are exact."""
    attributes, name, outside = node.attributes, x.name, 0 if x.pixels else PADS[node.attributes["pad"]]
    if x.pixels and 255 * negative[0].size >= EXACT:
        if not b.integers:
            raise ValueError(f"a window must have at most {EXACT // 255} pixels, got {negative[0].size}")
        dot = b.add("ConvInteger", name, b.weights(negative, real=False), **_window(attributes))
        return _from_dot(b, node, value, x, b.add("Cast", dot, to=onnx.TensorProto.FLOAT))
    if b.integers and (x.high or x.pixels):
        name = b.add("Cast", name if x.pixels else b.two(x).name, to=onnx.TensorProto.FLOAT)
        if value.form == "bits":
            name = b.add("Sub", name, np.float32(1))
        elif value.form == "bits01":
            name = b.add("Mul", name, np.float32(0.5))
    if outside and any(attributes["padding"]):
        down, across = attributes["padding"]
        pads = np.array([0, 0, down, across, 0, 0, down, across], np.int64)
        name = b.add("Pad", name, pads, np.float32(outside))
        attributes = {**attributes, "padding": (0, 0)}
    product = b.add("Conv", name, b.weights(negative, real=True), **_window(attributes))
    return _from_dot(b, node, value, x, b.as_it_is(product))


def _from_dot(b, node, value, x, dot):
    """What follows a product, float32: see binary_dense of the graph. Of bits01 it is that of 0 and 1."""
    arrays, to, rank = node.arrays, node.attributes["to"], len(value.shape)
    threshold = arrays.get("threshold_u8" if x.pixels else "threshold")
    if threshold is not None and to != "float":
        inputs = math.prod(node.attributes.get("kernel", (1,))) * value.channels
        most = 255 * inputs if x.pixels else inputs
        within = np.clip(threshold.astype(np.float64), -most, most + 1)
        if value.form == "bits01":
            within = (within + bits.sign_sums(arrays["weight_bits"], len(within), inputs)) / 2
        least = b.constant(per_channel(within.astype(np.float32), rank), "threshold")
        return b.signs(b.add("Sub", dot, least), to)
    alpha, bias = ("alpha_u8", "bias_u8") if x.pixels else ("alpha", "bias")
    y = scaled(b, "Mul", dot, arrays[alpha], rank, "alpha")
    y = scaled(b, "Add", y, arrays[bias], rank, "bias")
    if "mean" in arrays:
        y = normalized(b, arrays, y, rank)
    return Tensor(y) if to == "float" else b.signs(y, to)


def _over_places(node, **attributes):
    """The convolution of one place that a dense layer over the channels of an image is."""
    attributes.update(ONE, channels=node.attributes["units"])
    attributes.update({name: word for name, word in node.attributes.items() if name == "to"})
    return dataclasses.replace(node, attributes=attributes)


def check_inputs(inputs: int) -> None:
    """ValueError where a product of so many inputs may not fit into int32."""
    if inputs > MOST_INPUTS:
        raise ValueError(f"ONNX's products in int32 have room for {MOST_INPUTS} inputs, got {inputs}")


def _window(attributes):
    """A window as attributes of ONNX's operators."""
    return dict(
        kernel_shape=attributes["kernel"],
        strides=attributes["strides"],
        pads=attributes["padding"] * 2,
        dilations=attributes["dilation"],
    )


def _negative(node, value):
    """1 where a weight is -1, else 0: uint8 (units, channels, height, width of the kernel)."""
    kernel, channels = node.attributes.get("kernel", (1, 1)), value.channels
    units = node.attributes["units" if "units" in node.attributes else "channels"]
    taps = math.prod(kernel)
    runs, size = (1, taps * channels) if value.form == "float" else (taps, channels)
    rows = np.ascontiguousarray(node.arrays["weight_bits"].transpose(0, 2, 1), "<i4").view(np.uint8)
    every = np.unpackbits(rows, axis=-1, bitorder="little").reshape(len(rows) * bits.LANES, runs, -1)
    return every[:units, :, :size].reshape(units, *kernel, channels).transpose(0, 3, 1, 2)
