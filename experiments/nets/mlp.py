"""The notebook's net done right, and that of the papers: inputs-hidden-classes, batch norm after every product."""

from gluon_bnn import mx


def make(layers, hidden, dropout):
    net, sizes = mx.gluon.nn.HybridSequential(), [layers.inputs, *hidden, layers.classes]
    for i, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
        if dropout[i > 0]:
            net.add(mx.gluon.nn.Dropout(dropout[i > 0]))
        net.add(layers.dense(units, inputs), layers.batch_norm(units))
        if i < len(hidden):
            net.add(layers.activation())
    return net
