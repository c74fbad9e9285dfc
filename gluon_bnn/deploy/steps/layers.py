"""Dense layers with 1-bit weights and with floats, and batch norm."""

import dataclasses
from typing import Any

import numpy as np

from ...graph import bits
from ...graph.graph import Node
from ...graph.kinds.batch_norm import NORM
from .. import fold
from ..plan import Row, Shape, Step, step


@step
class _Product(Step):
    """What steps with a matrix have in common: `inputs`, `units` and `flatten`, as in Gluon's Dense."""

    flatten: bool = True

    @property
    def units(self) -> int:
        """The number of outputs."""
        raise NotImplementedError

    @property
    def inputs(self) -> int:
        raise NotImplementedError

    @property
    def products(self) -> int:
        return self.inputs

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.units)

    @property
    def flattens(self) -> bool:
        return self.flatten

    def after(self, x: Shape) -> Shape:
        found = x.size if self.flatten and not x.open else x.last
        if found is not None and (self.inputs % found if self.flatten and x.open else self.inputs != found):
            raise ValueError(f"{self.name} has {self.inputs} inputs, but {x.layer} before it has {found} outputs")
        if self.flatten:
            return Shape((self.units,), False, self.name)
        return x.with_size(-1, self.units, self.name)

    def in_runtime(self, x: Shape) -> bool:
        return self.flatten or not x.image


@step
class FloatDense(_Product):
    """A dense layer with its signs baked in: y = alpha * FullyConnected(x, signs) + bias.

    arrays: signs, +-1, (units, inputs), alpha and bias (units,), float32; flatten as in Dense. A bias of -0.0 changes
    nothing, so a layer without one needs no other code.
    """

    binary = "signs"

    @property
    def unit_axes(self) -> tuple[int, ...]:
        """The axes that are certainly that of its units; flattened, that is axis 1 of 2."""
        return (1, -1) if self.flatten else (-1,)

    def signs(self) -> np.ndarray:
        return self.arrays["signs"]

    def packed(
        self, sources: tuple[int, ...], arrays: dict[str, np.ndarray], folded: tuple[Row, ...], source: str, to: str
    ) -> Step:
        """The same layer on bits."""
        return PackedDense(sources, arrays, self.row, folded, self.flatten, self.units, self.inputs, source, to)

    @property
    def units(self) -> int:
        return self.arrays["signs"].shape[0]

    @property
    def inputs(self) -> int:
        return self.arrays["signs"].shape[1]

    def reordered(self, order: np.ndarray) -> Step:
        return dataclasses.replace(self, arrays={**self.arrays, "signs": self.arrays["signs"][:, order]})

    def forward(self, F: Any, x: Any, signs: Any, alpha: Any, bias: Any) -> Any:
        dot = F.FullyConnected(x, signs, no_bias=True, num_hidden=self.units, flatten=self.flatten)
        return F.broadcast_add(F.broadcast_mul(dot, alpha), bias)

    def __repr__(self):
        return f"FloatDense({self.inputs} -> {self.units})"


@step
class PackedDense(_Product):
    """A dense layer on our library's operator, from `source` to `to`, each float, bits or bits01; arrays as those of
    the runtime's binary_dense."""

    units: int = 0
    in_units: int = 0
    source: str = "float"
    to: str = "float"

    binary, is_packed = "weight_bits", True
    ORDER = ("weight_bits", "alpha", "bias", *NORM, "threshold", "sums")  # the operator's

    @property
    def takes_bits(self) -> bool:
        return self.source != "float"

    def signs(self) -> np.ndarray:
        return bits.unpack_weights(self.arrays["weight_bits"], self.units, self.in_units)

    @property
    def inputs(self) -> int:
        return self.in_units

    def reordered(self, order: np.ndarray) -> Step:
        weight_bits = bits.pack_weights(self.signs()[:, order])
        return dataclasses.replace(self, arrays={**self.arrays, "weight_bits": weight_bits})

    def forward(self, F: Any, x: Any, **arrays: Any) -> Any:
        return F.gluon_bnn_packed_dense(
            x,
            *(arrays[name] for name in self.ORDER if name in arrays),
            units=str(self.units),
            in_units=str(self.in_units),
            source=self.source,
            target="float" if self.to == "float" else "bits",
            norm=str("mean" in arrays),
            flatten=str(self.flatten),
        )

    def node(self, x: Shape) -> Node:
        return Node("binary_dense", (), {"units": self.units, "to": self.to}, self.arrays)

    def __repr__(self):
        folded = ", batch norm" if "mean" in self.arrays else ""
        return f"PackedDense({self.in_units} -> {self.units}, {self.source} to {self.to}{folded})"


