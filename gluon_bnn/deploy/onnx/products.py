"""Dense layers and convolutions, of real weights and of signs.

With signs s = +-1 of inputs, uint8 v = high * (s + 1) / 2 and the zero point z = 0, high / 2 or high, a product of
v - z and weights +-1 with sum S is

    acc = high / 2 * (dot + c),  c = S, 0 or -S,

in which places outside of an image, where v = z, count as inputs of -1, 0 or +1. So dot < t is
acc < high (t + c) / 2, whose right side, rounded up, is an integer threshold. QLinearConv compares with it by its
saturation: with 1 - threshold as its bias and a scale of 255, its output is 0 where acc < threshold, and 255 elsewhere.

QLinearMatMul saturates in the same way, but has no bias. Between dense layers of bits the layer before has a few more
units, with weights of 0, that are always `high`, and their weights in the next layer are minus its threshold.
"""

import dataclasses
import math

import numpy as np
import onnx

from ...graph import bits
from ...graph.graph import Graph, Node, Value
from ...graph.kinds.batch_norm import NORM
from ...graph.kinds.binary_conv2d import PADS
from .. import fold
from . import pieces
from .builder import Builder, Tensor, per_channel
from .elementwise import normalized, scaled

NEVER, ALWAYS = 1 << 40, -(1 << 40)  # as what a sum must be at least
EXACT = 1 << 24  # sums of integers whose magnitudes add up to less are exact in float32, in any order
MOST_INPUTS = 1 << 22  # of a product: 255 times twice as many is below 2^31
# Where a processor has nothing better, ONNX Runtime adds the products of two neighbours in int16, so that their weights
# must not be above 128 together. One constant may have 48 + 64 / 2, what rounding leaves; the others have 48 at most.
MOST_ONE, MOST_ONES = 48, 64
AS_WINDOW = 1 << 16  # most weights of a dense layer that is one window over an image: each image reads them again
ONE = dict(kernel=(1, 1), strides=(1, 1), padding=(0, 0), dilation=(1, 1))


