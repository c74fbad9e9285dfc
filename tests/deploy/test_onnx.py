"""Nets as ONNX models, whose answers in ONNX Runtime are those of the engine; and as QONNX."""

import importlib.util
import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import gluon_bnn
from gluon_bnn import runtime
from gluon_bnn.deploy import onnx as form
from gluon_bnn.graph import bounds, engine
from gluon_bnn.graph.bits import pack_weights, unpack
from gluon_bnn.graph.check import check
from gluon_bnn.graph.graph import Graph, Node, Value
from gluon_bnn.graph.kinds import KINDS
from gluon_bnn.graph.kinds.activation import FUNCTIONS
from gluon_bnn.graph.kinds.arithmetic import FUNCTIONS as OPERATIONS

from paths import GOLDEN
from random_nets import SCALE, Net, chain, odd_floats, random_graph, scales
from sizes import SIZES

reason = "needs ONNX Runtime: pip install 'gluon_bnn[onnx]'"
onnx = pytest.importorskip("onnx", reason=reason)
pytest.importorskip("onnxruntime", reason=reason)

from gluon_bnn.deploy.onnx import pieces, trial
from gluon_bnn.deploy.onnx.builder import Builder
from gluon_bnn.deploy.onnx.early import early
from gluon_bnn.deploy.onnx.magnitudes import finite
from gluon_bnn.deploy.onnx.products import MOST_INPUTS

NETS = sorted(
    name[: -len(".answers.safetensors")]
    for name in os.listdir(GOLDEN)
    if name.startswith("format") and name.endswith(".answers.safetensors")
)
POOL = "average_pool kernel=2x2 strides=1x1 padding=0x0 rounding=floor count=all"
DENSE = "binary_dense units=65 to=float norm", "activation function=relu", "binary_dense units=5 to=float"


def inputs(rng, graph, rows):
    if graph.input_scale is None:
        return odd_floats(rng, rows, *graph.input_shape)
    return rng.integers(0, 256, (rows, *graph.input_shape), np.uint8)


def answers(graph, x):
    """(ONNX Runtime's, the engine's) for a batch x; the model is a valid one."""
    model = form.model(graph)
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 18}
    assert {node.domain for node in model.graph.node} == {""}
    return trial.run(model.SerializeToString(), x), engine.run(graph, x.reshape(len(x), -1))


def assert_equal(graph, x):
    found, expected = answers(graph, x)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32 and (len(x) < 2 or len(np.unique(found, axis=0)) > 1)


