"""Runs of `train.fit` over random rows, three batches per epoch, that take a fraction of a second."""

import numpy as np
import pytest

from gluon_bnn import nn, train
from gluon_bnn._compat import mx

SETTINGS = {"lr": 0.01}
X = np.random.default_rng(0).standard_normal((60, 12)).astype(np.float32)
LABELS = X[:, :3].argmax(axis=1)
# LAB keeps a curvature for each weight; stochastic signs and dropout draw random numbers inside of the net.
LAYERS = {"xnor": {}, "lab": {"scale": "loss"}, "stochastic": {"scale": None, "stochastic": True}}


def make(seed=0, units=7, kind="xnor"):
    """(net, Trainer)."""
    np.random.seed(seed)
    mx.random.seed(seed)
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(units, in_units=12, **LAYERS[kind]),
        mx.gluon.nn.BatchNorm(in_channels=units),
        mx.gluon.nn.Dropout(0.2),
        nn.BinaryActivation(),
        nn.BinaryDense(3, in_units=units, **LAYERS[kind]),
    )
    net.initialize(mx.init.Xavier())
    net.hybridize()
    name = "adam" if kind == "xnor" else "binaryadam"
    return net, mx.gluon.Trainer(net.collect_params(), name, kvstore=None)


def batches(generator):
    order = generator.permutation(len(X))
    for i in range(0, len(X), 20):
        rows = order[i : i + 20]
        yield mx.nd.array(X[rows]), mx.nd.array(LABELS[rows])


def fit(net, trainer, epochs=6, validate=None, settings=SETTINGS, loss=None, **options):
    loss = loss or mx.gluon.loss.SoftmaxCrossEntropyLoss()
    return train.fit(
        net,
        trainer,
        loss,
        batches,
        3,
        train.rates(0.01, 0.001, epochs),
        validate or (lambda net: train.evaluate(net, X, LABELS)),
        5,
        progress=False,
        settings=settings,
        **options,
    )


def cut_at(path, epoch, error, made=None, **options):
    """Train `made`, by default what `make` gives, until `error` is raised while validating this epoch."""
    calls = []

    def validate(net):
        calls.append(1)
        if len(calls) == epoch:
            raise error
        return train.evaluate(net, X, LABELS)

    with pytest.raises(type(error)):
        fit(*(made or make()), validate=validate, checkpoint=path, **options)


def values(net):
    """All parameters, in the order of their names within the net."""
    return [p.data().asnumpy() for p in net._collect_params_with_prefix().values()]
