"""How errors are measured and collected: what every subject of `gluon_bnn.check` is made of."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable

import numpy as np

from .. import _table
from .._compat import mx

# Largest error that counts as rounding: about four times the 4.6 seen over all rows, by check(seed) for 20 seeds;
# on layers of up to 784 x 2048 it was 3.5, in the rows of scale_bias, the loss and BinaryAdam at most 2.2. An error in
# a formula is of the order of 1 / eps.
BOUND = 18.0

Errors = tuple[float, float]  # of outputs, and of gradients
Rows = Iterator[tuple[Errors, dict[str, Any]]]  # what the `rows` of a subject yield

MODES = ("imperative", "hybridized", "exported")


class Table(list):
    """Rows of checks: dicts that end in "forward", "backward", "bound" and "ok"; prints as a table.

    forward and backward are the largest errors of outputs and gradients; infinite where something
    that must be exact is not, a shape is wrong, or a number is not finite.
    """

    @property
    def ok(self) -> bool:
        """True where every row is within its bound."""
        return all(row["ok"] for row in self)

    def add(self, errors: Iterable[float], **row: Any) -> None:
        """Append a row with the errors (forward, backward)."""
        forward, backward = map(float, errors)
        self.append(
            {
                **row,
                "forward": forward,
                "backward": backward,
                "bound": BOUND,
                "ok": forward <= BOUND and backward <= BOUND,
            }
        )

    def __str__(self) -> str:
        return _table.text(self._cells()) if self else ""

    def _repr_html_(self) -> str:
        return _table.to_html(self._cells()) if self else ""

    def _cells(self):
        heads = list(self[0])
        return [heads, *([self._cell(row[head]) for head in heads] for row in self)]

    @staticmethod
    def _cell(value):
        if isinstance(value, bool):
            return "ok" if value else "FAILED"
        return f"{value:.2f}" if isinstance(value, float) else str(value)


def units(found: Any, expected: Any, magnitude: Any, dtype: Any) -> float:
    """Largest |found - expected| in units of eps * magnitude; infinite for another shape, and for NaN or infinity."""
    found = np.asarray(found, np.float64)
    if found.shape != np.shape(expected) or not np.isfinite(found).all():
        return np.inf
    error = np.abs(found - expected)
    unit = np.finfo(dtype).eps * np.broadcast_to(magnitude, error.shape)
    return float(np.max(np.where(error == 0, 0, error / np.maximum(unit, np.finfo(dtype).tiny)), initial=0))


def exact(found: Any, expected: Any) -> float:
    """0 where the arrays are equal, in shape too, else infinity."""
    return 0.0 if np.array_equal(found, expected) else np.inf


def awkward(generator: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Random numbers of both signs, with 0.0, -0.0, |w| = 1 = clip, and the last of three or more rows all zero."""
    values = generator.standard_normal(shape)
    values.flat[:4] = 0.0, -0.0, 1.0, -1.0
    if len(values) > 2:
        values[-1] = 0
    return values.astype(dtype)


def backward(run: Callable, inputs: list[mx.nd.NDArray], upstream: list[mx.nd.NDArray]) -> list[mx.nd.NDArray]:
    """Outputs of run(*inputs) as a list, after backward from the upstream gradients.

    As in inference: the signs that a stochastic layer draws while training have no reference.
    """
    for array in inputs:
        array.attach_grad()
    with mx.autograd.record(train_mode=False):
        outputs = run(*inputs)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    mx.autograd.backward(outputs, upstream)
    return outputs


def in_mode(
    block: mx.gluon.HybridBlock, inputs: list[mx.nd.NDArray], mode: str, directory: str
) -> mx.gluon.HybridBlock:
    """The block to run in one of MODES: itself, itself hybridized, or its export loaded back."""
    if mode == "imperative":
        return block
    block.hybridize(static_alloc=True, static_shape=True)
    block(*inputs)
    if mode == "hybridized":
        return block
    prefix = os.path.join(directory, "net")
    block.export(prefix)
    saved = prefix + "-0000.params"
    names = ["data"] if len(inputs) == 1 else [f"data{i}" for i in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the type of the input is open, as it should be
        return mx.gluon.SymbolBlock.imports(
            prefix + "-symbol.json", names, saved if block.collect_params() else None, ctx=mx.cpu()
        )
