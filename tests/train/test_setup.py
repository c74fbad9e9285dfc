"""Warnings where a net is set up so that it cannot learn, and none where it can."""

import warnings

import numpy as np
import pytest

from gluon_bnn import nn, train
from gluon_bnn._compat import mx
from gluon_bnn.train.setup import CannotLearn, ZeroPadding

from gluon_nets import sequential
from tiny_runs import LABELS, X

gluon = mx.gluon.nn


def fit(net, optimizer="binaryadam", epochs=1, init=None, **options):
    net.initialize(init or mx.init.Xavier())
    train.fit(
        net,
        mx.gluon.Trainer(net.collect_params(), optimizer, options, kvstore=None),
        mx.gluon.loss.SoftmaxCrossEntropyLoss(),
        train.batches(X, LABELS, 20),
        epochs=epochs,
        progress=False,
    )


@pytest.mark.parametrize(
    "blocks, source",
    [
        (lambda: [nn.BinaryDense(6), nn.Activation("relu"), nn.BinaryActivation(), nn.BinaryDense(3)], "relu"),
        (lambda: [gluon.Dense(6, activation="sigmoid"), nn.BinaryActivation(), nn.BinaryDense(3)], "sigmoid"),
        (lambda: [nn.BinaryDense(6, activation="softrelu"), nn.BinarySigmoid(), nn.BinaryDense(3)], "softrelu"),
        (lambda: [nn.BinaryDense(6), nn.BinarySigmoid(), nn.BinaryActivation(), nn.BinaryDense(3)], "BinarySigmoid"),
        (
            lambda: [
                gluon.HybridLambda(lambda F, x: F.reshape(x, (-1, 1, 12))),
                sequential(nn.BinaryConv1D(4, 3, activation="relu"), gluon.MaxPool1D(2), gluon.Dropout(0.1)),
                gluon.Flatten(),
                nn.BinaryActivation(),
                nn.BinaryDense(3),
            ],
            "relu",
        ),
    ],
)
def test_signs_of_what_is_never_below_0(blocks, source):
    with pytest.warns(CannotLearn, match=f"gives 1 whatever its input is.*{source}"):
        fit(sequential(*blocks()))


def images():
    """What makes images, (1, 3, 4), of the rows of X."""
    return gluon.HybridLambda(lambda F, x: F.reshape(x, (-1, 1, 3, 4)))


class Residual(mx.gluon.HybridBlock):
    def __init__(self, *blocks):
        super().__init__()
        self.body = sequential(*blocks)

    def hybrid_forward(self, F, x):
        return x + self.body(x)


class OwnSequence(mx.gluon.nn.HybridSequential):
    """Computes what a HybridSequential does."""


def of(block, *blocks):
    block.add(*blocks)
    return block


@pytest.mark.parametrize("container", [OwnSequence, mx.gluon.contrib.nn.HybridConcurrent])
def test_a_sign_that_begins_a_block_of_others(container):
    """One warning, of what the block is given."""
    sign = nn.BinaryActivation()
    inner = of(container(), *([sign] if container is not OwnSequence else [sign, nn.BinaryDense(4)]))
    with pytest.warns(CannotLearn, match="gives 1 whatever its input is.*relu") as found:
        fit(sequential(gluon.Dense(6, activation="relu"), inner, nn.BinaryDense(3)))
    assert [each.category for each in found].count(CannotLearn) == 1


def test_a_sign_within_a_block_of_ones_own():
    body = Residual(nn.BinaryDense(12, activation="relu"), nn.BinaryActivation(), nn.BinaryDense(12))
    with pytest.warns(CannotLearn, match="gives 1 whatever its input is.*relu"):
        fit(sequential(body, nn.BinaryDense(3)))


@pytest.mark.parametrize(
    "blocks, padding",
    [
        (lambda: [images(), nn.BinaryActivation(), nn.BinaryConv2D(4, 3, padding=(0, 1))], "binaryconv2d0 pads signs"),
        (
            lambda: [
                images(),
                nn.BinaryConv2D(4, 3, padding=1, prefix="of_numbers_"),
                nn.BatchNorm(),
                nn.BinaryActivation(),
                gluon.MaxPool2D(2, 1),
                nn.BinaryConv2D(4, 2, padding=1, prefix="first_"),
                Residual(nn.BinaryActivation(), nn.BinaryConv2D(4, 3, padding=1, prefix="second_")),
                nn.BinaryActivation(),
                of(
                    mx.gluon.contrib.nn.HybridConcurrent(axis=1),
                    nn.BinaryConv2D(4, 3, padding=1, prefix="third_"),
                    of(OwnSequence(), nn.BinaryConv2D(4, 3, padding=1, prefix="fourth_")),
                ),
            ],
            "^first, second, third, fourth pad signs",
        ),
    ],
)
def test_signs_padded_with_0(blocks, padding):
    with mx.name.NameManager(), pytest.warns(ZeroPadding, match=f"{padding} with 0") as found:
        fit(sequential(*blocks(), nn.BinaryDense(3)))
    assert [each.filename for each in found if each.category is ZeroPadding] == [__file__], "once, where fit is called"


