"""Binary convolutions against the reference: both implementations, imperative, hybridized, exported."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

import gluon_bnn
from gluon_bnn import check, nn, ops, quantizers
from gluon_bnn._compat import mx
from gluon_bnn.check.sign_scale import all_rules
from gluon_bnn.native import library
from gluon_bnn.reference import binary, conv
from np_arrays import arrays

from gluon_nets import export, imported, sequential
from pairs import IMPLEMENTATIONS, pairs
from sizes import SEEDS, sizes

if library.available():
    library.load_operators()  # so that each test can run alone

KINDS = nn.BinaryConv1D, nn.BinaryConv2D, nn.BinaryConv3D
MODES = {"imperative": None, "hybridized": {}, "static": {"static_alloc": True, "static_shape": True}}


def data(rng, *shape, dtype="float32"):
    return mx.nd.array(rng.standard_normal(shape), dtype=dtype)


def run(net, x, d=None):
    """(y, dx), and the upstream gradient, which is drawn where it is not given."""
    x.attach_grad()
    with mx.autograd.record():
        y = net(x)
    d = mx.nd.array(np.random.standard_normal(y.shape), dtype=y.dtype) if d is None else d
    y.backward(d)
    return y.asnumpy(), x.grad.asnumpy(), d.asnumpy()


def fill(layer, rng):
    """Awkward weights, and curvatures over the range that sqrt(v) + 1e-8 may have."""
    shape, dtype = layer.weight.shape, layer.weight.dtype
    w = rng.standard_normal(shape)
    w.flat[:4] = np.array([1.0, -1.0, 0.0, -0.0])[: w.size]
    layer.weight.set_data(mx.nd.array(w, dtype=dtype))
    if layer.curvature is not None:
        layer.curvature.set_data(mx.nd.array(10 ** rng.uniform(-8, 1, shape), dtype=dtype))


def errors(layer, x, rng):
    fill(layer, rng)
    y, dx, d = run(layer, x)
    gradients = [p.grad().asnumpy() for p in (layer.weight, layer.bias) if p is not None]
    return max(check.conv.errors(layer, x.asnumpy(), d, y, dx, *gradients))


@pairs(implementation=IMPLEMENTATIONS, rule=all_rules(), mode=["imperative", "hybridized"])
@settings(max_examples=4)
@given(
    seed=SEEDS,
    axes=integers(1, 3),
    size=integers(1, 9),
    kernel=integers(1, 4),
    strides=integers(1, 3),
    padding=integers(0, 3),
    dilation=integers(1, 2),
    groups=sampled_from((1, 1, 2, 3)),
    channels=sizes(33),
    in_channels=sizes(33),
    pad_value=sampled_from((0, 1, -1)),
    dtype=sampled_from(("float32", "float64")),
)
def test_against_the_reference(implementation, mode, rule, seed, axes, size, groups, dtype, **drawn):
    (scale, gradient), rng = rule, np.random.default_rng(seed)
    most, groups = (33, groups) if axes < 3 else (5, 1)  # or it takes seconds
    channels, in_channels = (groups * min(drawn.pop(name), most) for name in ("channels", "in_channels"))
    room = (size + 2 * drawn["padding"] - 1) // drawn["dilation"] + 1
    layer = KINDS[axes - 1](
        channels,
        min(drawn.pop("kernel"), room),
        groups=groups,
        scale=scale,
        gradient=gradient,
        clip=(1.0, None, 0.25)[rng.integers(3)],
        use_bias=bool(rng.integers(2)),
        bias_initializer=mx.init.Normal(1),
        **drawn,
    )
    layer.cast(dtype)
    layer.initialize(mx.init.Normal(1))
    if MODES[mode] is not None:
        layer.hybridize(**MODES[mode])
    x = data(rng, 2, in_channels, *(size + np.arange(axes)), dtype=dtype)
    layer(x)
    assert layer.weight.shape == (channels, in_channels // groups, *layer.kernel)
    assert errors(layer, x, rng) < check.BOUND


@pairs(
    implementation=IMPLEMENTATIONS,
    kind=KINDS,
    options=[dict(groups=2, padding=1, pad_value=-1, scale="channel"), dict(scale="loss")],
    mode=MODES,
)
def test_deferred_initialisation(rng, implementation, kind, options, mode):
    net = sequential(kind(4, 2, padding=1, activation="relu"), nn.BinaryActivation(), kind(6, 2, **options))
    alone = kind(6, 2, **options)
    for each in (net, alone):
        each.initialize()
        if MODES[mode] is not None:
            each.hybridize(**MODES[mode])
    x = data(rng, 2, 4, *(5, 4, 3)[: KINDS.index(kind) + 1])
    run(net, x)
    run(alone, x)
    assert net[2].weight.shape == alone.weight.shape == (6, 4 // options.get("groups", 1), *net[2].kernel)
    if alone.curvature is not None:
        assert alone.curvature.shape == alone.weight.shape
    assert gluon_bnn.check_net(net, x).ok


def of_every_layer(deferred=False):
    net = sequential(
        nn.BinaryConv2D(9, 3, padding=1, in_channels=0 if deferred else 2, gradient="exact"),
        mx.gluon.nn.MaxPool2D(2),
        nn.BinaryActivation(),
        nn.BinaryConv2D(4, 3, padding=1, in_channels=0 if deferred else 9, scale="loss", pad_value=1),
        nn.BinaryActivation(),
        nn.BinaryConv2D(6, 2, groups=2, dilation=2, in_channels=0 if deferred else 4, scale="channel", pad_value=-1),
        mx.gluon.nn.GlobalAvgPool2D(),
        nn.BinaryDense(3, in_units=0 if deferred else 6),
    )
    net.initialize(mx.init.Normal(1))
    return net


@pytest.mark.parametrize("deferred", [False, True])
def test_export_and_import(rng, implementation, tmp_path, deferred):
    x = data(rng, 5, 2, 7, 6)
    y = export(of_every_layer(deferred), tmp_path / "net", x)
    loaded = imported(tmp_path / "net")
    np.testing.assert_array_equal(loaded(x).asnumpy(), y)
    assert ("gluon_bnn" in (tmp_path / "net-symbol.json").read_text()) == (implementation == "native")
    weights = [p for name, p in loaded.collect_params().items() if name.endswith("weight")]
    assert len(weights) == 4 and all(p.binary for p in weights)
    assert [p.curvature is not None for p in weights].count(True) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_of_padding(rng, kind, tmp_path):
    """Where it is not zero it shows as Pad, and nothing of the graph is ours."""
    with ops.use("composed"):
        layer = kind(3, 2, padding=2, pad_value=-1, in_channels=2)
    layer.initialize(mx.init.Normal(1))
    x = data(rng, 2, 2, *(4, 3, 5)[: KINDS.index(kind) + 1])
    y = export(layer, tmp_path / "net", x)
    text = (tmp_path / "net-symbol.json").read_text()
    assert '"op": "Pad"' in text and "gluon_bnn" not in text
    np.testing.assert_array_equal(imported(tmp_path / "net")(x).asnumpy(), y)


def test_save_load_and_cast(rng, implementation, tmp_path):
    nets = of_every_layer(), of_every_layer()
    x = data(rng, 5, 2, 7, 6)
    nets[0].save_parameters(str(tmp_path / "p"))
    nets[1].load_parameters(str(tmp_path / "p"))
    y = nets[0](x).asnumpy()
    np.testing.assert_array_equal(y, nets[1](x).asnumpy())
    layer = nn.BinaryConv2D(4, 3, in_channels=2, scale="loss")
    layer.initialize()
    layer.cast("float64")
    for hybridize in (False, True):
        layer.hybridize(hybridize)
        assert layer(x.astype("float64")).dtype == layer.curvature.data().dtype == np.float64
    with pytest.raises(ValueError, match="float32 or float64, got 'float16'"):
        layer.cast("float16")


def test_parameters_are_gluons_own(rng, tmp_path):
    """Files of parameters go from one to the other."""
    ours = nn.BinaryConv2D(4, 3, padding=1, in_channels=2)
    theirs = mx.gluon.nn.Conv2D(4, 3, padding=1, in_channels=2)
    ours.initialize(mx.init.Normal(1))
    ours.save_parameters(str(tmp_path / "p"))
    theirs.load_parameters(str(tmp_path / "p"))
    theirs.weight.set_data(ours.binary_weight())
    x = data(rng, 2, 2, 5, 6)
    np.testing.assert_allclose(ours(x).asnumpy(), theirs(x).asnumpy(), rtol=1e-4, atol=1e-4)
    theirs.save_parameters(str(tmp_path / "q"))
    ours.load_parameters(str(tmp_path / "q"))
    np.testing.assert_array_equal(ours.weight.data().asnumpy(), theirs.weight.data().asnumpy())


def test_summaries_of_gluon_and_mxnet(rng, implementation, capsys):
    net = of_every_layer()
    net.summary(data(rng, 1, 2, 7, 6))
    mx.viz.print_summary(net(mx.sym.var("data")), {"data": (1, 2, 7, 6)})
    assert "BinaryConv2D-1" in capsys.readouterr().out


def test_images_of_other_sizes(rng, implementation):
    """A hybridized layer takes them one after the other."""
    layer = nn.BinaryConv2D(4, 3, in_channels=2, padding=1, pad_value=1)
    layer.initialize(mx.init.Normal(1))
    layer.hybridize()
    for shape in ((2, 2, 5, 6), (1, 2, 9, 4), (2, 2, 5, 6), (3, 2, 1, 1)):
        assert errors(layer, data(rng, *shape), rng) < check.BOUND


def test_products_of_signs_are_exact(rng, implementation):
    """alpha times an integer, rounded once, to the bit: MXNet's convolution must not be Winograd's, or anything else
    that divides."""
    for channels, kernel, size in ((1000, 3, 6), (64, 3, 28), (33, 5, 9), (512, 1, 5)):
        layer = nn.BinaryConv2D(16, kernel, padding=kernel // 2, in_channels=channels, scale="channel", use_bias=False)
        layer.initialize(mx.init.Normal(1))
        x = binary.sign(rng.standard_normal((2, channels, size, size))).astype(np.float32)
        x[0] = binary.sign(layer.weight.data().asnumpy()[0, :, :1, :1])  # one output as large as it can be
        signs, alpha = layer.sign_scale()
        dots = conv.conv(x.astype(np.float64), signs.asnumpy(), padding=kernel // 2)
        found = layer(mx.nd.array(x)).asnumpy()
        np.testing.assert_array_equal(found, alpha.asnumpy().reshape(1, -1, 1, 1) * dots.astype(np.float32))


def test_zero_weights_get_no_gradient(implementation):
    for gradient in quantizers.names():
        layer = nn.BinaryConv1D(2, 3, in_channels=2, scale="channel", gradient=gradient)
        layer.initialize(mx.init.Zero())
        _, dx, _ = run(layer, mx.nd.ones((4, 2, 5)))
        assert not layer.weight.grad().asnumpy().any() and not dx.any()


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_used_many_times(rng, implementation, mode):
    """MXNet adds eight gradients or more up in place, in static graphs; see ops."""

    class Repeat(mx.gluon.HybridBlock):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def hybrid_forward(self, F, x):
            return sum((self.layer(x * i) for i in range(2, 13)), self.layer(x))

    layer = nn.BinaryConv2D(4, 2, in_channels=3, padding=1)
    layer.initialize(mx.init.Normal(1))
    x, net = data(rng, 2, 3, 4, 5), Repeat(layer)
    _, _, d = run(layer, x)
    once = layer.weight.grad().asnumpy()
    if MODES[mode] is not None:
        net.hybridize(**MODES[mode])
    run(net, x, mx.nd.array(d))
    np.testing.assert_allclose(layer.weight.grad().asnumpy(), sum(range(1, 13)) * once, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_among_layers_of_mxnet(rng, mode):
    """Its convolutions and pools pass on arrays of 16 channels and more, and their gradients, in blocks of channels."""

    def make():
        net = sequential(
            mx.gluon.nn.Conv2D(32, 3, padding=1, in_channels=16, use_bias=False),
            nn.BatchNorm(axis=1, in_channels=32),
            nn.BinaryActivation(),
            nn.BinaryConv2D(16, 3, padding=1, in_channels=32, scale="channel", use_bias=False),
            mx.gluon.nn.MaxPool2D(2),
            nn.BatchNorm(axis=1, in_channels=16),
            nn.BinaryConv2D(32, 3, in_channels=16, pad_value=1, padding=1, groups=2),
            mx.gluon.nn.Conv2D(16, 3, in_channels=32),
            mx.gluon.nn.AvgPool2D(2),
            nn.BinaryDense(3, in_units=16),
        )
        net.initialize()
        return net

    with ops.use("composed"):
        nets = [make()]
    nets.append(make())
    for own, other in zip(*(net.collect_params().values() for net in nets)):
        if "running" not in own.name:
            value = mx.nd.array(rng.uniform(-1, 1, own.shape))
            own.set_data(value)
            other.set_data(value)
    x, d, found = data(rng, 2, 16, 8, 8), data(rng, 2, 3), []
    for net in nets:
        if MODES[mode] is not None:
            net.hybridize(**MODES[mode])
        for _ in range(2):
            y, dx, _ = run(net, x, d)
        gradients = [p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null"]
        found.append([y, dx, *gradients])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


@pytest.mark.parametrize("hybridize", [False, True])
def test_empty_batch_is_an_error(implementation, hybridize):
    layer = nn.BinaryConv2D(4, 3, in_channels=3)
    layer.initialize()
    layer.hybridize(hybridize)
    with mx.util.np_shape(True), pytest.raises((mx.base.MXNetError, ValueError)) as error:
        layer(mx.nd.zeros((0, 3, 5, 5))).wait_to_read()
    assert "division by zero" not in str(error.value)


@pytest.mark.parametrize("hybridize", [False, True])
def test_stochastic_signs(rng, implementation, hybridize):
    """Drawn in training: to x goes the gradient through the very signs that were drawn, to W that straight through."""
    layer = nn.BinaryConv2D(4, 3, in_channels=1, scale=None, stochastic=True, use_bias=False)
    layer.initialize()
    w = rng.uniform(-1.5, 1.5, (4, 1, 3, 3))
    layer.weight.set_data(mx.nd.array(w))
    layer.hybridize(hybridize)
    x = mx.nd.array(np.eye(9).reshape(9, 1, 3, 3))  # y is then the signs
    drawn = []
    for seed in (1, 2, 1):
        mx.random.seed(seed)
        y, dx, d = run(layer, x)
        drawn.append(y.reshape(9, 4).T.reshape(w.shape))
        np.testing.assert_allclose(dx.reshape(9, 9), d.reshape(9, 4) @ drawn[-1].reshape(4, 9), rtol=1e-5, atol=1e-5)
        g = d.reshape(9, 4).T.reshape(w.shape)
        np.testing.assert_allclose(layer.weight.grad().asnumpy(), g * (np.abs(w) <= 1), rtol=1e-6)
    assert set(np.unique(drawn[0])) == {-1, 1} and (np.sign(w) == drawn[0])[np.abs(w) >= 1].all()
    assert (drawn[0] == drawn[2]).all() and (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(layer(x).asnumpy().reshape(9, 4).T.reshape(w.shape), binary.sign(w))


def test_signs_and_weights(rng, implementation):
    layer = nn.BinaryConv2D(4, (3, 2), in_channels=3, scale="channel")
    layer.initialize()
    fill(layer, rng)
    signs, alpha = binary.sign_scale(layer.weight.data().asnumpy().astype(np.float64), "channel")
    np.testing.assert_array_equal(layer.signs().asnumpy(), signs)
    np.testing.assert_allclose(layer.alpha().asnumpy(), alpha, rtol=5e-7)
    np.testing.assert_allclose(layer.binary_weight().asnumpy(), alpha.reshape(4, 1, 1, 1) * signs, rtol=5e-7)
    with pytest.raises(mx.gluon.parameter.DeferredInitializationError):
        deferred = nn.BinaryConv2D(4, 3)
        deferred.initialize()
        deferred.signs()


def test_real_weights(rng, implementation):
    net = of_every_layer()
    x = data(rng, 5, 2, 7, 6)
    net(x)
    real = nn.with_real_weights(net)
    assert type(real[0]) is mx.gluon.nn.Conv2D and real[1] is net[1] and real[0].weight is net[0].weight
    assert real[5]._kwargs == net[5]._kwargs
    hidden = real[2](real[1](mx.nd.Convolution(x, net[0].weight.data(), net[0].bias.data(), **net[0]._kwargs)))
    np.testing.assert_allclose(real[:3](x).asnumpy(), hidden.asnumpy(), rtol=1e-5, atol=1e-5)
    padded = np.pad(hidden.asnumpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1)
    expected = conv.conv(padded, net[3].weight.data().asnumpy()) + net[3].bias.data().asnumpy().reshape(1, -1, 1, 1)
    for hybridize in (False, True):
        real.hybridize(hybridize)
        np.testing.assert_allclose(real[3](hidden).asnumpy(), expected, rtol=1e-4, atol=1e-4)
    assert type(nn.with_real_weights(nn.BinaryConv1D(3, 2, in_channels=2))) is mx.gluon.nn.Conv1D
    net.cast("float64")
    assert nn.with_real_weights(net)(x.astype("float64")).dtype == np.float64


def test_an_activation_of_its_own(rng, implementation):
    plain = nn.BinaryConv1D(4, 3, in_channels=2)
    layer = nn.BinaryConv1D(4, 3, in_channels=2, activation="relu", params=plain.params)
    plain.initialize(mx.init.Normal(1))
    x = data(rng, 2, 2, 6)
    np.testing.assert_array_equal(layer(x).asnumpy(), np.maximum(plain(x).asnumpy(), 0))
    assert gluon_bnn.check_net(layer, x).ok
    x[0, 0, 0] = np.nan
    assert np.isnan(layer(x).asnumpy()).any(), "ours, which keeps NaN"


def test_text(implementation):
    layer = nn.BinaryConv2D(8, 3, padding=1, groups=2, in_channels=4, activation="relu", clip=None, pad_value=-1)
    assert repr(layer) == (
        "BinaryConv2D(2 -> 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=2, Activation(relu), "
        "scale='layer', gradient='xnor', clip=None, pad_value=-1)"
    )
    assert (layer.channels, layer.kernel, layer.strides, layer.padding) == (8, (3, 3), (1, 1), (1, 1))
    assert (layer.dilation, layer.groups, layer.pad_value) == ((1, 1), 2, -1)
    assert all(rule.formula in kind.__doc__ for rule in quantizers.rules("layer") for kind in KINDS)


def test_sizes_may_be_numbers_of_numpy(rng, implementation):
    layer = nn.BinaryConv2D(np.int64(4), np.array([3, 2]), strides=[np.int32(2), 1], padding=(np.int64(1), 0))
    assert repr((layer.channels, layer.kernel, layer.strides)) == "(4, (3, 2), (2, 1))"
    layer.initialize()
    layer.hybridize()
    assert layer(data(rng, 2, 3, 5, 5)).shape == (2, 4, 3, 4)
    assert nn.BinaryConv2D(4, np.array(3)).kernel == (3, 3), "an array of no axis is one number"
    pool = nn.MaxPool2D(np.array([2, 3]), np.int64(1), [np.int32(1), 0])
    assert pool(data(rng, 2, 3, 5, 5)).shape == (2, 3, 6, 3) and "size=(2, 3), stride=(1, 1), padding=(1, 0)" in repr(
        pool
    )


@pytest.mark.parametrize(
    "wrong",
    [
        dict(channels=0),
        dict(channels=2.5),
        dict(channels="4"),
        dict(channels=None),
        dict(in_channels=-1),
        dict(in_channels=3),  # with two groups
        dict(channels=5),
        dict(groups=0),
        dict(kernel_size=0),
        dict(kernel_size=()),
        dict(kernel_size=(3, 3, 3)),
        dict(kernel_size="33"),
        dict(kernel_size=2.5),
        dict(kernel_size={2, 3}),  # in no order
        dict(kernel_size=2**31),
        dict(channels=1e30),
        dict(activation="softmax"),
        dict(activation=1),
        dict(strides=0),
        dict(strides=(1, -1)),
        dict(padding=-1),
        dict(padding=(1, True)),
        dict(padding=float("nan")),
        dict(dilation=0),
        dict(layout="NHWC"),
        dict(layout="NCW"),
        dict(pad_value=2),
        dict(pad_value=0.5),
        dict(pad_value=True),
        dict(pad_value="1"),
        dict(pad_value=None),
        dict(pad_value=float("nan")),
        dict(pad_value=np.zeros(3)),
        dict(scale="row"),
        dict(gradient="foo"),
        dict(clip=-1),
        dict(scale="loss", gradient="exact"),
        dict(stochastic=True),
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        nn.BinaryConv2D(**{"channels": 4, "kernel_size": 3, "groups": 2, **wrong})


@pytest.mark.parametrize("wrong", [dict(pool_size=2.5), dict(pool_size=0), dict(strides=True), dict(padding=(1, -1))])
def test_wrong_arguments_of_a_pool_are_refused(wrong):
    with pytest.raises(ValueError, match="must be a whole number from .* got"):
        nn.MaxPool2D(**wrong)


@pytest.mark.parametrize("hybridize", [False, True])
def test_wrong_inputs(rng, implementation, hybridize):
    """An error, in the first call and in later ones, and never a crash or an answer."""
    for shape, deferred in (((2, 3), 0), ((2, 3, 5), 0), ((2, 3, 5, 5), 0), ((2, 4, 2, 2), 4), ((2, 2, 5, 5), 4)):
        layer = nn.BinaryConv2D(4, 3, groups=2, in_channels=deferred)
        layer.initialize()
        layer.hybridize(hybridize)
        with pytest.raises((mx.base.MXNetError, ValueError, AssertionError)) as error:
            layer(data(rng, *shape)).wait_to_read()
        assert "division by zero" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_np(rng, implementation, kind):
    """To the bit what arrays of mx.nd give."""
    values = rng.standard_normal((2, 4, *(4, 3, 5)[: KINDS.index(kind) + 1])).astype(np.float32)
    found = []
    for which in ("nd", "np"):
        with arrays(which) as array:
            np.random.seed(0)
            mx.random.seed(0)
            net = sequential(kind(4, 2, padding=1, pad_value=1, activation="relu"), kind(2, 2, groups=2, scale="loss"))
            net.initialize(mx.init.Constant(-0.25))
            net.hybridize()
            x = array(values)
            x.attach_grad()
            with mx.autograd.record():
                y = net(x)
            y.backward()
            found.append([a.asnumpy() for a in (y, x.grad, *(p.grad() for p in (net[0].weight, net[1].weight)))])
            assert isinstance(net[0].binary_weight(), type(x)) and isinstance(y, type(x))
    for nd, np_ in zip(*found):
        np.testing.assert_array_equal(nd, np_)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_gluons_pools_are_the_references(rng, ceil_mode, padding):
    x = data(rng, 2, 3, 6, 7)
    options = dict(strides=(2, 3), padding=padding, ceil_mode=ceil_mode)
    found = mx.gluon.nn.MaxPool2D((3, 3), **options)(x).asnumpy()
    sizes = (3, 3), (2, 3), padding, ceil_mode
    np.testing.assert_array_equal(found, conv.max_pool(x.asnumpy(), *sizes))
    for every in (True, False):
        found = mx.gluon.nn.AvgPool2D((3, 3), count_include_pad=every, **options)(x).asnumpy()
        np.testing.assert_allclose(found, conv.average_pool(x.asnumpy(), *sizes, every), rtol=1e-5, atol=1e-6)
