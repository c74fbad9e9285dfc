"""nn.BatchNorm against the reference and against MXNet's own: training, inference, export, freezing, wrong input."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import example, given, settings

import gluon_bnn
from gluon_bnn import nn
from gluon_bnn._compat import mx
from gluon_bnn.check import batch_norm
from gluon_bnn.deploy.exported import load_exported
from gluon_bnn.native import library

from needs import needs_library
from pairs import IMPLEMENTATIONS, pairs
from sizes import SEEDS, over_sizes, sizes

BOUND = 8.0  # 3.4 seen over all cases and 20 seeds, in units of eps times the sum of magnitudes


def make(units, dtype="float32", kind=nn.BatchNorm, rng=None, **options):
    """A layer with random parameters."""
    layer = kind(in_channels=units, **options)
    layer.cast(dtype)
    layer.initialize()
    for p in layer.collect_params().values():
        value = rng.random(units) + 0.1 if p is layer.running_var else rng.standard_normal(units)
        p.set_data(mx.nd.array(value.astype(dtype), dtype=dtype))
    return layer


def run(layer, x, d, training):
    """[y, running mean, running var, dx, dgamma, dbeta] as NumPy arrays."""
    array = mx.nd.array(x, dtype=x.dtype)
    array.attach_grad()
    array.grad[:] = 7  # all of it must be written
    with mx.autograd.record(train_mode=training):
        y = layer(array)
    y.backward(mx.nd.array(d, dtype=x.dtype), train_mode=training)
    mx.nd.waitall()  # MXNet's static graphs do not make a reader wait for averages that change within them
    found = [y, layer.running_mean.data(), layer.running_var.data(), array.grad, layer.gamma.grad(), layer.beta.grad()]
    return [a.asnumpy() for a in found]


def values(layer):
    return [
        p.data().asnumpy().astype(np.float64) for p in (layer.gamma, layer.beta, layer.running_mean, layer.running_var)
    ]


def within(found, expected, dtype, bound=BOUND):
    for array, (value, magnitude) in zip(found, expected):
        assert array.shape == np.shape(value) and array.dtype == dtype
        assert (np.abs(array - value) <= bound * np.finfo(dtype).eps * magnitude).all()


@pairs(implementation=IMPLEMENTATIONS, hybridized=[True, False], dtype=["float32", "float64"], training=[True, False])
@settings(max_examples=5)
@over_sizes(rows=129, units=257)
@example(seed=0, rows=300, units=40)  # more rows than are added up in float32
@example(seed=0, rows=100, units=1000)  # more units than a strip holds
def test_forward_and_backward(implementation, hybridized, dtype, training, seed, rows, units):
    rng = np.random.default_rng(seed)
    layer = make(units, dtype, rng=rng, momentum=0.75, epsilon=1e-3)
    if hybridized:
        layer.hybridize(static_alloc=True, static_shape=True)
    for _ in range(2):  # the second time the averages have run on
        x, d = (rng.standard_normal((rows, units)).astype(dtype) for _ in range(2))
        before = values(layer)
        found = run(layer, x, d, training)
        expected = batch_norm.expected(x.astype(np.float64), d.astype(np.float64), *before, 1e-3, 0.75, training)
        within(found, expected, dtype)


@pairs(implementation=IMPLEMENTATIONS, hybridized=[True, False], dtype=["float32", "float64"], training=[True, False])
@settings(max_examples=5)
@given(seed=SEEDS, rows=sizes(9), units=sizes(33), places=sizes(129))
@example(seed=1, rows=2, units=3, places=49)
@example(seed=0, rows=3, units=2, places=4111)  # more places than are added up in float32
@example(seed=0, rows=130, units=2, places=33)  # as many over several rows
def test_channels(implementation, hybridized, dtype, training, seed, rows, units, places):
    """Of sequences and of images."""
    rng = np.random.default_rng(seed)
    layer = make(units, dtype, rng=rng, axis=1, momentum=0.75, epsilon=1e-3)
    if hybridized:
        layer.hybridize(static_alloc=True, static_shape=True)
    shape = (rows, units, places) if places % 3 or places < 9 else (rows, units, 3, places // 3)
    x, d = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    before = values(layer)
    found = run(layer, x, d, training)
    assert found[0].shape == found[3].shape == shape
    found = [batch_norm.by_units(array, 1) if array.ndim > 1 else array for array in found]
    wide = [batch_norm.by_units(array, 1).astype(np.float64) for array in (x, d)]
    # MXNet's own operator adds up all places one after the other, in the type of the data.
    bound = BOUND if implementation == "native" else 4 * BOUND
    within(found, batch_norm.expected(*wide, *before, 1e-3, 0.75, training), dtype, bound)


@needs_library
def test_exports_from_before_there_was_an_axis(rng, tmp_path):
    layer, x = make(4, rng=rng), mx.nd.array(rng.standard_normal((6, 3, 4)))
    layer.hybridize()
    y = layer(x).asnumpy()
    layer.export(str(tmp_path / "net"))
    path = tmp_path / "net-symbol.json"
    text = path.read_text()
    assert '"axis": "-1", ' in text
    path.write_text(text.replace('"axis": "-1", ', ""))
    np.testing.assert_array_equal(load_exported(str(tmp_path / "net"))(x).asnumpy(), y)


def test_channels_of_rows_are_the_last_axis(rng, implementation):
    x, d = (rng.standard_normal((40, 6)).astype(np.float32) for _ in range(2))
    layers = [make(6, rng=np.random.default_rng(3), axis=axis) for axis in (-1, 1)]
    for a, b in zip(*(run(layer, x, d, True) for layer in layers)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("hybridized", [False, True])
def test_between_convolutions(rng, implementation, hybridized):
    """MXNet's convolutions and pools pass on arrays of many channels, and their gradients, in blocks of channels."""
    nets = []
    for kind in (nn.BatchNorm, mx.gluon.nn.BatchNorm):
        net = mx.gluon.nn.HybridSequential()
        net.add(
            mx.gluon.nn.Conv2D(32, 3, padding=1, in_channels=16, use_bias=False),
            kind(axis=1, in_channels=32),
            mx.gluon.nn.Activation("relu"),
            mx.gluon.nn.Conv2D(16, 3, in_channels=32, use_bias=False),
            mx.gluon.nn.MaxPool2D(2),
            kind(axis=1, in_channels=16),
        )
        net.initialize()
        net.hybridize(hybridized)
        nets.append(net)
    for ours, theirs in zip(*(net.collect_params().values() for net in nets)):
        value = rng.standard_normal(ours.shape)
        for p in (ours, theirs):
            p.set_data(mx.nd.array(abs(value) + 0.1 if "var" in p.name else value))
    x, d, found = mx.nd.array(rng.standard_normal((5, 16, 8, 8))), mx.nd.array(rng.standard_normal((5, 16, 3, 3))), []
    for net in nets:
        data = x.copy()
        data.attach_grad()
        for _ in range(2):
            with mx.autograd.record():
                y = net(data)
            y.backward(d)
        parameters = net.collect_params().values()
        gradients = [p.grad() for p in parameters if p.grad_req != "null"]
        found.append([y, data.grad, *gradients, *(p.data() for p in parameters)])
    for a, b in zip(*found):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=2e-4, atol=2e-4 * float(b.abs().max().asscalar()))


