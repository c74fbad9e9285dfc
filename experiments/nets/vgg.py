"""BNN's net for CIFAR-10, 14,022,016 bits: conv 128-128-256-256-512-512 of 3x3, three pools, dense 1024-1024-10."""

from gluon_bnn import mx, nn


def make(layers):
    net = mx.gluon.nn.HybridSequential()
    for channels in (128, 256, 512):
        net.add(layers.conv(channels, 3, padding=1), layers.batch_norm(), layers.activation())
        net.add(layers.conv(channels, 3, padding=1), nn.MaxPool2D(2), layers.batch_norm(), layers.activation())
    for units in (1024, 1024):
        net.add(layers.dense(units), layers.batch_norm(), layers.activation())
    net.add(layers.dense(layers.classes), layers.batch_norm())
    return net
