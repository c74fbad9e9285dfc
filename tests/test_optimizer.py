"""BinaryAdam against the reference and against MXNet's Adam; what it keeps for LAB; how it resumes."""

import pickle
import platform

import numpy as np
import pytest
from hypothesis import example, settings

import gluon_bnn
from gluon_bnn import loss, nn, ops, optimizer
from gluon_bnn._compat import mx
from gluon_bnn.check.measure import units as units_of
from gluon_bnn.check.optimizer import magnitudes, rule
from gluon_bnn.native import library
from gluon_bnn.reference import binary
from gluon_bnn.reference import optimizer as reference
from gluon_bnn.train import checkpoint

from needs import needs_library
from pairs import IMPLEMENTATIONS, INSTRUCTION_SETS, pairs
from sizes import over_sizes
from tiny_runs import X, cut_at, fit, values

BOUND = 6.0  # 2.6 seen over 20 seeds, in units of eps times the sum of the terms


def layer_of(size, dtype="float32", scale=None):
    """A BinaryDense with so many weights, the last of two axes the longer where it divides."""
    units = 2 if size % 2 == 0 else 1
    layer = nn.BinaryDense(units, in_units=size // units, scale=scale, dtype=dtype, use_bias=False)
    layer.initialize(mx.init.Uniform(1.2))
    return layer


def backward(gradients):
    """Give each Parameter its gradient, as a backward pass would."""
    with mx.autograd.record():
        total = [(p.data() * mx.nd.array(g, dtype=p.dtype)).sum() for p, g in gradients.items()]
    mx.autograd.backward(total)


def trainer_of(net, **options):
    return mx.gluon.Trainer(net.collect_params(), "binaryadam", options, kvstore=None)


def arrays_of(trainer, parameter):
    """weight, mean and var of a parameter as they are now, in float64."""
    found = checkpoint.states(trainer)[trainer._param2idx[parameter.name]]
    return [a.asnumpy().astype(np.float64) for a in (parameter.data(), *found)]


@pairs(
    implementation=IMPLEMENTATIONS,
    dtype=["float32", "float64"],
    options=[
        {},
        {"wd": 0.01},
        {"clip_gradient": 0.02},
        {"glorot": True},
        {"beta1": 0.0, "beta2": 0.5, "epsilon": 1e-3, "wd": 0.1, "clip_gradient": 0.05},
    ],
)
@settings(max_examples=4)
@over_sizes(size=1000)
@example(seed=0, size=70000)  # several pieces for each thread
def test_steps(implementation, dtype, options, seed, size):
    rng = np.random.default_rng(seed)
    layer = layer_of(size, dtype)
    trainer = trainer_of(layer, learning_rate=0.03, **options)
    used = {name: value for name, value in options.items() if name != "glorot"}
    lr = 0.03 * (reference.learning_rate_scale(layer.weight.shape) if "glorot" in options else 1)
    for t, batch in ((1, 1), (2, 50), (3, 7)):
        g = (rng.standard_normal(layer.weight.shape) * 0.1 * batch).astype(dtype)
        before = arrays_of(trainer, layer.weight)
        backward({layer.weight: g})
        trainer.step(batch)
        of_step = rule(t, lr, rescale_grad=1 / batch, **used)
        expected = reference.binary_adam(before[0], g.astype(np.float64), *before[1:], t, **of_step)
        sums = magnitudes(before[0], g.astype(np.float64), *before[1:], t, **of_step)
        for found, wanted, size_of in zip(arrays_of(trainer, layer.weight), expected, sums):
            assert units_of(found, wanted, size_of, dtype) < BOUND
    if size >= 1000:
        assert (np.abs(before[0]) == 1).any() and np.abs(before[0]).max() == 1, "some are held back"


@pytest.mark.parametrize("hybridize", [False, True])
def test_convolutions(rng, implementation, hybridize):
    """Their rate is scaled by the inputs and outputs of the whole kernel, their weights are held within [-1, 1], and
    LAB's curvature follows the optimiser's state."""
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryConv2D(4, 3, scale="loss"), nn.BinaryConv2D(2, 2, groups=2, use_bias=False))
    net.initialize(mx.init.Uniform(1))
    net.hybridize(hybridize)
    x = mx.nd.array(rng.standard_normal((3, 2, 5, 5)))
    net(x)
    trainer = trainer_of(net, learning_rate=0.05, glorot=True)
    for t in (1, 2, 3):
        before = [arrays_of(trainer, layer.weight) if t > 1 else None for layer in net]
        with mx.autograd.record():
            loss = net(x).sum()
        loss.backward()
        trainer.step(3)
        for layer, found in zip(net, before):
            if found is None:
                continue
            rate = 0.05 * reference.learning_rate_scale(layer.weight.shape)
            g, options = layer.weight.grad().asnumpy().astype(np.float64), rule(t, rate, rescale_grad=1 / 3)
            expected = reference.binary_adam(found[0], g, *found[1:], t, **options)
            sums = magnitudes(found[0], g, *found[1:], t, **options)
            for array, wanted, size in zip(arrays_of(trainer, layer.weight), expected, sums):
                assert units_of(array, wanted, size, "float32") < BOUND
    curvature = reference.curvature(arrays_of(trainer, net[0].weight)[2])
    np.testing.assert_allclose(net[0].curvature.data().asnumpy(), curvature, rtol=1e-6)
    assert np.abs(net[1].weight.data().asnumpy()).max() == 1, "some are held back"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="MXNet may contract elsewhere")