def assert_explained(graph, x):
    """Equal, but for what sums of real numbers and exp and its like explain."""
    found, expected = answers(graph, x)
    low, high = bounds.run(graph, x.reshape(len(x), -1))
    assert bounds.within(expected, low, high).all() and bounds.within(found, low, high).all()
    return found, expected


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed):
    """Every kind, one after the other and side by side."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, size=int(rng.integers(3, 14)))
    x = inputs(rng, graph, 5)
    _, expected = assert_explained(graph, x)
    np.testing.assert_array_equal(engine.run(early(graph), x.reshape(5, -1)), expected)


@pytest.mark.slow
def test_many_random_graphs():
    for seed in range(1000, 1050):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        x = inputs(rng, graph, 3)
        _, expected = assert_explained(graph, x)
        np.testing.assert_array_equal(engine.run(early(graph), x.reshape(3, -1)), expected)


@pytest.mark.parametrize("name", NETS)
def test_golden_nets(name):
    """Between them they have every kind of node, form, function and padding."""
    graph = runtime.load(os.path.join(GOLDEN, f"{name}.safetensors")).graph
    known = load_file(os.path.join(GOLDEN, f"{name}.answers.safetensors"))
    x, y = ("pixels", "y_uint8") if graph.input_scale is not None else ("x", "y")
    found, _ = assert_explained(graph, known[x])
    np.testing.assert_allclose(found, known[y], rtol=2e-3, atol=1e-3)


def test_the_golden_model():
    """What ONNX Runtime answered once it answers for ever."""
    with open(os.path.join(GOLDEN, "onnx_opset18.onnx"), "rb") as file:
        content = file.read()
    known = load_file(os.path.join(GOLDEN, "onnx_opset18.answers.safetensors"))
    assert len(np.unique(known["y_uint8"], axis=0)) > 25
    for rows in (0, 1, 7, 30):
        np.testing.assert_array_equal(trial.run(content, known["pixels"][:rows]), known["y_uint8"][:rows])
    found = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert json.loads(found["labels"]) == ["a", "b; c", "é", '"', "\\"] and found["accuracy"] == "0.5"
    assert float(found["input_scale"]) == SCALE and "input_shift" not in found  # these differ by input
    assert found["gluon_bnn"] == "0.2.0.dev0"


@pytest.mark.parametrize("turn", range(len(SIZES)))
def test_dense_layers_of_bits(turn):
    """Pixels, bits and 0/1, over awkward sizes: all integers, to the bit."""
    rng = np.random.default_rng(turn)
    a, b, c, d = (SIZES[(turn * step + step) % len(SIZES)] for step in (1, 2, 3, 5))
    layers = (
        f"binary_dense units={b} to=bits norm",
        f"binary_dense units={c} to=bits01",
        f"binary_dense units={d} to=bits",
        "binary_dense units=65 to=bits01",
        "binary_dense units=9 to=float norm",
    )
    graph = chain(rng, a, *layers, scale=SCALE)
    np.testing.assert_array_equal(*answers(graph, inputs(rng, graph, 7)))
    for form_of_bits in ("bits", "bits01"):
        for scale in (None, -SCALE, scales(rng, a)):
            graph = chain(rng, a, f"pack to={form_of_bits}", *layers[1:], scale=scale)
            np.testing.assert_array_equal(*answers(graph, inputs(rng, graph, 4)))


CONVS = [
    dict(kernel=(3, 3), strides=(1, 1), padding=(1, 1), dilation=(1, 1)),
    dict(kernel=(1, 5), strides=(1, 2), padding=(0, 4), dilation=(1, 2)),
    dict(kernel=(3, 2), strides=(2, 3), padding=(4, 1), dilation=(3, 1)),
    dict(kernel=(2, 2), strides=(1, 1), padding=(0, 0), dilation=(1, 1)),
]


@pytest.mark.parametrize("window", CONVS, ids=lambda window: "x".join(map(str, window["kernel"])))
@pytest.mark.parametrize("pad", ["zero", "plus", "minus"])
def test_convolutions_of_bits(rng, window, pad):
    """From pixels and packed floats, to bits, 0/1 and floats; one at a time and in batches."""
    for channels, between in ((3, 17), (32, 31)):
        for scale in (SCALE, None):
            net = Net(rng, (channels, 9, 8), scale)
            net.add("image", shape=(9, 8, channels))
            if scale is None:
                net.add("pack", to="bits")
            else:
                net.add("binary_conv2d", channels=channels, **CONVS[0], pad="zero", to="bits")
            bits = net.add("binary_conv2d", channels=between, **window, pad=pad, to="bits")
            net.add("binary_conv2d", channels=between, **CONVS[0], pad=pad, to="bits01")
            of01 = net.add("binary_conv2d", channels=9, **CONVS[0], pad="zero" if pad == "zero" else "plus", to="bits")
            net.add("binary_conv2d", of01, channels=5, **CONVS[0], pad=pad, to="float", norm=True)
            left = net.add("flatten")
            net.add("binary_conv2d", bits, channels=5, **CONVS[0], pad=pad, to="float")
            net.add("concat", left, net.add("flatten"))
            graph = net.graph()
            assert_equal(graph, inputs(rng, graph, 1 if scale is None and channels == 3 else 7))


@pytest.mark.parametrize("inputs_of_a_layer", [33, 3000, 9000])
def test_thresholds_as_weights_of_constants(rng, inputs_of_a_layer):
    """Of dense layers from bits to bits: small and large thresholds, more than constants can add, always and never;
    after layers from pixels, packed pixels, bits, and an image."""
    units, many = 12, inputs_of_a_layer
    least, most = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    thresholds = np.array([0, 1, -1, 63, -65, 129, many // 3, -many // 3, many, -many, least, most], np.int32)
    for first in ("binary_dense", "pack", "pack at 128", "image"):
        net = Net(rng, {"image": (many // 3, 3, 1), "binary_dense": 40}.get(first, many), SCALE)
        if first == "binary_dense":
            net.add("binary_dense", units=many, to="bits")
        elif first == "image":
            net.add("image", shape=(3, 1, many // 3))
            net.add("pack", to="bits")
            net.add("flatten")
        else:
            arrays = {"threshold_u8": np.full(many, 128, np.int32)} if first == "pack at 128" else None
            net.add("pack", to="bits", **({"arrays": arrays} if arrays else {}))
        net.add("binary_dense", units=units, to="bits01", arrays={"threshold": thresholds})
        net.add("binary_dense", units=units, to="bits", arrays={"threshold": np.clip(thresholds, -3, 4)})
        net.add("binary_dense", units=33, to="float")
        graph = net.graph()
        x = inputs(rng, graph, 40)
        # Half of the inputs resemble one of them, so that sums are far from 0 and meet the thresholds there.
        x[:20] = x[:20] // 2 + (x[0] > 99) * 120
        assert_equal(graph, x)
        model = form.model(graph)
        for constant in model.graph.initializer:
            if constant.name.endswith(".added") or constant.dims == [1, units]:
                assert np.abs(onnx.numpy_helper.to_array(constant).astype(int)).sum(axis=0).max() <= 128
        for rows in (0, 1):
            assert trial.run(model.SerializeToString(), x[:rows]).shape == (rows, 33)
        operators = [node.op_type for node in model.graph.node]
        assert operators.count("QLinearMatMul") + operators.count("QLinearConv") == 2 - (many == 9000)


def test_thresholds_that_are_just_met(rng):
    """Large ones, at the sums themselves: what ONNX Runtime adds in int16 must not overflow."""
    inputs, units = 3000, 400
    image = rng.integers(0, 256, (1, 40), np.uint8)
    for beyond in (0, 1):
        net = Net(rng, 40, SCALE)
        net.add("binary_dense", units=64, to="bits")
        net.add("binary_dense", units=inputs, to="bits")  # which gives 0 and 255
        hidden = image
        for node, value in zip(net.nodes[1:], (Value("float", (40,), pixels=True), Value("bits", (64,)))):
            hidden = KINDS["binary_dense"].run(node, (value,), hidden)
        agree = np.where(rng.random((units, inputs)) < rng.random((units, 1)), -1, 1)
        arrays = {
            "weight_bits": pack_weights((unpack(hidden, inputs) * agree).astype(np.float32)),
            "threshold": agree.sum(axis=1).astype(np.int32) + beyond,
        }
        net.add("binary_dense", units=units, to="bits", arrays=arrays)
        net.add("binary_dense", units=5, to="float")
        np.testing.assert_array_equal(*answers(net.graph(), image))


def test_what_leads_to_signs_is_a_threshold(rng):
    """Batch norm that rises and falls, activations and pools on the way to signs; the same bits to the last."""
    window = dict(kernel=(3, 3), strides=(2, 2), padding=(1, 1), rounding="floor")
    between = [
        ("batch_norm",),
        ("batch_norm", "relu", "max_pool", "batch_norm"),
        ("max_pool", "batch_norm"),
        ("tanh", "max_pool", "batch_norm", "sigmoid", "batch_norm"),
        ("leaky", "batch_norm", "max_pool", "batch_norm", "max_pool", "elu", "batch_norm"),
    ]
    differ = []
    for links in between:
        for to in ("bits", "bits01"):
            net = Net(rng, (2, 9, 8), SCALE)
            net.add("image", shape=(9, 8, 2))
            for product, channels in (("conv2d", 9), ("binary_conv2d", 33), ("binary_conv2d", 7)):
                where = dict(channels=channels, **CONVS[0])
                if product == "conv2d":
                    net.add(product, **where, groups=1)
                else:
                    net.add(product, **where, pad="plus" if to == "bits01" else "zero", to="float", norm=channels == 33)
                for name in links:
                    if name in FUNCTIONS:
                        net.add("activation", function=name)
                    else:
                        net.add(name, **(window if name == "max_pool" else {}))
                net.add("pack", to=to)
            net.add("flatten")
            net.add("binary_dense", units=3, to="float")
            graph = net.graph()
            x = inputs(rng, graph, 12)
            found = early(graph)
            np.testing.assert_array_equal(engine.run(found, x.reshape(12, -1)), engine.run(graph, x.reshape(12, -1)))
            if links.count("max_pool") < 2:  # of floats with two, the second stays
                assert not {"batch_norm", "activation"} & {node.kind for node in found.nodes}
            _, expected = assert_explained(graph, x)
            differ.append(len(np.unique(expected, axis=0)) > 1)
    assert len(differ) == 10 and sum(differ) > 2  # in the others random thresholds make all images the same


def test_pools_come_before_what_is_channel_by_channel(rng):
    """Of products of pixels, whose answers are equal, and of floats."""
    window = dict(kernel=(3, 2), strides=(2, 2), padding=(1, 0), rounding="floor")
    net = Net(rng, (1, 9, 8), SCALE)
    net.add("image", shape=(9, 8, 1))
    net.add("binary_conv2d", channels=33, **CONVS[0], pad="zero", to="float", norm=True)
    net.add("activation", function="relu")
    net.add("max_pool", **window)
    pooled = len(net.nodes) - 1
    net.add("flatten")
    x = rng.integers(0, 256, (30, 1, 9, 8), np.uint8)
    assert_equal(net.graph(), x)
    del net.nodes[-1], net.values[-1]
    net.add("binary_conv2d", pooled, channels=7, **CONVS[0], pad="minus", to="float", norm=True)
    net.add("batch_norm")
    net.add("max_pool", **window)
    net.add("flatten")
    graph = net.graph()
    found = early(graph)
    kinds = [node.kind for node in found.nodes]
    assert [kind for kind in kinds if kind in ("binary_conv2d", "max_pool")] == ["binary_conv2d", "max_pool"] * 2
    assert kinds.index("max_pool") == kinds.index("binary_conv2d") + 1 < kinds.index("activation")
    np.testing.assert_array_equal(engine.run(found, x.reshape(30, -1)), engine.run(graph, x.reshape(30, -1)))
    assert_explained(graph, x)


def test_shortcuts_in_integers(rng):
    """Sums around convolutions of bits are float32, in the graph's order, though ONNX Runtime would fuse them."""
    net = Net(rng, (3, 8, 8), SCALE)
    net.add("image", shape=(8, 8, 3))
    x = net.add("binary_conv2d", channels=32, **CONVS[0], pad="zero", to="float", norm=True)
    for pad in ("zero", "plus", "minus"):
        net.add("pack", x, to="bits")
        y = net.add("binary_conv2d", channels=32, **CONVS[0], pad=pad, to="float", norm=True)
        x = net.add("arithmetic", x, y, function="add")
        x = net.add("batch_norm", net.add("activation", function="relu"))
    net.add("average_pool", kernel=(8, 8), strides=(1, 1), padding=(0, 0), rounding="floor", count="all")
    net.add("flatten")
    assert_equal(net.graph(), rng.integers(0, 256, (20, 3, 8, 8), np.uint8))


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("behind", [{}, {"multiply": 1.7}, {"divide": 1.7}, {"add": 1.7}])
@pytest.mark.parametrize("alpha, bias", [(1, -0.0), (1, 0.3), (1.7, -0.0)])
def test_sums_of_whole_numbers(rng, units, behind, alpha, bias):
    """They are exact as floats too, and stay so where ONNX Runtime would put what comes before and after into them."""
    net = Net(rng, 257)
    net.add("arithmetic", function="multiply", arrays={"operand": np.float32([255])})
    arrays = {name: np.full(units, value, np.float32) for name, value in (("alpha", alpha), ("bias", bias))}
    net.add("binary_dense", units=units, to="float", arrays=arrays)
    for function, operand in behind.items():
        net.add("arithmetic", function=function, arrays={"operand": np.float32([operand])})
    assert_equal(net.graph(), rng.integers(0, 256, (50, 257)).astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "shape, before",
    [
        (257, ["batch_norm", "activation function=relu"]),
        (257, ["binary_dense units=33 to=float norm", "batch_norm"]),
        ((2, 4, 5), ["image shape=4x5x2", POOL, "flatten"]),
    ],
)
def test_real_numbers_in_pieces(rng, monkeypatch, shape, before):
    """A few rows are multiplied as integers, more of them as floats."""
    graph = chain(rng, shape, *before, *DENSE, scale=-SCALE)
    monkeypatch.setattr(pieces, "LARGE", 1)
    model = form.model(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node].count("If") >= 2
    content, x = model.SerializeToString(), inputs(rng, graph, 20)
    low, high = bounds.run(graph, x.reshape(20, -1))
    for rows in (1, 3, pieces.FEW, pieces.FEW + 1, 20):
        found = trial.run(content, x[:rows])
        assert bounds.within(found, low[:rows], high[:rows]).all()
    assert trial.run(content, x[:0]).shape == (0, graph.units)
    graph.nodes[0].arrays.clear()  # numbers that may be NaN or infinite
    assert "If" not in {node.op_type for node in form.model(graph).graph.node}


