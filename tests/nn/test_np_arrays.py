"""Layers, losses, the optimiser, fit and check_net on arrays of mx.np: to the bit what they give on those of mx.nd."""

import numpy as np
import pytest

from gluon_bnn import check_net, initializer, loss, nn, ops, optimizer, train
from gluon_bnn._arrays import classic
from gluon_bnn._compat import mx
from np_arrays import KINDS, arrays, is_np, numbers

from gluon_nets import sequential
from pairs import IMPLEMENTATIONS, pairs

gluon = mx.gluon.nn
MODES = {"imperative": None, "hybridized": {}, "static": {"static_alloc": True, "static_shape": True}}


def layers():
    """A net with all of our layers and some of Gluon's, whose shapes are not known yet."""
    return sequential(
        gluon.BatchNorm(),
        nn.BinaryConv1D(4, 2, padding=1, pad_value=-1, scale="channel"),
        nn.BatchNorm(axis=1),
        nn.BinaryDense(9, activation="relu"),
        nn.BatchNorm(),
        nn.BinaryActivation(),
        nn.BinaryDense(8, scale="loss"),
        gluon.Dense(7, activation="tanh"),
        nn.BinarySigmoid(),
        nn.BinaryDense(6, scale="channel", gradient="exact"),
        nn.Activation("relu"),
        nn.BinaryDense(4, scale=None, use_bias=False),
    )


def filled(net, array, rng):
    """The net with values of the generator's own in its parameters, whose shapes are known."""
    for name, p in net._collect_params_with_prefix().items():
        values = rng.standard_normal(p.shape)
        p.set_data(array(abs(values) + 0.1 if "var" in name or "curvature" in name else values, dtype=p.dtype))
    return net


def training(kind, mode, dtype, how):
    """All numbers of three steps."""
    rng = np.random.default_rng(0)
    with arrays(kind) as array:
        net = layers()
        net.initialize()
        if MODES[mode] is not None:
            net.hybridize(**MODES[mode])
        net(array(np.ones((1, 2, 3)), dtype="float32"))
        net.cast(dtype)
        filled(net, array, rng)
        x = array(rng.standard_normal((5, 2, 3)), dtype=dtype)
        labels = array([0, 1, 2, 3, 1], dtype="int32")
        losses = loss.SquaredHingeLoss(), mx.gluon.loss.SoftmaxCrossEntropyLoss()
        trainer = mx.gluon.Trainer(net.collect_params(), how, {"learning_rate": 0.05})
        found = []
        for _ in range(3):
            with mx.autograd.record():
                outputs = net(x)
                values = losses[0](outputs, labels) + losses[1](outputs, labels)
            values.backward()
            assert is_np(outputs, values) == (kind == "np")
            trainer.step(5)
            found.append({"outputs": outputs.asnumpy(), "losses": values.asnumpy(), **numbers(net)})
        return found


@pairs(implementation=IMPLEMENTATIONS, mode=MODES, dtype=["float32", "float64"], how=["binaryadam", "sgd"])
def test_a_net_learns_the_same(implementation, mode, dtype, how):
    on_nd, on_np = (training(kind, mode, dtype, how) for kind in KINDS)
    for nd_step, np_step in zip(on_nd, on_np):
        assert nd_step.keys() == np_step.keys()
        for name in nd_step:
            np.testing.assert_array_equal(nd_step[name], np_step[name], err_msg=name)
    assert any((on_nd[0][name] != on_nd[2][name]).any() for name in on_nd[0])


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_are_inferred(implementation, dtype, stochastic, hybridize):
    with arrays("np"):
        net = sequential(
            nn.BinaryDense(4, scale=None, stochastic=stochastic, dtype=dtype), nn.BinaryDense(2, dtype=dtype)
        )
        net.initialize("binaryconnectuniform")
        net.hybridize(hybridize)
        assert net[0].weight.shape == (4, -1)
        y = net(mx.np.ones((3, 2, 5), dtype=dtype))
        assert y.shape == (3, 2) and y.dtype == np.dtype(dtype) and net[0].weight.shape == (4, 10)
        assert is_np(y, net[0].signs(), net[0].alpha(), net[0].binary_weight())


