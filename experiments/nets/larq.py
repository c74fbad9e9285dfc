"""Larq's tutorial CNN for MNIST, 93,088 bits: conv 32-64-64 of 3x3, dense 64-10, batch norm without gamma."""

from gluon_bnn import mx, nn


def make(layers):
    net = mx.gluon.nn.HybridSequential()
    net.add(layers.conv(32, 3), nn.MaxPool2D(2), layers.batch_norm(scale=False), layers.activation())
    net.add(layers.conv(64, 3), nn.MaxPool2D(2), layers.batch_norm(scale=False), layers.activation())
    net.add(layers.conv(64, 3), layers.batch_norm(scale=False), layers.activation())
    net.add(layers.dense(64), layers.batch_norm(scale=False), layers.activation())
    net.add(layers.dense(layers.classes), layers.batch_norm(scale=False))
    return net
