"""Cross-checks against the NumPy reference: of every operator and layer, and of a user's own net.

An error is counted in units of eps * S, where eps is that of the dtype and S the sum of the
magnitudes of the terms that were added up for that number: rounding alone does a small multiple.

`measure` counts and collects errors. Each file above it is one subject, whose `rows` yields ((forward, backward), row):
the errors, and what of the subject they belong to.
"""

import contextlib
import tempfile

import numpy as np

from .. import _interrupt, ops
from .._compat import mx
from ..native import library
from . import activations, batch_norm, conv, dense, frozen, loss, optimizer, pooling, sign_scale
from .measure import BOUND, MODES, Table
from .net import check_net

__all__ = ["BOUND", "MODES", "Table", "check", "check_net"]


def __dir__():
    return __all__


SUBJECTS = sign_scale, dense, conv, pooling, activations, batch_norm, loss, optimizer


def check(seed: int = 0) -> Table:
    """Check every operator, layer and frozen form, the loss and the optimiser; returns a `Table`.

    seed : of the random arrays. Raises OSError where no temporary directory can be made, for exported nets.
    """
    table = Table()
    generator = np.random.default_rng(seed)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mx.util.np_array(False))  # the checks make arrays of mx.nd, whatever the caller uses
        stack.enter_context(mx.util.np_shape(False))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        interruption_point = stack.enter_context(_interrupt.deferred())
        for choice in ("native", "composed") if library.available() else ("composed",):
            with ops.use(choice):
                for errors, row in _rows(choice, generator, directory):
                    table.add(errors, **row)
                    interruption_point()
    return table


def _rows(choice, generator, directory):
    for dtype in ("float32", "float64"):
        for mode in MODES:
            for subject in SUBJECTS:
                for errors, row in subject.rows(dtype, mode, generator, directory):
                    yield errors, dict(row, dtype=dtype, mode=mode, ops=choice)
    yield from frozen.rows(choice, generator, directory)
