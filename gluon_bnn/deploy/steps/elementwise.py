"""Signs, functions of each element, and arithmetic."""

from typing import Any, Optional

import numpy as np

from ...graph.graph import Node
from ..plan import Step, Width, step


@step
class FloatSign(Step):
    """-1 where x < 0, else 1; with form="bits01" 0 where x < 0, else 1."""

    form: str = "bits"

    keeps = True

    def forward(self, F: Any, x: Any) -> Any:
        return 1 - 2 * (x < 0) if self.form == "bits" else 1 - (x < 0)

    def node(self, x: Width) -> Node:
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

    def in_runtime(self, flat: Optional[bool]) -> bool:
        return self.function != "prelu" or self.arrays["slope"].size == 1 or bool(flat)  # it is over axis 1

    def node(self, x: Width) -> Node:
        arrays = {} if self.slope is None else {"slope": np.array([self.slope], np.float32)}
        if self.function == "prelu":
            slope = self.arrays["slope"]
            if slope.size not in (1, x.channels):
                raise ValueError(
                    f"{self.name} has {slope.size} slopes, but {x.layer} before it has {x.channels} outputs"
                )
            arrays = {"slope": np.broadcast_to(slope, (x.channels or slope.size,)).copy()}
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

    def after(self, x: Width, y: Optional[Width] = None) -> Width:
        size = y.channels if y else self.arrays["operand"].size
        if y is None and size == 1 or size == x.channels:
            return x
        return Width(None, x.flat and (y is None or y.flat), self.name)  # one of them may be spread over the other

    def forward(self, F: Any, x: Any, y: Any = None, operand: Any = None) -> Any:
        return getattr(F, self.OPERATORS[self.function])(x, operand if y is None else y)

    def node(self, x: Width, y: Optional[Width] = None) -> Node:
        given: object
        if y is None:
            operand = self.arrays["operand"]
            along = operand.shape[0] == 1 or operand.ndim == 1  # one row, which is the same for all rows
            fits, given = operand.size == 1 or operand.size == x.channels and along, operand.shape
            arrays = {"operand": operand.reshape(-1)}
        else:
            fits, given, arrays = y.channels == x.channels, y.channels, {}
        if not fits:
            raise ValueError(f"the runtime takes values of one size in {self.name}, got {x.channels} and {given}")
        return Node("arithmetic", (), {"function": self.function}, arrays)

    def __repr__(self):
        operand = self.arrays.get("operand")
        if operand is None:
            return f"Arithmetic({self.function})"
        return f"Arithmetic({self.function} {operand.flat[0] if operand.size == 1 else operand.shape})"