@pytest.mark.parametrize("hybridize", [False, True])
def test_an_empty_batch_is_an_error_at_once(hybridize):
    """A 0 in a shape is a size here, and not one that is unknown."""
    with arrays("np"):
        net = sequential(nn.BinaryDense(4, in_units=3), nn.BatchNorm(in_channels=4))
        net.initialize()
        net.hybridize(hybridize)
        for shape in ((0, 3), (2, 0)):
            with pytest.raises((ValueError, mx.base.MXNetError), match="at least one number, got an array of shape"):
                net(mx.np.zeros(shape))
        with pytest.raises(mx.base.MXNetError, match=r"a batch axis and at least one more, got an array of shape \(\)"):
            net(mx.np.array(1.0))
        mx.nd.waitall()
        assert net(mx.np.ones((1, 3))).shape == (1, 4)


@pytest.mark.parametrize("hybridize", [False, True])
def test_activations_take_arrays_without_axes(implementation, hybridize):
    with arrays("np"):
        for layer, expected in ((nn.BinaryActivation(), -1), (nn.BinarySigmoid(), 0), (nn.Activation("relu"), 0)):
            layer.hybridize(hybridize)
            y = layer(mx.np.array(-2.0))
            assert is_np(y) and y.shape == () and y.item() == expected


@pytest.mark.parametrize("hybridize", [False, True])
def test_nets_made_before(implementation, hybridize):
    """set_np() may be called after nets, also initialised ones, were made; and arrays of mx.nd may come back."""
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    initialised, deferred = (sequential(nn.BinaryDense(3), nn.BatchNorm(), nn.BinaryDense(2)) for _ in range(2))
    for net in (initialised, deferred):
        net.initialize(mx.init.Normal(1))
    expected = initialised(mx.nd.array(x)).asnumpy()
    with arrays("np"):
        for net in (initialised, deferred):
            net.hybridize(hybridize)
            trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam")
            with mx.autograd.record():
                y = net(mx.np.array(x))
                value = (y**2).mean()
            value.backward()
            trainer.step(1)
            assert is_np(y)
            assert net is deferred or (y.asnumpy()[:, 0] != 0).any()
    initialised.hybridize(False)
    assert initialised(mx.nd.array(x)).shape == expected.shape


