"""`loss.SquaredHingeLoss`: what `check` compares it with."""

import numpy as np

from .._compat import mx
from ..loss import SquaredHingeLoss
from ..reference import dense
from .measure import Rows, awkward, backward, in_mode, units


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for the loss, per row of outputs."""
    yield (_errors(dtype, mode, generator, directory), dict(operator="SquaredHingeLoss", gradient="-", scale="-"))


def _errors(dtype, mode, generator, directory):
    x = awkward(generator, (5, 7), dtype)
    labels = generator.integers(0, 7, 5)
    d = generator.standard_normal(5).astype(dtype)
    array, targets = mx.nd.array(x, dtype=dtype), mx.nd.array(labels, dtype=dtype)
    run = in_mode(SquaredHingeLoss(), [array, targets], mode, directory)
    (y,) = backward(lambda outputs: run(outputs, targets), [array], [mx.nd.array(d, dtype=dtype)])
    wide, margins = x.astype(np.float64), 1 + np.abs(x)
    # The reference is the mean over rows: taken of one row at a time, it is the loss of that row.
    each = [(wide[i : i + 1], labels[i : i + 1]) for i in range(5)]
    expected = np.array([dense.squared_hinge(*row) for row in each])
    gradient = d[:, None] * np.concatenate([dense.squared_hinge_backward(*row) for row in each])
    return (
        units(y.asnumpy(), expected, (margins**2).mean(1), dtype),
        units(array.grad.asnumpy(), gradient, np.abs(d)[:, None] * 2 * margins / 7, dtype),
    )
