"""Writes the golden files: models of the current format with what they answered when they were made.

    python tests/golden/make_golden.py

A model that was saved once loads for ever, so the files of a format are made once and never again; a new format gets
new ones beside them. (Those of format 1 were made by version 0.1.) For each net, <name>.safetensors is the model and
<name>.answers.safetensors holds x (float32), y, and where the net takes uint8 pixels and y_uint8. Between them the nets
of each format have every kind of node, every form, function and padding of it, more than 256 float inputs, and all ways
in which uint8 inputs enter. onnx_opset18.onnx is a net in integers as an ONNX model, which needs the package onnx.

For some of them, HEADERS, <name>.h is the model as a C header, without the version that wrote it. It is written again
each time: look at what changed.
"""

import os
import sys

import numpy as np
from safetensors.numpy import save_file

import gluon_bnn
from gluon_bnn import runtime
from gluon_bnn.deploy import onnx
from gluon_bnn.deploy.c.header import text_of
from gluon_bnn.graph.kinds import activation, arithmetic

HEADERS = "format2_labels", "format2_pack"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "helpers"))
from random_nets import SCALE, Net, chain, scales


def residual(rng):
    """Shortcuts of floats around 1-bit layers, a value for each input scale, and each operation of arithmetic."""
    net = Net(rng, (1, 5, 8), scales(rng, 40))
    x = net.add("binary_dense", units=33, to="float", norm=True)
    for form, function in (("bits", "add"), ("bits01", "subtract"), ("bits", "maximum"), ("bits", "minimum")):
        net.add("pack", x, to=form)
        net.add("binary_dense", units=65, to="bits")
        net.add("binary_dense", units=33, to="float", norm=True)
        x = net.add("arithmetic", x, len(net.nodes) - 1, function=function)
    for function in arithmetic.FUNCTIONS:
        net.add("arithmetic", function=function)
    one = net.add("arithmetic", 1, function="multiply", arrays={"operand": np.float32([-1.5])})
    both = net.add("concat", 0, len(net.nodes) - 2, one)
    left = net.add("slice", both, begin=0, end=50)
    right = net.add("slice", both, begin=40, end=90)
    net.add("arithmetic", left, right, function="multiply")
    net.add("dense", units=6)
    return net.graph()


def image(rng):
    """Pixels that go on as uint8 and as floats, and bits with the channels innermost."""
    net = Net(rng, (32, 2, 3), SCALE)
    pixels = net.add("image", shape=(2, 3, 32))
    net.add("pack", pixels, to="bits01")
    net.add("binary_dense", units=33, to="bits", norm=True)
    net.add("binary_dense", units=64, to="bits01")
    net.add("flatten")
    from_bits = net.add("binary_dense", units=7, to="float")
    net.add("activation", net.add("dense", pixels, units=5, bias=False), function="prelu")
    net.add("batch_norm")
    from_floats = net.add("flatten")
    flat = net.add("flatten", pixels)
    from_pixels = net.add("binary_dense", flat, units=9, to="bits")
    from_pixels = net.add("binary_dense", from_pixels, units=9, to="float")
    net.add("binary_dense", pixels, units=3, to="float")  # a layer per pixel, which gets floats
    each = net.add("flatten")
    net.add("concat", from_bits, from_floats, from_pixels, each)
    return net.graph()


SAME = dict(kernel=(3, 3), strides=(1, 1), padding=(1, 1), dilation=(1, 1))
HALVES = dict(kernel=(2, 2), strides=(2, 2), padding=(0, 0), rounding="floor")


