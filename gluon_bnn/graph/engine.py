"""A graph run in NumPy alone, for where there is no compiled library: slower, the same bits.

`run` takes a graph that `check` has passed. Formulas and their order are those of include/gluon_bnn.h, each in the file
of its kind: every operation is rounded in float32, and no product is fused with a sum.
"""

import numpy as np

from .graph import Graph
from .kinds import KINDS

__all__ = ["plan", "run"]


def __dir__():
    return __all__


Place = tuple[int, bool]  # a node, and whether its value is uint8
Step = tuple[Place, list[Place], set[Place]]

ELEMENTS = 1 << 22  # most elements of all values at a time, where one row does not need more


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    """float32 (rows, units) from x, float32 or uint8 (rows, inputs); uint8 stand for scale * x + shift."""
    steps, elements = plan(graph, x.dtype == np.uint8)
    rows = max(1, ELEMENTS // elements)
    y = np.empty((len(x), graph.units), np.float32)
    with np.errstate(all="ignore"):  # infinities and NaN are numbers like any other here
        for i in range(0, len(x), rows):
            y[i : i + rows] = _run(graph, steps, x[i : i + rows])
    return y


def plan(graph: Graph, uint8: bool) -> tuple[list[Step], int]:
    """(steps, the most elements of a row that are held at once), of inputs that are uint8 or floats.

    A value with pixels may be wanted as uint8 and as floats: it is made in each form that somebody takes. A step is
    (place, the places that it takes, those whose last use it is); a place is (node, whether it is uint8).
    """
    last = len(graph.nodes) - 1
    wanted, steps = {(last, False)}, []
    for index in range(last, -1, -1):
        node, taken = graph.nodes[index], graph.taken(index)
        for pixels in (True, False):
            if (index, pixels) not in wanted:
                continue
            takes = uint8 and KINDS[node.kind].takes_pixels(node, taken)
            sources = [(source, pixels or takes) for source in node.sources]
            steps.append(((index, pixels), sources, set(sources) - wanted))  # no later step wants these
            wanted.update(sources)
    held = most = 0
    for place, _, dropped in reversed(steps):
        held += graph.values[place[0]].size
        most = max(most, held)
        held -= sum(graph.values[index].size for index, _ in dropped)
    return steps[::-1], most


def _run(graph, steps, x):
    """`run` for rows that are computed at a time."""
    held = {}
    for place, sources, dropped in steps:
        index, pixels = place
        if index == 0 and pixels:
            held[place] = x
        else:
            node, xs = graph.nodes[index], [held[source] for source in sources] or [x]
            held[place] = KINDS[node.kind].run(node, graph.taken(index), *xs)
        for source in dropped:
            del held[source]
    return held[place].reshape(len(x), -1)
