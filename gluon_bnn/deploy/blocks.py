"""What a frozen net is made of in Gluon: a block for each step of its plan."""

import dataclasses
import functools
import json
import math
import warnings
from typing import Any

import numpy as np

from .._arrays import gluon_array, on_nd, takes_np
from .._compat import mx
from ..nn.deployed import Deployed, Held
from ..nn.rows import TakesRows
from . import steps
from .plan import Step
from .trace import bytes_of


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
