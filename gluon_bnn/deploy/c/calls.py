"""What a node of each kind is in C: calls of the functions in functions/, with sizes, arrays and buffers."""

from collections.abc import Sequence
from typing import Callable

import numpy as np

from ...graph import bits
from ...graph.graph import Node, Value
from ...graph.kinds.binary_conv2d import PADS
from ...graph.kinds.window import pool_shape
from .step import Step, words

MOST_PLACES = 1 << 29  # of a padded image along an axis: so the places of windows are within int32


def _input(step):
    scale = step.node.arrays["scale"]
    step.call(
        "input", step.xs[0], step.value.size, step.array("scale"), int(scale.size > 1), step.array("shift"), step.y
    )


def _binary_dense(step):
    x, n = step.xs[0], step.channels
    with step.each_place() as place:
        _products(
            step, place(x, n if step.taken[0].form == "float" else bits.words(n)), n, place(step.y, words(step.value))
        )


def _binary_conv2d(step):
    attributes, taken, units = step.node.attributes, step.taken[0], step.value.channels
    taps = attributes["kernel"][0] * attributes["kernel"][1]
    outside = PADS[attributes["pad"]]
    with step.each_place() as place:
        at = _taps(step)
        y = place(step.y, words(step.value))
        if taken.form == "float":
            if step.pixels:
                window = step.temporary("uint8_t", taps * step.channels)
                step.call("window_pixels", step.xs[0], at, taps, step.channels, window)
            else:
                window = step.temporary("float", taps * step.channels)
                step.call("window", step.xs[0], at, taps, 0, step.channels, f"{outside}.0f", window)
            _products(step, window, taps * step.channels, y)
            return
        if taken.form == "bits01":
            outside = 2 * outside - 1
        size = taps * words(taken)
        window, dots = step.temporary("uint32_t", size), step.temporary("int32_t", units)
        step.call("window_bits", step.xs[0], at, taps, step.channels, int(outside < 0), window)
        step.call("dots", window, size, taps * step.channels, step.signs(), units, dots)
        if outside == 0 and any(attributes["padding"]):
            step.call("zero_outside", at, taps, step.channels, step.signs(), units, dots)
        _from_dots(step, dots, y)


def _products(step, x, n, y):
    """Products of n inputs, of whatever form, with the signs, and what follows."""
    units = step.value.channels
    if step.taken[0].form == "float" and not step.pixels:
        floats = _floats(step, y)
        step.call("float_dots", x, n, step.signs(), units, floats)
        _scaled(step, floats, "", y)
        return
    dots = step.temporary("int32_t", units)
    if step.pixels:
        step.call("pixel_dots", x, n, step.signs(), units, dots)
    else:
        step.call("dots", x, words(step.taken[0]), n, step.signs(), units, dots)
    _from_dots(step, dots, y)


def _from_dots(step, dots, y):
    """The value of integer products."""
    arrays, units = step.node.arrays, step.value.channels
    thresholds = "threshold_u8" if step.pixels else "threshold"
    if thresholds in arrays:
        step.call("below", dots, step.array(thresholds), units, y)
        return
    floats = _floats(step, y)
    if step.taken[0].form == "bits01":
        step.call("floats01", dots, step.array("sums"), units, floats)
    else:
        step.call("floats", dots, units, floats)
    _scaled(step, floats, "_u8" if step.pixels else "", y)


def _floats(step, y):
    return y if step.value.form == "float" else step.temporary("float", step.value.channels)


def _scaled(step, floats, which, y):
    units = step.value.channels
    step.call("scale", floats, units, step.array(f"alpha{which}"), step.array(f"bias{which}"), floats)
    if "mean" in step.node.arrays:
        step.call("norm", floats, 1, units, *map(step.array, ("mean", "factor", "beta")), floats)
    if step.value.form != "float":
        step.call("pack", floats, 1, units, y)


def _taps(step):
    """Where each tap of the place's window lies."""
    at = step.temporary("int32_t", step.node.attributes["kernel"][0] * step.node.attributes["kernel"][1])
    step.call("taps", f"&{_windows(step)}", step.window, at)
    return at


def _windows(step):
    """The name of a struct of its windows."""
    attributes, (height, width, _) = step.node.attributes, step.taken[0].shape
    sizes = [attributes.get(name, (1, 1)) for name in ("kernel", "strides", "padding", "dilation")]
    if max(height + 2 * sizes[2][0], width + 2 * sizes[2][1]) > MOST_PLACES:
        raise ValueError(f"a padded image has at most {MOST_PLACES} places along an axis, got padding {sizes[2]}")
    step.used.add("windows")
    return step.array("windows", [height, width, words(step.taken[0]), step.value.shape[1], *sizes])


def _dense(step):
    with step.each_place() as place:
        y, units = place(step.y, words(step.value)), step.value.channels
        step.call("dense", place(step.xs[0], step.channels), step.channels, step.array("weight"), units, units, y)
        _bias(step, y)


