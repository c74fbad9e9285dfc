"""A net as MXNet's own symbol graph, in which a binary layer is one marked node: `trace`."""

import contextlib
import dataclasses
import functools
import json
import re
import threading
import uuid
from typing import Any, Optional

import numpy as np

from .._arrays import as_in_gluon, classic, takes_np
from .._compat import mx, reason
from ..nn import tracing
from .plan import Row
from .unchecked import Unchecked

INPUT = "data"
ROW = "__row__"  # attribute of a node: the call of a block that made it
# The operators of `ops.training.while_training` that take random numbers, or their shape: its result is 0 in inference.
STILL = ("ones_like", "broadcast_mul")
# Operators that draw random numbers under names without "random" or "sample".
DRAWS = re.compile(
    "_shuffle|_npi_(shuffle|bernoulli|choice|exponential|gamma|gumbel|logistic|multinomial|normal|normal_n|pareto|"
    "powerd|rayleigh|uniform|uniform_n|weibull)"
)
CONTAINERS = mx.gluon.nn.Sequential, mx.gluon.contrib.nn.Concurrent  # not HybridBlocks, and traced all the same

_one_trace = threading.RLock()  # blocks note one trace at a time

Entry = tuple[int, int]  # (node, which of its outputs)


@dataclasses.dataclass
class Node:
    """An operator of the graph, or a variable, whose operator is "null".

    inputs : the entries that it takes; layer : the layer of ours that it stands for, else None; content : its JSON
    """

    operator: str
    name: str
    attributes: dict[str, str]
    inputs: list[Entry]
    row: Optional[Row]
    layer: Optional[mx.gluon.Block]
    content: dict


@dataclasses.dataclass
class Trace:
    """nodes : in order; outputs : the entries that the net gives, in the structure `format`, as Gluon flattens it;
    variables : {name: Parameter} of all but the input; graph : the JSON of all; types : those of entries,
    where the input is float32, as far as MXNet finds them"""

    nodes: list[Node]
    outputs: list[Entry]
    format: Any
    variables: dict[str, mx.gluon.Parameter]
    graph: dict
    types: dict[Entry, Any]

    def count(self, place: int) -> int:
        """The number of outputs of a node."""
        return self.graph["node_row_ptr"][place + 1] - self.graph["node_row_ptr"][place]

    def is_float32(self, place: int) -> bool:
        """Whether a node takes and gives float32 only, as far as is known."""
        entries = [*self.nodes[place].inputs, *((place, output) for output in range(self.count(place)))]
        return all(self.types.get(entry, np.float32) == np.float32 for entry in entries)


def trace(net: mx.gluon.Block) -> Trace:
    """The graph of a block; ValueError where it has no graph, or not one of a single input."""
    parameters, calls = _parameters(net), _Calls(net)
    with _one_trace, contextlib.ExitStack() as stack:
        stack.enter_context(_unmarked(parameters))
        for block in blocks_of(net):
            stack.enter_context(calls.noted(block))
            if isinstance(block, mx.gluon.SymbolBlock):
                stack.enter_context(_composable(block))
        stack.enter_context(mx.name.NameManager())
        layers = stack.enter_context(tracing.marking())
        try:
            outputs, form = mx.gluon.block._flatten(net(as_in_gluon(mx.sym.var(INPUT))), "output")
        except Exception as error:
            raise ValueError(
                f"freeze traces a net as MXNet does to export it, on one input, and {net.name}, a "
                f"{type(net).__name__}, fails there: {type(error).__name__}: {error}"
            ) from error
    wrong = [output for output in outputs if not isinstance(output, mx.sym.Symbol)]
    if wrong:
        raise ValueError(f"freeze takes a net that computes all that it gives, and {net.name} gives {wrong[0]!r}")
    symbol = mx.sym.Group(outputs)
    graph = json.loads(symbol.tojson(remove_amp_cast=False))
    nodes = _nodes(graph, calls.rows, layers, parameters)
    unknown = [n.name for n in nodes if n.operator == "null" and n.name not in parameters and n.name != INPUT]
    if unknown:
        raise ValueError(f"{net.name} uses {unknown[0]}, which is no parameter of it or of a block in it")
    heads = [tuple(head[:2]) for head in graph["heads"]]
    return Trace(nodes, heads, form, parameters, graph, _types(symbol, parameters))


def _types(symbol, parameters):
    """{entry: its type} where the input is float32, as far as MXNet finds them."""
    types = {name: parameters[name].dtype for name in symbol.list_arguments() if name in parameters}
    inner = symbol.get_internals()
    try:
        found = inner.infer_type(**types, **{INPUT: "float32"})[1] or []
    except mx.base.MXNetError:
        return {}
    heads = json.loads(inner.tojson(remove_amp_cast=False))["heads"]  # in the nodes of `symbol`, without hidden outputs
    return {tuple(head[:2]): kind for head, kind in zip(heads, found)}


