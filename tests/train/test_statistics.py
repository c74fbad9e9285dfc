"""Batch norm statistics that are re-estimated on plain inputs, by themselves and while `fit` trains."""

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, train
from gluon_bnn._compat import mx
from gluon_bnn.check.batch_norm import by_units
from np_arrays import KINDS, arrays

from gluon_nets import export, imported, sequential
from tiny_runs import LABELS, X, cut_at, fit, make, values

gluon = mx.gluon.nn
BATCH_NORMS = {"ours": nn.BatchNorm, "gluon's": gluon.BatchNorm}


def images(kind=nn.BatchNorm, **options):
    """Statistics of channels, of the last axis, and after what inference does not do."""
    net = sequential(
        nn.BinaryConv2D(6, 3, padding=1, scale=None, stochastic=True),
        kind(axis=1, **options),
        gluon.Dropout(0.5),
        nn.BinaryActivation(),
        gluon.MaxPool2D(2),
        nn.BinaryDense(5),
        kind(axis=-1),
    )
    net.initialize(mx.init.Uniform(1))
    return net


def averages(net):
    return [p.data().asnumpy() for name, p in net._collect_params_with_prefix().items() if "running" in name]


@pytest.mark.parametrize("kind", BATCH_NORMS)
@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("batch_size", [23, 10, 1000])
def test_by_hand(rng, implementation, kind, hybridize, batch_size):
    """Each layer normalises a batch by its own statistics; those of all batches together are what is kept."""
    net, x = images(BATCH_NORMS[kind]), (5 * rng.standard_normal((23, 3, 6, 7)) + 2).astype(np.float32)
    net.hybridize(hybridize)
    y = net(mx.nd.array(x)).asnumpy()  # hybridized, with the graph that it has then
    train.reestimate(net, x, batch_size)
    hidden, last = [], []
    for i in range(0, len(x), batch_size):
        of_batch = net[0](mx.nd.array(x[i : i + batch_size])).asnumpy().astype(np.float64)
        hidden.append(by_units(of_batch, 1))
        gamma, beta = (p.data().asnumpy().reshape(1, -1, 1, 1) for p in (net[1].gamma, net[1].beta))
        mean, var = (a.reshape(1, -1, 1, 1) for a in (hidden[-1].mean(0), hidden[-1].var(0)))
        normal = (of_batch - mean) / np.sqrt(var + 1e-5) * gamma + beta
        last.append(net[5](net[4](net[3](mx.nd.array(normal)))).asnumpy().astype(np.float64))
    for layer, found in ((net[1], np.concatenate(hidden)), (net[6], np.concatenate(last))):
        np.testing.assert_allclose(layer.running_mean.data().asnumpy(), found.mean(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(layer.running_var.data().asnumpy(), found.var(0), rtol=1e-4)
    assert (net(mx.nd.array(x)).asnumpy() != y).any(), "a hybridized net follows"
    first = averages(net)
    train.reestimate(net, x, batch_size)
    for a, b in zip(averages(net), first):
        np.testing.assert_array_equal(a, b, "they do not depend on what they were")


def test_batches_of_any_kind(rng):
    x = rng.standard_normal((20, 3, 6, 7)).astype(np.float32)
    net, found = images(), []
    pieces = [mx.nd.array(x[i : i + 10]) for i in (0, 10)]
    loader = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(x, np.zeros(20)), 10)
    for given in (x, pieces, ((piece, None) for piece in pieces), loader):
        train.reestimate(net, given, 10)
        found.append(averages(net))
    for other in found[1:]:
        for a, b in zip(other, found[0]):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_np_and_types(rng, kind):
    """x in float64 is cast to the net's own type."""
    with arrays(kind):
        for dtype in ("float32", "float64"):
            net = sequential(nn.BatchNorm(in_channels=4), gluon.Dense(3, in_units=4), gluon.BatchNorm(axis=-1))
            net.initialize()
            net.cast(dtype)
            x = rng.standard_normal((9, 4))
            train.reestimate(net, x)
            assert net[0].running_var.data().dtype == np.dtype(dtype)
            tolerance = 1e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(net[0].running_mean.data().asnumpy(), x.mean(0), atol=tolerance)
            np.testing.assert_allclose(net[0].running_var.data().asnumpy(), x.var(0), rtol=10 * tolerance)


def test_layers_that_stay():
    shared = nn.BatchNorm(in_channels=2)
    net = sequential(shared, gluon.BatchNorm(in_channels=2, use_global_stats=True), shared)
    net.initialize()
    train.reestimate(net, np.array([[0, 1], [2, 5]], np.float32))
    np.testing.assert_array_equal(net[1].running_var.data().asnumpy(), [1, 1])
    # One layer called twice has the statistics of both inputs: those of the second are 0 and 1.
    np.testing.assert_allclose(shared.running_mean.data().asnumpy(), [0.5, 1.5], atol=1e-6)


class Uncalled(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm(in_channels=2)

    def hybrid_forward(self, F, x):
        return x + 1


def test_refused(tmp_path, rng):
    x = np.ones((4, 2), np.float32)
    net = sequential(nn.BatchNorm(in_channels=2), nn.BinaryDense(3, in_units=2))
    net.initialize()
    y = export(net, tmp_path / "net", mx.nd.array(x))
    uncalled = Uncalled()
    uncalled.initialize()
    without = nn.BinaryDense(3, in_units=2)
    without.initialize()
    for wrong, given, message in (
        (without, x, "a net without one"),
        (imported(tmp_path / "net"), x, "a loaded export"),
        (uncalled, x, "called no BatchNorm"),
        (net, x[:0], "at least one row"),
        (net, [], "x gave no batches"),
        (net, [x], "must be NDArrays.*got ndarray"),
        (net, [None], "got NoneType"),
    ):
        with pytest.raises(ValueError, match=message):
            train.reestimate(wrong, given)
    with pytest.raises(TypeError, match="got a function"):
        train.reestimate(lambda x: x, x)
    np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), y)


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_what_fails_changes_nothing(rng, kind):
    net, x = images(BATCH_NORMS[kind]), rng.standard_normal((6, 3, 6, 7)).astype(np.float32)
    net(mx.nd.array(x))
    before = averages(net)
    with pytest.raises(ValueError, match="got str"):
        train.reestimate(net, [mx.nd.array(x), "x"])
    for a, b in zip(averages(net), before):
        np.testing.assert_array_equal(a, b)
    assert not any(layer._forward_pre_hooks for layer in net)