@pytest.mark.parametrize("hybridize", [False, True])
def test_scopes(hybridize):
    """The scopes and the decorator of MXNet work as for Gluon's own layers."""

    @mx.util.use_np
    class Net(mx.gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.first, self.last = nn.BinaryDense(3), gluon.Dense(2)

        def hybrid_forward(self, F, x):
            return self.last(F.np.tanh(self.first(x)))

    x = mx.np.ones((4, 5))
    net = Net()
    net.initialize()
    net.hybridize(hybridize)
    assert is_np(net(x)) and not mx.util.is_np_array()
    with mx.util.np_shape(True), mx.util.np_array(True):
        layer = nn.BinaryDense(3)
        layer.initialize()
        layer.hybridize(hybridize)
        assert is_np(layer(x), layer.weight.data())
    with mx.util.np_shape(True):  # alone: arrays of mx.nd, with NumPy's shapes
        layer = nn.BinaryDense(3)
        layer.initialize()
        layer.hybridize(hybridize)
        assert layer(mx.nd.ones((4, 5))).shape == (4, 3)


def test_operators_convert_without_a_copy(implementation):
    operators = ops.current()
    x = mx.np.array([[-1.0, 2.0]])
    classic(x)[:] = mx.nd.array([[3, -4]])
    assert x.asnumpy().tolist() == [[3, -4]]
    y = operators.sign(mx.nd, x)
    assert is_np(y) and y.asnumpy().tolist() == [[1, -1]]
    assert isinstance(operators.sign(mx.sym, mx.sym.var("x").as_np_ndarray()), mx.sym.np._Symbol)
    signs, alpha = operators.sign_scale(mx.nd, x)
    assert is_np(signs, alpha) and alpha.asnumpy().tolist() == [3.5]


@pytest.mark.parametrize("batch_axis", [0, 1])
@pytest.mark.parametrize("hybridize", [False, True])
def test_losses_with_weights(rng, implementation, batch_axis, hybridize):
    outputs, weights = rng.standard_normal((5, 3)).astype("float32"), rng.random((5, 1)).astype("float32")
    if batch_axis:
        outputs, weights = outputs.T, weights.T
    found = []
    for kind in KINDS:
        with arrays(kind) as array:
            block = loss.SquaredHingeLoss(2.0, batch_axis)
            block.hybridize(hybridize)
            y = block(array(outputs), array([0, 2, 1, 0, 2]), array(weights))
            assert is_np(y) == (kind == "np")
            found.append(y.asnumpy())
            with pytest.raises(ValueError, match=r"labels must be .* got \(\)"):
                block(array(outputs), classic(mx.np.array(1.0)))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("mode", MODES)
def test_a_net_with_its_loss(implementation, mode):
    with arrays("np"):
        net = sequential(nn.BinaryDense(4), nn.BinaryActivation(), nn.BinaryDense(3))
        net.initialize()
        step = loss.WithLoss(net, loss.SquaredHingeLoss())
        if MODES[mode] is not None:
            step.hybridize(**MODES[mode])
        with mx.autograd.record():
            outputs, values = step(mx.np.ones((5, 2)), mx.np.zeros(5))
        values.backward()
        assert is_np(outputs, values) and outputs.shape == (5, 3) and values.shape == (5,)
        assert (net[2].weight.grad().asnumpy() != 0).any()


def test_a_loop_of_ones_own():
    """As d2l.ai writes it."""
    with arrays("np"):
        rng = np.random.default_rng(0)
        x, y = mx.np.array(rng.standard_normal((60, 8)), dtype="float32"), mx.np.array(rng.integers(0, 3, 60))
        net = gluon.Sequential()
        net.add(nn.BinaryDense(16), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(3))
        net.initialize(mx.init.Normal(sigma=0.1))
        trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", {"learning_rate": 0.02})
        criterion = mx.gluon.loss.SoftmaxCrossEntropyLoss()
        data = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(x, y), 20, shuffle=True)
        means = []
        for _ in range(30):
            for features, labels in data:
                with mx.autograd.record():
                    value = criterion(net(features), labels)
                value.backward()
                trainer.step(20)
                means.append(float(value.mean()))
        right = (net(x).argmax(axis=1).astype(y.dtype) == y).sum() / 60
        assert right > 0.6 and means[-1] < means[0]


def fitted(kind, directory):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((40, 6)).astype("float32"), rng.integers(0, 3, 40)
    with arrays(kind) as array:
        net = sequential(nn.BinaryDense(8), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(3))
        net.initialize()
        net(array(x[:1]))
        filled(net, array, rng)
        trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", kvstore=None)
        history = {}
        for epochs in (1, 3):  # the second run goes on with the first's checkpoint
            history = train.fit(
                net,
                trainer,
                loss.SquaredHingeLoss(),
                train.batches(x, labels, 10),
                learning_rates=[0.02] * epochs,
                validate=lambda net: train.evaluate(net, x, labels),
                checkpoint=directory / f"{kind}.safetensors",
                resume=epochs > 1,
                progress=False,
            )
        del history["seconds"]
        measured = [train.evaluate(net, array(x), array(labels)), train.evaluate(net, x, labels, metric="acc")]
        assert bool(check_net(net, array(x)))
        return history, measured, numbers(net)


def test_fit_evaluate_and_check(tmp_path):
    (nd_history, nd_measured, nd_numbers), on_np = fitted("nd", tmp_path), fitted("np", tmp_path)
    assert (nd_history, nd_measured) == on_np[:2]
    for name, values in nd_numbers.items():
        np.testing.assert_array_equal(values, on_np[2][name], err_msg=name)


@pytest.mark.parametrize("name", ["acc", lambda labels, outputs: float((outputs.argmax(1) == labels).mean())])
def test_metrics(tmp_path, name):
    with arrays("np"):
        net = nn.BinaryDense(3, in_units=4)
        net.initialize()
        trainer = mx.gluon.Trainer(net.collect_params(), "sgd")
        x, y = np.ones((4, 4)), np.array([0, 1, 2, 0])
        history = train.fit(
            net, trainer, loss.SquaredHingeLoss(), train.batches(x, y, 4), learning_rates=[0.1],
            validate=lambda net: train.evaluate(net, x, y, metric=name), metric=name, mode="max", progress=False,
        )  # fmt: skip
        assert history["metric"][0] in (0.25, 0.5) and history["validation_metric"][0] in (0.25, 0.5)