def dense(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """MatMul; over the channels of an image, a convolution of one place."""
    if len(taken[0].shape) > 1:
        return conv2d(b, _over_places(node, groups=1), taken, x)
    name, order = b.flattened(x.name)
    product = b.add("MatMul", name, b.constant(node.arrays["weight"][order], "weight"))
    bias = node.arrays.get("bias")
    return Tensor(product if bias is None else b.add("Add", product, bias))


def conv2d(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    attributes, arrays, groups = node.attributes, node.arrays, node.attributes["groups"]
    weight = arrays["weight"].reshape(*attributes["kernel"], taken[0].channels // groups, attributes["channels"])
    weights = b.constant(weight.transpose(3, 2, 0, 1), "weight")
    bias = [b.constant(arrays["bias"], "bias")] if "bias" in arrays else []
    return Tensor(b.add("Conv", x.name, weights, *bias, group=groups, **_window(attributes)))


def binary_dense(b: Builder, node: Node, taken: tuple[Value, ...], x: Tensor) -> Tensor:
    """MatMulInteger and QLinearMatMul of bits and pixels, MatMul of floats. Over the channels of an image it is a
    convolution of one place; a small layer from bits to bits, over all places of an image, is one of one window."""
    value, arrays, to = taken[0], node.arrays, node.attributes["to"]
    if len(value.shape) > 1:
        return binary_conv2d(b, _over_places(node, pad="zero"), taken, x)
    check_inputs(value.channels)
    negative = _negative(node, value).reshape(-1, value.channels).T
    if not (b.integers and (x.high or x.pixels)):
        name, order = b.flattened(x.name)
        if b.integers and node.sources[0] in b.finite and negative.size >= pieces.LARGE:
            product = pieces.product(b, name, b.weights(negative[order], real=False))
        else:
            product = b.add("MatMul", name, b.weights(negative[order], real=True))
        return _from_dot(b, node, value, x, b.as_it_is(product))
    if to == "float" or x.pixels:
        return _dense_to_floats_or_from_pixels(b, node, value, x, negative)
    image = b.image_of(x.name)
    if image is not None and negative.size <= AS_WINDOW:
        return _one_window(b, arrays, value, x, negative, *image)
    least = _least(arrays, value.channels)
    if least is None:
        dot = b.add("MatMulInteger", x.name, b.weights(negative, real=False))
        return b.larger(dot, b.constant(_threshold_of_bits(arrays, value.channels, x.high, -1), "threshold"))
    return _saturated(b, x, negative, least)


def _dense_to_floats_or_from_pixels(b, node, value, x, negative):
    """By MatMulInteger, whose products are int32."""
    arrays, to, ones = node.arrays, node.attributes["to"], b.ones.get(b.layer, 0)
    threshold = None
    if to != "float":
        threshold, negative = _threshold_of_pixels(arrays, negative)
    if threshold is not None:
        dot = b.add("MatMulInteger", x.name, _and_zeros(b, b.weights(negative, real=False), ones))
        return b.larger(dot, b.constant(np.append(threshold, np.zeros(ones, np.int32)), "threshold"), ones)
    weights = b.weights(negative, real=False)
    if x.pixels:
        dot = b.add("MatMulInteger", x.name, weights)
    elif value.form == "bits01":
        dot = b.add("Div", b.add("MatMulInteger", b.two(x).name, weights), np.int32(2))  # of 0 and 1, not 2
    else:
        dot = b.add("MatMulInteger", b.two(x).name, weights, np.uint8(1))
    return _from_dot(b, node, value, x, b.add("Cast", dot, to=onnx.TensorProto.FLOAT))


def _least(arrays, inputs):
    """What the sum of the weights whose inputs are not 0 must be at least for the larger number, int64 (units,), or
    ALWAYS or NEVER where that is the bit for all inputs. None where it would take too many constants to add it."""
    sums = bits.sign_sums(arrays["weight_bits"], len(arrays["threshold"]), inputs).astype(np.int64)
    least = -(-(np.clip(arrays["threshold"].astype(np.int64), -inputs, inputs + 1) + sums) // 2)
    plus, minus = (inputs + sums) // 2, (inputs - sums) // 2
    found = np.where(least > plus, NEVER, np.where(least <= -minus, ALWAYS, least))
    return found if _ones_for(found) <= MOST_ONES else None


def _ones_for(least):
    """How many constant inputs are needed: none where all sums are compared with 0."""
    added = _to_add(least)
    return -(-int(np.abs(added).max(initial=0)) // MOST_ONE)


def _to_add(least):
    """What is added to the sum of a unit, which is then compared with 0; see `_saturated` for ALWAYS and NEVER."""
    return np.where(least == NEVER, -1, np.where(least == ALWAYS, 0, -least))


def _saturated(b, x, negative, least):
    """QLinearMatMul: 255 where a sum is at least this, else 0. The constant inputs of a unit have the same weight, but
    for the first, which has what is left; the file has one of each. A unit that always gives the larger number gets
    weights of +1 alone, and one that never does weights of -1 and an added -1."""
    negative = np.where(least == NEVER, 1, np.where(least == ALWAYS, 0, negative)).astype(np.uint8)
    weights, count, added = b.weights(negative, real=False), _ones_for(least), _to_add(least)
    if count:
        same = np.rint(added / count).astype(np.int64)
        rows = np.stack([added - (count - 1) * same, same]).astype(np.int8)
        chosen = np.minimum(np.arange(count, dtype=np.int32), 1)
        rows = b.constant(rows[:1] if count == 1 else rows, "added")
        weights = b.add("Concat", weights, rows if count == 1 else b.add("Gather", rows, chosen), axis=0)
    name = x.name
    if count != x.ones:
        name = b.add("Pad", name, np.array([0, 0, 0, count], np.int64), np.uint8(x.high))
    ones = b.ones.get(b.layer, 0)
    one, zero = np.float32(1), np.uint8(0)
    given = one, zero, _and_zeros(b, weights, ones), one, np.int8(0)
    return Tensor(b.add("QLinearMatMul", name, *given, np.float32(1 / 255), np.uint8(255)), 255, ones=ones)


def _and_zeros(b, weights, ones):
    """Weights (inputs, units), and those of units whose product is always 0."""
    return b.add("Pad", weights, np.array([0, 0, 0, ones], np.int64)) if ones else weights


def _one_window(b, arrays, value, x, negative, image, shape):
    """A dense layer over all places of an image, of (height, width, channels), as one QLinearConv."""
    ones, units = b.ones.get(b.layer, 0), negative.shape[1]
    weights = b.weights(negative.T.reshape(units, *shape).transpose(0, 3, 1, 2), real=False)
    if ones:
        weights = b.add("Pad", weights, np.array([0] * 4 + [ones] + [0] * 3, np.int64))
    threshold = np.append(_threshold_of_bits(arrays, value.channels, x.high, -1), np.zeros(ones, np.int32))
    units_first = _conv_to_bits(b, image, 0, weights, threshold, {**ONE, "kernel": shape[:2]}, x.high)
    last = b.add("Transpose", units_first, perm=[0, 2, 3, 1])  # ONNX Runtime has one after the Conv, which this undoes
    return Tensor(b.reshape(last, (units + ones,)), 255, ones=ones)


def _conv_to_bits(b, x, zero, weights, threshold, attributes, step=1):
    """QLinearConv, whose values are 0 where its sum, a multiple of `step`, is below a threshold, and else 255."""
    given = np.float32(255), np.uint8(zero), weights, np.float32(1), np.int8(0)
    gives = np.float32(1), np.uint8(0), b.whole(step + -threshold // step * step, "bias")
    return b.add("QLinearConv", x, *given, *gives, **_window(attributes))


def ones(graph: Graph) -> dict[int, int]:
    """{layer of bits: how many constants its one reader, a dense layer from bits to bits, adds to its products}."""
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for source in node.sources:
            readers.setdefault(source, []).append(index)
    found = {}
    for source, (index, *others) in readers.items():
        kinds, value = {graph.nodes[each].kind for each in (source, index)}, graph.values[source]
        if (
            kinds == {"binary_dense"}
            and not others
            and len(value.shape) == 1
            and "threshold" in graph.nodes[index].arrays
        ):
            least = _least(graph.nodes[index].arrays, value.channels)
            found[source] = 0 if least is None else _ones_for(least)
    return found


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
    step = x.high if zero in (0, x.high) and x.high else 1
    return Tensor(_conv_to_bits(b, x.name, zero, b.weights(negative, real=False), threshold, attributes, step), 255)


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
        return b.signs(dot, least, to, finite=True)
    alpha, bias = ("alpha_u8", "bias_u8") if x.pixels else ("alpha", "bias")
    y = scaled(b, "Mul", dot, arrays[alpha], rank, "alpha")
    y = scaled(b, "Add", y, arrays[bias], rank, "bias")
    if "mean" in arrays:
        y = normalized(b, arrays, y, rank)
    return Tensor(y) if to == "float" else b.signs(y, np.float32(0), to, finite=False)


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
        strides=_unless(attributes["strides"], 1),
        pads=_unless(attributes["padding"] * 2, 0),
        dilations=_unless(attributes["dilation"], 1),
    )


def _unless(numbers, default):
    """None, which leaves an attribute out, where all numbers are what it is by default."""
    return None if all(number == default for number in numbers) else numbers


def _negative(node, value):
    """1 where a weight is -1, else 0: uint8 (units, channels, height, width of the kernel)."""
    kernel, channels = node.attributes.get("kernel", (1, 1)), value.channels
    units = node.attributes["units" if "units" in node.attributes else "channels"]
    taps = math.prod(kernel)
    runs, size = (1, taps * channels) if value.form == "float" else (taps, channels)
    rows = np.ascontiguousarray(node.arrays["weight_bits"].transpose(0, 2, 1), "<i4").view(np.uint8)
    every = np.unpackbits(rows, axis=-1, bitorder="little").reshape(len(rows) * bits.LANES, runs, -1)
    return every[:units, :, :size].reshape(units, *kernel, channels).transpose(0, 3, 1, 2)