class TestFit:
    def test_every_epoch_is_validated_and_kept_with_them(self):
        net, trainer = make(kind="stochastic")
        seen = []

        def validate(net):
            found = averages(net)
            train.reestimate(net, X[:40])
            for a, b in zip(averages(net), found):
                np.testing.assert_array_equal(a, b)
            seen.append(found)
            return [0.5, 0.1, 0.3][len(seen) - 1]

        fit(net, trainer, epochs=3, validate=validate, reestimate=X[:40])
        for a, b in zip(averages(net), seen[1]):
            np.testing.assert_array_equal(a, b, "those of the best epoch")
        assert not all((a == b).all() for a, b in zip(seen[0], seen[2]))

    def test_weights_are_those_of_a_run_without(self):
        """Training does not see running averages."""
        nets = []
        for options in ({}, {"reestimate": X}):
            net, trainer = make()
            train.fit(
                net,
                trainer,
                gluon_bnn.loss.SquaredHingeLoss(),
                train.batches(X, LABELS, 20),
                epochs=2,
                progress=False,
                **options,
            )
            nets.append(net)
        for (name, a), b in zip(nets[0]._collect_params_with_prefix().items(), nets[1].collect_params().values()):
            assert (a.data().asnumpy() == b.data().asnumpy()).all() != ("running" in name), name

    def test_resumed(self, tmp_path):
        given = [mx.nd.array(X[:30]), mx.nd.array(X[30:])]
        net, trainer = make(kind="stochastic")
        options = dict(reestimate=given, epochs=3)
        whole = fit(net, trainer, **options)
        path = str(tmp_path / "c.safetensors")
        cut_at(path, 2, KeyboardInterrupt(), make(kind="stochastic"), **options)
        other, trainer = make(seed=99, kind="stochastic")
        with pytest.raises(ValueError, match="differs in reestimated: saved True, now False; use the same, or another"):
            fit(other, trainer, checkpoint=path, resume=True, epochs=3)
        with pytest.raises(FileExistsError, match="run that is not finished: 1 of 3 epochs"):
            fit(other, trainer, checkpoint=path, epochs=3)
        resumed = fit(other, trainer, checkpoint=path, resume=True, **options)
        for key in ("loss", "error", "validation_error", "best_epoch"):
            assert resumed[key] == whole[key]
        for a, b in zip(values(net), values(other)):
            np.testing.assert_array_equal(a, b)
        fit(other, trainer, checkpoint=path, epochs=3)  # of a run that is finished a file may become another one's
        with pytest.raises(ValueError, match="differs in reestimated: saved False, now True"):
            fit(other, trainer, checkpoint=path, resume=True, **options)

    @pytest.mark.parametrize(
        "given, error, message",
        [
            (X, ValueError, "a net without one"),
            (X[:0], ValueError, "at least one row"),
            ((each for each in ()), ValueError, "used up after one"),
            (train.batches(X, np.zeros(len(X)), 10), ValueError, "got a Batches"),
            (True, ValueError, "got a bool"),
            ("x", ValueError, "got a str"),
            (X[:, :5], mx.base.MXNetError, "."),
        ],
    )
    def test_refused_before_the_first_step(self, given, error, message):
        net = sequential(nn.BinaryDense(3, in_units=12), *([] if "without" in message else [nn.BatchNorm()]))
        net.initialize()
        net(mx.nd.array(X))
        before = values(net)
        with pytest.raises(error, match=message):
            fit(net, mx.gluon.Trainer(net.collect_params(), "adam", kvstore=None), reestimate=given)
        for a, b in zip(values(net), before):
            np.testing.assert_array_equal(a, b)
