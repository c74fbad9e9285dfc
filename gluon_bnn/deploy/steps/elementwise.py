"""Signs, functions of each element, and arithmetic."""

from typing import Any, Optional

import numpy as np

from ...graph.graph import Node
from ..plan import Shape, Step, step


@step
class FloatSign(Step):
    """-1 where x < 0, else 1; with form="bits01" 0 where x < 0, else 1."""

    form: str = "bits"

    keeps = True

    def forward(self, F: Any, x: Any) -> Any:
        return 1 - 2 * (x < 0) if self.form == "bits" else 1 - (x < 0)

    def node(self, x: Shape) -> Node:
        return Node("activation", (), {"function": "sign" if self.form == "bits" else "binary_sigmoid"})

    def __repr__(self):
        return f"FloatSign({'-1' if self.form == 'bits' else '0'}, 1)"


@step
class Activation(Step):
    """A function of each element. `slope` is that of leaky and elu and swish's beta; prelu has an array `slope`.

    operator : the operator that it is in MXNet, whose last bits may differ from those of another one
    ReLU keeps NaN, of which Gluon's own Activation("relu") makes 0.
    """

    function: str = "relu"
    operator: str = "Activation"
    slope: Optional[float] = None

    keeps = True

    def forward(self, F: Any, x: Any, slope: Any = None) -> Any:
        if self.function == "relu":
            return F.relu(x)
        if self.function in ("leaky", "elu"):
            return F.LeakyReLU(x, act_type=self.function, slope=self.slope)
        if self.function == "gelu":
            return F.LeakyReLU(x, act_type="gelu")
        if self.function == "prelu":
            return F.LeakyReLU(x, slope, act_type="prelu")
        if self.function == "swish":
            return x * F.sigmoid(x if self.slope == 1 else self.slope * x)
        if self.operator == "Activation":
            return F.Activation(x, act_type=self.function)
        return getattr(F, self.operator)(x)

    def in_runtime(self, x: Shape) -> bool:
        return self.function != "prelu" or self.arrays["slope"].size == 1 or x.over_units(1)

    def layout(self, x: Shape) -> str:
        return "image" if self.function == "prelu" else "any"

    def node(self, x: Shape) -> Node:
        arrays = {} if self.slope is None else {"slope": np.array([self.slope], np.float32)}
        if self.function == "prelu":
            slope = self.arrays["slope"]
            if slope.size not in (1, x.units):
                raise ValueError(f"{self.name} has {slope.size} slopes, but {x.layer} before it has {x.units} outputs")
            arrays = {"slope": np.broadcast_to(slope, (x.units or slope.size,)).copy()}
        return Node("activation", (), {"function": self.function}, arrays)

    @property
    def text(self) -> str:
        return self.function

    def __repr__(self):
        return f"Activation({self.function})"


@step
class Arithmetic(Step):
    """An operation of two values, or of a value and the array `operand`, which broadcasts to it."""

    function: str = "add"

    OPERATORS = {
        "add": "broadcast_add",
        "subtract": "broadcast_sub",
        "multiply": "broadcast_mul",
        "divide": "broadcast_div",
        "maximum": "broadcast_maximum",
        "minimum": "broadcast_minimum",
    }

    @property
    def keeps(self) -> bool:
        return len(self.sources) == 1

    def after(self, x: Shape, y: Optional[Shape] = None) -> Shape:
        if y is None:
            return x if self._operand(x) else Shape(layer=self.name)  # x may be spread over the operand
        if x.open or y.open or len(x.sizes) != len(y.sizes):
            return x if x.last == y.last else Shape(layer=self.name)
        sizes = tuple(None if a is None or b is None else max(a, b) for a, b in zip(x.sizes, y.sizes))
        return x if sizes == x.sizes else Shape(sizes, False, self.name)

    def _operand(self, x: Shape) -> Optional[str]:
        """The layout of x to which `operand` is added in the runtime: None where it does not fit there."""
        operand = self.arrays["operand"]
        one_row = operand.shape[1:] if operand.shape[0] == 1 and operand.ndim > 1 else operand.shape
        if operand.size == 1 and (x.open or operand.ndim <= 1 + len(x.sizes)):
            return "any"
        if x.image and len(one_row) == len(x.sizes) and operand.size == one_row[0] == x.units:
            return "image"
        if x.image:
            return "row" if one_row == x.sizes else None
        return "any" if operand.size == x.units and len(one_row) == 1 else None

    def layout(self, x: Shape, y: Optional[Shape] = None) -> str:
        return "any" if y else self._operand(x) or "any"

    def forward(self, F: Any, x: Any, y: Any = None, operand: Any = None) -> Any:
        return getattr(F, self.OPERATORS[self.function])(x, operand if y is None else y)

    def node(self, x: Shape, y: Optional[Shape] = None) -> Node:
        if y is None:
            operand = self.arrays["operand"]
            fits, given, arrays = self._operand(x) is not None, str(operand.shape), {"operand": operand.reshape(-1)}
        else:
            fits, given, arrays = x.sizes == y.sizes, str(y), {}
        if not fits:
            raise ValueError(f"the runtime takes values of one size in {self.name}, got {x} and {given}")
        return Node("arithmetic", (), {"function": self.function}, arrays)

    def __repr__(self):
        operand = self.arrays.get("operand")
        if operand is None:
            return f"Arithmetic({self.function})"
        return f"Arithmetic({self.function} {operand.flat[0] if operand.size == 1 else operand.shape})"
