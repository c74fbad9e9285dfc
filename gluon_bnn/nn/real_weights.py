"""A net with the real weights behind its binary ones."""

from .._compat import mx
from .dense import BinaryDense


def with_real_weights(net: mx.gluon.Block) -> mx.gluon.Block:
    """`net` with a plain Dense layer for every BinaryDense, y = x @ W.T + b: the weights that were trained.

    net : a BinaryDense, or a Sequential or HybridSequential of any blocks, nested or not, whose parameter
        shapes are known. Parameters are shared, and so are the blocks that are not replaced.

    BinaryConnect (Courbariaux et al. 2015, section 2.6) tests nets trained with stochastic signs this way.
    Raises TypeError for another kind of net.

    >>> net = BinaryDense(3, in_units=2, scale=None)
    >>> with_real_weights(net)
    Dense(2 -> 3, linear)
    """
    nn = mx.gluon.nn
    if not isinstance(net, (BinaryDense, nn.Sequential, nn.HybridSequential)):
        raise TypeError(
            "with_real_weights takes a BinaryDense, or a Sequential or HybridSequential of "
            f"blocks, got {type(net).__name__}"
        )
    return _with_real_weights(net)


def _with_real_weights(block):
    nn = mx.gluon.nn
    if isinstance(block, BinaryDense):
        weight, bias = block.weight, block.bias
        return nn.Dense(
            block.units,
            activation=block.act and block.act._act_type,
            use_bias=bias is not None,
            flatten=block._flatten,
            dtype=weight.dtype,
            weight_initializer=weight.init,
            bias_initializer=bias and bias.init,
            in_units=weight.shape[1],
            params=block.params,
        )
    if not isinstance(block, (nn.Sequential, nn.HybridSequential)):
        return block
    copy = type(block)()
    copy.add(*map(_with_real_weights, block._children.values()))
    return copy
