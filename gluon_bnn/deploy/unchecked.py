"""Refuses what MXNet would run without a check that it has to make, before it runs: `Unchecked`.

MXNet 1.9.1 compares the numbers of elements before and after a reshape for some targets only. It reshapes 20 elements
to (1,) or 72 to (-1, 20), and then copies past the end of a buffer, which ends the process or gives other memory's
content. A `where` reads past a condition that is too small, or divides by 0. Whoever runs a graph that came from a
file, or on inputs of another shape than it was made for, has to look at it first; it takes MXNet's shape inference
alone.
"""

import json
import math
from typing import Optional

from .._arrays import classic
from .._compat import mx


def _reshape(taken, given):
    """What is wrong with a reshape of these shapes, or None."""
    if None in (_size(taken[0]), _size(given)):
        return (
            "reshapes what has no shape before the graph runs, so that nobody can check it first; "
            "mx.gluon.SymbolBlock.imports loads an export whose maker you trust without this check"
        )
    if _size(taken[0]) != _size(given):
        return f"must keep the number of elements, which MXNet does not check: it makes {given} of {taken[0]}"
    return None


def _where(taken, given):
    """The same of a `where`, whose condition has the shape of the values or of their first axis."""
    condition, values, _ = taken
    if None in map(_size, taken) or condition in (values, values[:1]):
        return None
    return f"must have a condition of the shape {values} or {values[:1]}, which MXNet does not check: got {condition}"


CHECKS = {"Reshape": _reshape, "_np_reshape": _reshape, "_npx_reshape": _reshape, "where": _where}
# The attributes of loops that say which variables of each inner graph stand for which inputs.
BRANCHES = {
    "_cond": ("cond_input_locs", "then_input_locs", "else_input_locs"),
    "_while_loop": ("cond_input_locs", "func_input_locs"),
}


class Unchecked:
    """The operators of CHECKS in a graph, those in the bodies of its loops among them.

    symbol : a graph of `mx.sym` or `mx.np`. ValueError where two of its variables have one name.
    """

    def __init__(self, symbol: mx.sym.Symbol) -> None:
        graph = json.loads(classic(symbol).tojson(remove_amp_cast=False))
        nodes = graph["nodes"]
        self._variables = [nodes[place]["name"] for place in graph["arg_nodes"]]
        if len(set(self._variables)) < len(self._variables):
            raise ValueError("the variables of a graph must have different names")
        self._operators = [
            (node["name"], CHECKS[node["op"]], [*(tuple(entry[:2]) for entry in node["inputs"]), (place, 0)])
            for place, node in enumerate(nodes)
            if node["op"] in CHECKS
        ]
        self._loops = []
        for node in nodes:
            inner = [Unchecked(_symbol({**each, "attrs": graph["attrs"]})) for each in node.get("subgraphs", ())]
            if any(inner):
                self._loops.append((node, inner))
        wanted = [entry for *_, entries in self._operators for entry in entries]
        wanted += [tuple(entry[:2]) for node, _ in self._loops for entry in node["inputs"]]
        self._seen: set[tuple] = set()
        self._places = {entry: place for place, entry in enumerate(dict.fromkeys(wanted))}
        self._symbol: Optional[mx.sym.Symbol] = None
        if wanted:
            # Outputs that a symbol hides, as the mean of a BatchNorm, can be entries too: get_internals lacks them.
            heads = [[*entry, 0] for entry in self._places] + graph["heads"]
            self._symbol = _symbol({**graph, "heads": heads})

    def __bool__(self) -> bool:
        return self._symbol is not None

    def check_call(self, block: mx.gluon.Block, arrays: dict[str, mx.nd.NDArray]) -> None:
        """As `check`, for these arrays, by the names of the variables that they are for, and the parameters of a block
        whose graph this is. Shapes that were right once are not looked at again."""
        if not self:
            return
        shapes = {name: array.shape for name, array in arrays.items()}
        key = (mx.util.is_np_shape(), *shapes.values())
        if key not in self._seen:
            known = {name: _shape(parameter) for name, parameter in block.collect_params().items()}
            self.check({**known, **shapes})
            self._seen.add(key)

    def check(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """ValueError where one of the operators would reach past its buffers, for these shapes of the graph's
        variables, or where nobody knows whether a reshape would, because an operator before it decides by values, as
        boolean_mask and cond do.

        Where the operators do not take these shapes at all nothing is raised: MXNet itself says so, and runs nothing.
        """
        if self._symbol is None:
            return
        names = set(self._symbol.list_inputs())
        try:
            found = self._symbol.infer_shape_partial(
                **{name: shapes[name] for name in names if shapes.get(name) is not None}
            )[1]
        except mx.base.MXNetError:
            return
        for name, wrong_with, entries in self._operators:
            *taken, given = (found[self._places[entry]] for entry in entries)
            wrong = wrong_with(taken, given)
            if wrong:
                raise ValueError(f"{name} {wrong}")
        for node, inner in self._loops:
            taken = [found[self._places[tuple(entry[:2])]] for entry in node["inputs"]]
            for graph, given in zip(inner, _given(node, taken)):
                graph.check(dict(zip(graph._variables, given)))


def _symbol(graph):
    return mx.sym.load_json(json.dumps(graph))


def _shape(parameter):
    """Of its value; until it has one, what is known, 0 for an open size, or None."""
    return parameter.shape if parameter._data is None else parameter.list_data()[0].shape


def _size(shape):
    """The number of elements, None where it is not known: MXNet then has 0 for a size, -1 after `mx.npx.set_np()`."""
    known = shape is not None and (min(shape, default=0) >= 0 if mx.util.is_np_shape() else min(shape, default=0) > 0)
    return math.prod(shape) if known else None


def _given(node, taken):
    """The shapes of the variables of each graph inside of a loop, from those that the loop takes."""
    places = {name: json.loads(text) for name, text in node["attrs"].items() if name.endswith("_locs")}
    try:
        if node["op"] == "_foreach":  # its inputs: arrays to loop over, initial states, the body's other variables
            order = places["in_data_locs"] + places["in_state_locs"] + places["remain_locs"]
            count = len(places["in_data_locs"])
            shapes = [shape[1:] if place < count else shape for place, shape in enumerate(taken)]
            return [[shapes[order.index(variable)] for variable in range(len(order))]]
        return [[taken[place] for place in places[name]] for name in BRANCHES[node["op"]]]
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{node['name']}, a loop, must say what each variable in it stands for") from None
