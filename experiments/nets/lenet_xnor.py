"""LeNet-5 of XNOR-Net-PyTorch: conv 20-50 of 5x5, dense 500-10; batch norm and sign come before a binary product."""

from gluon_bnn import mx, nn


def make(layers):
    net = mx.gluon.nn.HybridSequential()
    net.add(layers.ends.conv(20, 5), layers.batch_norm(), nn.Activation("relu"), nn.MaxPool2D(2))
    net.add(layers.batch_norm(), layers.activation(), layers.conv(50, 5), nn.Activation("relu"), nn.MaxPool2D(2))
    net.add(layers.batch_norm(), layers.activation(), layers.dense(500), nn.Activation("relu"))
    net.add(layers.ends.dense(layers.classes, use_bias=True))
    return net
