"""Blocks of a user's own, for nets that are no chain."""

from gluon_bnn import nn
from gluon_bnn._compat import mx

from frozen_nets import gluon, sequential


class Own(mx.gluon.HybridBlock):
    """A block whose forward is a function of (itself, F, x), on layers that are its attributes."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def hybrid_forward(self, F, x):
        return self.function(self, F, x)


class Twice(nn.BinaryDense):
    """One of our layers with a forward of its own."""

    def hybrid_forward(self, F, x, weight, bias=None):
        return 2 * super().hybrid_forward(F, x, -weight, bias) + x


class OnArrays(mx.gluon.HybridBlock):
    """A block with a forward for arrays alone."""

    def __init__(self, *body):
        super().__init__()
        self.body = sequential(*body)

    def forward(self, x):
        return self.body(x) * float(x.shape[0] > 0)


def before(width, norm=gluon.BatchNorm):
    """A residual block as ResNet's second version has it: x + norm(dense(sign(x)))."""
    return Own(
        lambda self, F, x: x + self.norm(self.dense(self.sign(x))),
        sign=nn.BinaryActivation(),
        dense=nn.BinaryDense(width, in_units=width),
        norm=norm(in_channels=width),
    )


def after(width):
    """A residual block as ResNet's first version has it: sign(x + norm(dense(x)))."""
    return Own(
        lambda self, F, x: self.sign(self.norm(self.dense(x)) + x),
        sign=nn.BinaryActivation(),
        dense=nn.BinaryDense(width, in_units=width, scale="channel"),
        norm=gluon.BatchNorm(in_channels=width),
    )


def concurrent(*blocks):
    """The outputs of all blocks, one after the other."""
    block = mx.gluon.contrib.nn.HybridConcurrent(axis=-1)
    block.add(*blocks)
    return block


class OnShapes(mx.gluon.HybridBlock):
    """A block with a hybrid_forward that is for arrays alone."""

    def __init__(self, *body):
        super().__init__()
        self.body = sequential(*body)

    def hybrid_forward(self, F, x):
        return self.body(x).reshape((x.shape[0], -1))


class Shift(mx.gluon.HybridBlock):
    """x plus a parameter of this shape."""

    def __init__(self, shape):
        super().__init__()
        self.shift = self.params.get("shift", shape=shape)

    def hybrid_forward(self, F, x, shift):
        return F.broadcast_add(x, shift)
