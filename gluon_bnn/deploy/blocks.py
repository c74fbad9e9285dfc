"""What a frozen net is made of in Gluon: a block for each step of its plan, and the net itself, `Frozen`."""

import dataclasses
import functools
import json
import math
import warnings
from typing import Any, Optional

import numpy as np

from .. import _table
from .._arrays import as_in_gluon, gluon_array, on_nd, require_numbers, takes_np
from .._compat import mx
from ..graph.graph import Graph
from ..native import library
from ..nn.deployed import Deployed, Held
from ..nn.rows import TakesRows
from . import steps
from .lower import graph_of
from .plan import Plan, Row, Step
from .trace import bytes_of
from .unchecked import Unchecked


def set_parameter(parameter: mx.gluon.Parameter, array: np.ndarray) -> None:
    """Initialise a parameter with a value, no gradient, and without a draw from MXNet's generator."""
    parameter.shape = array.shape
    parameter.grad_req = "null"
    parameter._load_init(gluon_array(array, dtype=array.dtype), mx.cpu())  # initializers fill no array of shape ()


def value(parameter: mx.gluon.Parameter) -> np.ndarray:
    """A parameter's value as a NumPy array, from the first device that has it."""
    return parameter.list_data()[0].asnumpy()


class StepBlock(TakesRows):
    """The block of a step; its arrays are parameters of the same names."""

    def __init__(self, step):
        super().__init__()
        self._step = _shapes_only(step)
        if isinstance(step, steps.Kept):
            self.kept = step.block
        for name, array in step.arrays.items():
            parameter = self.params.get(
                name, shape=array.shape, dtype=array.dtype, grad_req="null", differentiable=False
            )
            set_parameter(parameter, array)
            if hasattr(type(self), name):  # the name of a method, as `signs`
                self._reg_params[name] = parameter
            else:
                setattr(self, name, parameter)

    @property
    def step(self) -> Step:
        """The step with the parameters as they are now."""
        arrays = {name: value(self._reg_params[name]) for name in self._step.arrays}
        return dataclasses.replace(self._step, arrays=arrays)

    @property
    def text(self) -> str:
        """What a summary shows."""
        return self._step.text

    @property
    def nbytes(self) -> int:
        """The bytes of all parameters."""
        return sum(map(bytes_of, self.collect_params().values()))

    def deployed(self, x: Any, y: Any) -> Deployed:
        """What it holds and multiplies; x are the arrays that it takes, y is what it gives."""
        step, shape = self._step, self._step.outputs(y.shape)
        weights = {p: Held(0, math.prod(p.shape), bytes_of(p)) for p in self._reg_params.values()}
        if step.binary:
            parameter = self._reg_params[step.binary]
            weights[parameter] = Held(step.units * step.products, 0, bytes_of(parameter))
        if step.products is None:
            return Deployed(weights, output_shape=shape)
        bits = 1 if step.takes_bits else None
        return Deployed(weights, math.prod(shape) * step.products, 1 if step.binary else 32, bits, shape)

    def hybrid_forward(self, F: Any, x: Any, *xs: Any, **arrays: Any) -> Any:
        if isinstance(self._step, steps.Kept):  # its block takes what the net takes
            return self._step.forward(F, x)
        return on_nd(self._step.forward, F, x, *xs, **arrays)

    def __repr__(self):
        return repr(self._step)


class BinaryBlock(StepBlock):
    """The block of a step with 1-bit weights: with `signs`, `alpha` and `binary_weight`, as a layer that trains."""

    def signs(self) -> mx.nd.NDArray:
        """The +-1 that the layer multiplies by, float32 (units, inputs), of a convolution (units, channels / groups,
        *kernel).

        In the packed form a layer from bits to bits has thresholds instead of a scale, and a batch norm whose factor
        is below 0 has inverted the signs of its unit.
        """
        return gluon_array(self.step.signs())

    def alpha(self) -> mx.nd.NDArray:
        """The scale of each unit, float32 (units,). Raises ValueError where thresholds have taken its place."""
        alpha = self.step.arrays.get("alpha")
        if alpha is None:
            raise ValueError(
                f"{self.name} has no scale: it gives bits, and scale, bias and batch norm became thresholds; the net "
                "that it was frozen from has them, and so has form='float'"
            )
        return gluon_array(alpha)

    def binary_weight(self) -> mx.nd.NDArray:
        """alpha * signs, float32 in the shape of the signs: y = x @ binary_weight().T + bias for a dense layer, but for
        rounding. A batch norm that the layer has taken in comes after that. Raises as `alpha`."""
        signs = self.signs()
        return self.alpha().reshape((-1,) + (1,) * (signs.ndim - 1)) * signs


class HeldBlock(TakesRows, mx.gluon.SymbolBlock):
    """The block of a Held step: MXNet's operator, with the arrays that it takes as parameters."""

    def __init__(self, step, prefix):
        sources = len(step.sources)
        names = [f"x{place}" for place in range(sources)] + [f"{prefix}held{name}" for name in step.arrays]
        nodes = [dict(node) for node in step.graph["nodes"]]
        for node, name in zip(nodes, names):
            node["name"] = name
        inputs = [mx.sym.var(name, dtype="float32") for name in names[:sources]]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Cannot decide type")  # they are those of the arrays, below
            super().__init__(mx.sym.load_json(json.dumps({**step.graph, "nodes": nodes})), inputs)
        self._step = _shapes_only(step)
        self._reg_params = {}
        for name, parameter in zip(step.arrays, names[sources:]):
            array, parameter = step.arrays[name], self.params[parameter]
            parameter._dtype = array.dtype
            set_parameter(parameter, array)
            self._reg_params[name] = parameter

    def deployed(self, x: Any, y: Any) -> Deployed:
        """As that of a StepBlock. Multiply-accumulates are known for operators without matrices."""
        weights = {p: Held(0, math.prod(p.shape), bytes_of(p)) for p in self._reg_params.values()}
        matrices = any(len(p.shape) > 1 for p in weights)
        return Deployed(weights, None if matrices else 0, type=self._step.operator)

    @takes_np
    def forward(self, x: Any, *xs: Any) -> Any:
        y = super().forward(x, *xs)
        return y[0] if isinstance(y, (list, tuple)) else y

    step, text, nbytes, __repr__ = StepBlock.step, StepBlock.text, StepBlock.nbytes, StepBlock.__repr__


def _shapes_only(step):
    """The step with arrays that take no memory."""
    arrays = {name: np.broadcast_to(array.dtype.type(0), array.shape) for name, array in step.arrays.items()}
    return dataclasses.replace(step, arrays=arrays)


@functools.cache
def _class(kind):
    """The class of the blocks of a kind of step: a StepBlock of its name, which Gluon shows and names blocks by."""
    base = BinaryBlock if kind.binary else StepBlock
    return type(kind.__name__, (base,), {"__doc__": kind.__doc__})


def __getattr__(name: str) -> type:
    """The class of the blocks of a kind of step by its name, as pickle looks for it."""
    kind: Any = getattr(steps, name, None)
    if name in steps.__all__ and isinstance(kind, type):
        return _class(kind)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def block_of(step: Step, prefix: str) -> mx.gluon.HybridBlock:
    """The block of a step; `prefix` is for names of parameters where Gluon gives none."""
    kind: type = type(step)
    block = HeldBlock(step, prefix) if isinstance(step, steps.Held) else _class(kind)(step)
    block._name = step.name  # errors name the layer that it stands for
    return block


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
