"""Binary weights as Gluon's parameters, and what Gluon's own blocks must know of them.

The import of this module replaces a few methods of MXNet's blocks. MXNet 1.9.1 is the last release, so these no longer
change; nets without a layer of ours run as before.

- A hybridized net gets two graphs (`_build_cache`). An operator of an extension library cannot add to a gradient, so
  parameters go to it through an operator of MXNet's that can (ops/gradients.py). That copies the parameter and its
  gradient: a third to a half more time for a training step. The graph that the block itself runs does without, where
  that is right: the parameter has grad_req="write", is used once in the graph, and not in a loop. The graph that
  `export` writes is traced separately and always adds, since it may be bound or loaded in any way.
- A hybridized net with a layer of ours refuses an array without numbers (`_call_cached_op`), see rows.py.
- A net is cast as a whole or not at all (`cast`): our layers are asked before the first parameter changes.
- The weight of a convolution that has run can be set (`set_data`, and with it `load_parameters`). oneDNN may have put
  it into a layout of its own; over one or three axes MXNet then fails, but says so later, elsewhere, and the old value
  stays.
- A loaded graph knows its binary weights (`SymbolBlock`): they are marked as attributes of its variables.
"""

import collections
import contextvars
import functools
import json
from typing import Any, Callable, Optional

import numpy as np

from .._arrays import classic
from .._compat import mx
from .rows import require_rows

BINARY, CURVATURE = "__binary__", "__curvature__"  # attributes of the variable of a binary weight
_tracing = contextvars.ContextVar("gluon_bnn_tracing", default=None)


class _Trace:
    """What the layers of a graph share while it is traced.

    names : of all parameters of the block
    parameters : those that layers use without adding to gradients
    training : the symbol that tells whether MXNet trains, None until a layer needs it
    signs : (symbol of signs, what these are the signs of, clip) of each sign in the graph
    rewritten : whether any layer has put an operator there that an export does not have
    """

    def __init__(self, block):
        self.names = set(block.collect_params())
        self.parameters, self.training, self.signs, self.rewritten = [], None, [], False


class BinaryWeight(mx.gluon.Parameter):
    """The real weights behind binary ones: what `gluon_bnn.optimizer` recognises and holds within [-1, 1].

    `curvature` is the Parameter that it keeps up to date for scale="loss", else None.
    """

    binary = True
    curvature = None

    def var(self) -> mx.sym.Symbol:
        """As Gluon's: the variable that stands for this parameter in a graph, marked as a binary weight."""
        if self._var is None:
            marks = {BINARY: "True"} if self.curvature is None else {BINARY: "True", CURVATURE: self.curvature.name}
            super().var()._set_attr(**marks)
        return self._var


def check_dtype(dtype: Any) -> None:
    """ValueError unless dtype is float32 or float64."""
    try:
        if dtype is not None and np.dtype(dtype).name in ("float32", "float64"):  # NumPy's dtype(None) is float64
            return
    except TypeError:
        pass
    raise ValueError(f"layers of gluon_bnn compute in float32 or float64, got {dtype!r}")


def mark(weight: mx.gluon.Parameter, curvature: Optional[mx.gluon.Parameter] = None) -> None:
    """Make a BinaryWeight of a Parameter, with the Parameter of its curvature or None."""
    weight.__class__ = BinaryWeight
    if curvature is not None:
        weight.curvature = curvature
        curvature._differentiable = False  # its grad_req stays "null" whatever it is set to
        curvature.grad_req = "null"


def gradient_adds(parameters: list[mx.gluon.Parameter], symbolic: bool) -> bool:
    """Whether a gradient of these parameters may have to be added to what is there, where a layer uses them now."""
    if any(parameter.grad_req == "add" for parameter in parameters):
        return True
    if not symbolic:
        return False
    trace = _trace()
    if trace is None:
        return True
    trace.parameters += parameters
    return False


def from_inputs_alone(x: mx.sym.Symbol) -> bool:
    """Whether x, in the graph that a block will run, depends on no parameter: its gradient is then needed only where
    that of the block's inputs is."""
    trace = _trace()
    return trace is not None and trace.names.isdisjoint(x.list_inputs())