def constants(traced: Trace) -> tuple[set[int], dict[Entry, np.ndarray]]:
    """The nodes that depend on parameters only, and the values of those that go on to others."""
    known, nodes = set(), traced.nodes
    users: list[list[Node]] = [[] for _ in nodes]
    for node in nodes:
        for place, _ in node.inputs:
            users[place].append(node)
    content = [node.content for node in nodes]
    for place, node in enumerate(nodes):
        if is_random(node):
            if DRAWS.fullmatch(node.operator) or not all(user.operator in STILL for user in users[place]):
                continue
            like = "zeros_like" if node.inputs else "_zeros"
            attributes = {} if node.inputs else {"shape": node.attributes["shape"], "dtype": "float32"}
            content[place] = {**node.content, "op": like, "attrs": attributes}
        fixed = node.name != INPUT and node.layer is None and all(source in known for source, _ in node.inputs)
        if fixed and not is_open(node):
            known.add(place)
    needed = {entry for place, node in enumerate(nodes) if place not in known for entry in node.inputs}
    taken = sorted(entry for entry in needed.union(traced.outputs) if entry[0] in known)
    if not taken:
        return known, {}
    # MXNet takes the device from an input, so there is always one.
    extra = {"op": "null", "name": INPUT, "inputs": []}
    heads = [[*entry, 0] for entry in [*taken, (len(content), 0)]]
    graph = {**traced.graph, "nodes": [*content, extra], "heads": heads}
    graph["node_row_ptr"] = [*graph["node_row_ptr"], graph["node_row_ptr"][-1] + 1]
    graph["arg_nodes"] = [*graph["arg_nodes"], len(content)]
    found = _evaluated(
        graph,
        lambda name: mx.nd.zeros(1) if name == INPUT else traced.variables[name].list_data()[0].as_in_context(mx.cpu()),
    )
    return known, dict(zip(taken, found))


def evaluated(node: Node, arrays: list[np.ndarray], output: int, outputs: int) -> np.ndarray:
    """One output of an operator that takes these arrays."""
    names = {f"x{place}": array for place, array in enumerate(arrays)}
    graph = alone(node, list(range(len(arrays))), output, outputs)
    return _evaluated(graph, lambda name: mx.nd.array(names[name], dtype=names[name].dtype))[0]


def _evaluated(graph, value_of):
    """The outputs of a graph, given as JSON, in inference; `value_of` gives the value of a variable by its name."""
    try:
        symbol = mx.sym.load_json(json.dumps(graph))
        values = {name: value_of(name) for name in symbol.list_inputs()}
        Unchecked(symbol).check({name: value.shape for name, value in values.items()})
        with mx.autograd.pause(train_mode=False):
            found = mx.nd.CachedOp(symbol)(*values.values())
        return [value.asnumpy() for value in (found if isinstance(found, list) else [found])]
    except mx.base.MXNetError as error:
        why = reason(error)
        raise ValueError(f"freeze computes what depends on parameters alone, where MXNet fails: {why}") from error


def is_open(node: Node) -> bool:
    """Whether a node makes an array whose size MXNet infers from what takes it, like the first state of an RNN."""
    return not node.inputs and re.search(r"[(\[ ](0|-1)[,)\]]", node.attributes.get("shape", "")) is not None


def alone(node: Node, entries: list, output: int, outputs: int) -> dict:
    """The JSON of a graph of this node by itself, which gives its output of that number.

    entries : for each of its inputs the number of a variable, which are x0, x1 .., or a Node that `is_open`, which
        becomes a part of the graph
    """
    sizes = max([0, *(entry for entry in entries if isinstance(entry, int))]) + 1
    nodes: list[dict[str, Any]] = [{"op": "null", "name": f"x{i}", "inputs": []} for i in range(sizes)]
    inputs = []
    for entry, (_, _, version) in zip(entries, node.content["inputs"]):
        if isinstance(entry, Node):
            nodes.append(_unnoted(entry.content))
        inputs.append([entry if isinstance(entry, int) else len(nodes) - 1, 0, version])
    nodes.append({**_unnoted(node.content), "inputs": inputs})
    last = len(nodes) - 1
    return {
        "nodes": nodes,
        "arg_nodes": list(range(sizes)),
        "node_row_ptr": [*range(len(nodes)), last + outputs],
        # MXNet runs no graph without an input: where the operator takes no value, the first input goes through as well.
        "heads": [[last, output, 0], *([] if 0 in entries else [[0, 0, 0]])],
        "attrs": {"mxnet_version": ["int", 10901]},
    }


def _unnoted(content):
    """The JSON of a node without what the trace has noted there."""
    attributes = {k: v for k, v in content.get("attrs", {}).items() if k not in (ROW, tracing.MARK)}
    return {**{k: v for k, v in content.items() if k != "control_deps"}, "attrs": attributes}


def _parameters(net):
    """{name: Parameter} of a block and all in it."""
    found = {}
    for parameter in net._collect_params_with_prefix().values():
        if found.setdefault(parameter.name, parameter) is not parameter:
            raise ValueError(f"freeze takes a net whose parameters have different names; two are {parameter.name}")
    found.update(net.collect_params().items())  # those of a loaded export
    return found