@pytest.mark.parametrize("size", [1e-44, 1.0, 1e30])
def test_pieces_of_extreme_numbers(rng, size):
    """The smallest numbers of float32, and large ones; rows of zeros of each sign, of one number, of the same ones."""
    x = (odd_floats(rng, 7, 65) * 2.0 ** rng.integers(-30, 0, (7, 65)) * size).astype(np.float32)
    x[0], x[1], x[2, 1:], x[3, 5] = 0.0, -0.0, 0.0, size
    x[4] = np.float32(size)
    signs = rng.choice(np.int8([-1, 1]), (65, 33))
    b = Builder()
    y = pieces.product(b, "x", b.constant(signs, "weights"))
    b.finish(y, "y")
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"]
    graph = onnx.helper.make_graph(b.nodes, "pieces", infos[:1], infos[1:], list(b.constants.values()))
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    found = trial.run(model.SerializeToString(), x, pieces.FEW)
    exact = x.astype(np.float64) @ signs
    error = 65 * 2.0**-24 * np.abs(x.astype(np.float64)).max(axis=1, keepdims=True) + 2.0**-24 * np.abs(exact)
    assert (np.abs(found - exact) <= np.maximum(error, 2.0**-149)).all()
    assert (found[4] == exact[4].astype(np.float32)).all()  # all numbers are MOST
    assert (found[:3] == exact[:3].astype(np.float32)).all()


