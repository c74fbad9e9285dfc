"""The notebook's net done right, and the net of the papers: 784-hidden-10 with batch norm after every product."""

from gluon_bnn import mx

from nets import CLASSES, INPUTS


def make(layers, hidden, dropout):
    net, sizes = mx.gluon.nn.HybridSequential(), [INPUTS, *hidden, CLASSES]
    for i, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
        if dropout[i > 0]:
            net.add(mx.gluon.nn.Dropout(dropout[i > 0]))
        net.add(layers.dense(units, inputs), layers.batch_norm(units))
        if i < len(hidden):
            net.add(layers.activation())
    return net
