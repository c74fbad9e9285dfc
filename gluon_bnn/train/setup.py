"""Warnings where a net is set up so that a part of it cannot learn, or costs more than it must.

What is only likely is not said.
"""

import math
import warnings

import numpy as np

from .. import nn
from .._compat import mx
from ..nn.binary_layer import BinaryLayer
from ..optimizer import BinaryAdam

gluon = mx.gluon.nn
SIGNS = nn.BinaryActivation, nn.BinarySigmoid
# What is never below 0, and what keeps it so.
NEVER_BELOW_0 = "relu", "sigmoid", "softrelu"
HAVE_ACTIVATIONS = gluon.Dense, gluon.conv_layers._Conv  # of their own, as the last of what they compute
ON_BITS = nn.BinaryConv1D, nn.BinaryConv2D  # with one group
SEQUENCES = gluon.Sequential, gluon.HybridSequential
BRANCHES = mx.gluon.contrib.nn.Concurrent, mx.gluon.contrib.nn.HybridConcurrent
KEEPS = gluon.Flatten, gluon.Dropout, gluon.conv_layers._Pooling
KEEPS_SIGNS = gluon.MaxPool1D, gluon.MaxPool2D, gluon.MaxPool3D, gluon.Dropout
STARVED = 0.01  # the share of a layer's weights from which on a warning is worth reading


class CannotLearn(UserWarning):
    """A part of the net gets no gradient, or gives the same whatever it is given."""


class ZeroPadding(UserWarning):
    """A convolution pads signs with 0, a third value, for which its 1-bit form corrects the sums at the borders.

    Measured with AVX2, kernel 3x3: 24% of the layer's time at 64 channels of 28x28, 1 to 7% in larger layers.
    """


def warn(net: mx.gluon.Block, optimizer: mx.optimizer.Optimizer) -> bool:
    """Every warning that can be given before the first step; whether one was of weights that get no gradient."""
    warn_of_signs(net)
    warn_of_zeros(net)
    return warn_of_starved(net, optimizer)


def warn_of_signs(net: mx.gluon.Block) -> None:
    """A warning for each sign, in a sequence of blocks, whose input is never below 0: it gives +1 always."""
    warned = set()
    for blocks in _sequences(net):
        source = None  # of the values between two blocks, where they are never below 0
        for block in blocks:
            if isinstance(block, SIGNS):
                if source is not None and block not in warned:
                    warned.add(block)
                    warnings.warn(
                        f"{block.name} gives 1 whatever its input is, because that is never below 0: it comes from "
                        f"{source}. Leave that out, or put batch norm between the two",
                        CannotLearn,
                        stacklevel=4,
                    )
                source = f"the BinarySigmoid {block.name}" if isinstance(block, nn.BinarySigmoid) else None
            elif not isinstance(block, KEEPS):
                activation = block.act if isinstance(block, HAVE_ACTIVATIONS) else block
                kind = getattr(activation, "_act_type", None)
                source = f"the {kind} of {block.name}" if kind in NEVER_BELOW_0 else None


def warn_of_zeros(net: mx.gluon.Block) -> None:
    """A warning that names the convolutions which pad signs with 0; with groups they have no 1-bit form."""
    padding = []
    for blocks in _sequences(net):
        signs = False
        for block in blocks:
            on_bits = isinstance(block, ON_BITS) and block.groups == 1
            pads = on_bits and block.pad_value == 0 and any(block.padding)
            if signs and pads and block.name not in padding:
                padding.append(block.name)
            signs = isinstance(block, nn.BinaryActivation) or signs and isinstance(block, KEEPS_SIGNS)
    if padding:
        warnings.warn(
            f"{', '.join(padding)} {'pads' if len(padding) == 1 else 'pad'} signs with 0, a third value, which costs "
            "the 1-bit form up to a quarter of the layer's time. pad_value=-1 or 1 costs nothing, but the net cannot "
            "tell this border from the image, and has to be trained with it",
            ZeroPadding,
            stacklevel=4,
        )


def _sequences(net, before=()):
    """The blocks of the net in order, and those within each of them; `before` are the blocks that lead to it."""
    blocks = [*before, *_in_order(net)]
    yield blocks
    for place in range(len(before), len(blocks)):
        block = blocks[place]
        for child in block._children.values():
            yield from _sequences(child, blocks[:place] if _runs_as(block, BRANCHES) else ())


def _in_order(block):
    """The blocks of a net one after the other; one that is no sequence counts as one."""
    if _runs_as(block, SEQUENCES):
        for each in block._children.values():
            yield from _in_order(each)
    else:
        yield block


def _runs_as(block, kinds):
    """Whether a block is one of these kinds of Gluon's, or of a subclass that computes what they do."""

    def computes(kind):
        return kind.forward, getattr(kind, "hybrid_forward", None)

    return any(isinstance(block, kind) and computes(type(block)) == computes(kind) for kind in kinds)


def warn_of_starved(net: mx.gluon.Block, optimizer: mx.optimizer.Optimizer) -> bool:
    """A warning, and True, where weights of a binary layer are beyond its clip, get no gradient there, and nothing else
    brings them back: no optimiser that holds them within the clip, and no weight decay. Not of layers that are not to
    learn, whose grad_req is "null"."""
    held = 1 if isinstance(optimizer, BinaryAdam) else math.inf
    blocks: list[mx.gluon.Block] = []
    net.apply(blocks.append)
    for layer in blocks:
        if not isinstance(layer, BinaryLayer) or layer.clip is None or layer.clip >= held:
            continue
        if layer.weight.grad_req == "null" or optimizer.wd * layer.weight.wd_mult:
            continue
        weight = layer.weight.data().asnumpy()
        beyond = np.abs(weight) > layer.clip
        if beyond.mean() >= STARVED and not _gradient(layer, weight[beyond]).any():
            warnings.warn(
                f"{beyond.mean():.0%} of the weights of {layer.name} are beyond its clip of {layer.clip}, where the "
                f"rule {layer.gradient!r} gives them no gradient: their signs never change again. The optimizer "
                '"binaryadam" holds weights within 1; clip=None has a gradient everywhere',
                CannotLearn,
                stacklevel=4,
            )
            return True
    return False


def _gradient(layer, weight):
    """What the gradient of weights beyond the clip is multiplied with; ones where more is added."""
    alpha, n = np.ones_like(weight), layer.weight.data().size
    return np.ones(1) if layer.rule.through_alpha else layer.rule.factor(np, weight, alpha, n, np.zeros_like(weight))