def test_element_by_element(rng):
    """No sums: the same numbers for zeros of both signs, infinities and NaN, but for the rounding of exp."""
    x = odd_floats(rng, 40, 33) * np.float32(3)
    x[:4] = [[0.0], [-0.0], [np.inf], [-np.inf]]
    x[5, ::3] = np.nan
    for name in FUNCTIONS:
        graph = chain(rng, 33, f"activation function={name}")
        found, expected = answers(graph, x)
        if not FUNCTIONS[name].rounded:
            np.testing.assert_array_equal(found, expected)
        elif name == "gelu":
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_allclose(found, expected, rtol=3e-7, atol=1e-40)
    for name in OPERATIONS:
        net = Net(rng, 33)
        one = net.add("batch_norm")
        net.add("concat", net.add("arithmetic", 0, function=name), net.add("arithmetic", 0, one, function=name))
        np.testing.assert_array_equal(*answers(net.graph(), x))


@pytest.mark.parametrize("mean, beta", [(0.0, 0.0), (0.0, -0.0), (-0.0, -0.0), (1.0, 0.0)])
def test_signs_of_zeros(mean, beta):
    """What adds 0.0 changes them, and what adds -0.0 does not."""
    factor = np.float32([1, -1])
    norm = {"mean": np.full(2, mean, np.float32), "factor": factor, "beta": np.full(2, beta, np.float32)}
    graph = check(Graph((Node("input", (), {"shape": (2,)}), Node("batch_norm", (0,), {}, norm))))
    found, expected = answers(graph, np.float32([[0, 0], [-0.0, -0.0], [1, 1]]))
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))


