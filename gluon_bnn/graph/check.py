"""`check`: everything that must hold before a graph is run, which then checks nothing. Checks of one kind are in its
file."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from .graph import MOST_AXES, MOST_ELEMENTS, MOST_LABEL, MOST_NODES, MOST_WORDS, Graph, Node, Value
from .kinds import KINDS
from .kinds.kind import PLACE, PLACES, SIZES, Kind

__all__ = ["check"]


def __dir__():
    return __all__


def check(graph: Graph) -> Graph:
    """The graph with the value of each node, if every node can be run and every value is used.

    Its labels, where it has some, become a tuple, its accuracy a float. Raises TypeError for a thing of the wrong type,
    ValueError for one with a wrong value, naming the node.
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"graph must be a gluon_bnn.graph.graph.Graph, got {type(graph).__name__}")
    nodes = tuple(graph.nodes)
    if not 2 <= len(nodes) <= MOST_NODES:
        raise ValueError(f"a net must have 2 to {MOST_NODES} nodes, an input and what follows it, got {len(nodes)}")
    values: list[Value] = []
    words = 0
    for index, node in enumerate(nodes):
        if not isinstance(node, Node):
            raise TypeError(f"node {index} must be a gluon_bnn.graph.graph.Node, got {type(node).__name__}")
        try:
            values.append(_value(node, index, values))
        except (TypeError, ValueError) as error:
            raise type(error)(f"node {index}, {str(node.kind)[:80]}: {error}") from None
        words += values[-1].words if index else 0
        if words > MOST_WORDS:
            raise ValueError(f"all values of a row must have together at most {MOST_WORDS} words, node {index} is past")
    used = {source for node in nodes for source in node.sources}
    unused = [index for index in range(len(nodes) - 1) if index not in used]
    if unused:
        raise ValueError(f"node {unused[0]}, {nodes[unused[0]].kind}, must be used by a later node, and is by none")
    if values[-1].form != "float" or len(values[-1].shape) != 1:
        raise ValueError(
            f"node {len(nodes) - 1}, {nodes[-1].kind}, is the last and must give a row of floats, got {values[-1]}"
        )
    return Graph(nodes, tuple(values), _labels(graph.labels, values[-1].size), _accuracy(graph.accuracy))


def _labels(labels: Any, units: int) -> Optional[tuple[str, ...]]:
    """Texts that a terminal shows as they are, one for each of the outputs."""
    if labels is None:
        return None
    if not isinstance(labels, (list, tuple, np.ndarray)) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"labels must be a list of str, got {labels!r:.80}")
    if len(labels) != units:
        raise ValueError(f"labels must be as many as the net's outputs, {units}, got {len(labels)}")
    for label in labels:
        wrong = [character for character in label if unicodedata.category(character) in ("Cc", "Cs")]
        if wrong:
            raise ValueError(f"a label must have no control characters, got {wrong[0]!r} in {str(label)!r:.80}")
        if not 1 <= len(label.encode("utf-8")) <= MOST_LABEL:
            raise ValueError(f"a label must have 1 to {MOST_LABEL} bytes in UTF-8, got {str(label)!r:.80}")
    return tuple(map(str, labels))


def _accuracy(accuracy: Any) -> Optional[float]:
    """A share, from 0 to 1."""
    if accuracy is None:
        return None
    if not isinstance(accuracy, (int, float, np.integer, np.floating)) or isinstance(accuracy, bool):
        raise TypeError(f"accuracy must be a number, got {accuracy!r:.80}")
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must be a share, from 0 to 1, got {accuracy}")
    return abs(float(accuracy))


def _value(node: Node, index: int, values: Sequence[Value]) -> Value:
    """What the node gives; raises where anything about it is wrong."""
    if not isinstance(node.kind, str) or node.kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {node.kind!r:.80}")
    if (node.kind == "input") != (index == 0):
        raise ValueError("the first node, and no other, must be the input")
    kind = KINDS[node.kind]
    _check_sources(kind, node.sources, index)
    _check_attributes(kind, node.attributes)
    if not isinstance(node.arrays, dict):
        raise TypeError(f"arrays must be a dict, got {type(node.arrays).__name__}")
    taken = tuple(values[source] for source in node.sources)
    value = kind.value(node, taken)
    _check_arrays(kind, node, taken)
    return value


