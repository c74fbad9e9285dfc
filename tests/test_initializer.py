"""The initialisers: their range, under the names MXNet finds them by, deferred, and through an export."""

import json

import numpy as np
import pytest

from gluon_bnn import initializer, nn
from gluon_bnn._compat import mx

NAMES = {
    "binaryconnectuniform": lambda units, inputs: 1.0,
    "labuniform": lambda units, inputs: np.sqrt(1.5 / (units + inputs)),
}


def is_uniform(values, bound):
    """True where nothing is beyond the bound, and mean and spread are those of a uniform draw (6 sigma)."""
    z = values.ravel() / bound
    n = z.size
    return (
        np.abs(z).max() <= 1
        and abs(z.mean()) < 6 * np.sqrt(1 / 3 / n)
        and abs((z**2).mean() - 1 / 3) < 6 * np.sqrt(4 / 45 / n)
        and np.abs(z).max() > 1 - 20 / n
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("units, inputs", [(1, 1000), (300, 200), (10, 2048)])
def test_range(name, units, inputs):
    mx.random.seed(7)
    bound = NAMES[name](units, inputs)
    for net in (nn.BinaryDense(units, in_units=inputs), nn.BinaryDense(units), mx.gluon.nn.Dense(units)):
        net.initialize(name)
        net(mx.nd.zeros((1, inputs)))
        assert is_uniform(net.weight.data().asnumpy(), bound)
        assert not net.bias.data().asnumpy().any()


@pytest.mark.parametrize("name", NAMES)
def test_of_a_convolution(name):
    mx.random.seed(7)
    for net in (nn.BinaryConv2D(30, 5, in_channels=20), nn.BinaryConv2D(30, 5)):
        net.initialize(name)
        net(mx.nd.zeros((1, 20, 6, 5)))
        assert is_uniform(net.weight.data().asnumpy(), NAMES[name](30 * 25, 20 * 25))
        assert not net.bias.data().asnumpy().any()


@pytest.mark.parametrize("name", NAMES)
def test_of_one_layer(name):
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(300, in_units=200, weight_initializer=name, scale="loss"),
        mx.gluon.nn.BatchNorm(in_channels=300),
        mx.gluon.nn.Dense(3, in_units=300),
    )
    net.initialize(mx.init.Constant(5))
    assert is_uniform(net[0].weight.data().asnumpy(), NAMES[name](300, 200))
    assert (net[2].weight.data().asnumpy() == 5).all() and (net[0].curvature.data().asnumpy() == 1).all()


@pytest.mark.parametrize("kind", [initializer.BinaryConnectUniform, initializer.LABUniform])
def test_made_anew_from_its_text(kind, tmp_path):
    name, arguments = json.loads(kind().dumps())
    again = mx.init.create(name, **arguments)
    assert type(again) is kind and vars(again) == vars(kind())
    net = nn.BinaryDense(3, in_units=2, weight_initializer=kind())
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 2)))
    net.export(str(tmp_path / "net"))
    nodes = json.loads((tmp_path / "net-symbol.json").read_text())["nodes"]
    (text,) = (node["attrs"]["__init__"] for node in nodes if node["name"] == net.weight.name)
    assert text == kind().dumps()
