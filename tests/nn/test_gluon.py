"""Our layers where Gluon and MXNet handle nets as a whole: casts, names, summaries, sparse inputs, exports."""

import pickle

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, optimizer
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze

import programs
from gluon_nets import FORMS, export, imported, sequential
from pairs import IMPLEMENTATIONS, pairs

gluon = mx.gluon.nn


@pairs(
    implementation=IMPLEMENTATIONS,
    layer=[lambda: nn.BinaryDense(4, in_units=4), lambda: nn.BatchNorm(in_channels=4), lambda: nn.BinaryActivation()],
    dtype=["float16", "int8", np.float16, None, "foo"],
)
def test_a_refused_cast_leaves_the_net_as_it_was(implementation, layer, dtype):
    if implementation == "composed" and isinstance(layer(), nn.BinaryActivation):
        pytest.skip("it takes any float")
    net = sequential(gluon.Dense(4, in_units=4), sequential(layer()), gluon.Dense(2, in_units=4))
    net.initialize()
    net.hybridize()
    before = net(mx.nd.ones((1, 4))).asnumpy()
    with pytest.raises(ValueError, match="float32 or float64, got"):
        net.cast(dtype)
    assert all(np.dtype(p.dtype) == np.float32 for p in net.collect_params().values())
    np.testing.assert_array_equal(net(mx.nd.ones((1, 4))).asnumpy(), before)
    net.cast("float64")
    assert net(mx.nd.ones((1, 4), dtype="float64")).dtype == np.float64


@pairs(axes=[1, 2, 3], frozen=[None, *FORMS], hybridize=[False, True], layer=["Conv", "BinaryConv"])
def test_a_convolution_that_has_run_takes_other_values(tmp_path, axes, frozen, hybridize, layer):
    """oneDNN has laid its weight out by then; MXNet alone keeps the old one, without saying so at once."""
    x = mx.nd.random.normal(shape=(4, 16, *(5,) * axes))

    def make():
        kind = getattr(nn if layer == "BinaryConv" else gluon, f"{layer}{axes}D")
        net = sequential(kind(16, 3, in_channels=16), nn.BinaryActivation(), nn.BinaryDense(3))
        net.initialize(mx.init.Normal(1))
        net.hybridize(hybridize)
        net(x).wait_to_read()
        if frozen:
            net = freeze(net, frozen, verbose=False)
            net.hybridize(hybridize)
        for _ in range(2):
            net(x).wait_to_read()
        return net

    one, other = make(), make()
    assert (one(x) != other(x)).asnumpy().any()
    other.save_parameters(str(tmp_path / "net"))
    one.load_parameters(str(tmp_path / "net"))
    mx.nd.waitall()
    np.testing.assert_array_equal(one(x).asnumpy(), other(x).asnumpy())
    if frozen is None:
        one[0].weight.set_data(2 * other[0].weight.data())
        np.testing.assert_array_equal(one[0].weight.data().asnumpy(), 2 * other[0].weight.data().asnumpy())


def test_nets_without_our_layers_are_cast_as_ever():
    net = sequential(gluon.Dense(4, in_units=4), gluon.BatchNorm(in_channels=4))
    net.cast("float16")
    assert [np.dtype(p.dtype).name for p in (net[0].weight, net[1].gamma)] == ["float16", "float32"]


@pytest.mark.slow
def test_names_are_found_once_a_layer_was_made():
    programs.output(
        "-c",
        """if True:
        import gluon_bnn
        from gluon_bnn import mx
        net = gluon_bnn.nn.BinaryDense(3, in_units=2)
        net.initialize("labuniform")
        net.initialize("binaryconnectuniform", force_reinit=True)
        mx.gluon.Trainer(net.collect_params(), "binaryadam")""",
    )


@pytest.mark.slow
def test_nets_can_be_pickled(rng, tmp_path):
    """As trained and frozen, for this process and for one in which no operator of ours was loaded yet."""
    net = sequential(nn.BinaryConv2D(3, 2), nn.BatchNorm(axis=1), nn.BinaryActivation(), nn.BinaryDense(2))
    net.initialize(mx.init.Normal(1))
    x = mx.nd.array(rng.standard_normal((2, 1, 4, 5)))
    net(x)
    nets = [net, *(gluon_bnn.freeze(net, form, input_shape=(1, 4, 5), verbose=False) for form in ("packed", "float"))]
    (tmp_path / "nets").write_bytes(pickle.dumps([nets, x, [each(x).asnumpy() for each in nets]]))
    program = "import pickle; from gluon_bnn import mx; nets, x, y = pickle.load(open('nets', 'rb')); "
    program += "print(all((net(x).asnumpy() == each).all() for net, each in zip(nets, y)), nets[1].graph.input_shape)"
    assert programs.output("-c", program, cwd=tmp_path) == "True (1, 4, 5)\n"
    for each in nets:
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(each))(x).asnumpy(), each(x).asnumpy())


@pairs(
    implementation=IMPLEMENTATIONS,
    nested=[False, True],
    scale=["layer", "channel", "loss", None],
    dtype=["float32", "float64"],
)
def test_shapes_are_inferred_in_hybridized_containers(implementation, nested, scale, dtype):
    def layer(units):
        return nn.BinaryDense(units, scale=scale)

    net = sequential(sequential(layer(7)), nn.BatchNorm(), layer(3)) if nested else sequential(layer(7), layer(3))
    net.cast(dtype)
    net.initialize()
    net.hybridize()
    assert net(mx.nd.ones((2, 3, 4), dtype=dtype)).shape == (2, 3)
    assert net.collect_params(".*weight").values().__iter__().__next__().shape == (7, 12)


