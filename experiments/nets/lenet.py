"""LeNet as in ternary weight networks: conv 32-64 of 5x5, dense 512-10, batch norm after every product."""

from gluon_bnn import mx, nn


def make(layers):
    net = mx.gluon.nn.HybridSequential()
    for channels in (32, 64):
        net.add(layers.conv(channels, 5), layers.batch_norm(), layers.activation(), nn.MaxPool2D(2))
    net.add(layers.dense(512), layers.batch_norm(), layers.activation())
    net.add(layers.dense(layers.classes), layers.batch_norm())
    return net