def runs(x: Any) -> bool:
    """Whether x is an array, or belongs to a graph that a block runs itself, and not to one that is exported, frozen or
    the body of a loop."""
    trace = _trace()
    if trace is not None:
        trace.rewritten = True
    return trace is not None or not isinstance(x, mx.sym.Symbol)


def training(make: Callable[[], mx.sym.Symbol]) -> mx.sym.Symbol:
    """The symbol that tells whether MXNet trains, which `make` makes: one for a graph that a block runs itself."""
    trace = _trace()
    if trace is None:
        return make()
    if trace.training is None:
        trace.training = make()
    return trace.training


def note_signs(signs: Any, x: Any, clip: Optional[float]) -> None:
    """Tell layers that follow in this graph that a symbol holds the signs of another, with the gradient of `clip`."""
    trace = _trace()
    if trace is not None:
        trace.signs.append((signs, x, clip))


def of_signs(x: Any) -> Optional[tuple]:
    """(what x holds the signs of, clip), or None where that is not known: a layer may then take bits of the first."""
    trace = _trace()
    return next(((of, clip) for signs, of, clip in trace.signs if signs is x), None) if trace is not None else None


def _trace():
    """The _Trace of the graph that a block will run; None while another graph is traced: an export, a loop's body."""
    return None if in_loop() else _tracing.get()


def _replaces(cls, name):
    """Put a function in the place of the method of that name; it gets that method as its first argument."""

    def decorate(function):
        original = getattr(cls, name)

        @functools.wraps(original)
        def method(*args, **kwargs):
            return function(original, *args, **kwargs)

        setattr(cls, name, method)
        return function

    return decorate


def in_loop() -> bool:
    """Whether the body of an F.contrib.foreach, while_loop or cond is traced now."""
    scope = getattr(mx.AttrScope._current, "value", None)
    return scope is not None and "__subgraph_name__" in scope._attr


def _uses(graph):
    """How often the operators of a graph (a Symbol) take the values of each node, by the node's name."""
    nodes = json.loads(graph.tojson())["nodes"]
    return collections.Counter(nodes[source[0]]["name"] for node in nodes for source in node["inputs"])


@_replaces(mx.gluon.HybridBlock, "_build_cache")
def _build_cache(original, block, *args):
    block._writes = ()
    if block._backend:  # it rewrites the graph
        return original(block, *args)
    trace = _Trace(block)
    token = _tracing.set(trace)
    try:
        original(block, *args)
    finally:
        _tracing.reset(token)
    if not trace.parameters and trace.training is None and not trace.rewritten:
        return None
    graph, block._cached_graph = block._cached_graph[1], ()
    uses = _uses(graph)
    if any(uses[parameter.name] > 1 for parameter in trace.parameters):
        block._clear_cached_op()
        return original(block, *args)
    block._writes = tuple(trace.parameters)
    block._get_graph(*args)
    return None


@_replaces(mx.gluon.HybridBlock, "_call_cached_op")
def _call_cached_op(original, block, *args):
    if any(parameter.grad_req == "add" for parameter in getattr(block, "_writes", ())):
        block._clear_cached_op()
    require_rows(block, args)
    return original(block, *args)


@_replaces(mx.gluon.Block, "cast")
def _cast(original, block, dtype):
    blocks = []
    block.apply(blocks.append)
    for each in blocks:
        if hasattr(each, "check_dtype"):
            each.check_dtype(dtype)
    original(block, dtype)


@_replaces(mx.gluon.Parameter, "set_data")
def _set_data(original, parameter, data):
    for array in parameter._data or ():
        if array.ndim in (3, 5) and array.stype == "default":
            with mx.autograd.pause():  # zeros bring MXNet's own layout back
                mx.nd.zeros(array.shape, array.context, array.dtype, out=classic(array))
    original(parameter, data)


@_replaces(mx.gluon.SymbolBlock, "__init__")
def _init_symbol_block(original, block, *args, **kwargs):
    original(block, *args, **kwargs)
    for name, attributes in block._cached_graph[1].attr_dict().items():
        if attributes.get(BINARY) == "True" and name in block.params:
            curvature = attributes.get(CURVATURE)
            mark(block.params[name], dict(block.params.items()).get(curvature))
