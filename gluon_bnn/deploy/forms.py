"""`save`: a net as a file, in the form that the suffix of its name says. Needs no MXNet."""

import os
from collections.abc import Callable
from typing import Any, Union

from .. import runtime
from ..runtime.file import graph_of
from . import c

# {suffix: function of a Graph and a path}. A new form is a file in this folder and a line here.
FORMS: dict[str, Callable] = {".safetensors": runtime.save, ".h": c.save}


def form_of(path: Union[str, bytes, os.PathLike]) -> Callable:
    """The function of FORMS that writes a file of this name. Raises ValueError, with the suffixes that there are."""
    suffix = os.path.splitext(os.fsdecode(path))[1].lower()
    if suffix not in FORMS:
        raise ValueError(f"the name of the file must end in {' or '.join(FORMS)}, got {path!r}")
    return FORMS[suffix]


def save(net: Any, path: Union[str, bytes, os.PathLike], labels: Any = None, accuracy: Any = None) -> None:
    """Write a net to a file that runs without Gluon. The suffix of its name chooses the form:

    .safetensors : for `gluon_bnn.runtime`, in Python without MXNet, and for C
    .h : a C99 header that needs no library: net.h has net_predict and net_scores

    net : what `freeze` returns, a `runtime.Model` or a `graph.graph.Graph`; path : a str, bytes or os.PathLike
    labels : a list of str, the name of each output where these are classes; None keeps those of the net, if it has some
    accuracy : the share of test inputs that the net gave the right class, from 0 to 1; None keeps that of the net

    Raises ValueError for another suffix, and where the form does not have one of the net's layers, which is named; for
    a header whose name cannot be the prefix of names in C; for labels that are not as many as the outputs, or have
    control characters; TypeError for another net or path, OSError where the file cannot be written.
    """
    write = form_of(path)
    write(graph_of(net).described(labels, accuracy), path)