@needs_library
@settings(max_examples=9)
@given(seed=SEEDS, rows=sizes(9), units=sizes(33), places=sizes(129))
def test_inference_over_channels_is_mxnets_to_the_bit(seed, rows, units, places):
    rng = np.random.default_rng(seed)
    x = mx.nd.array(rng.standard_normal((rows, units, places)))
    ours, theirs = make(units, rng=rng, axis=1), mx.gluon.nn.BatchNorm(in_channels=units)
    theirs.initialize()
    for name in ("gamma", "beta", "running_mean", "running_var"):
        getattr(theirs, name).set_data(getattr(ours, name).data())
    np.testing.assert_array_equal(ours(x).asnumpy(), theirs(x).asnumpy())


@needs_library
@over_sizes(rows=129, units=1000)
def test_inference_is_mxnets_to_the_bit(seed, rows, units):
    rng = np.random.default_rng(seed)
    x = mx.nd.array(rng.standard_normal((rows, units)))
    ours = make(units, rng=rng)
    theirs = mx.gluon.nn.BatchNorm(in_channels=units)
    theirs.initialize()
    for name in ("gamma", "beta", "running_mean", "running_var"):
        getattr(theirs, name).set_data(getattr(ours, name).data())
    np.testing.assert_array_equal(ours(x).asnumpy(), theirs(x).asnumpy())


