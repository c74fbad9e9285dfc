"""A net with the real weights behind its binary ones."""

import copy

from .._compat import mx
from ..ops.composed import padded
from .binary_layer import BinaryLayer
from .dense import BinaryDense

nn = mx.gluon.nn
CONVOLUTIONS = nn.Conv1D, nn.Conv2D, nn.Conv3D


def with_real_weights(net: mx.gluon.Block) -> mx.gluon.Block:
    """`net` with a plain Dense or Conv layer for every binary one, y = x @ W.T + b: the weights that were trained.

    net : a layer with binary weights, or a Sequential or HybridSequential of any blocks, nested or not, or one of a
        subclass of these; the shapes of all parameters are known

    The result shares its parameters with `net`, and so the blocks that have no binary layer in them. A convolution that
    pads with +1 or -1 becomes a HybridSequential of the padding and a Conv layer without it.

    BinaryConnect (Courbariaux et al. 2015, section 2.6) tests nets trained with stochastic signs this way.
    Raises TypeError for another kind of net.

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
    weight, bias = layer.weight, layer.bias
    options = dict(
        activation=layer.act and layer.act._act_type,
        use_bias=bias is not None,
        weight_initializer=weight.init,
        bias_initializer=bias and bias.init,
        params=layer.params,
    )
    if isinstance(layer, BinaryDense):
        sizes = dict(flatten=layer._flatten, dtype=weight.dtype, in_units=weight.shape[1])
        return nn.Dense(layer.units, **sizes, **options)
    values_outside = layer.pad_value != 0 and any(layer.padding)
    real = CONVOLUTIONS[len(layer.kernel) - 1](
        layer.channels,
        layer.kernel,
        strides=layer.strides,
        padding=0 if values_outside else layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        in_channels=weight.shape[1] * layer.groups,
        **options,
    )
    if not values_outside:
        return real
    padding, value = layer.padding, layer.pad_value
    both = nn.HybridSequential()
    both.add(nn.HybridLambda(lambda F, x: padded(F, x, padding, value)), real)
    return both
