"""A deployed net as an ONNX model, of ai.onnx's own operators in opset 18; and as QONNX. Needs the package onnx.

A weight takes one bit in the file. Constants that unpack the bits are folded when a runtime loads the model. Products
of bits and of pixels are integers; all else is float32, operation by operation as in `graph.engine`, so that answers
are the same to the bit, but for what `trial` says. `early` makes fewer operations of it first, and `pieces` makes
integers of large products of a few rows.

Images have the channels first here. The input is x, (batch, *the shape of one input), uint8 where the net has an input
scale, else float32; the output is y, float32 (batch, outputs). The file has metadata: gluon_bnn, the version that wrote
it; labels, a JSON list, and accuracy, where the net has them; input_scale and input_shift, where these are one number
each, of uint8 inputs, which the model applies by itself.
"""

import importlib.util
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np

from ... import __version__, _files
from ...graph import engine
from ...graph.check import check
from ...graph.graph import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["model", "save"]

MOST_BYTES = (1 << 31) - (1 << 16)  # of a file: protobuf reads less than 2 GB


def __dir__():
    return __all__


def save(
    graph: Graph, path: Union[str, bytes, os.PathLike], inputs: Optional[np.ndarray] = None, *, qonnx: bool = False
) -> None:
    """Write a net as an ONNX file, under a temporary name first.

    Where onnxruntime is installed, it runs the model before that, on `inputs` (float32, or uint8 where the net has an
    input scale; random ones by default), and where an answer is not that of the graph, nothing is written. The form
    QONNX is not run.

    Raises ImportError without the package onnx; ValueError where a layer is too large for the form, which is named,
    and where the answers differ; TypeError and ValueError for other inputs than the net takes; OSError where the file
    cannot be written.
    """
    graph = check(graph)
    made = model(graph, qonnx=qonnx)
    content = made.SerializeToString()
    if not qonnx:
        from .trial import trial

        trial(graph, content, inputs)
    _files.replace(path, content)


def model(graph: Graph, *, qonnx: bool = False) -> "onnx.ModelProto":
    """The ONNX model of a graph that `check` has passed; errors as `save`.

    qonnx : whether to write the form QONNX, for one input at a time: x is float32, of pixels where the net
        has an input scale
    """
    if importlib.util.find_spec("onnx") is None:
        raise ImportError("a net is written as an ONNX model by the package onnx: pip install 'gluon_bnn[onnx]'")
    import onnx
    from onnx import helper

    from . import qonnx as qonnx_form
    from .builder import IR_VERSION, OPSET, Builder
    from .early import early
    from .magnitudes import finite
    from .products import ones

    if qonnx:
        builder: Builder = qonnx_form.QonnxBuilder(finite(graph))
    else:
        graph = early(graph)
        builder = Builder(finite(graph), ones(graph))
    uint8, batch = graph.input_scale is not None, 1 if qonnx else "batch"  # hardware is made for one size
    builder.finish(_emit(builder, graph, uint8), "y")
    _check_bytes(builder, graph)
    kinds = onnx.TensorProto
    x = helper.make_tensor_value_info(
        "x", kinds.UINT8 if uint8 and not qonnx else kinds.FLOAT, [batch, *graph.input_shape]
    )
    y = helper.make_tensor_value_info("y", kinds.FLOAT, [batch, graph.units])
    made = helper.make_graph(builder.nodes, "gluon_bnn", [x], [y], list(builder.constants.values()))
    opsets = [helper.make_opsetid("", OPSET)]
    if qonnx:
        opsets.append(helper.make_opsetid(qonnx_form.DOMAIN, 1))
        if uint8:
            qonnx_form.annotate(made, "x")
    found = helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="gluon_bnn",
        producer_version=__version__,
        doc_string=_doc(graph, qonnx),
    )
    helper.set_model_props(found, _metadata(graph))
    return found


def _emit(builder: Any, graph: Graph, uint8: bool) -> str:
    """Add the nodes of all layers; the name of the last value."""
    from .builder import Tensor
    from .shapes import floats_of_pixels

    emitters = _emitters()
    builder.layer = 0
    rows = builder.reshape(builder.declare("x", graph.input_shape), (graph.inputs,))
    held: dict[engine.Place, Tensor] = {}
    for place, sources, dropped in engine.plan(graph, uint8)[0]:
        index, pixels = place
        node = graph.nodes[index]
        builder.layer = index
        try:
            if index:
                if node.kind not in emitters:
                    raise ValueError(f"there is none for this kind, only for {', '.join(emitters)}")
                held[place] = emitters[node.kind](builder, node, graph.taken(index), *(held[each] for each in sources))
            elif pixels or not uint8:
                held[place] = Tensor(rows, pixels=pixels)
            else:
                held[place] = floats_of_pixels(builder, node, "x")
        except ValueError as error:
            raise ValueError(f"node {index}, {node.kind}, has no form in ONNX: {error}") from None
        for source in dropped:
            del held[source]
    return held[place].name


def _emitters() -> dict[str, Callable]:
    """{kind: function of a Builder, a node, the values that it takes and their Tensors, which gives a Tensor}."""
    from . import elementwise, products, shapes

    return {
        "image": shapes.image,
        "flatten": shapes.flatten,
        "concat": shapes.concat,
        "slice": shapes.slice_,
        "max_pool": shapes.max_pool,
        "average_pool": shapes.average_pool,
        "batch_norm": elementwise.batch_norm,
        "arithmetic": elementwise.arithmetic,
        "activation": elementwise.activation,
        "pack": elementwise.pack,
        "dense": products.dense,
        "conv2d": products.conv2d,
        "binary_dense": products.binary_dense,
        "binary_conv2d": products.binary_conv2d,
    }


def _check_bytes(builder, graph):
    sizes = {name: len(array.raw_data) for name, array in builder.constants.items()}
    if sum(sizes.values()) > MOST_BYTES:
        name = max(sizes, key=lambda name: sizes[name])
        index, _, what = name.partition(".")
        raise ValueError(
            f"an ONNX file has at most {MOST_BYTES} bytes, and the arrays of this net have {sum(sizes.values())}, "
            f"of which {what} of node {index}, {graph.nodes[int(index)].kind}, has {sizes[name]}"
        )


def _metadata(graph):
    """{key: text} for the model's metadata_props."""
    found = {"gluon_bnn": __version__}
    if graph.labels is not None:
        found["labels"] = json.dumps(graph.labels, ensure_ascii=False)
    if graph.accuracy is not None:
        found["accuracy"] = repr(graph.accuracy)
    scale, shift = graph.input_scale, graph.input_shift
    if isinstance(scale, float):
        found["input_scale"] = repr(scale)
    if shift is not None and (shift == shift[0]).all():
        found["input_shift"] = repr(float(shift[0]))
    return found


def _doc(graph, qonnx):
    what = "pixels" if graph.input_scale is not None else "floats"
    form = "behind BipolarQuant" if qonnx else "of one bit, unpacked on loading"
    return f"A binary neural network, its weights {form}. x: {what}. Names begin with the number of a layer."
