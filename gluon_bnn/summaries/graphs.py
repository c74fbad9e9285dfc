"""The summary of a graph, whose kinds say what their nodes hold and multiply. Needs NumPy, not MXNet."""

from ..graph.graph import Graph
from ..graph.kinds import KINDS
from .table import Layer, Summary


def of_graph(graph: Graph) -> Summary:
    """The `Summary` of a graph that has been checked: a line for each node; the input has one only where it has arrays,
    the scale and shift of pixels."""
    layers = []
    for index, node in enumerate(graph.nodes):
        kind, taken = KINDS[node.kind], graph.taken(index)
        if not taken and not node.arrays:
            continue
        bits, floats = kind.weights(node, taken)
        macs = kind.macs(node, taken)
        if taken and taken[0].form != "float":
            input_bits = 1
        else:
            input_bits = 8 if not taken or kind.takes_pixels(node, taken) else 32
        weight_bits = (1 if bits else 32) if macs else None
        shape = graph.values[index].shape
        layers.append(
            Layer(str(index), kind.title(node), input_bits, shape, bits, floats, node.nbytes, macs, weight_bits)
        )
    return Summary(tuple(layers), graph.input_shape)