@pairs(
    implementation=IMPLEMENTATIONS,
    layer=[
        lambda: nn.BinaryDense(3, in_units=4),
        lambda: nn.BinaryDense(3, in_units=4, scale="loss"),
        lambda: nn.BinaryDense(3, in_units=4, scale="channel", gradient="exact", activation="relu"),
        lambda: nn.BinaryDense(3, in_units=4, scale=None, stochastic=True),
        lambda: nn.BinaryActivation(),
        lambda: nn.BinaryActivation(None),
        lambda: nn.BinarySigmoid(),
        lambda: nn.BatchNorm(in_channels=4),
    ],
    dtype=["float32", "float64"],
)
def test_print_summary(implementation, layer, dtype, capsys):
    net = sequential(gluon.Dense(4, in_units=4), layer(), gluon.Dense(2))
    net.cast(dtype)
    net.initialize()
    mx.viz.print_summary(net(mx.sym.var("data", dtype=dtype)), {"data": (1, 4)})
    assert "Total params" in capsys.readouterr().out


@pairs(
    implementation=IMPLEMENTATIONS,
    layer=[lambda: nn.BinaryDense(3), nn.BinaryActivation, nn.BinarySigmoid, nn.BatchNorm],
    hybridize=[False, True],
)
def test_sparse_inputs(implementation, layer, hybridize, rng):
    net = sequential(layer())
    net.initialize()
    net.hybridize(hybridize)
    x = mx.nd.array(rng.standard_normal((5, 8)) * (rng.random((5, 8)) < 0.3))
    np.testing.assert_array_equal(net(x.tostype("csr")).asnumpy(), net(x).asnumpy())


@pytest.mark.parametrize("options", [None, {}, {"static_alloc": True, "static_shape": True}])
@pytest.mark.parametrize("after", [list, lambda: [gluon.Conv2D(16, 3)]])
def test_batch_norm_among_convolutions(implementation, after, options):
    net = sequential(
        gluon.Conv2D(32, 3, in_channels=3), nn.BatchNorm(), *after(), nn.BinaryActivation(), nn.BinaryDense(4)
    )
    net.initialize()
    if options is not None:
        net.hybridize(**options)
    x = mx.nd.random.normal(shape=(8, 3, 16, 16))
    for _ in range(2):
        with mx.autograd.record():
            loss = net(x).sum()
        loss.backward()
        mx.nd.waitall()
    assert np.isfinite(net[0].weight.grad().asnumpy()).all() and net[0].weight.grad().asnumpy().any()


def train(net, x, labels, steps, **options):
    trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", {"learning_rate": 0.4, **options}, kvstore=None)
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(steps):
        with mx.autograd.record():
            losses = loss(net(x), labels)
        losses.backward()
        trainer.step(len(x))
    return {name: p.data().asnumpy() for name, p in net.collect_params().items()}


@pairs(
    implementation=IMPLEMENTATIONS,
    load=[gluon_bnn.load_exported, imported],
    scale=["layer", "loss"],
    kind=["dense", "conv"],
)
def test_training_goes_on_from_an_export(implementation, rng, tmp_path, kind, scale, load):
    """The optimiser holds the weights within [-1, 1] and keeps LAB's curvature, as for the net itself."""
    mx.random.seed(0)
    x, labels = mx.nd.array(rng.standard_normal((64, 5, 4))), mx.nd.array(rng.integers(0, 5, 64))
    binary = nn.BinaryDense(8, in_units=20, scale=scale) if kind == "dense" else nn.BinaryConv1D(8, 3, scale=scale)
    net, prefix = sequential(binary, gluon.Dense(5)), str(tmp_path / "net")
    net.initialize(mx.init.Uniform(1))
    net.hybridize()
    train(net, x, labels, 5)
    export(net, prefix, x)
    loaded = load(prefix)
    found, expected = (train(each, x, labels, 10, wd=0.01, glorot=scale == "layer") for each in (loaded, net))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # MXNet's own product rounds by how its arrays lie in memory.
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
    weight = expected[net[0].weight.name]
    assert np.abs(weight).max() == 1 and (scale == "layer" or expected[net[0].curvature.name].min() > 0)
    marked = [name for name, p in loaded.collect_params().items() if getattr(p, "binary", False)]
    assert marked == [net[0].weight.name]


def test_an_optimizer_loaded_with_the_net_is_ours():
    assert mx.optimizer.Optimizer.opt_registry["binaryadam"] is optimizer.BinaryAdam


@pytest.mark.parametrize("hybridize", [False, True])
def test_relu_keeps_nan(implementation, hybridize):
    """In the net as trained as in every deployed form and in the reference; Gluon's own Activation makes 0 of it."""
    net = nn.BinaryDense(3, "relu", in_units=4)
    net.initialize()
    net.hybridize(hybridize)
    y = net(mx.nd.array([[1, 2, np.nan, 4], [1, 2, 3, 4]])).asnumpy()
    assert np.isnan(y[0]).all() and (y[1] >= 0).all()