def conv(rng, pad):
    """Convolutions from and to each form, with this outside of the image, and pools of bits between them."""
    net = Net(rng, (3, 9, 8))
    net.add("image", shape=(9, 8, 3))
    net.add("binary_conv2d", channels=33, **SAME, pad=pad, to="bits", norm=True)
    net.add("binary_conv2d", channels=32, **SAME, pad=pad, to="bits")
    net.add("max_pool", **HALVES)
    wide = dict(kernel=(3, 2), strides=(1, 2), padding=(2, 1), dilation=(2, 1))
    net.add("binary_conv2d", channels=35, **wide, pad=pad, to="bits01")
    of01 = "zero" if pad == "zero" else "plus"
    net.add("max_pool", kernel=(3, 2), strides=(1, 1), padding=(1, 0), rounding="ceil", bias=False)
    net.add("binary_conv2d", channels=17, **SAME, pad=of01, to="bits01")
    both = len(net.nodes) - 1
    net.add("binary_conv2d", channels=40, **SAME, pad=of01, to="bits")
    net.add("binary_conv2d", channels=5, **SAME, pad=pad, to="float", norm=True)
    net.add("binary_conv2d", channels=5, **SAME, pad=pad, to="bits01")
    net.add("flatten")
    left = net.add("binary_dense", units=4, to="float")
    net.add("binary_conv2d", both, channels=6, **SAME, pad=of01, to="float")
    net.add("flatten")
    net.add("concat", left, net.add("binary_dense", units=3, to="float"))
    return net.graph()


def conv_pixels(rng):
    """The whole net in integers from pixels on; and convolutions that give floats from pixels, or get floats."""
    net = Net(rng, (3, 8, 6), SCALE)
    image = net.add("image", shape=(8, 6, 3))
    net.add("binary_conv2d", channels=40, **SAME, pad="zero", to="bits")
    net.add("max_pool", **HALVES)
    net.add("binary_conv2d", channels=32, **SAME, pad="zero", to="bits")
    net.add("flatten")
    whole = net.add("binary_dense", units=3, to="float")
    apart = dict(kernel=(2, 3), strides=(2, 1), padding=(0, 0), dilation=(1, 1))
    net.add("binary_conv2d", image, channels=5, **apart, pad="minus", to="float", norm=True)
    left = net.add("binary_dense", net.add("flatten"), units=3, to="float")
    net.add("binary_conv2d", image, channels=5, **SAME, pad="plus", to="float")
    right = net.add("binary_dense", net.add("flatten"), units=3, to="float")
    net.add("concat", whole, left, right)
    return net.graph()


def conv_shortcut(rng):
    """A real first layer, a block of 1-bit convolutions with a shortcut around it, groups, and pools of floats."""
    net = Net(rng, (3, 11, 10))
    net.add("image", shape=(11, 10, 3))
    net.add("conv2d", channels=12, **SAME, groups=1)
    x = net.add("max_pool", kernel=(3, 3), strides=(2, 2), padding=(1, 1), rounding="floor")
    net.add("batch_norm")
    net.add("pack", to="bits")
    net.add("binary_conv2d", channels=12, **SAME, pad="zero", to="float", norm=True)
    net.add("arithmetic", x, len(net.nodes) - 1, function="add")
    net.add("activation", function="relu")
    net.add("conv2d", channels=12, **SAME, groups=12, bias=False)
    net.add("conv2d", channels=18, kernel=(1, 1), strides=(1, 1), padding=(0, 0), dilation=(1, 1), groups=3)
    net.add("average_pool", kernel=(3, 2), strides=(2, 2), padding=(1, 0), rounding="ceil", count="all")
    net.add("average_pool", kernel=(2, 3), strides=(1, 1), padding=(1, 1), rounding="floor", count="inside")
    height, width, _ = net.values[-1].shape
    whole = dict(kernel=(height, width), strides=(1, 1), padding=(0, 0))
    net.add("average_pool", **whole, rounding="floor", count="inside")
    net.add("flatten")
    net.add("dense", units=6)
    return net.graph()


