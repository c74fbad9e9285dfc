"""Runs over Gluon's DataLoader are resumed to the bit, worker processes included, or refused."""

import random

import numpy as np
import pytest

import gluon_bnn.train.seeding
from gluon_bnn import nn, train
from gluon_bnn._compat import mx

X = np.random.default_rng(0).standard_normal((25, 12)).astype(np.float32)
LABELS = X[:, :3].argmax(axis=1).astype(np.float32)


def noisy(x):
    """A transform that draws from each of the three generators."""
    return x + np.random.rand() + random.random() + mx.nd.random.uniform(shape=(1,)).asscalar()


def loader(**options):
    data = mx.gluon.data.ArrayDataset(X, LABELS).transform_first(noisy)
    return mx.gluon.data.DataLoader(data, 10, **{"shuffle": True, **options})


def fit(epochs, path, loaded, device=mx.cpu(0), **options):
    mx.random.seed(1)
    net = nn.BinaryDense(3, in_units=12)
    net.initialize(mx.init.Xavier(), ctx=device)
    trainer = mx.gluon.Trainer(
        net.collect_params(), options.pop("optimizer", "adam"), {"learning_rate": 0.01}, kvstore=None
    )

    def batches(generator):
        for x, labels in loaded:
            yield x.as_in_context(device), labels.as_in_context(device)

    history = train.fit(
        net,
        trainer,
        mx.gluon.loss.SoftmaxCrossEntropyLoss(),
        batches,
        3,
        [0.01] * epochs,
        lambda net: train.evaluate(net, X, LABELS) + np.random.rand(),
        5,
        checkpoint=path,
        progress=False,
        **options,
    )
    return [history[name] for name in ("loss", "error", "validation_error")]


LOADERS = {
    "shuffled": {},
    "in order, whole batches": dict(shuffle=False, last_batch="discard"),
    "reloading": dict(auto_reload=True),
    "one worker": dict(num_workers=1),
    "workers": dict(num_workers=3),
    "reloading workers": dict(num_workers=2, auto_reload=True, prefetch=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_a_resumed_data_loader_gives_the_same(tmp_path, name):
    whole = fit(3, tmp_path / "whole", loader(**LOADERS[name]))
    np.random.rand(7)
    random.random()
    fit(1, tmp_path / "cut", loader(**LOADERS[name]))
    np.random.rand(7)
    assert fit(3, tmp_path / "cut", loader(**LOADERS[name]), resume=True) == whole
    assert len(set(whole[0])) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, message",
    [(dict(num_workers=2, thread_pool=True), "thread_pool"), (dict(last_batch="rollover"), "rollover")],
)
def test_data_loaders_that_cannot_be_resumed_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message + ".* cannot be resumed to the bit"):
        fit(2, tmp_path / "c", loader(**options))
    assert len(fit(2, None, loader(**options))[0]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer, devices",
    [("adam", (1, 1)), ("adam", (0, 1)), ("adam", (1, 0)), ("binaryadam", (0, 1)), ("nadam", (0, 1)), ("sgd", (1, 0))],
)
def test_resumed_on_any_device(tmp_path, devices, optimizer):
    whole = fit(3, None, loader(), mx.cpu(devices[0]), optimizer=optimizer)
    fit(1, tmp_path / "cut", loader(), mx.cpu(devices[0]), optimizer=optimizer)
    assert fit(3, tmp_path / "cut", loader(), mx.cpu(devices[1]), optimizer=optimizer, resume=True) == whole


@pytest.mark.slow
def test_the_callers_own_generators_go_on(tmp_path):
    np.random.seed(3)
    random.seed(3)
    expected = np.random.rand(), random.random()
    np.random.seed(3)
    random.seed(3)
    fit(1, None, loader())
    assert (np.random.rand(), random.random()) == expected
    orders = [[labels.asnumpy().tolist() for _, labels in loader(num_workers=workers)] for workers in (0, 1, 1)]
    assert orders[1] != orders[2]  # outside of fit nothing is seeded


def test_parameters_on_several_devices_are_refused():
    net = nn.BinaryDense(3, in_units=12)
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", kvstore=None)
    with pytest.raises(ValueError, match=r"one device.*cpu\(0\), cpu\(1\)"):
        train.fit(net, trainer, mx.gluon.loss.L2Loss(), lambda generator: (), 1, [0.1], None, 0)


def test_a_kvstore_that_updates_has_no_checkpoint(tmp_path):
    net = nn.BinaryDense(3, in_units=12)
    net.initialize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", kvstore=mx.kv.create("local"))
    with pytest.raises(ValueError, match="kvstore=None"):
        train.fit(
            net, trainer, mx.gluon.loss.L2Loss(), lambda generator: (), 1, [0.1], None, 0, checkpoint=tmp_path / "c"
        )


@pytest.mark.slow
def test_a_run_inside_of_another_changes_nothing():
    """Not even for the data loader of the outer one, which draws in worker processes after the inner one's end."""
    alone = fit(2, None, loader(num_workers=1))

    def batches_with_another_run():
        yield from loaded
        fit(1, None, loader(num_workers=1))

    loaded = loader(num_workers=1)

    class Twice:
        def __iter__(self):
            return batches_with_another_run()

    assert fit(2, None, Twice())[0][0] == alone[0][0]
    assert not gluon_bnn.train.seeding._running