def test_sums_of_average_pools_that_are_not_finite():
    """The mean of huge numbers is one, and their sum is infinite."""
    sizes = {"kernel": (2, 2), "strides": (1, 1), "padding": (0, 0), "rounding": "floor", "count": "all"}
    scale = {"scale": np.float32([9e37 / 255]), "shift": np.zeros(4, np.float32)}
    nodes = Node("input", (), {"shape": (1, 2, 2)}, scale), Node("image", (0,), {"shape": (2, 2, 1)})
    graph = check(Graph((*nodes, Node("average_pool", (1,), sizes), Node("flatten", (2,)))))
    assert engine.run(graph, np.full((1, 4), 255, np.uint8)) == np.inf and finite(graph) == {0, 1}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_behind_activations(rng, function):
    """It passes those that are bounded too, and what follows treats it as the engine does."""
    net = Net(rng, (3, 5, 4))
    net.add("image", shape=(5, 4, 3))
    first = net.add("activation", function=function)
    net.add("max_pool", kernel=(2, 2), strides=(1, 1), padding=(0, 0), rounding="floor")
    flat = [net.add("flatten"), net.add("flatten", net.add("activation", first, function="relu"))]
    net.add("concat", *flat)
    x = rng.standard_normal((6, 3, 5, 4)).astype(np.float32)
    x[3:][rng.random((3, 3, 5, 4)) < 0.6] = np.nan
    found, expected = answers(net.graph(), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)  # NaN in the same places


