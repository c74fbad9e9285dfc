"""The frozen net in Gluon, made of a block for each step of its plan: `Frozen`."""

import dataclasses
from typing import Any, Optional

import numpy as np

from .. import _table
from .._arrays import as_in_gluon, require_numbers
from .._compat import mx
from ..graph.graph import Graph
from ..native import library
from ..nn.rows import TakesRows
from . import steps
from .blocks import HeldBlock, StepBlock, block_of
from .lower import graph_of
from .plan import Plan, Row, Step
from .unchecked import Unchecked


class Frozen(TakesRows, mx.gluon.nn.HybridSequential):
    """A net for inference, made by `freeze`: hybridize, export, save_parameters as with any HybridBlock.

    form : "packed" or "float"
    input_shape : for the runtime, the shape of one input; None stands for (inputs of the first layer,), and is not
        enough for a net with convolutions or pooling
    input_scale, input_shift : for the runtime, which takes uint8 inputs p as scale * p + shift: a float or float32
        (inputs,), and float32 (inputs,); or both None

    It is a sequence of blocks in the order in which they run; each takes the values of one or several before it. A
    slice, `frozen[:k]`, is a Frozen as well, which gives the value of its last block. One that starts with the first
    block has the same inputs, and so the same input shape, scale and shift; any other takes the one value that its
    blocks need from before it, and has none of these. ValueError where they need several.
    """

    def __init__(
        self,
        plan: Plan,
        form: str = "packed",
        input_shape: Optional[tuple[int, ...]] = None,
        prefix: Optional[str] = None,
    ):
        super().__init__(prefix=prefix)
        self.form, self._input_shape = form, input_shape
        self.input_scale = self.input_shift = None
        blocks = []
        with self.name_scope():
            for place, step in plan.places():
                blocks.append(block_of(step, f"{self.prefix}{place}_"))
                if step.row:
                    step.row.blocks.append(blocks[-1])
                for row in step.folded:
                    row.folded = step.name
        self._hold(blocks, plan)

    def __getstate__(self):
        return {**vars(self), "_unchecked": None}  # a symbol cannot be pickled

    def __setstate__(self, state):
        if state["form"] == "packed":  # a process that unpickles the net needs the operators
            library.load_operators()
        vars(self).update(state)

    def _hold(self, blocks, plan):
        """Take these blocks; of the plan only the connections are kept, not the steps, whose arrays they have."""
        super().add(*blocks)
        self._sources = [step.sources for step in plan.steps]
        self._outputs, self._format, self.rows = plan.outputs, plan.format, plan.rows
        self._unchecked = None

    def add(self, *blocks: mx.gluon.HybridBlock) -> None:
        """Append blocks. The first takes what the net gave so far, each other one what the one before it gives."""
        for block in blocks:
            super().add(block)
            self._sources.append(self._outputs)
            self._outputs, self._format = (len(self._sources),), 0
            self._unchecked = None

    def forward(self, x: Any) -> Any:
        """As Gluon has it. ValueError for an array without numbers, and for one of a shape for which an operator would
        reach past its buffers, see unchecked.py."""
        require_numbers(x)
        if isinstance(x, mx.nd.NDArray):
            self._unchecked = self._find_unchecked() if self._unchecked is None else self._unchecked
            if self._unchecked:
                self._unchecked.check_call(self, {"x": x})
        return super().forward(x)

    def _find_unchecked(self):
        """The operators to look at; False without any, or where a block that is no step may take arrays only."""
        found = [getattr(block, "_step", None) for block in self._children.values()]
        if not all(isinstance(step, Step) and not isinstance(step, steps.Kept) for step in found):
            return False
        if not any(isinstance(step, (steps.Held, steps.Flatten)) for step in found):
            return False
        with mx.name.NameManager():  # names go on as before
            outputs, _ = mx.gluon.block._flatten(self(as_in_gluon(mx.sym.var("x"))), "output")
        return Unchecked(mx.sym.Group(outputs))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        values = {0: x}
        last = {source: place for place, sources in enumerate(self._sources, 1) for source in sources}
        for place, (block, sources) in enumerate(zip(self._children.values(), self._sources), 1):
            values[place] = block(*(values[source] for source in sources))
            for source in set(sources):
                if last[source] == place and source not in self._outputs:
                    del values[source]
        outputs = [values[place] for place in self._outputs]
        return mx.gluon.block._regroup(outputs, self._format)

    def __getitem__(self, key):
        if not isinstance(key, slice):
            return super().__getitem__(key)
        places = list(range(len(self))[key])
        blocks = [super(Frozen, self).__getitem__(place) for place in places]
        part = type(self)(Plan(), self.form, prefix=self.prefix)
        part._hold(blocks, Plan([_Link(sources) for sources in self._links(places)], (len(blocks),)))
        start = bool(places) and places[0] == 0
        if start:
            part._input_shape, part.input_scale, part.input_shift = (
                self._input_shape,
                self.input_scale,
                self.input_shift,
            )
        mine = start  # a layer that left no block goes with the one before it
        for row in self.rows:
            kept = [block for block in row.blocks if block in blocks]
            mine = bool(kept) if row.blocks else mine
            if mine:
                part.rows.append(dataclasses.replace(row, blocks=kept))
        return part

    def _links(self, places):
        """The sources of the blocks of a slice, as places in it; place 0 is the one value that comes from outside."""
        if not places or self._is_chain():
            return [(place,) * len(self._sources[i]) for place, i in enumerate(places)]
        if [place - i for i, place in enumerate(places)] != [places[0]] * len(places):
            raise ValueError(f"a slice of a frozen net that is no chain must be of consecutive blocks, got {places}")
        now, outside = {place + 1: i for i, place in enumerate(places, 1)}, set()
        for place in places:
            outside.update(source for source in self._sources[place] if source not in now)
        if len(outside) > 1:
            raise ValueError(
                f"a slice takes one value, and blocks {places[0]} to {places[-1]} need {len(outside)} from before them"
            )
        return [tuple(now.get(source, 0) for source in self._sources[place]) for place in places]

    def _is_chain(self):
        return all(set(sources) == {place} for place, sources in enumerate(self._sources))

    @property
    def graph(self) -> Graph:
        """The net as a `gluon_bnn.graph.graph.Graph` for the runtime, in the packed form, with the parameters as they
        are now; NumPy arrays.

        A row of its input is flat, in Gluon's order, and so is that of its output; images have the channels innermost
        in between. Raises ValueError where the net has layers that the runtime does not know, layers that do not fit
        together, several outputs, or convolutions or pooling and no input shape.
        """
        found = [
            block.step if isinstance(block, (StepBlock, HeldBlock)) else steps.Kept(row=Row(block.name), block=block)
            for block in self._children.values()
        ]
        found = [dataclasses.replace(step, sources=sources) for step, sources in zip(found, self._sources)]
        plan = Plan(found, self._outputs)
        scale = None if self.input_scale is None else np.array(self.input_scale, np.float32).reshape(-1)
        return graph_of(plan, self._input_shape, scale, self.input_shift)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input that `freeze` was given, else (inputs of the first layer,); raises as `graph`."""
        return self._input_shape or self.graph.input_shape

    def cast(self, dtype: Any) -> None:
        """Refused for all but float32: the signs are exact there, and packed words are not numbers."""
        if np.dtype(dtype) != np.float32:
            raise ValueError(f"a frozen net computes in float32, got {dtype!r}")

    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """As Gluon's, which leaves parameters that have values alone; ValueError for force_reinit, which would draw
        others."""
        if force_reinit:
            raise ValueError(
                "a frozen net has the values of the net that it was made from: train and freeze that one, or give this "
                "one others with load_parameters; got force_reinit=True"
            )
        super().initialize(mx.init.Uniform() if init is None else init, ctx, verbose)

    def summary(self, *inputs: mx.nd.NDArray) -> None:
        """Print what became of each layer, and its bytes before and after; with inputs Gluon's summary.

        `gluon_bnn.summary` is another table: what each layer holds and multiplies.
        """
        if inputs:
            super().summary(*inputs)
            return
        cells: list[tuple[str, ...]] = [("layer", "became", "bytes before", "bytes after")]
        cells += [(r.layer, r.form, f"{r.before:,}", f"{r.after:,}") for r in self.rows]
        total = [f"{sum(sizes):,}" for sizes in zip(*((r.before, r.after) for r in self.rows))] or ["0", "0"]
        cells.append(("total", "", *total))
        print(_table.text(cells, right=(2, 3)))


@dataclasses.dataclass
class _Link:
    """Stands for a step in a Plan of which only the connections are used."""

    sources: tuple