@pairs(instruction_set=INSTRUCTION_SETS, dtype=["float32", "float64"], scale=[None, "loss"])
@settings(max_examples=4)
@over_sizes(size=1000)
@example(seed=0, size=70000)
def test_native_equals_mxnet_to_the_bit(instruction_set, dtype, scale, seed, size):
    rng = np.random.default_rng(seed)
    found = []
    start = [rng.standard_normal(layer_of(size).weight.shape) for _ in range(4)]
    for choice in ("native", "composed"):
        with ops.use(choice):
            layer = layer_of(size, dtype, scale)
            trainer = trainer_of(layer, learning_rate=0.1, wd=0.01, clip_gradient=1.5)
        layer.weight.set_data(mx.nd.array(start[0], dtype=dtype))
        for g in start[1:]:
            backward({layer.weight: g})
            trainer.step(3)
        found.append(arrays_of(trainer, layer.weight))
        if scale == "loss":
            found[-1].append(layer.curvature.data().asnumpy())
    for ours, theirs in zip(*found):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="MXNet may contract elsewhere")
@needs_library
def test_all_parameters_in_one_operator(rng, monkeypatch):
    """A step of a net is one call of ours, with the bits that MXNet's own gives parameter by parameter."""
    shapes = [(9, 7), (9,), (9,), (9,), (3, 9), (2, 3)]
    values = [rng.standard_normal(shape) for shape in shapes]
    gradients = [[rng.standard_normal(shape) for shape in shapes] for _ in range(3)]
    found, calls = [], []
    library.load_operators()
    operator = mx.nd.gluon_bnn_adam
    monkeypatch.setattr(
        mx.nd, "gluon_bnn_adam", lambda *arrays, **options: (calls.append(len(arrays)), operator(*arrays, **options))
    )
    for choice in ("native", "composed"):
        with ops.use(choice):
            net = mx.gluon.nn.HybridSequential()
            net.add(
                nn.BinaryDense(9, in_units=7, scale="loss"),
                nn.BatchNorm(in_channels=9),
                nn.BinaryDense(3, in_units=9, scale="loss", use_bias=False),
                mx.gluon.nn.Dense(2, in_units=3, use_bias=False),
            )
            net.initialize()
            trainer = trainer_of(net, learning_rate=0.1, wd=0.01, glorot=True)
        parameters = [p for p in net.collect_params().values() if p.grad_req != "null"]
        assert [p.shape for p in parameters] == shapes
        parameters[2].lr_mult, parameters[3].wd_mult = 0.5, 2.0
        for parameter, value in zip(parameters, values):
            parameter.set_data(mx.nd.array(value))
        for of_step in gradients:
            backward(dict(zip(parameters, of_step)))
            trainer.step(3)
        found.append([arrays_of(trainer, p) for p in parameters])
        found[-1] += [[net[i].curvature.data().asnumpy()] for i in (0, 2)]
    assert calls == [4 * len(shapes) + 2] * len(gradients)
    for ours, theirs in zip(*found):
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(a, b)


