"""Operators and layers against the reference: both implementations, imperative, hybridized, exported."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.strategies import integers, lists, sampled_from

import gluon_bnn
from gluon_bnn import check, nn, ops, quantizers
from gluon_bnn._compat import mx
from gluon_bnn.check.sign_scale import all_rules
from gluon_bnn.native import library
from gluon_bnn.reference import binary

import programs
from gluon_nets import export, imported, sequential
from needs import needs_library
from pairs import IMPLEMENTATIONS, pairs
from sizes import SEEDS, sizes

if library.available():
    library.load_operators()  # so that each test can run alone


def data(rng, *shape, dtype="float32"):
    return mx.nd.array(rng.standard_normal(shape), dtype=dtype)


def run(net, x, d):
    x.attach_grad()
    with mx.autograd.record():
        y = net(x)
    y.backward(d)
    return y.asnumpy(), x.grad.asnumpy()


@pairs(implementation=IMPLEMENTATIONS, rule=all_rules(), dtype=["float32", "float64"], hybridize=[False, True])
@settings(max_examples=3)
@given(seed=SEEDS, rows=sizes(17), units=sizes(65), k=sizes(1000))
@example(seed=0, rows=5, units=65, k=129)
@example(seed=0, rows=5, units=3, k=1000)
def test_binary_dense(implementation, rule, dtype, hybridize, seed, rows, units, k):
    (scale, gradient), rng = rule, np.random.default_rng(seed)
    layer = nn.BinaryDense(units, dtype=dtype, scale=scale, gradient=gradient, bias_initializer=mx.init.Normal(1))
    layer.initialize(mx.init.Normal(1))
    if hybridize:
        layer.hybridize()
    x, d = data(rng, rows, k, dtype=dtype), data(rng, rows, units, dtype=dtype)
    layer(x)
    w = rng.standard_normal((units, k)).astype(dtype)
    w.flat[:4] = np.array([1.0, -1.0, 0.0, -0.0])[: w.size]
    layer.weight.set_data(mx.nd.array(w, dtype=dtype))
    if layer.curvature is not None:  # over the range that sqrt(v) + 1e-8 may have
        layer.curvature.set_data(mx.nd.array(10 ** rng.uniform(-8, 1, w.shape), dtype=dtype))
    y, dx = run(layer, x, d)
    errors = check.dense.errors(
        layer, x.asnumpy(), d.asnumpy(), y, dx, layer.weight.grad().asnumpy(), layer.bias.grad().asnumpy()
    )
    assert max(errors) < check.BOUND


@settings(max_examples=30)
@given(SEEDS, lists(integers(1, 7), min_size=1, max_size=5), sampled_from(quantizers.SCALES[:2] + (None,)))
def test_sign_scale_takes_any_shape(implementation, seed, shape, scale):
    rng = np.random.default_rng(seed)
    w = data(rng, *shape)
    signs, alpha = ops.current().sign_scale(mx.nd, w, scale)
    expected = binary.sign_scale(w.asnumpy().astype("float64"), scale)
    np.testing.assert_array_equal(signs.asnumpy(), expected[0])
    np.testing.assert_allclose(alpha.asnumpy(), expected[1], rtol=5e-7)


@pytest.mark.parametrize("flatten, shape", [(True, (3, 2, 5)), (False, (3, 2, 5)), (True, (3, 10))])
@pytest.mark.parametrize("hybridize", [False, True])
def test_deferred_initialisation(rng, implementation, flatten, shape, hybridize):
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryDense(4, flatten=flatten, activation="relu"), nn.BinaryDense(3, flatten=flatten, scale="channel"))
    net.initialize()
    if hybridize:
        net.hybridize()
    with mx.autograd.record():
        y = net(data(rng, *shape))
    y.backward()
    assert net[0].weight.shape == (4, int(np.prod(shape[1:])) if flatten else shape[-1])
    assert y.shape == ((3, 3) if flatten else shape[:-1] + (3,))
    assert gluon_bnn.check_net(net, data(rng, *shape)).ok


def test_layer_alone_deferred_and_hybridized(rng, implementation):
    layer = nn.BinaryDense(4)
    layer.initialize()
    layer.hybridize()
    assert layer(data(rng, 3, 2, 5)).shape == (3, 4)


def of_every_layer(deferred):
    net = sequential(
        nn.BinaryDense(9, in_units=0 if deferred else 12, gradient="exact"),
        nn.BinaryActivation(),
        nn.BinaryDense(3, in_units=0 if deferred else 9, scale="channel"),
        nn.BinarySigmoid(),
    )
    net.initialize(mx.init.Normal(1))
    return net


@pytest.mark.parametrize("deferred", [False, True])
def test_export_and_import(rng, implementation, tmp_path, deferred):
    x = data(rng, 5, 12)
    y = export(of_every_layer(deferred), tmp_path / "net", x)
    np.testing.assert_array_equal(imported(tmp_path / "net")(x).asnumpy(), y)
    assert ("gluon_bnn" in (tmp_path / "net-symbol.json").read_text()) == (implementation == "native")


@pytest.mark.slow
def test_imported_in_a_process_of_its_own(rng, tmp_path):
    """What is composed needs MXNet only, what is native, after it, our library."""
    x, expected = data(rng, 5, 12), {}
    np.save(tmp_path / "x.npy", x.asnumpy())
    for choice in ("composed", "native") if library.available() else ("composed",):
        with ops.use(choice):
            expected[choice] = export(of_every_layer(deferred=False), tmp_path / choice, x)
    code = """