def is_container(block: mx.gluon.Block) -> bool:
    """Whether a block is a Sequential or Concurrent that runs as Gluon wrote it."""
    return any(isinstance(block, kind) and type(block).forward is kind.forward for kind in CONTAINERS)


def blocks_of(net: mx.gluon.Block) -> list[mx.gluon.Block]:
    """A net and the blocks in it, each once, after one that holds it."""
    blocks: list[mx.gluon.Block] = []
    net.apply(blocks.append)
    return list(dict.fromkeys(reversed(blocks)))


@contextlib.contextmanager
def _unmarked(parameters):
    """Tracing leaves no variable behind in a parameter, which would have the attributes of this trace."""
    variables = [(parameter, parameter._var) for parameter in parameters.values()]
    for parameter, _ in variables:
        parameter._var = None
    try:
        yield
    finally:
        for parameter, variable in variables:
            parameter._var = variable


@contextlib.contextmanager
def _composable(block):
    """A SymbolBlock with its graph as one of mx.sym: MXNet cannot put one of mx.np into another graph."""
    graph, block._cached_graph = block._cached_graph, classic(block._cached_graph)
    try:
        yield
    finally:
        block._cached_graph = graph


class _Calls:
    """The calls of blocks while a net is traced: nodes get the key of the innermost one as an attribute.

    rows : {key: Row}, one for each call; running : [(block, key)], the outermost first
    """

    def __init__(self, net):
        self.net, self.rows, self.running = net, {}, []

    @contextlib.contextmanager
    def noted(self, block):
        """Calls of this block are noted."""
        own = vars(block).get("forward")
        vars(block)["forward"] = functools.partial(self._forward, block, block.forward)
        try:
            yield
        finally:
            del vars(block)["forward"]
            if own is not None:
                vars(block)["forward"] = own

    def _forward(self, block, forward, *args):
        """What is called in the place of a block's own forward: that, with the key of the call on its nodes."""
        if not (args and isinstance(args[0], mx.sym.Symbol)):
            return forward(*args)  # on arrays: another thread calls the block
        if type(block).forward is mx.gluon.contrib.nn.Concurrent.forward:  # it is for arrays alone
            forward = functools.partial(mx.gluon.contrib.nn.HybridConcurrent.hybrid_forward, block, mx.sym)
        if isinstance(block, mx.gluon.SymbolBlock):
            forward = takes_np(forward)
        outer, key = self.running[-1] if self.running else (None, None)
        if getattr(outer, "act", None) is not block:  # the activation inside of a dense layer belongs to the layer
            key = uuid.uuid4().hex  # loaded exports may have attributes of any name
            self.rows[key] = Row(block.name or type(block).__name__, sum(map(bytes_of, block._reg_params.values())))
        self.running.append((block, key))
        try:
            with mx.AttrScope(**{ROW: key}):
                return forward(*args)
        except Exception:
            # A forward may take arrays only. The block then shows as a node that is marked with it.
            stays = block is not self.net and isinstance(block, mx.gluon.HybridBlock) and len(args) == 1
            symbol = tracing.stand_in(block, mx.sym.identity, *args) if stays else None
            if symbol is None:
                raise
            symbol._set_attr(**{ROW: key})
            return symbol
        finally:
            self.running.pop()


def bytes_of(parameter: mx.gluon.Parameter) -> int:
    """The bytes of a parameter's value, 0 where it has none."""
    return 0 if parameter._data is None else parameter.list_data()[0].size * np.dtype(parameter.dtype).itemsize


def _nodes(graph, calls, layers, parameters):
    """The nodes of a graph. The row of an operator is that of the call that made it, or in an export that of the layer
    in its name. A parameter's bytes count once, in the first row that uses it."""
    nodes, rows, counted = [], {}, set()
    for content in graph["nodes"]:
        attributes = content.get("attrs", {})
        row = None
        if content["op"] != "null":
            name = _layer(content["name"])
            row = calls[attributes[ROW]] if attributes.get(ROW) in calls else rows.setdefault(name, Row(name))
            variables = {source for source, *_ in content["inputs"] if nodes[source].name in parameters} - counted
            if row is rows.get(name):  # else it counts what its block has
                row.before += sum(bytes_of(parameters[nodes[source].name]) for source in variables)
            counted |= variables
        layer = layers.get(attributes.get(tracing.MARK))
        inputs = [tuple(entry[:2]) for entry in content["inputs"]]
        nodes.append(Node(content["op"], content["name"], attributes, inputs, row, layer, content))
    return nodes


def _layer(name):
    """The layer in the name of a node of an export, where Gluon has put it before that of the operator."""
    prefix = re.match(r"(?:[A-Za-z0-9]*[A-Za-z]\d+_)*", name).group().rstrip("_")
    return prefix or re.sub("_fwd$", "", name)


def is_random(node: Node) -> bool:
    """Whether an operator draws random numbers."""
    return (
        "random" in node.operator
        or "sample" in node.operator
        or DRAWS.fullmatch(node.operator) is not None
        or (node.operator == "Dropout" and node.attributes.get("mode") == "always")
    )