def test_only_binary_weights_are_clipped_and_scaled(rng, implementation):
    """Everything else gets what MXNet's Adam gives, rates and decay of its own included."""
    found = []
    for name, options in (("binaryadam", {"glorot": True}), ("adam", {})):
        net = mx.gluon.nn.HybridSequential()
        net.add(mx.gluon.nn.Dense(5, in_units=4), mx.gluon.nn.BatchNorm(in_channels=5), nn.BinaryDense(3, in_units=5))
        net.initialize(mx.init.Constant(3))
        net[0].weight.lr_mult, net[0].weight.wd_mult, net[1].gamma.lr_mult = 0.5, 2.0, 0.0
        trainer = mx.gluon.Trainer(net.collect_params(), name, {"wd": 0.1, **options}, kvstore=None)
        for seed in range(3):
            values = np.random.default_rng(seed)
            backward(
                {p: values.standard_normal(p.shape) for p in net.collect_params().values() if p.grad_req != "null"}
            )
            trainer.step(1)
        found.append({k: p.data().asnumpy() for k, p in net._collect_params_with_prefix().items()})
    for name, value in found[0].items():
        if name == "2.weight":
            assert (value <= 1).all() and (value > 0.98).all()
        else:
            np.testing.assert_allclose(value, found[1][name], rtol=1e-6)
    assert (found[0]["0.weight"] > 2.9).all() and (found[0]["1.gamma"] == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_curvature_and_alpha(rng, implementation, dtype):
    """LAB: after a step the layer's alpha is that of the reference, from Adam's second moment."""
    layer = layer_of(66, dtype, "loss")
    trainer = trainer_of(layer, learning_rate=0.1)
    x = np.eye(33)[:1].astype(dtype)
    for _ in range(3):
        alpha = np.abs(layer(mx.nd.array(x, dtype=dtype)).asnumpy()[0, 0])
        w = layer.weight.data().asnumpy().astype(np.float64)
        expected = binary.sign_scale(w, "loss", layer.curvature.data().asnumpy().astype(np.float64))[1][0]
        assert alpha == pytest.approx(expected, rel=1e-6)
        backward({layer.weight: rng.standard_normal(layer.weight.shape) * np.logspace(-6, 0, 33)})
        trainer.step(1)
        var = arrays_of(trainer, layer.weight)[2]
        np.testing.assert_allclose(
            layer.curvature.data().asnumpy(), reference.curvature(var), rtol=4 * np.finfo(dtype).eps
        )
    assert alpha != pytest.approx(np.abs(w).mean(), rel=1e-4)


def test_first_alpha_is_the_mean(rng, implementation):
    layer = layer_of(66, scale="loss")
    y = np.abs(layer(mx.nd.array(np.eye(33)[:1])).asnumpy()[0, 0])
    assert y == pytest.approx(np.abs(layer.weight.data().asnumpy()).mean(), rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_where_it_is(rng, implementation, bad):
    layer = layer_of(66, scale="loss")
    g = rng.standard_normal(layer.weight.shape)
    g[1, 5] = bad
    trainer = trainer_of(layer)
    backward({layer.weight: g})
    trainer.step(1)
    for array in (layer.weight.data(), layer.curvature.data()):
        finite = np.isfinite(array.asnumpy())
        assert not finite[1, 5] and finite.sum() == 65


@pytest.mark.parametrize(
    "wrong",
    [
        dict(beta1=1.0),
        dict(beta2=-0.1),
        dict(beta1=float("nan")),
        dict(epsilon=0),
        dict(epsilon=float("nan")),
        dict(learning_rate=float("nan")),
        dict(learning_rate=-1),
        dict(learning_rate=float("inf")),
        dict(glorot=1),
        dict(beta1="0.9"),
        dict(learning_rate="fast"),
        dict(epsilon=None),
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="must be .*, got"):
        mx.optimizer.create("binaryadam", **wrong)


@needs_library
@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(lr="nan"), "lr must be a finite number, got nan"),
        (dict(lr="fast"), "got fast"),
        (dict(lr="1,"), "lr must be a finite number, got "),
        (dict(curvature="0"), "curvature must be True or False, got 0"),
        (dict(wd="1,2,3", lr="1,2"), "wd must have a value for each of 2 parameters or one, got 3"),
        (dict(lr="1,2"), "expects 8 inputs, but got 4"),
        (dict(clip_weights="0"), "clip_weights must be a number above 0 or None, got 0"),
    ],
)
def test_wrong_arguments_of_the_operator(wrong, message):
    library.load_operators()
    arrays = [mx.nd.ones(3) for _ in range(4)]
    right = dict(lr=1, beta1=0.9, beta2=0.9, epsilon=1, wd=0, rescale_grad=1)
    with pytest.raises(mx.base.MXNetError, match=message):
        mx.nd.gluon_bnn_adam(*arrays, **{**right, **wrong}).wait_to_read()
    for arrays[2], message in (
        (mx.nd.ones(4), "input 2 .* shape"),
        (mx.nd.ones(3, dtype="float64"), "one type, .* got float32 and float64"),
    ):
        with pytest.raises(mx.base.MXNetError, match=message):
            mx.nd.gluon_bnn_adam(*arrays, **right).wait_to_read()