import sys, numpy as np
from gluon_bnn._compat import mx
from gluon_bnn.native import library
for choice in sys.argv[1:]:
    if choice == "native":
        library.load_operators()
    net = mx.gluon.SymbolBlock.imports(f"{choice}-symbol.json", ["data"], f"{choice}-0000.params")
    np.save(f"{choice}.npy", net(mx.nd.array(np.load("x.npy"))).asnumpy())
"""
    programs.output("-c", code, *expected, cwd=tmp_path)
    for choice, y in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{choice}.npy"), y, err_msg=choice)


def test_save_and_load_parameters(rng, implementation, tmp_path):
    nets = []
    for _ in range(2):
        net = mx.gluon.nn.HybridSequential()
        net.add(nn.BinaryDense(9, in_units=12), mx.gluon.nn.BatchNorm(in_channels=9))
        net.initialize(mx.init.Normal(1))
        nets.append(net)
    x = data(rng, 5, 12)
    assert not np.array_equal(nets[0](x).asnumpy(), nets[1](x).asnumpy())
    nets[0].save_parameters(str(tmp_path / "p"))
    nets[1].load_parameters(str(tmp_path / "p"))
    np.testing.assert_array_equal(nets[0](x).asnumpy(), nets[1](x).asnumpy())


def test_cast(rng, implementation):
    net = nn.BinaryDense(4, in_units=3)
    net.initialize()
    net.cast("float64")
    for hybridize in (False, True):
        net.hybridize(hybridize)
        assert net(data(rng, 2, 3, dtype="float64")).dtype == np.float64
    with pytest.raises(ValueError, match="float32 or float64, got 'float16'"):
        net.cast("float16")


def test_repr_and_summary(implementation, capsys):
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(4, in_units=3, scale="channel", gradient="exact", clip=None),
        nn.BinaryActivation(clip=2),
        nn.BinarySigmoid(),
    )
    for text in (
        "BinaryDense(3 -> 4, linear, scale='channel', gradient='exact', clip=None)",
        "BinaryActivation(clip=2)",
        "BinarySigmoid()",
    ):
        assert text in repr(net)
    net.initialize()
    net.summary(mx.nd.ones((2, 3)))
    assert "BinaryDense-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        dict(scale="row"),
        dict(clip=-1),
        dict(clip=0),
        dict(clip=float("nan")),
        dict(clip="1"),
        dict(units=0),
        dict(units=2.5),
        dict(in_units=-1),
        dict(gradient="foo"),
        dict(scale=None, gradient="xnor"),
        dict(dtype="float16"),
        dict(dtype="int8"),
        dict(dtype=None),
        dict(dtype=[2, 2]),
        dict(units=2**31),
        dict(activation="softmax"),
        dict(activation=nn.BinaryActivation()),
        dict(scale=mx.nd.ones(3)),
        dict(scale="loss", gradient="exact"),
        dict(stochastic=True),
        dict(scale=None, stochastic=1),
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        nn.BinaryDense(**{"units": 3, **wrong})


def test_wrong_clip_of_an_activation():
    with pytest.raises(ValueError, match="above 0 or None, got -1"):
        nn.BinaryActivation(clip=-1)


@pytest.mark.parametrize("activation", ["softmax", None, 1])
def test_wrong_names_of_activations(activation):
    with pytest.raises(ValueError, match="activation must be one of relu, sigmoid, tanh, softrelu, softsign, got"):
        nn.Activation(activation)


@pytest.mark.parametrize("clip", [np.float32(0.5), np.int64(2)])
def test_a_clip_may_be_a_number_of_numpy(implementation, clip):
    layer = nn.BinaryDense(2, in_units=3, clip=clip)
    assert repr(nn.BinaryActivation(clip)) == f"BinaryActivation(clip={float(clip)})"
    assert f"clip={float(clip)})" in repr(layer) and isinstance(layer.clip, float)
    layer.initialize()
    layer(mx.nd.ones((1, 3))).wait_to_read()


def test_wrong_inputs(rng, implementation):
    net = nn.BinaryDense(4, in_units=3)
    net.initialize()
    for hybridize in (False, True):
        net.hybridize(hybridize)
        with pytest.raises((mx.base.MXNetError, ValueError)):
            net(data(rng, 2, 5)).wait_to_read()
    with pytest.raises((mx.base.MXNetError, ValueError)):
        mx.nd.zeros((0, 3))  # MXNet has no empty batch to give to a layer, but for NumPy shapes:


@pytest.mark.parametrize("in_units", [0, 3])
@pytest.mark.parametrize("hybridize", [False, True])
def test_empty_batch_is_an_error(implementation, hybridize, in_units):
    net = nn.BinaryDense(4, in_units=in_units)
    net.initialize()
    net.hybridize(hybridize)
    with mx.util.np_shape(True), pytest.raises((mx.base.MXNetError, ValueError)) as error:
        net(mx.nd.zeros((0, 3))).wait_to_read()
    assert "division by zero" not in str(error.value)


@pytest.mark.parametrize("hybridize", [False, True])
def test_gradients_add_up(rng, implementation, hybridize):
    """The extension interface overwrites where grad_req="add" asks to add; the layer makes up for it."""
    layer = nn.BinaryDense(4, in_units=3, gradient="exact")
    layer.initialize(mx.init.Normal(1))
    x, d = data(rng, 5, 3), data(rng, 5, 4)
    run(layer, x, d)
    once = layer.weight.grad().asnumpy()
    layer.collect_params().setattr("grad_req", "add")
    layer.hybridize(hybridize)
    for _ in range(3):
        run(layer, x, d)
    np.testing.assert_allclose(layer.weight.grad().asnumpy(), 3 * once, rtol=1e-6)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_layer_used_many_times(rng, implementation, hybridize):
    """MXNet adds eight gradients or more up in place, in static graphs; see ops."""

    class Repeat(mx.gluon.HybridBlock):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def hybrid_forward(self, F, x):
            return sum((self.layer(x * i) for i in range(2, 13)), self.layer(x))

    layer = nn.BinaryDense(4, in_units=3, use_bias=False)
    layer.initialize(mx.init.Normal(1))
    x, d = data(rng, 5, 3), data(rng, 5, 4)
    run(layer, x, d)
    once = layer.weight.grad().asnumpy()
    net = Repeat(layer)
    net.hybridize(hybridize)
    run(net, x, d)
    np.testing.assert_allclose(layer.weight.grad().asnumpy(), sum(range(1, 13)) * once, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scale", ["layer", "channel"])
def test_zero_weights_get_no_gradient(implementation, scale):
    for gradient in quantizers.names():
        layer = nn.BinaryDense(2, in_units=3, scale=scale, gradient=gradient)
        layer.initialize(mx.init.Zero())
        _, dx = run(layer, mx.nd.ones((4, 3)), mx.nd.ones((4, 2)))
        assert not layer.weight.grad().asnumpy().any() and not dx.any()


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [1.0, 0.25, None, 1e-40])
def test_binary_activation(rng, implementation, dtype, clip, hybridize):
    layer = nn.BinaryActivation(clip=clip)
    layer.hybridize(hybridize)
    x = rng.standard_normal((9, 65)).astype(dtype)
    x.flat[:12] = 0.0, -0.0, 1.0, -1.0, 0.25, -0.25, np.inf, -np.inf, np.nan, 1e-40, 2e-40, -1e-40
    x.flat[12:16] = np.nan, 2.0, -np.inf, 0.0
    d = rng.standard_normal(x.shape).astype(dtype)
    d.flat[12:16] = np.inf, -np.inf, np.nan, np.inf  # masked, it is 0 whatever it was
    y, dx = run(layer, mx.nd.array(x, dtype=dtype), mx.nd.array(d, dtype=dtype))
    np.testing.assert_array_equal(y, binary.sign(x))
    np.testing.assert_array_equal(dx, binary.sign_backward(d, x, clip))


def test_nan_counts_as_plus_one(implementation):
    x = mx.nd.array([np.nan, -1.0])
    np.testing.assert_array_equal(nn.BinaryActivation()(x).asnumpy(), [1, -1])
    np.testing.assert_array_equal(nn.BinarySigmoid()(x).asnumpy(), [1, 0])
    for layer, backward in (
        (nn.BinaryActivation(), binary.sign_backward),
        (nn.BinarySigmoid(), binary.binary_sigmoid_backward),
    ):
        _, dx = run(layer, x, mx.nd.array([3.0, 2.0]))
        expected = backward(np.array([3.0, 2.0]), x.asnumpy().astype(np.float64))
        assert dx[0] == expected[0] == 0
        np.testing.assert_allclose(dx, expected, rtol=1e-6)
    signs, alpha = ops.current().sign_scale(mx.nd, x)
    assert np.isnan(alpha.asnumpy()).all()
    np.testing.assert_array_equal(signs.asnumpy(), [1, -1])


def test_product_over_binary_inputs_is_exact(rng, implementation):
    """y is alpha times an integer, rounded once, to the bit."""
    layer = nn.BinaryDense(65, in_units=1000, use_bias=False, scale="channel")
    layer.initialize(mx.init.Normal(1))
    x = np.where(rng.random((33, 1000)) < 0.5, -1, 1).astype(np.float32)
    w = layer.weight.data()
    signs, alpha = ops.current().sign_scale(mx.nd, w, "channel")
    dots = (x @ binary.sign(w.asnumpy()).T).astype(np.float32)
    np.testing.assert_array_equal(layer(mx.nd.array(x)).asnumpy(), alpha.asnumpy() * dots)


def test_choice_of_implementation(monkeypatch):
    monkeypatch.setenv("GLUON_BNN_OPS", "composed")
    assert ops.current() is ops.composed
    monkeypatch.setenv("GLUON_BNN_OPS", "fast")
    with pytest.raises(ValueError, match="auto, native, composed, got 'fast'"):
        ops.current()
    with pytest.raises(ValueError, match="got 'gpu'"):
        with ops.use("gpu"):
            pass


class TestLossScale:
    @pytest.mark.parametrize("flatten, shape", [(True, (3, 2, 5)), (False, (3, 2, 5))])
    @pytest.mark.parametrize("hybridize", [False, True])
    def test_deferred_initialisation(self, rng, implementation, flatten, shape, hybridize):
        layer = nn.BinaryDense(4, flatten=flatten, scale="loss")
        layer.initialize()
        layer.hybridize(hybridize)
        with mx.autograd.record():
            y = layer(data(rng, *shape))
        y.backward()
        expected = 4, int(np.prod(shape[1:])) if flatten else shape[-1]
        assert layer.curvature.shape == layer.weight.shape == expected
        assert gluon_bnn.check_net(layer, data(rng, *shape)).ok

    def test_cast_save_load_and_repr(self, rng, implementation, tmp_path):
        layers = [nn.BinaryDense(4, in_units=3, scale="loss") for _ in range(2)]
        assert "scale='loss', gradient='ste')" in repr(layers[0])
        for layer in layers:
            layer.initialize(mx.init.Normal(1))
        layers[0].curvature.set_data(data(rng, 4, 3).abs())
        layers[0].save_parameters(str(tmp_path / "p"))
        layers[1].load_parameters(str(tmp_path / "p"))
        x = data(rng, 5, 3)
        np.testing.assert_array_equal(layers[0](x).asnumpy(), layers[1](x).asnumpy())
        layers[0].cast("float64")
        wide = layers[0](x.astype("float64")).asnumpy()
        np.testing.assert_allclose(wide, layers[1](x).asnumpy(), rtol=1e-5, atol=1e-5)

    def test_gradients_are_not_asked_of_the_curvature(self):
        layer = nn.BinaryDense(4, in_units=3, scale="loss")
        layer.initialize()
        layer.collect_params().setattr("grad_req", "add")
        assert (layer.weight.grad_req, layer.curvature.grad_req) == ("add", "null")

    def test_curvature_and_scale_go_together(self, implementation):
        w = mx.nd.ones((2, 3))
        for scale, curvature in (("loss", None), ("layer", w)):
            with pytest.raises(ValueError, match="curvature"):
                ops.current().sign_scale(mx.nd, w, scale, curvature=curvature)

    @needs_library
    @pytest.mark.parametrize(
        "curvature, message",
        [
            (mx.nd.ones((2, 4)), r"must have the shape \(2, 3\), got \(2, 4\)"),
            (mx.nd.ones((2, 3), dtype="float64"), "got float32 and float64"),
        ],
    )
    def test_wrong_curvatures(self, curvature, message):
        library.load_operators()
        with pytest.raises(mx.base.MXNetError, match=message):
            ops.native.sign_scale(mx.nd, mx.nd.ones((2, 3)), "loss", curvature=curvature)


class TestStochastic:
    P = np.array([-1.5, -1, -0.5, -0.1, 0, 0.25, 0.9, 1, 2])

    def layer(self, units, weights=P, dtype="float32", hybridize=False, **options):
        layer = nn.BinaryDense(
            units, in_units=len(weights), scale=None, stochastic=True, use_bias=False, dtype=dtype, **options
        )
        layer.initialize()
        layer.weight.set_data(mx.nd.array(np.tile(weights, (units, 1)), dtype=dtype))
        if hybridize:
            layer.hybridize(static_alloc=True, static_shape=True)
        return layer

    @pytest.mark.parametrize("hybridize", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_frequencies(self, implementation, dtype, hybridize):
        """+1 as often as (w + 1) / 2 says, within 5 sigma; certain from -1 and 1 on."""
        mx.random.seed(11)
        n = 40000
        layer = self.layer(n, dtype=dtype, hybridize=hybridize)
        p = np.clip((self.P + 1) / 2, 0, 1)
        x = mx.nd.array(np.eye(len(p)), dtype=dtype)
        for _ in range(2):
            with mx.autograd.record():
                signs = layer(x).asnumpy()
            assert signs.dtype == dtype and set(np.unique(signs)) == {-1, 1}
            assert (np.abs((signs > 0).mean(axis=1) - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()

    def test_draws_are_independent(self, implementation):
        """Of one another at any distance, over rows, and of those before."""
        mx.random.seed(11)
        layer, n = self.layer(300, np.zeros(301)), 300 * 301
        draws = []
        for _ in range(3):
            with mx.autograd.train_mode():
                draws.append(layer(mx.nd.array(np.eye(301))).asnumpy().T.ravel())
        for lag in (*range(1, 65), 128, 256, 300, 301, 302, 8192):
            assert abs(np.mean(draws[0][lag:] * draws[0][:-lag])) < 5 / np.sqrt(n - lag)
        for other in draws[1:]:
            for lag in range(3):
                assert abs(np.mean(draws[0][lag:] * other[: n - lag])) < 5 / np.sqrt(n)

    @pytest.mark.parametrize("hybridize", [False, True])
    def test_inference_and_seeds(self, rng, implementation, hybridize):
        layer = self.layer(100, rng.uniform(-1, 1, 33), hybridize=hybridize)
        x = mx.nd.array(rng.choice([-1.0, 1.0], (5, 33)))  # products of signs are exact, however they are made
        plain = nn.BinaryDense(100, in_units=33, scale=None, use_bias=False, params=layer.params)
        np.testing.assert_array_equal(layer(x).asnumpy(), plain(x).asnumpy())
        drawn = []
        for seed in (1, 2, 1):
            mx.random.seed(seed)
            with mx.autograd.train_mode():
                drawn.append(layer(x).asnumpy())
        assert (drawn[0] == drawn[2]).all() and (drawn[0] != drawn[1]).any()
        np.testing.assert_array_equal(layer(x).asnumpy(), plain(x).asnumpy())

    @pytest.mark.parametrize("hybridize", [False, True])
    @pytest.mark.parametrize("clip", [1.0, None])
    def test_gradients(self, rng, implementation, clip, hybridize):
        """To x through the very signs that were drawn; to W straight through, masked by W itself."""
        layer = self.layer(7, hybridize=hybridize, clip=clip)
        x, d = mx.nd.array(np.eye(len(self.P))), data(rng, len(self.P), 7)  # so y is the signs drawn
        y, dx = run(layer, x, d)
        np.testing.assert_allclose(dx, d.asnumpy() @ y.T, rtol=1e-5, atol=1e-5)
        g = d.asnumpy().T @ x.asnumpy()
        np.testing.assert_allclose(
            layer.weight.grad().asnumpy(), g if clip is None else g * (np.abs(self.P) <= clip), rtol=1e-5, atol=1e-5
        )

    def test_nan_is_plus_one(self, implementation):
        layer = self.layer(1, np.array([np.nan, -2.0]))
        with mx.autograd.train_mode():
            assert layer(mx.nd.array([[1, 0], [0, 1]])).asnumpy().ravel().tolist() == [1, -1]

    @pytest.mark.parametrize("hybridize", [False, True])
    def test_deferred_initialisation_and_check(self, rng, implementation, hybridize):
        layer = nn.BinaryDense(4, scale=None, stochastic=True)
        layer.initialize()
        layer.hybridize(hybridize)
        with mx.autograd.record():
            layer(data(rng, 3, 2, 5)).backward()
        assert layer.weight.shape == (4, 10) and "stochastic=True)" in repr(layer)
        assert gluon_bnn.check_net(layer, data(rng, 3, 10)).ok

    def test_export(self, rng, implementation, tmp_path):
        layer = self.layer(7, hybridize=True)
        x = data(rng, 5, len(self.P))
        y = export(layer, tmp_path / "net", x)
        np.testing.assert_array_equal(imported(tmp_path / "net")(x).asnumpy(), y)


class TestRealWeights:
    def test_net(self, rng, implementation):
        inner = mx.gluon.nn.HybridSequential()
        inner.add(nn.BinaryDense(9, activation="relu"), mx.gluon.nn.BatchNorm())
        net = mx.gluon.nn.HybridSequential()
        net.add(inner, nn.BinaryDense(3, use_bias=False, scale="loss", flatten=False))
        net.initialize(mx.init.Normal(1))
        x = data(rng, 5, 2, 6)
        net(x)
        real = nn.with_real_weights(net)
        hidden = inner[1](mx.nd.relu(mx.nd.dot(x.reshape((5, 12)), inner[0].weight.data().T)))
        expected = mx.nd.dot(hidden, net[1].weight.data().T).asnumpy()
        for hybridize in (False, True):
            real.hybridize(hybridize)
            np.testing.assert_allclose(real(x).asnumpy(), expected, rtol=1e-5, atol=1e-5)
        assert type(real[0][0]) is mx.gluon.nn.Dense and real[0][1] is inner[1]
        assert real[1].weight is net[1].weight, "shared: it follows the training"
        assert type(net[0][0]) is nn.BinaryDense

    @pytest.mark.parametrize("hybridize", [False, True])
    def test_subclasses_keep_what_they_have(self, rng, implementation, hybridize):
        """An axis, arguments of an __init__, a forward that names the layers."""

        class Shortcut(mx.gluon.nn.HybridSequential):
            def __init__(self, units, factor):
                super().__init__()
                self.factor = factor
                self.layer = nn.BinaryDense(units, in_units=units)

            def hybrid_forward(self, F, x):
                return self.layer(x) + self.factor * x

        both = mx.gluon.contrib.nn.HybridConcurrent(axis=0)
        both.add(nn.BinaryDense(4, in_units=4), nn.BinaryDense(4, in_units=4))
        net = sequential(both, Shortcut(4, 2), mx.gluon.nn.Dense(2, in_units=4))
        net.initialize(mx.init.Normal(1))
        net.hybridize(hybridize)
        x = data(rng, 3, 4)
        binary = net(x).asnumpy()
        real = nn.with_real_weights(net)
        each = [mx.nd.FullyConnected(x, b.weight.data(), b.bias.data(), num_hidden=4) for b in both]
        hidden, layer = mx.nd.concat(*each, dim=0), net[1].layer
        hidden = mx.nd.FullyConnected(hidden, layer.weight.data(), layer.bias.data(), num_hidden=4) + 2 * hidden
        np.testing.assert_allclose(real(x).asnumpy(), net[2](hidden).asnumpy(), rtol=1e-4, atol=1e-4)
        assert type(real[0]) is type(both) and real[2] is net[2]
        np.testing.assert_array_equal(net(x).asnumpy(), binary)

    def test_other_blocks(self):
        with pytest.raises(TypeError, match="got Dense"):
            nn.with_real_weights(mx.gluon.nn.Dense(3))


def test_shared_weights_and_own_parameters(rng):
    first = nn.BinaryDense(4, in_units=3)
    second = nn.BinaryDense(4, in_units=3, params=first.params)
    first.initialize()
    x = data(rng, 2, 3)
    np.testing.assert_array_equal(first(x).asnumpy(), second(x).asnumpy())


class TestCheckNet:
    def net(self):
        net = mx.gluon.nn.HybridSequential()
        net.add(
            nn.BinaryDense(9, in_units=12, activation="relu"),
            mx.gluon.nn.BatchNorm(in_channels=9),
            nn.BinaryActivation(),
            nn.BinaryDense(3, in_units=9, flatten=False),
        )
        net.initialize(mx.init.Normal(1))
        return net

    @pytest.mark.parametrize("hybridize", [False, True])
    def test_good_net(self, rng, hybridize):
        net, x = self.net(), data(rng, 5, 12)
        net.hybridize(hybridize)
        with mx.autograd.record():
            y = net(x)
        y.backward()
        before = {
            p.name: (p.data().asnumpy(), p.grad().asnumpy())
            for p in net.collect_params().values()
            if p.grad_req != "null"
        }
        table = gluon_bnn.check_net(net, x)
        assert table.ok and len(table) == 3 and "BinaryDense" in str(table)
        assert all(b._active == hybridize for b in net._children.values())
        for p in net.collect_params().values():
            if p.name in before:
                np.testing.assert_array_equal(p.data().asnumpy(), before[p.name][0])
                np.testing.assert_array_equal(p.grad().asnumpy(), before[p.name][1])

    def test_finds_a_wrong_layer(self, rng):
        class Wrong(nn.BinaryDense):
            def hybrid_forward(self, F, x, weight, bias=None):
                return super().hybrid_forward(F, x, weight * 1.001, bias)

        net = Wrong(3, in_units=12)
        net.initialize()
        assert not gluon_bnn.check_net(net, data(rng, 5, 12)).ok

    def test_net_without_binary_layers(self, rng):
        net = mx.gluon.nn.Dense(3)
        net.initialize()
        with pytest.raises(ValueError, match="no layer of binary weights"):
            gluon_bnn.check_net(net, data(rng, 5, 12))

    def test_what_is_no_net_or_no_array(self, rng):
        layer = nn.BinaryDense(4, in_units=3)
        layer.initialize()
        with pytest.raises(TypeError, match=r"as mx\.nd\.array\(x\) makes one, got ndarray"):
            gluon_bnn.check_net(layer, np.ones((2, 3), np.float32))
        with pytest.raises(TypeError, match="takes a mxnet.gluon.Block, got Model"):
            gluon_bnn.check_net(gluon_bnn.zoo.load("mnist"), data(rng, 2, 784))
