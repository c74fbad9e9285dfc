"""How a binary layer shows in the graph that `freeze` traces: as one of MXNet's operators, marked with the layer.

While a net trains, its layers run operators that depend on the implementation, some of them for the gradients only. A
converter needs none of these: one FullyConnected of the real weights, marked with its layer, says everything.
"""

import contextlib
import contextvars
import uuid
from collections.abc import Iterator
from typing import Any, Callable, Optional

from .._arrays import on_nd
from .parameter import in_loop

MARK = "__layer__"  # attribute of a node: the key of its layer among those that `marking` gives
_marked: contextvars.ContextVar[Optional[dict]] = contextvars.ContextVar("gluon_bnn_marked", default=None)


@contextlib.contextmanager
def marking() -> Iterator[dict]:
    """Graphs traced inside have stand-ins; gives the layers that they stand for, by the key in the mark."""
    layers: dict = {}
    token = _marked.set(layers)
    try:
        yield layers
    finally:
        _marked.reset(token)


def stand_in(layer: Any, operator: Callable, *arrays: Any, **attributes: Any) -> Any:
    """operator(*arrays, **attributes), a symbol marked as `layer`, while `freeze` traces a net; None otherwise.

    In the body of a loop, a graph of its own that is not converted, there are no stand-ins.
    """
    layers = _marked.get()
    if layers is None or in_loop():
        return None
    symbol = on_nd(operator, *arrays, **attributes)
    key = uuid.uuid4().hex  # not in the graph of any loaded export
    symbol._set_attr(**{MARK: key})
    layers[key] = layer
    return symbol