def test_more_axes_are_more_rows(rng, implementation):
    layer, again = (make(6, rng=np.random.default_rng(3)) for _ in range(2))
    x, d = (rng.standard_normal((4, 3, 5, 6)).astype(np.float32) for _ in range(2))
    deep = run(layer, x, d, True)
    flat = run(again, x.reshape(-1, 6), d.reshape(-1, 6), True)
    for a, b in zip(deep, flat):
        np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-5, atol=1e-5)


def test_constant_units_are_beta(rng, implementation):
    layer = make(3, rng=rng)
    y, _, var, dx, dgamma, _ = run(layer, np.full((8, 3), -2.5, np.float32), np.ones((8, 3), np.float32), True)
    np.testing.assert_array_equal(y, np.tile(layer.beta.data().asnumpy(), (8, 1)))
    assert np.isfinite(dx).all() and (dgamma == 0).all() and (var > 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"use_global_stats": True},
        {"scale": False, "axis": 1},
        {"scale": False},
        {"center": False},
        {"scale": False, "center": False, "use_global_stats": True},
    ],
)
def test_options_are_gluons(rng, implementation, options):
    ours, theirs = (
        make(9, rng=np.random.default_rng(5), kind=kind, **options) for kind in (nn.BatchNorm, mx.gluon.nn.BatchNorm)
    )
    for layer in (ours, theirs):
        layer.hybridize()
    x, d = (mx.nd.array(rng.standard_normal((20, 9, 4) if "axis" in options else (20, 9))) for _ in range(2))
    results = []
    for layer in (ours, theirs):
        x.attach_grad()
        with mx.autograd.record():
            y = layer(x)
        y.backward(d)
        grads = [p.grad().asnumpy() for p in (layer.gamma, layer.beta) if p.grad_req != "null"]
        results.append([y.asnumpy(), x.grad.asnumpy(), *grads, *values(layer)[1:]])  # MXNet sets an unused gamma to 1
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_width_is_found_from_the_input(rng, implementation):
    for hybridized in (False, True):
        net = mx.gluon.nn.HybridSequential()
        net.add(nn.BinaryDense(7), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(3), nn.BatchNorm())
        net.initialize()
        net.hybridize(hybridized)
        assert net(mx.nd.array(rng.standard_normal((4, 5)))).shape == (4, 3)
        assert net[1].gamma.shape == (7,) and net[4].running_var.shape == (3,)
    images = nn.BatchNorm(axis=1)
    images.initialize()
    images.hybridize()
    assert images(mx.nd.ones((2, 3, 4, 5))).shape == (2, 3, 4, 5) and images.gamma.shape == (3,)
    alone = nn.BatchNorm()
    alone.initialize()
    assert alone(mx.nd.ones((2, 3, 4))).shape == (2, 3, 4) and alone.gamma.shape == (4,)


