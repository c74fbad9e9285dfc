"""`save`: a net as a file, in the form that the suffix of its name says. Needs no MXNet."""

import os
from collections.abc import Callable
from typing import Any, Optional, Union

import numpy as np

from .. import runtime
from ..runtime.file import graph_of
from . import c, onnx


def _untried(write: Callable) -> Callable:
    """For a form that no other program runs here: `write` without the inputs to try it on."""
    return lambda graph, path, inputs: write(graph, path)


# {suffix: function of a Graph, a path, and inputs to try what it writes on, or None}. A new form is a file in this
# folder and a line here.
WRITERS: dict[str, Callable] = {".safetensors": _untried(runtime.save), ".onnx": onnx.save, ".h": _untried(c.save)}


def form_of(path: Union[str, bytes, os.PathLike]) -> Callable:
    """The function of WRITERS that writes a file of this name. Raises TypeError for what is no path, ValueError, with
    the suffixes that there are, for another suffix."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(
            f"path must be a str, bytes or os.PathLike, whose suffix says the form; got {type(path).__name__}"
        )
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    if suffix not in WRITERS:
        raise ValueError(f"the name of the file must end in {' or '.join(WRITERS)}, got {path!r}")
    return WRITERS[suffix]


def save(
    net: Any,
    path: Union[str, bytes, os.PathLike],
    labels: Any = None,
    accuracy: Any = None,
    inputs: Optional[np.ndarray] = None,
) -> None:
    """Write a net to a file that runs without Gluon. The suffix of its name chooses the form:

    .safetensors : for `gluon_bnn.runtime`, in Python without MXNet, and for C
    .onnx : for ONNX Runtime, one bit a weight, in standard operators of opset 18; needs the package onnx. Where
        onnxruntime is installed, it runs the model first, and must give the net's answers.
    .h : a C99 header that needs no library: net.h has net_predict and net_scores

    net : what `freeze` returns, a `runtime.Model` or a `graph.graph.Graph`; path : a str, bytes or os.PathLike
    labels : a list of str, the name of each output where these are classes; None keeps those of the net, if it has some
    accuracy : the share of test inputs that the net gave the right class, from 0 to 1; None keeps that of the net
    inputs : a batch of the net's inputs, on which a form that another program runs is tried before it is written:
        float32, or uint8 where the net has an input scale; None for random ones

    Raises ValueError for another suffix, and where the form does not have one of the net's layers, which is named; for
    a header whose name cannot be the prefix of names in C; for labels that are not as many as the outputs, or have
    control characters; where the other program has other answers; TypeError for another net, path or inputs,
    ImportError where the form needs a package, OSError where the file cannot be written. An old file stays whole.
    """
    write = form_of(path)
    write(graph_of(net).described(labels, accuracy), path, inputs)