def test_without_its_parameter():
    array = mx.nd.ones(3)
    update = mx.optimizer.get_updater(mx.optimizer.create("binaryadam"))
    with pytest.raises(ValueError, match="gluon.Trainer"):
        update(0, array, array)


@pytest.mark.parametrize("hybridize", [False, True])
def test_gradients_that_add_up(rng, implementation, hybridize):
    """grad_req="add": two backward passes and a step are one pass over both batches and a step."""
    x, label = rng.standard_normal((8, 33)), rng.integers(0, 2, 8)
    found = []
    for parts in (1, 2):
        np.random.seed(0)
        mx.random.seed(0)
        layer = layer_of(66, scale="loss")
        if parts == 2:
            layer.weight.grad_req = "add"
        layer.hybridize(hybridize)
        trainer = trainer_of(layer)
        for rows in np.split(np.arange(8), parts):
            with mx.autograd.record():
                value = loss.SquaredHingeLoss()(layer(mx.nd.array(x[rows])), mx.nd.array(label[rows]))
            value.backward()
        trainer.step(8)
        found.append(arrays_of(trainer, layer.weight))
    for one, two in zip(*found):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


class TestKVStore:
    def steps(self, trainer_options, scale=None, contexts=1):
        np.random.seed(0)
        mx.random.seed(0)
        layer = nn.BinaryDense(2, in_units=33, scale=scale, use_bias=False)
        contexts = [mx.cpu(i) for i in range(contexts)]
        layer.initialize(mx.init.Uniform(1.2), ctx=contexts)
        trainer = mx.gluon.Trainer(layer.collect_params(), "binaryadam", {"learning_rate": 0.1}, **trainer_options)
        g = np.random.default_rng(0).standard_normal((2, 33))
        for _ in range(2):
            with mx.autograd.record():
                total = [(layer.weight.data(c) * mx.nd.array(g, ctx=c)).sum() / len(contexts) for c in contexts]
            mx.autograd.backward(total)
            trainer.step(1)
        return [p.data(c).asnumpy() for p in (layer.weight, layer.curvature) if p for c in contexts]

    @pytest.mark.parametrize("scale", [None, "loss"])
    @pytest.mark.parametrize("contexts", [1, 2])
    @pytest.mark.parametrize("on_kvstore", [False, True])
    def test_local(self, implementation, on_kvstore, contexts, scale):
        alone = self.steps({"kvstore": None}, scale)
        options = {"kvstore": mx.kv.create("local"), "update_on_kvstore": on_kvstore}
        found = self.steps(options, scale, contexts)
        for i, array in enumerate(found):
            np.testing.assert_array_equal(array, alone[i // contexts])

    def test_servers_refuse_it(self):
        with pytest.raises(ValueError, match="update_on_kvstore=False"):
            pickle.dumps(optimizer.BinaryAdam(), 0)  # as KVStore.set_optimizer does


def test_sparse_and_half_precision_are_left_to_mxnet(implementation):
    """What our operator does not take goes through MXNet's Adam."""
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Embedding(9, 5, sparse_grad=True), nn.BinaryDense(2))
    half = mx.gluon.nn.Dense(2, in_units=3, dtype="float16")
    for block in (net, half):
        block.initialize()
    x = mx.nd.array([[1, 2, 3]])
    net(x)
    before = net[0].weight.data().asnumpy()
    trainer = trainer_of(net)
    with mx.autograd.record():
        y = net(x)
    y.backward()
    trainer.step(1)
    moved = (net[0].weight.data().asnumpy() != before).any(axis=1)
    assert set(np.flatnonzero(moved)) <= {1, 2, 3} and moved.any(), "a lazy update, as Adam's"
    trainer = trainer_of(half, multi_precision=True)
    backward({half.weight: np.ones((2, 3)), half.bias: np.ones(2)})
    trainer.step(1)
    assert half.weight.data().dtype == np.float16 and np.isfinite(half.weight.data().asnumpy()).all()


def test_real_convolutions_that_mxnet_has_put_into_a_layout_of_its_own(implementation):
    """As validation does after every epoch. Steps are those of MXNet's Adam."""
    found = {}
    for name in ("binaryadam", "adam"):
        mx.random.seed(5)
        net = mx.gluon.nn.HybridSequential()
        for channels in (32, 64, 64):
            net.add(mx.gluon.nn.Conv2D(channels, 3, use_bias=False), nn.BatchNorm(axis=1))
        net.add(mx.gluon.nn.Dense(10))
        net.initialize(mx.init.Xavier())
        x = mx.nd.random.normal(shape=(16, 1, 16, 16))
        net(x[:1]).wait_to_read()
        net.hybridize(static_alloc=True, static_shape=True)
        trainer = mx.gluon.Trainer(net.collect_params(), name, {"learning_rate": 1e-3}, kvstore=None)
        for _ in range(3):
            with mx.autograd.record():
                y = net(x)
            y.backward()
            trainer.step(16)
            mx.nd.waitall()
        found[name] = net(x).asnumpy()
    np.testing.assert_allclose(found["binaryadam"], found["adam"], rtol=1e-4, atol=1e-4)


def make(seed, scale, **options):
    np.random.seed(seed)
    mx.random.seed(seed)
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(9, in_units=12, scale=scale, clip=None, **options),
        mx.gluon.nn.BatchNorm(in_channels=9),
        nn.BinaryActivation(),
        nn.BinaryDense(3, in_units=9, scale=scale, clip=None, **options),
        mx.gluon.nn.BatchNorm(in_channels=3),
    )
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    return net, trainer_of(net, glorot=True)