@step
class Pack(Step):
    """The signs of x as int32 words, bit = 1 where x < 0, for a PackedDense from bits or bits01."""

    in_units: int = 0
    to: str = "bits"
    flatten: bool = True

    is_packed = True

    @property
    def flattens(self) -> bool:
        return self.flatten

    @property
    def inputs(self) -> int:
        return self.in_units

    def outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.in_units)

    def after(self, x: Shape) -> Shape:
        found = x.size if self.flatten else x.last
        if not (self.flatten and x.open) and found not in (None, self.in_units):
            raise ValueError(f"{self.name} takes {self.in_units} inputs, but {x.layer} before it has {found}")
        return Shape((self.in_units,), not self.flatten and x.open, x.layer)

    def in_runtime(self, x: Shape) -> bool:
        return self.flatten or not x.image

    def forward(self, F: Any, x: Any) -> Any:
        return F.gluon_bnn_pack(x, in_units=str(self.in_units), flatten=str(self.flatten))

    def node(self, x: Shape) -> Node:
        return Node("pack", (), {"to": self.to})

    def __repr__(self):
        return f"Pack({self.in_units})"


@step
class Dense(_Product):
    """Gluon's Dense: arrays weight (units, inputs), and bias (units,) or none."""

    @property
    def units(self) -> int:
        return self.arrays["weight"].shape[0]

    @property
    def inputs(self) -> int:
        return self.arrays["weight"].shape[1]

    def forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        given = () if bias is None else (bias,)
        return F.FullyConnected(
            x, weight, *given, no_bias=bias is None, num_hidden=self.units, flatten=self.flatten, name="fwd"
        )

    def reordered(self, order: np.ndarray) -> Step:
        return dataclasses.replace(self, arrays={**self.arrays, "weight": self.arrays["weight"][:, order]})

    def node(self, x: Shape) -> Node:
        arrays = {**self.arrays, "weight": np.ascontiguousarray(self.arrays["weight"].T)}
        return Node("dense", (), {"units": self.units}, arrays)

    text = "Dense"

    def __repr__(self):
        return f"Dense({self.inputs} -> {self.units})"


@step
class BatchNorm(Step):
    """Gluon's BatchNorm with its running averages: arrays gamma, beta, running_mean, running_var (channels,)."""

    axis: int = 1
    eps: float = 1e-5

    keeps = True

    @property
    def inputs(self) -> int:
        return self.arrays["gamma"].size

    def after(self, x: Shape) -> Shape:
        if x.along(self.axis) not in (None, self.inputs):
            found = x.along(self.axis)
            raise ValueError(f"{self.name} has {self.inputs} inputs, but {x.layer} before it has {found} outputs")
        return x

    def forward(self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any) -> Any:
        options = {"eps": self.eps, "axis": self.axis, "fix_gamma": False, "use_global_stats": True}
        return F.BatchNorm(x, gamma, beta, running_mean, running_var, name="fwd", **options)

    def in_runtime(self, x: Shape) -> bool:
        return x.over_units(self.axis)

    def layout(self, x: Shape) -> str:
        return "image"

    def norm(self) -> dict[str, np.ndarray]:
        """{"mean", "factor", "beta"} of (x - mean) * factor + beta."""
        gamma, beta, mean, var = (self.arrays[name] for name in ("gamma", "beta", "running_mean", "running_var"))
        try:
            return fold.norm(gamma, beta, mean, var, self.eps)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def node(self, x: Shape) -> Node:
        return Node("batch_norm", (), {}, self.norm())

    text = "BatchNorm"

    def __repr__(self):
        return f"BatchNorm(axis={self.axis}, in_channels={self.inputs})"
