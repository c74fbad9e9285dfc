"""`check_net`: every binary layer of a user's own net against the reference, where it stands."""

from typing import Any

import numpy as np

from .. import nn
from .._compat import mx
from ..nn.binary_layer import BinaryLayer
from ..nn.watching import watched
from . import activations, conv, dense
from .measure import Table, backward

SUBJECTS = dense, conv  # of layers with binary weights, LAYERS
BINARY = BinaryLayer, nn.BinaryActivation, nn.BinarySigmoid


def check_net(net: mx.gluon.Block, x: mx.nd.NDArray) -> Table:
    """Run every binary layer of a live net forward and backward against the reference.

    net is any initialised Block, hybridized or not, x an NDArray it takes. Each layer is run on the
    input it gets when the net is given x, with a random upstream gradient; an activation of its own
    (activation="relu") is MXNet's and left aside. The net's parameters, gradients and hybridized
    graphs stay as they were. Returns a `Table`, one row per layer.

    Raises ValueError when the net has no binary layer, or none that x reaches; TypeError for another net, or for an x
    that is no array of MXNet.
    """
    if not isinstance(net, mx.gluon.Block):
        raise TypeError(f"check_net takes a mxnet.gluon.Block, got {type(net).__name__}")
    if not isinstance(x, mx.nd.NDArray):
        raise TypeError(f"x must be an array of MXNet, as mx.nd.array(x) makes one, got {type(x).__name__}")
    layers: dict[mx.gluon.Block, Any] = {}  # each with the input that it gets
    net.apply(lambda block: layers.update({block: None} if isinstance(block, BINARY) else {}))
    if not layers:
        raise ValueError(
            "the net has no layer of binary weights, BinaryActivation or BinarySigmoid to check; "
            "a net that was frozen, or loaded by SymbolBlock.imports, has lost its "
            "layers: check the original"
        )

    def note(block, inputs, outputs):
        if block in layers and layers[block] is None:
            layers[block] = inputs[0]

    generator = np.random.default_rng(0)
    table = Table()
    with watched(net, note):
        with mx.autograd.pause():
            net(x)
        for layer, given in layers.items():
            if given is not None:
                table.add(
                    _layer_error(layer, given, generator),
                    layer=layer.name,
                    type=type(layer).__name__,
                    gradient=getattr(layer, "gradient", "-"),
                    scale=str(getattr(layer, "scale", "-")),
                )
    if not table:
        raise ValueError(f"net(x) must call a binary layer, and called none of {', '.join(b.name for b in layers)}")
    return table


def _layer_error(layer, x, generator):
    """(forward, backward) errors of one live layer on the input x, its activation left aside."""
    x = x.copy()
    if not isinstance(layer, BinaryLayer):
        d = generator.standard_normal(x.shape).astype(x.dtype)
        (y,) = backward(layer, [x], [mx.nd.array(d, dtype=x.dtype)])
        return activations.errors(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy())
    parameters = [p.data().copy() for p in (layer.weight, layer.bias) if p is not None]
    curvature = {} if layer.curvature is None else {"curvature": layer.curvature.data()}

    def run(x, weight, bias=None):
        activation = layer.act
        object.__setattr__(layer, "act", None)  # Gluon's own refuses to set a block aside
        try:
            return layer.hybrid_forward(mx.nd, x, weight, bias, **curvature)
        finally:
            object.__setattr__(layer, "act", activation)

    with mx.autograd.pause():
        shape = run(x, *parameters).shape
    d = generator.standard_normal(shape).astype(x.dtype)
    (y,) = backward(run, [x] + parameters, [mx.nd.array(d, dtype=x.dtype)])
    subject = next((subject for subject in SUBJECTS if isinstance(layer, subject.LAYERS)), None)
    if subject is None:
        raise ValueError(f"the reference has no {type(layer).__name__}, which is the type of {layer.name}")
    gradients = [p.grad.asnumpy() for p in parameters]
    return subject.errors(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy(), *gradients)
