"""Arrays without numbers: every layer, hybridized or not, and every net with one says so before anything runs."""

import numpy as np
import pytest

from gluon_bnn import nn
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.ops import use
from np_arrays import KINDS, arrays

from gluon_nets import FORMS, export, sequential
from needs import needs_library
from pairs import IMPLEMENTATIONS, pairs

LAYERS = {
    "dense": (lambda: nn.BinaryDense(3, in_units=5), (5,)),
    "dense of open inputs": (lambda: nn.BinaryDense(3), (5,)),
    "dense over the last axis": (lambda: nn.BinaryDense(3, in_units=5, flatten=False), (2, 5)),
    "conv1d": (lambda: nn.BinaryConv1D(3, 2, in_channels=2), (2, 6)),
    "conv2d": (lambda: nn.BinaryConv2D(3, 2, in_channels=2), (2, 6, 6)),
    "groups": (lambda: nn.BinaryConv2D(4, 2, in_channels=2, groups=2), (2, 6, 6)),
    "conv3d": (lambda: nn.BinaryConv3D(3, 2, in_channels=2), (2, 4, 4, 4)),
    "batch norm": (lambda: nn.BatchNorm(in_channels=5), (5,)),
    "batch norm of channels": (lambda: nn.BatchNorm(axis=1, in_channels=2), (2, 4, 4)),
    "pool": (lambda: nn.MaxPool2D(), (2, 4, 4)),
    "sign": (lambda: nn.BinaryActivation(), (5,)),
    "sigmoid": (lambda: nn.BinarySigmoid(), (5,)),
    "relu": (lambda: nn.Activation("relu"), (5,)),
}
WORDS = r"layers of gluon_bnn take at least one number, got an array of shape \(0, "


def empty(kind, shape):
    """0 rows, which MXNet without NumPy's shapes makes of an array of NumPy only."""
    return mx.np.zeros((0, *shape)) if kind == "np" else mx.nd.array(np.zeros((0, *shape)))


@pairs(implementation=IMPLEMENTATIONS, name=list(LAYERS), hybridize=[False, True], kind=KINDS)
def test_layers(implementation, name, hybridize, kind):
    make, shape = LAYERS[name]
    with arrays(kind):
        layer = make()
        net = sequential(mx.gluon.nn.HybridLambda(lambda F, x: x), layer)
        for block in (layer, net):
            block.initialize()
            block.hybridize(hybridize)
            for _ in range(2):
                with pytest.raises(ValueError, match=WORDS), mx.autograd.record():
                    block(empty(kind, shape))
                x = mx.nd.ones((2, *shape)) if kind == "nd" else mx.np.ones((2, *shape))
                assert len(block(x)) == 2
                mx.nd.waitall()


@pytest.mark.parametrize("form", FORMS)
def test_deployed_nets(tmp_path, form):
    """The packed form divided by 0."""
    net = sequential(nn.BinaryDense(4, in_units=5), nn.BinaryActivation(), nn.BinaryDense(3, in_units=4))
    net.initialize()
    frozen = freeze(net, form, verbose=False)
    for block in (frozen, frozen[0]):
        for hybridize in (False, True):
            block.hybridize(hybridize)
            with pytest.raises(ValueError, match=WORDS):
                block(empty("nd", (5,)))
    export(frozen, tmp_path / "net", mx.nd.ones((2, 5)))
    with pytest.raises(ValueError, match=WORDS):
        load_exported(tmp_path / "net")(empty("nd", (5,)))


@needs_library
def test_a_graph_that_mxnet_loads(tmp_path):
    """The operators themselves refuse what nobody did before."""
    with use("native"):
        net = sequential(nn.BinaryDense(4, in_units=5), nn.BinaryActivation(), nn.BinaryDense(3, in_units=4))
    net.initialize()
    export(freeze(net, "packed", verbose=False), tmp_path / "net", mx.nd.ones((2, 5)))
    loaded = mx.gluon.SymbolBlock.imports(f"{tmp_path}/net-symbol.json", ["data"], f"{tmp_path}/net-0000.params")
    with pytest.raises(mx.base.MXNetError, match=r"takes at least one number, got an array of shape \(0, 5\)"):
        loaded(empty("nd", (5,)))
        mx.nd.waitall()


def test_nets_of_gluons_own_layers_are_left_alone():
    """They give what MXNet gives."""
    net = sequential(mx.gluon.nn.HybridLambda(lambda F, x: x))
    net.hybridize()
    assert net(empty("nd", (5,))).shape == (0, 5)
