"""A ResNet-18 for images of 32x32 whose convolutions each have a shortcut of real values (Bi-Real Net).

With --real-ends the first convolution, the 1x1 convolutions of three shortcuts and the last layer have real weights.
"""

from gluon_bnn import mx

nn = mx.gluon.nn


class Block(mx.gluon.HybridBlock):
    """x plus the batch norm of a 3x3 convolution of activated x; with a stride, the shortcut is pooled, and changes its
    channels by a 1x1 convolution."""

    def __init__(self, layers, channels, stride):
        super().__init__()
        with self.name_scope():
            self.body, self.shortcut = nn.HybridSequential(), nn.HybridSequential()
            self.body.add(layers.activation(), layers.conv(channels, 3, strides=stride, padding=1), layers.batch_norm())
            if stride > 1:
                pool = nn.AvgPool2D(stride, ceil_mode=True)
                self.shortcut.add(pool, layers.ends.conv(channels, 1), layers.batch_norm())

    def hybrid_forward(self, F, x):
        return self.body(x) + self.shortcut(x)


def make(layers):
    net = nn.HybridSequential()
    net.add(layers.ends.conv(64, 3, padding=1), layers.batch_norm())
    for channels in (64, 128, 256, 512):
        for i in range(4):  # ResNet-18 has 4 convolutions of each width
            net.add(Block(layers, channels, stride=2 if channels > 64 and i == 0 else 1))
    net.add(nn.GlobalAvgPool2D(), layers.ends.dense(layers.classes, use_bias=True))
    return net
