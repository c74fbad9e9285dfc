"""Before an ONNX file is written: ONNX Runtime runs it, and each answer must be one that the graph can give.

Integers, comparisons and float32 operations one by one have the same bits everywhere. Two things have not: the sum of a
product of real numbers, which every runtime adds in an order of its own, and exp and its like. `graph.bounds` finds
between which numbers they, and all that follows from them, must lie. For most nets of bits these are one number, or
two where a sum is at zero to within rounding.
"""

import importlib.util
from typing import Any, Optional

import numpy as np

from ...graph import bounds, engine
from ...graph.graph import Graph
from ...runtime import Model
from .pieces import FEW

ROWS = FEW + 1  # of random inputs: of a few rows fewer, some products are computed in another way
AT_ONCE = 8  # inputs for which bounds are found at a time
MOST = 32  # inputs for which bounds are found, in NumPy


def trial(graph: Graph, content: bytes, inputs: Optional[np.ndarray] = None) -> None:
    """ValueError where ONNX Runtime does not run the model, or has an answer that the graph cannot have.

    content : the model's file; inputs : a batch or one input, by default random ones. All of them run, and the first
    few once more by themselves; of answers that are not equal, as most are where the last products are of real numbers,
    those that differ most must be explained.
    Without onnxruntime nothing happens, but inputs that the net does not take are an error in any case.
    """
    x, y = _expected(graph, inputs)
    if importlib.util.find_spec("onnxruntime") is None:
        return
    elements = engine.plan(graph, x.dtype == np.uint8)[1]
    for count in dict.fromkeys((len(x), min(len(x), FEW))):
        _compare(graph, x[:count], y[:count], run(content, x[:count], max(1, engine.ELEMENTS // elements)))


def _compare(graph, x, y, found):
    different = bounds.furthest(found, y)
    for begin in range(0, min(len(different), MOST), AT_ONCE):
        rows = different[begin : begin + AT_ONCE]
        low, high = bounds.run(graph, x[rows].reshape(len(rows), -1))
        wrong = ~bounds.within(found[rows], low, high)
        if wrong.any():
            row, unit = (int(place[0]) for place in np.nonzero(wrong))
            raise ValueError(
                f"ONNX Runtime does not answer as the net does, so nothing was written: output {unit} of input "
                f"{rows[row]} must be {_between(low[row, unit], high[row, unit])}, got {found[rows[row], unit]!s}; "
                f"{len(different)} of {len(x)} inputs have answers that are not equal. Please report this, with the "
                "version of onnxruntime"
            )


def _expected(graph, inputs):
    """(x, y): the inputs, and the graph's answers."""
    net = Model(graph)
    if inputs is None:
        rng, shape = np.random.default_rng(0), (ROWS, *graph.input_shape)
        if graph.input_scale is not None:
            inputs = rng.integers(0, 256, shape, np.uint8)
        else:
            inputs = rng.standard_normal(shape).astype(np.float32)
    dtype = np.float32 if graph.input_scale is None else np.uint8
    if isinstance(inputs, np.ndarray) and inputs.dtype != dtype:
        raise TypeError(f"inputs must be {np.dtype(dtype)}, as x of the ONNX model of this net is, got {inputs.dtype}")
    try:
        y = net(inputs)
    except (TypeError, ValueError) as error:
        raise type(error)(f"inputs: {error}") from None
    return inputs.reshape(-1, *graph.input_shape), y.reshape(-1, graph.units)


def run(content: bytes, x: np.ndarray, rows: int = 1024) -> np.ndarray:
    """What ONNX Runtime answers on the processor, to so many inputs at a time; ValueError where it does not load or run
    the model, ImportError where it is broken."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"onnxruntime is installed, and cannot be imported ({error}): install it again, or uninstall it, and files "
            "are written that it has not tried"
        ) from None

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, which are raised
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        parts = [session.run(["y"], {"x": x[i : i + rows]})[0] for i in range(0, max(1, len(x)), rows)]
        return np.concatenate(parts)
    except Exception as error:  # its errors have no common class
        raise ValueError(f"onnxruntime {onnxruntime.__version__} does not run the model: {error!s:.300}") from error


def _between(low, high):
    return f"{low!s}" if low == high else f"from {low!s} to {high!s}"