def test_pools_of_floats(rng):
    """NaN is ignored, the lowest float is the least; averages are summed in the engine's order."""
    for rounding in ("floor", "ceil"):
        for kernel, strides, padding in (((3, 2), (2, 2), (1, 0)), ((2, 3), (1, 3), (0, 1)), ((5, 7), (1, 1), (0, 0))):
            net = Net(rng, (5, 5, 7))
            image = net.add("image", shape=(5, 7, 5))
            window = dict(kernel=kernel, strides=strides, padding=padding, rounding=rounding)
            net.add("max_pool", **window)
            flat = [net.add("flatten")]
            for count in ("all", "inside"):
                net.add("average_pool", image, **window, count=count)
                flat.append(net.add("flatten"))
            net.add("concat", *flat)
            x = rng.standard_normal((6, 5, 5, 7)).astype(np.float32)
            x[3:][rng.random((3, 5, 5, 7)) < 0.3] = np.nan
            x[5, 0] = -np.inf
            np.testing.assert_array_equal(*answers(net.graph(), x))


def test_thresholds_that_are_always_or_never_met(rng):
    least, most = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    net = Net(rng, (2, 4, 4), SCALE)
    net.add("image", shape=(4, 4, 2))
    thresholds = np.array([least, most, 0, 1, -1], np.int32)
    for pad in ("zero", "plus", "minus"):
        name = "threshold_u8" if pad == "zero" else "threshold"
        at = len(net.nodes) - 1
        sums = net.add("binary_conv2d", at, channels=5, **CONVS[0], pad="zero" if pad == "zero" else pad, to="bits",
                       arrays={name: thresholds})  # fmt: skip
    net.add("flatten", sums)
    net.add("binary_dense", units=5, to="bits01", arrays={"threshold": thresholds})
    net.add("binary_dense", units=3, to="float")
    x = rng.integers(0, 256, (9, 2, 4, 4), np.uint8)
    x[0], x[1] = 0, 255
    np.testing.assert_array_equal(*answers(net.graph(), x))


def test_weights_take_a_bit(rng):
    """The file of a large net is less than a 25th of what its weights take in float32."""
    graph = chain(
        rng, 784, *["binary_dense units=1024 to=bits norm"] * 3, "binary_dense units=10 to=float", scale=SCALE
    )
    model = form.model(graph)
    weights = 784 * 1024 + 2 * 1024 * 1024 + 10240
    packed = [c for c in model.graph.initializer if c.name.endswith(".bits")]
    assert sum(len(c.raw_data) for c in packed) == weights // 8
    assert 25 * model.ByteSize() < 4 * weights
    assert [c.name for c in packed] == [f"{index}.bits" for index in range(1, 5)]
    assert [i.name for i in model.graph.input] == ["x"] and [o.name for o in model.graph.output] == ["y"]
    assert form.model(graph).SerializeToString() == model.SerializeToString()