HINGE = loss.SquaredHingeLoss()
METHODS = {
    "LAB": dict(scale="loss"),
    "BWN": dict(scale="layer", gradient="ste"),
    "BNN": dict(scale=None),
    "BinaryConnect": dict(scale=None, stochastic=True),
}


@pytest.mark.parametrize("method", METHODS)
def test_fit_resumes_to_the_bit(tmp_path, implementation, method):
    path = str(tmp_path / "c.safetensors")
    net, trainer = make(0, **METHODS[method])
    whole = fit(net, trainer, loss=HINGE)
    assert whole["loss"][-1] < whole["loss"][0]
    cut_at(path, 4, KeyboardInterrupt(), make(0, **METHODS[method]), loss=HINGE)
    other, trainer = make(99, **METHODS[method])  # everything must come from the checkpoint
    resumed = fit(other, trainer, loss=HINGE, checkpoint=path, resume=True)
    for key in ("loss", "error", "validation_error", "best_epoch"):
        assert resumed[key] == whole[key]
    for a, b in zip(values(net), values(other)):
        np.testing.assert_array_equal(a, b)
    for layer in (net[0], net[3]):
        assert np.abs(layer.weight.data().asnumpy()).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_trained_nets_check_and_freeze(method):
    net, trainer = make(0, **METHODS[method])
    fit(net, trainer, epochs=2, loss=HINGE)
    x = mx.nd.array(X)
    assert gluon_bnn.check_net(net, x).ok
    frozen = gluon_bnn.freeze(net, "float", verbose=False)
    np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())


