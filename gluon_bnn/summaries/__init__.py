"""What a net holds and multiplies, layer by layer: `summary`. Runtime models need no MXNet for it."""

import contextlib
import operator
from collections.abc import Sequence
from typing import Any, Optional, Union

from ..graph.check import check
from ..graph.graph import Graph
from ..runtime.model import Model
from .graphs import of_graph
from .table import Layer, Summary

__all__ = ["Layer", "Summary", "summary"]


def __dir__():
    return __all__


def summary(net: Any, input_shape: Optional[Sequence[Union[int, Sequence[int]]]] = None) -> Summary:
    """Each layer's bits of inputs and weights, its output shape, bytes when deployed, and multiply-accumulates.

    net : a Gluon block that trains or is frozen, initialised, with deferred parameters or without; what
        `load_exported` returns, which `freeze` first deploys; a `runtime.Model`; a `graph.graph.Graph`
    input_shape : the shape of one input, like (784,) or (1, 28, 28), without the batch axis, as in `freeze`; a list of
        shapes for a block of several inputs. Models, graphs and frozen nets know their own.

    A block runs once on numbers drawn at random, in inference: parameters with deferred initialisation get their
    shapes from input_shape, as by any first call, and nothing else changes. A layer's inputs count as 1 bit where these
    numbers are all +1 and -1, or 0 and 1. Blocks have a line for each call; weights that are shared count once.

    Bytes are those of a deployed net: 1-bit weights as they are packed, with their scales, and 4 for every other
    number. Batch norm counts as it is; `freeze` folds it, so the summary of a frozen net has the final numbers. In the
    "float" form signs take 4 bytes each, and so do those of convolutions with groups or over volumes in every form.
    Multiply-accumulates are counted for dense layers and convolutions, ours and Gluon's; those of other blocks with
    parameters of their own are not known.

    `frozen.summary()` is another table: what became of each layer of the net that was frozen.

    Raises TypeError for any other net and for a shape of another type; ValueError for parameters without
    values, a shape that is missing or that the net does not take, and a loaded net that `freeze` does not take.

    >>> import gluon_bnn
    >>> net = gluon_bnn.nn.BinaryDense(10, in_units=784)
    >>> net.initialize()
    >>> found = gluon_bnn.summary(net, (784,))
    >>> found.weights_1bit, found.weights_32bit, found.nbytes, found.macs["1x32"]
    (7840, 10, 1644, 7840)
    """
    shapes = _shapes(input_shape)
    if not isinstance(net, (Graph, Model)):
        return _of_gluon(net, shapes)
    graph = net.graph if isinstance(net, Model) else check(net)
    if shapes not in (None, graph.input_shape, (graph.inputs,)):
        raise ValueError(f"input_shape must be {graph.input_shape}, that of the net, or None; got {input_shape}")
    return of_graph(graph)


def _of_gluon(net, shapes):
    from .._compat import mx
    from ..deploy import Frozen, freeze
    from ..native import library
    from . import blocks

    if not isinstance(net, mx.gluon.Block):
        raise TypeError(
            "summary takes a mxnet.gluon.Block, a gluon_bnn.runtime.Model or a gluon_bnn.graph.graph.Graph, got "
            + (type(net).__name__ if not isinstance(net, type) else f"the class {net.__name__}, not a net made of it")
        )
    if isinstance(net, mx.gluon.SymbolBlock):  # one block, in which no others can be watched
        net = freeze(net, "packed" if library.available() else "float", verbose=False)
    if shapes is None and isinstance(net, Frozen):
        with contextlib.suppress(ValueError):  # where the runtime does not take the net
            shapes = net.input_shape
    if shapes is None:
        raise ValueError(
            "input_shape must be given for this net: the shape of one input without the batch axis, like (784,) or "
            "(1, 28, 28)"
        )
    layers = blocks.of_block(net, shapes if isinstance(shapes, list) else [shapes])
    return Summary(tuple(layers), shapes)


def _shapes(given):
    """A shape as a tuple, several as a list of tuples, or None."""
    if given is None:
        return None
    if isinstance(given, list) and given and all(isinstance(each, (list, tuple)) for each in given):
        return [_shapes(tuple(each)) for each in given]
    try:
        shape = (operator.index(given),) if isinstance(given, int) else tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(
            f"input_shape must be a tuple of whole numbers, or a list of tuples for several inputs, got {given!r}"
        ) from None
    if any(size < 1 for size in shape):
        raise ValueError(f"input_shape must have sizes of at least 1, and no batch axis, got {shape}")
    return shape