def test_save(rng, tmp_path):
    """Through gluon_bnn.save: metadata, one input and batches, on random inputs and on the caller's."""
    graph = chain(rng, (1, 3, 4), "binary_dense units=33 to=bits", "binary_dense units=3 to=float", scale=SCALE)
    graph.nodes[0].arrays["shift"][:] = -1
    path = tmp_path / "net.ONNX"
    x = rng.integers(0, 256, (20, 1, 3, 4), np.uint8)
    for given in (None, x, x[0], x[:0], x.reshape(20, 12)):
        gluon_bnn.save(graph, path, labels=["a\u202e", "\U0001f600", "ß"], accuracy=0.25, inputs=given)
    found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(found.pop("labels")) == ["a\u202e", "\U0001f600", "ß"] and found.pop("accuracy") == "0.25"
    assert found == {"gluon_bnn": gluon_bnn.__version__, "input_scale": str(SCALE), "input_shift": "-1.0"}
    for given, error, words in (
        (x.astype(np.float32), TypeError, "inputs must be uint8, as x of the ONNX model of this net is, got float32"),
        (x[:, :, :2], ValueError, "inputs: x must have the shape"),
        ([1, 2], TypeError, "inputs: x must be a NumPy array"),
    ):
        with pytest.raises(error, match=words):
            gluon_bnn.save(graph, path, inputs=given)


def test_other_answers_are_not_written(rng, tmp_path, monkeypatch):
    """A weight that is wrong by its sign; the old file stays."""
    graph = chain(rng, 40, "pack to=bits", "binary_dense units=33 to=bits", "binary_dense units=3 to=float")
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    weights = Builder.weights

    def wrong(self, negative, real):
        negative = negative.copy()
        negative.flat[0] ^= 1
        return weights(self, negative, real)

    monkeypatch.setattr(Builder, "weights", wrong)
    with pytest.raises(
        ValueError, match=r"not answer as the net does, so nothing was written: output \d of input \d+ "
    ):
        gluon_bnn.save(graph, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["net.onnx"]
    monkeypatch.undo()
    gluon_bnn.save(graph, path)
    assert path.read_bytes() != b"old"


def test_a_runtime_that_fails(rng, tmp_path, monkeypatch):
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **options: 1 // 0)
    graph, path = chain(rng, 8, "binary_dense units=3 to=float"), tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=r"onnxruntime \d.* does not run the model: integer division"):
        gluon_bnn.save(graph, path)
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no libstdc++')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime")
    with pytest.raises(ImportError, match=r"installed, and cannot be imported \(no libstdc.*: install it again"):
        gluon_bnn.save(graph, path)
    assert not path.exists()


