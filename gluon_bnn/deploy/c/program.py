"""A graph as calls of C functions, in the order of the engine, with the arrays that they take and their buffers."""

from typing import Any

from ...graph.engine import plan
from ...graph.graph import Graph
from .buffers import Buffers
from .calls import CALLS, IN_PLACE, is_view
from .step import Step


class Program:
    """What a graph is in C. All names begin with net_, until `header` gives them the prefix of the file.

    pixels : whether x is uint8, as it is where the net takes these
    lines : the calls, from x to y; output : the buffer that y is where nobody asks for it
    arrays : {name: ndarray, or the numbers of a struct of windows}; used : the functions that are called
    """

    def __init__(self, graph: Graph):
        self.graph, self.pixels = graph, graph.input_scale is not None
        self.buffers, self.output = Buffers(), ""
        self.lines: list[str] = []
        self.arrays: dict[str, Any] = {}
        self.used: set[str] = set()
        self._x = (0, self.pixels)
        self._steps, _ = plan(graph, self.pixels)
        self._end = self._steps[-1][0]
        self._roots = self._find_roots()
        self._steps = [step for step in self._steps if self._roots[step[0]] == step[0] != self._x]
        self._last_use = {
            self._roots[source]: number for number, (_, sources, _) in enumerate(self._steps) for source in sources
        }
        self._names = {self._x: "x"}
        for number in range(len(self._steps)):
            self._write(number)

    def _find_roots(self):
        """{place: the place whose memory it has}: its own, or where it is a view, that of what it takes."""
        roots = {}
        for place, sources, _ in self._steps:
            index = place[0]
            view = index > 0 and is_view(self.graph.nodes[index], self.graph.taken(index), self.graph.values[index])
            roots[place] = roots[sources[0]] if view else place
        if roots[self._end] == self._x:
            roots[self._end] = self._end  # y is a copy of x
        return roots

    def _write(self, number):
        """The calls of one step; buffers that nobody needs after it are free."""
        place, sources, _ = self._steps[number]
        index, uint8 = place
        node, value, taken = self.graph.nodes[index], self.graph.values[index], self.graph.taken(index)
        roots = [self._roots[source] for source in sources]
        xs = [self._names[root] for root in roots] or ["x"]
        done = [name for root, name in dict(zip(roots, xs)).items() if self._last_use[root] == number and name != "x"]
        if node.kind in IN_PLACE:
            self._give_back(done)
        of = "uint8_t" if uint8 else "float" if value.form == "float" else "uint32_t"
        y = self.buffers.take(of, value.size if uint8 else value.words)
        if place == self._roots[self._end]:
            self.output, y = y, "y"
        self._names[place] = y
        step = Step(index, node, taken, value, xs, y, bool(sources) and sources[0][1], self.buffers)
        try:
            if node.kind not in CALLS:
                raise ValueError(f"a C header has {', '.join(CALLS)}, and no {node.kind}")
            CALLS[node.kind](step)
        except ValueError as error:
            raise ValueError(f"node {index}, {node.kind}: {error}") from None
        self._give_back(step.temporaries)
        if node.kind not in IN_PLACE:
            self._give_back(done)
        self.lines += [f"/* {index}, {step.title}: {', '.join(map(str, taken)) or 'uint8'} -> {value} */", *step.lines]
        self.arrays.update(step.arrays)
        self.used |= step.used

    def _give_back(self, names):
        for name in names:
            self.buffers.give_back(name)