def test_binaryadam_plans_once(monkeypatch):
    """Weights and gradients of mx.np are new objects in every step."""
    plans = []
    original = optimizer._Plan.__init__
    monkeypatch.setattr(optimizer._Plan, "__init__", lambda *args: plans.append(0) or original(*args))
    with arrays("np"):
        net = sequential(nn.BinaryDense(4, in_units=3, scale="loss"), nn.BinaryDense(2, in_units=4))
        net.initialize()
        trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam")
        for _ in range(3):
            with mx.autograd.record():
                value = net(mx.np.ones((2, 3))).sum()
            value.backward()
            trainer.step(1)
        assert len(plans) == 1
        net[0].curvature.initialize(force_reinit=True)
        with mx.autograd.record():
            value = net(mx.np.ones((2, 3))).sum()
        value.backward()
        trainer.step(1)
        assert len(plans) == 2 and (net[0].curvature.data() < 1).all()


@pytest.mark.parametrize("kind", [initializer.BinaryConnectUniform, initializer.LABUniform])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_weights_are_the_same(kind, dtype):
    drawn = []
    for each in KINDS:
        with arrays(each):
            mx.random.seed(0)
            layer = nn.BinaryDense(4, in_units=5, dtype=dtype, weight_initializer=kind())
            layer.initialize()
            drawn.append(layer.weight.data().asnumpy())
    np.testing.assert_array_equal(*drawn)
    assert len(np.unique(drawn[0])) == 20


@pytest.mark.parametrize(
    "options", [{"kvstore": None}, {"kvstore": "local"}, {"kvstore": "device", "update_on_kvstore": False}]
)
def test_several_devices(options):
    """Each device's curvature follows the weights of that device; a kvstore that updates weights writes it to all."""
    found = []
    for kind in KINDS:
        with arrays(kind) as array:
            rng, devices = np.random.default_rng(0), [mx.cpu(0), mx.cpu(1)]
            net = sequential(nn.BinaryDense(4, in_units=3, scale="loss"), nn.BinaryDense(2, in_units=4))
            net.initialize(ctx=devices)
            filled(net, array, rng)
            trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", {"learning_rate": 0.1}, **options)
            parts = mx.gluon.utils.split_and_load(array(rng.standard_normal((6, 3)), dtype="float32"), devices)
            for _ in range(2):
                with mx.autograd.record():
                    values = [(net(part) ** 2).sum() for part in parts]
                mx.autograd.backward(values)
                trainer.step(6)
            found.append([a.asnumpy() for p in net._collect_params_with_prefix().values() for a in p.list_data()])
            curvatures = [a.asnumpy() for a in net[0].curvature.list_data()]
            assert (curvatures[0] == curvatures[1]).all() == (options["kvstore"] is not None)
    for on_nd, on_np in zip(*found):
        np.testing.assert_array_equal(on_nd, on_np)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_add_up(implementation, mode):
    """grad_req="add", a layer used twice, and an input whose gradient is added to."""

    class Twice(mx.gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.layer, self.signs = nn.BinaryDense(8, in_units=8, gradient="exact"), nn.BinaryActivation()

        def hybrid_forward(self, F, x):
            return self.layer(self.layer(self.signs(x))) + self.layer(x)

    found = []
    for kind in KINDS:
        with arrays(kind) as array:
            net, rng = Twice(), np.random.default_rng(0)
            net.initialize()
            filled(net, array, rng)
            net.collect_params().setattr("grad_req", "add")
            if MODES[mode] is not None:
                net.hybridize(**MODES[mode])
            x = array(rng.standard_normal((5, 8)), dtype="float32")
            x.attach_grad("add")
            for _ in range(3):
                with mx.autograd.record():
                    y = net(x)
                y.backward()
            found.append({"y": y.asnumpy(), "x": x.grad.asnumpy(), **numbers(net)})
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)