@pytest.mark.parametrize("absent", ["onnx", "onnxruntime"])
def test_packages_that_are_not_there(rng, tmp_path, monkeypatch, absent):
    """Without onnx it says what to install; without onnxruntime it writes what it has not tried."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else find_spec(name))
    graph, path = chain(rng, 8, "binary_dense units=3 to=float"), tmp_path / "net.onnx"
    if absent == "onnx":
        with pytest.raises(ImportError, match=r"pip install 'gluon_bnn\[onnx\]'"):
            gluon_bnn.save(graph, path)
        assert not os.listdir(tmp_path)
    else:
        gluon_bnn.save(graph, path)
        assert onnx.load(path).graph.node


def test_what_is_too_large(rng, monkeypatch):
    """The layer is named."""
    graph = chain(rng, 100, "dense units=8", "binary_dense units=3 to=float")
    monkeypatch.setattr(form, "MOST_BYTES", 3000)
    with pytest.raises(
        ValueError, match="at most 3000 bytes, and the arrays .* of which weight of node 1, dense, has 3200"
    ):
        form.model(graph)
    wide = chain(rng, MOST_INPUTS + 1, "pack to=bits", "binary_dense units=1 to=float")
    with pytest.raises(ValueError, match=f"node 2, binary_dense, has no form in ONNX: .* {MOST_INPUTS} inputs, got"):
        form.model(wide)


def test_a_kind_that_the_form_does_not_have(rng, monkeypatch):
    emitters = form._emitters()
    del emitters["batch_norm"]
    monkeypatch.setattr(form, "_emitters", lambda: emitters)
    with pytest.raises(
        ValueError, match="node 1, batch_norm, has no form in ONNX: there is none for this kind, only for"
    ):
        form.model(chain(rng, 5, "batch_norm"))


@pytest.mark.slow
def test_a_layer_of_64_megabytes(rng):
    """As float32, 4096 x 4096: ONNX Runtime unpacks it when it loads it."""
    graph = chain(rng, 4096, "pack to=bits", "binary_dense units=4096 to=bits", "binary_dense units=3 to=float")
    model = form.model(graph)
    assert model.ByteSize() < (64 << 20) / 31
    x = odd_floats(rng, 3, 4096)
    np.testing.assert_array_equal(trial.run(model.SerializeToString(), x), runtime.Model(graph)(x))


class TestQonnx:
    def run(self, model, x):
        """Of an executor that knows BipolarQuant by its definition; one input at a time."""
        from onnx.reference import ReferenceEvaluator
        from onnx.reference.op_run import OpRun

        class BipolarQuant(OpRun):
            op_domain = "qonnx.custom_op.general"

            def _run(self, x, scale):
                return (np.where(x >= 0, scale, -scale).astype(np.float32),)

        evaluator = ReferenceEvaluator(model, new_ops=[BipolarQuant])
        return np.concatenate([evaluator.run(["y"], {"x": row[None].astype(np.float32)})[0] for row in x])

    def nets(self, rng):
        yield chain(
            rng,
            33,
            "binary_dense units=17 to=bits norm",
            "binary_dense units=33 to=bits01",
            "binary_dense units=9 to=bits",
            "binary_dense units=5 to=float norm",
            scale=SCALE,
        )
        for pad in ("zero", "plus", "minus"):
            net = Net(rng, (2, 5, 4), SCALE)
            net.add("image", shape=(5, 4, 2))
            net.add("binary_conv2d", channels=9, **CONVS[0], pad="zero", to="bits")
            net.add("binary_conv2d", channels=7, **CONVS[0], pad=pad, to="bits")
            net.add("max_pool", kernel=(2, 2), strides=(2, 2), padding=(0, 0), rounding="ceil")
            net.add("binary_conv2d", channels=7, **CONVS[0], pad=pad, to="bits01")
            net.add("binary_conv2d", channels=5, **CONVS[0], pad="plus", to="bits")
            net.add("flatten")
            net.add("binary_dense", units=3, to="float")
            yield net.graph()
        yield chain(rng, 40, "pack to=bits01", "binary_dense units=9 to=bits", "binary_dense units=3 to=float")
        yield chain(rng, 40, "pack to=bits", "binary_dense units=3 to=float", scale=SCALE)

    def test_its_executor(self, rng):
        """The same answers, to the bit: all sums are of integers."""
        for graph in self.nets(rng):
            model = form.model(graph, qonnx=True)
            onnx.checker.check_model(model)
            assert {node.domain for node in model.graph.node} == {"", "qonnx.custom_op.general"}
            x = inputs(rng, graph, 6)
            np.testing.assert_array_equal(self.run(model, x), engine.run(graph, x.reshape(6, -1)))
            notes = [note.tensor_name for note in model.graph.quantization_annotation]
            assert notes == ["x"] * (graph.input_scale is not None)

    def test_the_package_qonnx(self, rng, tmp_path):
        pytest.importorskip("qonnx", reason="needs qonnx: pip install qonnx")
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        for graph in self.nets(rng):
            form.save(graph, tmp_path / "net.onnx", qonnx=True)
            model = ModelWrapper(str(tmp_path / "net.onnx")).transform(InferShapes())
            for row in inputs(rng, graph, 3):
                found = execute_onnx(model, {"x": row[None].astype(np.float32)})["y"]
                np.testing.assert_array_equal(found, engine.run(graph, row.reshape(1, -1)))