def in_integers(rng):
    """From pixels to the last product in integers, with each padding, pools of bits and both forms of them."""
    net = Net(rng, (3, 11, 10), SCALE)
    net.add("image", shape=(11, 10, 3))
    net.add("binary_conv2d", channels=17, **SAME, pad="zero", to="bits")
    net.add("max_pool", kernel=(2, 2), strides=(2, 2), padding=(0, 0), rounding="ceil")
    for channels, pad, to in ((33, "minus", "bits"), (32, "plus", "bits01"), (9, "zero", "bits"), (16, "zero", "bits")):
        net.add("binary_conv2d", channels=channels, **SAME, pad=pad, to=to)
    net.add("max_pool", kernel=(3, 2), strides=(2, 1), padding=(1, 1), rounding="floor", bias=False)
    net.add("flatten")
    net.add("binary_dense", units=65, to="bits01")
    net.add("binary_dense", units=31, to="bits")
    net.add("binary_dense", units=5, to="float", norm=True)
    return net.graph().described(("a", "b; c", "é", '"', "\\"), 0.5)


def nets():
    """{name: graph}."""
    rng = np.random.default_rng(2)
    smooth = [name for name in activation.FUNCTIONS if name not in ("sign", "binary_sigmoid")]
    return {
        "format2_chain": chain(
            rng,
            (1, 15, 20),
            "binary_dense units=65 to=bits norm",
            "binary_dense units=64 to=bits",
            "binary_dense units=40 to=bits01",
            "binary_dense units=65 to=bits01",
            "binary_dense units=33 to=bits",
            "binary_dense units=33 to=float norm",
            "pack to=bits",
            "binary_dense units=300 to=float",
            "activation function=relu",
            "batch_norm",
            "dense units=10",
            scale=SCALE,
        ),
        "format2_functions": chain(
            rng,
            48,
            "binary_dense units=33 to=float",
            "activation function=sign",
            "binary_dense units=65 to=float",
            "activation function=binary_sigmoid",
            *(row for name in smooth for row in ("dense units=24", "batch_norm", f"activation function={name}")),
            "dense units=6",
        ),
        "format2_negative": chain(
            rng, 33, "binary_dense units=65 to=bits01 norm", "binary_dense units=5 to=float", scale=-SCALE
        ),
        "format2_pack": chain(
            rng, 40, "pack to=bits", "binary_dense units=65 to=bits", "binary_dense units=3 to=float norm", scale=SCALE
        ),
        "format2_residual": residual(rng),
        "format2_image": image(rng),
        "format2_labels": chain(rng, 12, "binary_dense units=3 to=float").described(("cat", "a; b", "Füße"), 0.9771),
        "format2_conv_zero": conv(rng, "zero"),
        "format2_conv_plus": conv(rng, "plus"),
        "format2_conv_minus": conv(rng, "minus"),
        "format2_conv_pixels": conv_pixels(rng),
        "format2_conv_shortcut": conv_shortcut(rng),
    }


def main():
    for name, graph in nets().items():
        path = os.path.join(HERE, f"{name}.safetensors")
        if os.path.exists(path):
            continue
        runtime.save(graph, path)
        rng = np.random.default_rng(2)
        x = rng.standard_normal((30, *graph.input_shape)).astype(np.float32)
        x[rng.random(x.shape) < 0.1] = 0.0
        x[rng.random(x.shape) < 0.1] = -0.0
        model = runtime.load(path)
        answers = {"x": x, "y": model(x)}
        if graph.input_scale is not None:
            pixels = rng.integers(0, 256, x.shape, np.uint8)
            answers.update(pixels=pixels, y_uint8=model(pixels))
        save_file(answers, os.path.join(HERE, f"{name}.answers.safetensors"))
    path = os.path.join(HERE, "onnx_opset18.onnx")
    if not os.path.exists(path):
        graph = in_integers(np.random.default_rng(2))
        onnx.save(graph, path)
        pixels = np.random.default_rng(2).integers(0, 256, (30, *graph.input_shape), np.uint8)
        answers = {"pixels": pixels, "y_uint8": runtime.Model(graph)(pixels)}
        save_file(answers, os.path.join(HERE, "onnx_opset18.answers.safetensors"))
    for name in HEADERS:
        graph = runtime.load(os.path.join(HERE, f"{name}.safetensors")).graph
        with open(os.path.join(HERE, f"{name}.h"), "w", encoding="ascii") as file:
            file.write(text_of(graph, name).replace(gluon_bnn.__version__, "VERSION"))


if __name__ == "__main__":
    main()