def _check_sources(kind: Kind, sources: Any, index: int) -> None:
    """As many as the kind takes, of nodes before this one."""
    if not isinstance(sources, tuple) or any(type(source) is not int for source in sources):
        raise TypeError(f"sources must be a tuple of int, got {sources!r:.80}")
    least, most = kind.sources
    if not least <= len(sources) <= most:
        allowed = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{kind.name} takes the values of {allowed} nodes, got {len(sources)}")
    for source in sources:
        if not 0 <= source < index:
            raise ValueError(f"sources must be nodes before this one, 0 to {index - 1}, got {source}")


def _check_attributes(kind: Kind, attributes: Any) -> None:
    """Names, types and ranges, as the kind declares them."""
    if not isinstance(attributes, dict):
        raise TypeError(f"attributes must be a dict, got {type(attributes).__name__}")
    if set(attributes) != set(kind.attributes):
        raise ValueError(
            f"{kind.name} must have the attributes {', '.join(kind.attributes) or 'none'}, "
            f"got {', '.join(map(str, attributes)) or 'none':.80}"
        )
    for name, allowed in kind.attributes.items():
        given = attributes[name]
        if isinstance(allowed, tuple):
            if not isinstance(given, str) or given not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r:.80}")
        elif allowed in (SIZES, PLACES):
            if not isinstance(given, tuple) or any(type(size) is not int for size in given):
                raise TypeError(f"{name} must be a tuple of int, got {given!r:.80}")
            if allowed == PLACES:
                if not 1 <= len(given) <= MOST_AXES or not 0 <= min(given) <= max(given) <= MOST_ELEMENTS:
                    raise ValueError(f"{name} must have 1 to {MOST_AXES} axes, each 0 to {MOST_ELEMENTS}, got {given}")
            elif not 1 <= len(given) <= MOST_AXES or min(given) < 1 or math.prod(given) > MOST_ELEMENTS:
                raise ValueError(
                    f"{name} must have 1 to {MOST_AXES} axes, sizes from 1 on and at most {MOST_ELEMENTS} elements, "
                    f"got {given}"
                )
        else:
            if type(given) is not int:
                raise TypeError(f"{name} must be an int, got {given!r:.80}")
            least = 0 if allowed == PLACE else 1
            if not least <= given <= MOST_ELEMENTS:
                raise ValueError(f"{name} must be {least} to {MOST_ELEMENTS}, got {given}")


def _check_arrays(kind: Kind, node: Node, taken: Sequence[Value]) -> None:
    """Names, dtypes, shapes and values."""
    must, may = kind.arrays(node, taken)
    for names, allowed in (
        ([name for name in must if name not in node.arrays], "is missing"),
        ([name for name in node.arrays if name not in {**must, **may}], "is not allowed"),
    ):
        if names:
            also = f" and may have {', '.join(may)}" if may else ""
            raise ValueError(
                f"array {names[0]!r:.80} {allowed}: from {', '.join(map(str, taken)) or 'nothing'}"
                f"{' with uint8 inputs' if any(value.pixels for value in taken) else ''} it must have "
                f"{', '.join(must) or 'no arrays'}{also}; got {', '.join(map(str, node.arrays)) or 'none':.200}"
            )
    for name, array in node.arrays.items():
        _check_array(name, array, *{**must, **may}[name])
    kind.check(node, taken)


def _check_array(name, array, dtype, shape):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} must be {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{name} must be C-contiguous and aligned, got strides {array.strides}")
    if dtype == np.float32 and not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array))
        raise ValueError(f"{name} must be finite, got {array.flat[bad[0]]} at {bad[0]}, {bad.size} in all that are not")