def _conv2d(step):
    attributes, units, groups = step.node.attributes, step.value.channels, step.node.attributes["groups"]
    taps, channels = attributes["kernel"][0] * attributes["kernel"][1], step.channels // groups
    window = step.temporary("float", taps * channels)
    with step.each_place() as place:
        at, y, size = _taps(step), place(step.y, words(step.value)), units // groups
        for group in range(groups):
            behind = f" + {group * size}" if group else ""
            step.call("window", step.xs[0], at, taps, group * channels, channels, "0.0f", window)
            step.call("dense", window, taps * channels, step.array("weight") + behind, units, size, y + behind)
        _bias(step, y)


def _bias(step, y):
    if "bias" in step.node.arrays:
        step.call("add", y, step.value.channels, step.array("bias"), step.value.channels, y)


def _batch_norm(step):
    names = map(step.array, ("mean", "factor", "beta"))
    step.call("norm", step.xs[0], step.places, step.channels, *names, step.y)


def _activation(step):
    function, size = step.node.attributes["function"], step.value.size
    if "slope" not in step.node.arrays:
        step.call(function, step.xs[0], size, step.y)
    elif function in ("leaky", "prelu"):
        channels = step.node.arrays["slope"].size
        step.call("leaky", step.xs[0], size // channels, channels, step.array("slope"), step.y)
    else:
        step.call(function, step.xs[0], size, step.array("slope"), step.y)


def _arithmetic(step):
    operand, m = (step.xs[1], step.value.size) if len(step.xs) > 1 else (step.array("operand"), None)
    m = m or step.node.arrays["operand"].size
    step.call(step.node.attributes["function"], step.xs[0], step.value.size, operand, m, step.y)


def _pack(step):
    if step.pixels:
        # A pixel is 0 to 255, so that a threshold beyond 0 to 256 decides as these do.
        thresholds = step.node.arrays["threshold_u8"].clip(0, 256).astype(np.int16)
        threshold = step.array("threshold_u8", thresholds)
        step.call("pack_pixels", step.xs[0], step.places, step.channels, threshold, step.y)
    else:
        step.call("pack", step.xs[0], step.places, step.channels, step.y)


def _flatten(step):
    if step.taken[0].form == "float":  # of the input, where it is the net's output too
        step.call("copy", step.xs[0], step.channels, step.places, step.channels, step.y, step.channels)
    else:
        step.call("flatten", step.xs[0], step.places, step.channels, step.y)


def _image(step):
    places, channels = step.value.size // step.value.channels, step.value.channels
    step.call("image_pixels" if step.pixels else "image", step.xs[0], places, channels, step.y)


def _slice(step):
    begin = step.node.attributes["begin"]
    x = f"{step.xs[0]} + {begin}" if begin else step.xs[0]
    step.call("copy", x, step.channels, step.places, step.value.channels, step.y, step.value.channels)


def _concat(step):
    begin = 0
    for x, taken in zip(step.xs, step.taken):
        y = f"{step.y} + {begin}" if begin else step.y
        step.call("copy", x, taken.channels, step.places, taken.channels, y, step.value.channels)
        begin += taken.channels


def _max_pool(step):
    taps = step.node.attributes["kernel"][0] * step.node.attributes["kernel"][1]
    with step.each_place() as place:
        at, y = _taps(step), place(step.y, words(step.value))
        if step.value.form == "float":
            step.call("max_pool", step.xs[0], at, taps, step.channels, y)
        elif step.node.arrays.get("falls", np.zeros(1)).any():
            falls = step.array("falls", step.node.arrays["falls"].view(np.uint32))
            step.call("falling_pool", step.xs[0], at, taps, words(step.value), falls, y)
        else:
            step.call("bit_pool", step.xs[0], at, taps, words(step.value), y)


def _average_pool(step):
    attributes = step.node.attributes
    floor = pool_shape(step.taken[0], {**attributes, "rounding": "floor"})
    with step.each_place() as place:
        at = _taps(step)
        counts = int(attributes["count"] == "all"), int(floor != step.value.shape)
        y = place(step.y, words(step.value))
        step.call("average_pool", step.xs[0], f"&{_windows(step)}", step.window, at, step.channels, *counts, y)


CALLS: dict[str, Callable[[Step], None]] = {
    "input": _input,
    "binary_dense": _binary_dense,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "activation": _activation,
    "pack": _pack,
    "flatten": _flatten,
    "image": _image,
    "arithmetic": _arithmetic,
    "concat": _concat,
    "slice": _slice,
    "binary_conv2d": _binary_conv2d,
    "conv2d": _conv2d,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
}
IN_PLACE = "batch_norm", "activation", "arithmetic"  # y may be any of the values that they take


def is_view(node: Node, taken: Sequence[Value], value: Value) -> bool:
    """Whether its value is what it takes, word for word."""
    if node.kind == "flatten":
        places = taken[0].size // taken[0].channels
        return taken[0].form == "float" or places == 1 or taken[0].channels % bits.WORD == 0
    return node.kind == "image" and 1 in (value.channels, value.size // value.channels)
