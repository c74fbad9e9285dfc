"""A net with the real weights behind its binary ones."""

import copy

from .._compat import mx
from .binary_layer import BinaryLayer

nn = mx.gluon.nn


def with_real_weights(net: mx.gluon.Block) -> mx.gluon.Block:
    """`net` with a plain Dense or Conv layer for every binary one, y = x @ W.T + b: the weights that were trained.

    net : a layer with binary weights, or a Sequential or HybridSequential of any blocks, nested or not, or one of a
        subclass of these; the shapes of all parameters are known

    The result shares its parameters with `net`, and the blocks that have no binary layer in them. A convolution that
    pads with +1 or -1 becomes a HybridSequential of the padding and a Conv layer without it.

    BinaryConnect (Courbariaux et al. 2015, section 2.6) tests nets trained with stochastic signs this way.
    Raises TypeError for another kind of net.

    >>> from gluon_bnn.nn import BinaryDense
    >>> net = BinaryDense(3, in_units=2, scale=None)
    >>> with_real_weights(net)
    Dense(2 -> 3, linear)
    """
    if not isinstance(net, (BinaryLayer, nn.Sequential, nn.HybridSequential)):
        raise TypeError(
            "with_real_weights takes a layer with binary weights, or a Sequential or HybridSequential of "
            f"blocks, got {type(net).__name__}"
        )
    return _with_real_weights(net)


def _with_real_weights(block):
    if isinstance(block, BinaryLayer):
        return _real(block)
    if not isinstance(block, (nn.Sequential, nn.HybridSequential)):
        return block
    real = {child: _with_real_weights(child) for child in block._children.values()}
    if all(real[child] is child for child in real):
        return block
    made = copy.copy(block)  # with what a subclass has, as the axis of a HybridConcurrent
    made._children = type(block._children)((name, real[child]) for name, child in block._children.items())
    children = {name: child for name, child in vars(block).items() if isinstance(child, mx.gluon.Block)}
    vars(made).update({name: real.get(child, child) for name, child in children.items()})
    if isinstance(made, mx.gluon.HybridBlock):  # the graph is that of the binary layers
        made._active = False
        made._clear_cached_op()
    return made


def _real(layer):
    return layer._with_real_weights(
        activation=layer.act and layer.act._act_type,
        use_bias=layer.bias is not None,
        weight_initializer=layer.weight.init,
        bias_initializer=layer.bias and layer.bias.init,
        params=layer.params,
    )