def test_gradients_are_added_where_asked(rng, implementation):
    layer = make(5, rng=rng)
    layer.hybridize()
    x, d = (rng.standard_normal((6, 5)).astype(np.float32) for _ in range(2))
    once = run(layer, x, d, True)
    layer.hybridize(False)
    for p in (layer.gamma, layer.beta):
        p.grad_req = "add"
        p.zero_grad()
    layer.hybridize()
    array = mx.nd.array(x)
    array.attach_grad("add")
    for _ in range(3):
        with mx.autograd.record():
            y = layer(array)
        y.backward(mx.nd.array(d))
    for found, expected in zip((array.grad, layer.gamma.grad(), layer.beta.grad()), once[3:]):
        np.testing.assert_allclose(found.asnumpy(), 3 * expected, rtol=1e-5, atol=1e-5)


def trained(rng, **options):
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(20, in_units=12),
        nn.BatchNorm(in_channels=20, **options),
        nn.BinaryActivation(),
        nn.BinaryDense(3, in_units=20),
        nn.BatchNorm(in_channels=3, **options),
    )
    net.initialize()
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.05}, kvstore=None)
    loss = gluon_bnn.loss.SquaredHingeLoss()
    x, labels = mx.nd.array(rng.standard_normal((60, 12))), mx.nd.array(rng.integers(0, 3, 60))
    losses = []
    for _ in range(40):
        with mx.autograd.record():
            value = loss(net(x), labels)
        value.backward()
        trainer.step(60)
        losses.append(float(value.mean().asscalar()))
    assert losses[-1] < 0.7 * losses[0]
    return net, x


def test_export_holds_the_averages_and_computes_alike(rng, implementation, tmp_path):
    net, x = trained(rng)
    prefix = str(tmp_path / "net")
    net.export(prefix)
    assert {name.split(":")[0] for name in mx.nd.load(prefix + "-0000.params") if "running" in name} == {"aux"}
    loaded = load_exported(prefix)
    np.testing.assert_array_equal(loaded(x).asnumpy(), net(x).asnumpy())
    # The export trains on as the net does.
    with mx.autograd.train_mode():
        found, expected = loaded(x).asnumpy(), net(x).asnumpy()
    np.testing.assert_array_equal(found, expected)
    with open(prefix + "-symbol.json") as file:
        operators = {node["op"] for node in json.load(file)["nodes"]}
    assert ("gluon_bnn_batch_norm" in operators) == (implementation == "native")


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_frozen_is_the_net_to_the_bit(rng, implementation, options):
    net, x = trained(rng, **options)
    for form in ("packed", "float") if library.available() else ("float",):
        frozen = gluon_bnn.freeze(net, form, verbose=False)
        np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())
        if form == "packed":
            assert len(frozen.graph.nodes) == 3  # the input and two layers: both batch norms are folded