def test_trainer_states_can_be_saved_and_loaded(rng, tmp_path, implementation):
    """gluon.Trainer's own way, which pickles the optimiser."""
    start = rng.standard_normal((2, 33))
    gradients = [rng.standard_normal((2, 33)) for _ in range(4)]
    found = []
    for cut in (False, True):
        layer = layer_of(66, scale="loss")
        layer.weight.set_data(mx.nd.array(start))
        trainer = trainer_of(layer, learning_rate=0.05, glorot=True)
        for i, g in enumerate(gradients):
            if cut and i == 2:
                trainer.save_states(str(tmp_path / "states"))
                layer.save_parameters(str(tmp_path / "parameters"))
                layer = layer_of(66, scale="loss")
                layer.load_parameters(str(tmp_path / "parameters"))
                trainer = trainer_of(layer, learning_rate=0.05, glorot=True)
                trainer.load_states(str(tmp_path / "states"))
            backward({layer.weight: g})
            trainer.step(1)
        found.append([layer.weight.data().asnumpy(), layer.curvature.data().asnumpy()])
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


def test_a_loaded_optimiser_chooses_anew():
    """It may have been saved where the library was, and be loaded where it is not."""
    with ops.use("auto"):
        saved = pickle.dumps(optimizer.BinaryAdam())
    with ops.use("composed"):
        assert pickle.loads(saved)._ops is ops.composed


def test_states_of_an_earlier_version_are_loaded(rng, tmp_path):
    """Which handed over one parameter at a time: with its aggregate_num, 0, MXNet's Updater would never end."""
    layer = layer_of(66)
    trainer = trainer_of(layer)
    backward({layer.weight: rng.standard_normal(layer.weight.shape)})
    trainer.step(1)
    trainer._optimizer.aggregate_num = 0
    trainer.save_states(str(tmp_path / "states"))
    trainer.load_states(str(tmp_path / "states"))
    assert trainer._optimizer.aggregate_num > 0
    backward({layer.weight: rng.standard_normal(layer.weight.shape)})
    trainer.step(1)


@needs_library
@pytest.mark.parametrize("first", range(10))
def test_readers_wait_for_what_changes_in_place(first):
    """MXNet knows every array that the operator writes: whichever is read first has the new values."""
    library.load_operators()
    arrays = [mx.nd.full((1000, 1000), 0.5) for _ in range(10)]  # of two parameters
    mx.nd.waitall()
    mx.nd.gluon_bnn_adam(
        *arrays,
        lr="0.1,0.1",
        beta1=0.9,
        beta2=0.9,
        epsilon=1e-8,
        wd=0.1,
        rescale_grad=1,
        curvature=True,
        out=[arrays[0], arrays[5]],
    )
    found = arrays[first].asnumpy()
    mx.nd.waitall()
    np.testing.assert_array_equal(found, arrays[first].asnumpy())
    assert (found == 0.5).all() == (first in (1, 6)), "all but the gradients have changed"
