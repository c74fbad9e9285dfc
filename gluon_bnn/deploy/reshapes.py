"""Refuses a reshape that changes the number of elements, before MXNet runs it: `Reshapes`.

MXNet 1.9.1 compares the two numbers for some targets only. It reshapes 20 elements to (1,) or 72 to (-1, 20), and then
copies past the end of a buffer, which ends the process or gives other memory's content. Whoever runs a graph that came
from a file, or on inputs of another shape than it was made for, has to look at it first; it takes MXNet's shape
inference alone.
"""

import json
import math
from typing import Optional

from .._arrays import classic
from .._compat import mx

RESHAPES = "Reshape", "_np_reshape", "_npx_reshape"
# The attributes of loops that say which variables of each inner graph stand for which inputs.
BRANCHES = {
    "_cond": ("cond_input_locs", "then_input_locs", "else_input_locs"),
    "_while_loop": ("cond_input_locs", "func_input_locs"),
}


class Reshapes:
    """The reshapes of a graph, those in the bodies of its loops among them.

    symbol : a graph of `mx.sym` or `mx.np`. ValueError where two of its variables have one name.
    """

    def __init__(self, symbol: mx.sym.Symbol) -> None:
        graph = json.loads(classic(symbol).tojson(remove_amp_cast=False))
        nodes = graph["nodes"]
        self._variables = [nodes[place]["name"] for place in graph["arg_nodes"]]
        if len(set(self._variables)) < len(self._variables):
            raise ValueError("the variables of a graph must have different names")
        self._reshapes = [
            (node["name"], tuple(node["inputs"][0][:2]), (place, 0))
            for place, node in enumerate(nodes)
            if node["op"] in RESHAPES
        ]
        self._loops = []
        for node in nodes:
            inner = [Reshapes(_symbol({**each, "attrs": graph["attrs"]})) for each in node.get("subgraphs", ())]
            if any(inner):
                self._loops.append((node, inner))
        wanted = [entry for _, *entries in self._reshapes for entry in entries]
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
        shapes = {name: array.shape for name, array in arrays.items()}
        key = (mx.util.is_np_shape(), *shapes.values())
        if self and key not in self._seen:
            known = {name: _shape(parameter) for name, parameter in block.collect_params().items()}
            self.check({**{name: shape for name, shape in known.items() if shape is not None}, **shapes})
            self._seen.add(key)

    def check(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """ValueError where a reshape has not as many elements after it as before it, for these shapes of the graph's
        variables, or where that is not known, because an operator before it decides by values, as boolean_mask and
        cond do.

        Where the operators do not take these shapes at all nothing is raised: MXNet itself says so, and runs nothing.
        """
        if self._symbol is None:
            return
        try:
            found = self._symbol.infer_shape_partial(**shapes)[1]
        except mx.base.MXNetError:
            return
        for name, before, after in self._reshapes:
            old, new = found[self._places[before]], found[self._places[after]]
            if None in (_size(old), _size(new)):
                raise ValueError(
                    f"{name} reshapes what has no shape before the graph runs, so that nobody can check it first; "
                    "mx.gluon.SymbolBlock.imports loads an export whose maker you trust without this check"
                )
            if _size(old) != _size(new):
                raise ValueError(
                    f"{name} must keep the number of elements, which MXNet does not check: it makes {new} of {old}"
                )
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
        if node["op"] == "_foreach":  # it takes what it goes over, the first states, and what the body uses besides
            order = places["in_data_locs"] + places["in_state_locs"] + places["remain_locs"]
            count = len(places["in_data_locs"])
            shapes = [shape[1:] if place < count else shape for place, shape in enumerate(taken)]
            return [[shapes[order.index(variable)] for variable in range(len(order))]]
        return [[taken[place] for place in places[name]] for name in BRANCHES[node["op"]]]
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{node['name']}, a loop, must say what each variable in it stands for") from None
