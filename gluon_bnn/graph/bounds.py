"""Between which numbers a graph's values lie, whatever the order in which the products of real numbers are summed.

`run` carries two arrays where the engine carries one: `Kind.bounds` says how each kind moves them. Only sums of
products of real numbers, and exp and its like, set them apart; what follows moves both ends by the float32 operations
of the engine, which keep their order. What may be on either side of zero has either sign.
"""

import numpy as np

from . import engine
from .graph import Graph
from .kinds import KINDS
from .kinds.kind import Ends, widened

__all__ = ["furthest", "run", "same", "within"]


def __dir__():
    return __all__


def run(graph: Graph, x: np.ndarray) -> Ends:
    """(low, high), float32 (rows, units), from x as `engine.run` takes it, which gives a number in between.

    Where nothing sets them apart both are the same. From -inf to inf means that nothing is known.
    """
    held: dict[engine.Place, Ends] = {}
    with np.errstate(all="ignore"):
        for place, sources, dropped in engine.plan(graph, x.dtype == np.uint8)[0]:
            index, pixels = place
            if index == 0 and pixels:
                held[place] = x, x
            else:
                node, ends = graph.nodes[index], [held[source] for source in sources] or [(x, x)]
                low, high = KINDS[node.kind].bounds(node, graph.taken(index), *ends)
                is_open = low is not high and graph.values[index].form == "float"
                held[place] = widened(low, high) if is_open else (low, high)
            for source in dropped:
                del held[source]
    low, high = held[place]
    return low.reshape(len(x), -1), high.reshape(len(x), -1)


def same(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where numbers are equal, as NaN is to NaN."""
    return (found == expected) | (np.isnan(found) & np.isnan(expected))


def furthest(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The rows in which not all numbers are the `same`, int (rows,), those that differ most first."""
    with np.errstate(all="ignore"):
        differences = np.where(same(found, expected), 0, np.abs(found.astype(np.float64) - expected))
    largest = np.where(np.isnan(differences), np.inf, differences).max(axis=1)
    return np.argsort(-largest, kind="stable")[: np.count_nonzero(largest)]


def within(found: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where numbers are in an interval; NaN is in one of NaN, and in one of which nothing is known."""
    unknown = (low == -np.inf) & (high == np.inf)
    return (found >= low) & (found <= high) | unknown | np.isnan(found) & np.isnan(low)
