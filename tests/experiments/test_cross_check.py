"""Nets of images against the NumPy reference, as train_mnist.py compares what it trains."""

import numpy as np
import pytest

from gluon_bnn import nn, train
from gluon_bnn._compat import mx

import common.cross_check as checks
import nets
from gluon_nets import sequential

gluon = mx.gluon.nn


def images_net(weights, activation):
    """Convolutions of a method, all kinds of pooling, and batch norm over both axes."""
    layers = nets.Layers(weights, "channel", None, 1.0, activation, (2, 13, 12))
    net = sequential(
        layers.conv(6, 3, padding=1),
        gluon.MaxPool2D((3, 2), (2, 2), padding=1, ceil_mode=True),
        layers.batch_norm(axis=1),
        layers.activation(),
        layers.conv(5, (2, 3), strides=(1, 2), dilation=(2, 1)),
        gluon.AvgPool2D(2, count_include_pad=False, padding=1),
        gluon.BatchNorm(),
        layers.activation(),
        gluon.Conv2D(4, 2, groups=1, activation="relu"),
        gluon.GlobalMaxPool2D(),
        gluon.Flatten(),
        layers.dense(10),
        layers.batch_norm(),
    )
    net.initialize(mx.init.Uniform(0.5))
    return net


@pytest.mark.parametrize("weights, activation", [("binary", "binary"), ("binary", "relu"), ("real", "relu")])
def test_nets_of_images(rng, weights, activation):
    net, x = images_net(weights, activation), rng.standard_normal((30, 2, 13, 12)).astype(np.float32)
    train.reestimate(net, x)
    found = checks.cross_check(net, x, train.predict(net, x))
    assert found["ok"] and found["rows_with_differing_hidden_bits"] == 0
    broken = train.predict(net, x) + 1e-3
    assert not checks.cross_check(net, x, broken)["ok"]


def test_layers_over_other_axes(rng):
    net = sequential(
        nn.BinaryConv1D(4, 3, padding=1, pad_value=-1, scale="loss", activation="relu"),
        gluon.AvgPool1D(2),
        gluon.GlobalAvgPool1D(),
        nn.BinaryDense(3),
    )
    net.initialize(mx.init.Uniform(1))
    x = rng.standard_normal((9, 2, 8)).astype(np.float32)
    y = train.predict(net, x)
    assert checks.cross_check(net, x, y)["ok"]


def test_options_of_batch_norm(rng):
    """An epsilon of one's own; a gamma that scale=False leaves aside, whatever it is."""
    net = sequential(gluon.BatchNorm(epsilon=0.5, in_channels=3), nn.BatchNorm(epsilon=0.1, scale=False, in_channels=3))
    net.initialize()
    for layer in net:
        layer.gamma.set_data(mx.nd.array([0.5, 2, 3]))
    x = rng.standard_normal((9, 3)).astype(np.float32)
    assert checks.cross_check(net, x, train.predict(net, x))["ok"]


def test_what_the_reference_does_not_have():
    net = sequential(gluon.Conv2DTranspose(3, 2))
    net.initialize()
    with pytest.raises(ValueError, match="the NumPy reference has no Conv2DTranspose"):
        checks.reference_outputs(net, np.ones((1, 2, 4, 4)))
