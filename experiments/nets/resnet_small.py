"""A residual net for MNIST: a convolution of 16 channels, then 16, 32 and 64 with a shortcut each, as in resnet.py."""

from gluon_bnn import mx

from .resnet import Block

nn = mx.gluon.nn


def make(layers):
    net = nn.HybridSequential()
    net.add(layers.ends.conv(16, 3, padding=1), layers.batch_norm())
    for channels in (16, 32, 64):
        net.add(Block(layers, channels, stride=2 if channels > 16 else 1))
    net.add(nn.GlobalAvgPool2D(), layers.ends.dense(layers.classes, use_bias=True))
    return net