def test_parameters_are_gluons_own(rng, implementation, tmp_path):
    """Files of parameters go from one to the other."""
    ours, theirs = make(4, rng=rng), mx.gluon.nn.BatchNorm(axis=-1)
    ours.save_parameters(str(tmp_path / "p"))
    theirs.load_parameters(str(tmp_path / "p"))
    x = mx.nd.array(rng.standard_normal((6, 4)))
    np.testing.assert_array_equal(ours(x).asnumpy(), theirs(x).asnumpy())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"axis": 0}, "axis must be -1.*or 1.*got 0"),
        ({"axis": 2}, "axis must be"),
        ({"axis": True}, "axis must be"),
        ({"axis": np.bool_(True)}, "axis must be"),
        ({"axis": 1.0}, "axis must be"),
        ({"momentum": True}, "momentum must be"),
        ({"in_channels": 2.5}, "in_channels must be a whole number from 0"),
        ({"in_channels": True}, "in_channels must be"),
        ({"epsilon": -1e-5}, "epsilon must be a finite number of at least 0, got -1e-05"),
        ({"epsilon": float("nan")}, "epsilon must be"),
        ({"epsilon": "small"}, "epsilon must be"),
        ({"momentum": 1.5}, "momentum must be a finite number of at least 0 and at most 1, got 1.5"),
        ({"momentum": -0.1}, "momentum must be"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        nn.BatchNorm(**options)


def test_options_may_be_numbers_of_numpy(rng, implementation):
    options = dict(axis=1, momentum=0.5, epsilon=2.0**-10, in_channels=3)
    x, found = mx.nd.array(rng.standard_normal((4, 3, 2, 2))), []
    types = np.int64, np.float32, np.float32, np.int32
    for each in (options, {name: kind(value) for kind, (name, value) in zip(types, options.items())}):
        layer = nn.BatchNorm(**each)
        layer.initialize()
        with mx.autograd.record():
            found.append([layer(x).asnumpy(), layer.running_mean.data().asnumpy(), repr(layer)])
    for plain, numpy in zip(*found):
        np.testing.assert_array_equal(plain, numpy)


def test_wrong_dtype():
    with pytest.raises(ValueError, match="float32 or float64, got 'float16'"):
        nn.BatchNorm().cast("float16")


@needs_library
@pytest.mark.parametrize(
    "shape, message",
    [
        ((5,), r"a batch axis and at least one more, got an array of shape \(5,\)"),
        ((4, 3), "of 5 units takes rows of as many numbers, got 3"),
        ((4, 3, 5, 5), "of 5 units takes images of as many channels, got 3"),
    ],
)
def test_wrong_input(shape, message):
    layer = nn.BatchNorm(1 if len(shape) > 2 else -1, in_channels=5)
    layer.initialize()
    for hybridized in (False, True):
        layer.hybridize(hybridized)
        with pytest.raises(mx.base.MXNetError, match=message):
            layer(mx.nd.array(np.ones(shape, np.float32))).asnumpy()


@needs_library
@pytest.mark.parametrize("hybridized", [False, True])
def test_empty_batch_is_an_error(hybridized):
    layer = nn.BatchNorm(in_channels=3)
    layer.initialize()
    layer.hybridize(hybridized)
    with mx.util.np_shape(True), pytest.raises((mx.base.MXNetError, ValueError)), mx.autograd.record():
        layer(mx.nd.zeros((0, 3))).wait_to_read()


@needs_library
def test_wrong_types():
    layer = nn.BatchNorm(in_channels=5)
    layer.initialize()
    with pytest.raises(mx.base.MXNetError, match="one type, float32 or float64, got float64 and float32"):
        layer(mx.nd.ones((4, 5), dtype="float64")).asnumpy()
    with pytest.raises(mx.base.MXNetError, match="takes float32 or float64"):
        layer(mx.nd.ones((4, 5), dtype="int32")).asnumpy()


@pytest.mark.parametrize("static", [False, True])
def test_a_hybridized_net_follows_every_change_of_the_mode(rng, implementation, static):
    x = mx.nd.array(rng.standard_normal((6, 4)))
    nets = [mx.gluon.nn.HybridSequential() for _ in range(2)]
    for net in nets:
        net.add(nn.BatchNorm(in_channels=4, momentum=0.5), nn.BatchNorm(in_channels=4))
        net.initialize()
    nets[0].hybridize(static_alloc=static, static_shape=static)
    for record, train in ((False, False), (True, True), (True, False), (True, True), (False, True), (False, False)):
        found = []
        for net in nets:
            data = x.copy()
            data.attach_grad()
            with mx.autograd.record() if record else contextlib.nullcontext():
                with mx.autograd.train_mode() if train else mx.autograd.predict_mode():
                    y = (net(data) ** 3).sum() if record else net(data)
            if record:
                y.backward(train_mode=train)
            found.append([y.asnumpy(), data.grad.asnumpy(), net[0].running_mean.data().asnumpy()])
        for a, b in zip(*found):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
