"""BMXNet's LeNet: conv 64-64 of 5x5, dense 1000-10, tanh where values are real."""

from gluon_bnn import mx, nn


def make(layers):
    net = mx.gluon.nn.HybridSequential()
    net.add(layers.ends.conv(64, 5, use_bias=True), nn.Activation("tanh"), nn.MaxPool2D(2), layers.batch_norm())
    net.add(layers.activation(), layers.conv(64, 5), layers.batch_norm(), nn.MaxPool2D(2))
    net.add(layers.activation(), layers.dense(1000), layers.batch_norm(), nn.Activation("tanh"))
    net.add(layers.ends.dense(layers.classes, use_bias=True))
    return net