@pytest.mark.parametrize(
    "blocks",
    [
        lambda: [images(), nn.BinaryActivation(), nn.BinaryConv2D(4, 3, padding=1, pad_value=-1)],
        lambda: [images(), nn.BinaryActivation(), nn.BinaryConv2D(4, 3)],
        lambda: [images(), nn.BinarySigmoid(), nn.BinaryConv2D(4, 3, padding=1)],
        lambda: [images(), nn.BinaryActivation(), gluon.AvgPool2D(2, 1), nn.BinaryConv2D(4, 3, padding=1)],
        lambda: [images(), nn.BinaryActivation(), gluon.Conv2D(4, 3, padding=1)],
        lambda: [images(), nn.BinaryConv2D(4, 1), nn.BinaryActivation(), nn.BinaryConv2D(4, 3, padding=1, groups=2)],
        lambda: [
            images(),
            gluon.HybridLambda(lambda F, x: F.expand_dims(x, 2)),
            nn.BinaryActivation(),
            nn.BinaryConv3D(4, (1, 3, 3), padding=(0, 1, 1)),
        ],
    ],
)
def test_padding_that_costs_nothing(blocks):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ZeroPadding)
        fit(sequential(*blocks(), nn.BinaryDense(3)))


class Own(mx.gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return x - 1


class ActivationFirst(mx.gluon.HybridBlock):
    """Its activation is not the last of what it computes."""

    def __init__(self):
        super().__init__()
        self.act, self.dense = nn.Activation("relu"), nn.BinaryDense(6)

    def hybrid_forward(self, F, x):
        return self.dense(self.act(x))


class Centred(mx.gluon.nn.HybridSequential):
    def hybrid_forward(self, F, x):
        return super().hybrid_forward(F, x) - 1


@pytest.mark.parametrize(
    "blocks",
    [
        lambda: [nn.BinaryDense(6), nn.Activation("relu"), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(3)],
        lambda: [nn.BinaryDense(6), nn.Activation("tanh"), nn.BinaryActivation(), nn.BinaryDense(3)],
        lambda: [nn.BinaryDense(6, activation="relu"), Own(), nn.BinaryActivation(), nn.BinaryDense(3)],
        lambda: [nn.BinaryDense(6, activation="relu"), nn.BinaryDense(6), nn.BinaryActivation(), gluon.Dense(3)],
        lambda: [gluon.LeakyReLU(0.1), nn.BinaryActivation(), nn.BinaryDense(3, activation="relu")],
        lambda: [gluon.HybridLambda("identity"), nn.BinaryActivation(), nn.BinaryDense(3)],
        lambda: [ActivationFirst(), nn.BinaryActivation(), nn.BinaryDense(3)],
        lambda: [of(Centred(), nn.BinaryDense(6, activation="relu")), nn.BinaryActivation(), nn.BinaryDense(3)],
    ],
)
def test_nets_that_can_learn(blocks):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CannotLearn)
        fit(sequential(*blocks()))


WIDE = mx.init.Uniform(1.5)  # a third of the weights is beyond 1


@pytest.mark.parametrize(
    "layer, optimizer, options",
    [
        (dict(gradient="ste"), "adam", {}),
        (dict(scale="loss"), "sgd", {"momentum": 0.9}),
        (dict(scale=None, stochastic=True), "adam", {}),
        (dict(gradient="ste", clip=0.5), "binaryadam", {}),
    ],
)
def test_starved_weights(layer, optimizer, options):
    with pytest.warns(CannotLearn, match="of the weights of .* are beyond its clip.*no gradient") as found:
        fit(sequential(nn.BinaryDense(20, **layer), nn.BinaryDense(3)), optimizer, 3, WIDE, **options)
    assert [each.filename for each in found if each.category is CannotLearn] == [__file__], "once, where fit is called"


@pytest.mark.parametrize(
    "layer, optimizer, options",
    [
        (dict(gradient="ste"), "binaryadam", {}),
        (dict(gradient="ste", clip=None), "adam", {}),
        (dict(gradient="ste"), "adam", {"wd": 1e-3}),
        (dict(gradient="xnor"), "adam", {}),
        (dict(gradient="exact"), "adam", {}),
        (dict(gradient="notebook"), "adam", {}),
        (dict(gradient="ste", clip=2.0), "adam", {}),
    ],
)
def test_weights_that_come_back(layer, optimizer, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CannotLearn)
        fit(sequential(nn.BinaryDense(20, **layer), nn.BinaryDense(3)), optimizer, 2, WIDE, **options)


def test_weights_that_are_not_to_learn():
    net = sequential(nn.BinaryDense(20, gradient="ste"), nn.BinaryDense(3))
    net[0].weight.grad_req = "null"
    with warnings.catch_warnings():
        warnings.simplefilter("error", CannotLearn)
        fit(net, "adam", 2, WIDE)


def test_weights_without_the_decay_of_others():
    net = sequential(nn.BinaryDense(20, gradient="ste"), nn.BinaryDense(3))
    net[0].weight.wd_mult = 0
    with pytest.warns(CannotLearn, match="are beyond its clip"):
        fit(net, "adam", 1, WIDE, wd=1e-3)


def test_weights_that_starve_later():
    net = sequential(nn.BinaryDense(20, gradient="ste"), nn.BinaryDense(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CannotLearn)
        fit(net, "adam", learning_rate=1e-4)
    with pytest.warns(CannotLearn, match="are beyond its clip") as found:
        fit(net, "adam", 2, mx.init.Uniform(0.99), learning_rate=0.3)
    assert __file__ in [each.filename for each in found if each.category is CannotLearn]
    assert (np.abs(net[0].weight.data().asnumpy()) > 1).any()
