"""Batches of arrays in memory, for `train.fit`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._arrays import as_in_gluon, gluon_array
from .._compat import mx
from ..nn.arguments import whole


class Batches:
    """What `batches` returns: a function of a NumPy generator to the batches of one epoch; len() is their number."""

    def __init__(self, x: mx.nd.NDArray, labels: mx.nd.NDArray, batch_size: int) -> None:
        self._x, self._labels, self._size = x, labels, batch_size

    def __len__(self) -> int:
        return len(self._x) // self._size

    def __call__(self, generator: np.random.Generator) -> Iterator[tuple[mx.nd.NDArray, mx.nd.NDArray]]:
        order = generator.permutation(len(self._x))[: len(self) * self._size]
        # Shuffled once an epoch: a batch is then a view of consecutive rows, at no cost.
        index = mx.nd.array(order, dtype=np.int32)
        x, labels = mx.nd.take(self._x, index), mx.nd.take(self._labels, index)
        for i in range(0, len(order), self._size):
            yield as_in_gluon((x[i : i + self._size], labels[i : i + self._size]))


def batches(x: Any, labels: Any, batch_size: int) -> Batches:
    """The rows of two arrays in batches for `fit`, in another random order in every epoch.

    x : array (rows, ...), labels : array (rows, ...); NumPy arrays or what NumPy makes one of. They are copied as
        float32 to MXNet's current device.
    batch_size : rows in a batch, at most all of them

    The rows that are left over, fewer than a batch, are not used in that epoch: batch norm needs batches of one size.

    Raises ValueError where there are no rows or not one label for each, for numbers that are not finite, and for
    another batch size. (The sign of NaN is +1: a binary layer would train on it, and no loss would show it.)

    >>> of_ten = batches(np.arange(10), np.arange(10), 4)
    >>> [labels.asnumpy().tolist() for x, labels in of_ten(np.random.default_rng(0))], len(of_ten)
    ([[4.0, 6.0, 2.0, 7.0], [3.0, 5.0, 9.0, 0.0]], 2)
    """
    arrays = [numbers(x), numbers(labels)]
    rows = len(arrays[0])
    if len(arrays[1]) != rows:
        raise ValueError(f"batches needs one label for each of the {rows} rows, got {len(arrays[1])}")
    size = whole("batch_size", batch_size, 1, rows)
    for name, array in zip(("x", "labels"), arrays):
        wrong = np.flatnonzero(~np.isfinite(array))
        if wrong.size:
            raise ValueError(
                f"{name} must be finite, got {array.flat[wrong[0]]} in row {wrong[0] // (array.size // rows)}, "
                f"{wrong.size} numbers in all that are not"
            )
    return Batches(mx.nd.array(arrays[0]), mx.nd.array(arrays[1]), size)


def in_batches(net: mx.gluon.Block, x: Any, batch_size: int) -> Iterator[mx.nd.NDArray]:
    """The rows of x in their order, on the net's device; float64, NumPy's default, is cast to the type of the net's
    parameters. Raises ValueError for an x without rows or without numbers, and for a batch size that is no whole number
    above 0."""
    x, batch_size = numbers(x), whole("batch_size", batch_size, 1)
    first = next(iter(net.collect_params().values()), None) if isinstance(net, mx.gluon.Block) else None
    device = first.list_ctx()[0] if first is not None else mx.current_context()
    dtype = first.dtype if first is not None and x.dtype == np.float64 else x.dtype
    for i in range(0, len(x), batch_size):
        yield gluon_array(x[i : i + batch_size], device, dtype)


def numbers(value: Any) -> np.ndarray:
    """A NumPy array of `value`, with at least one row; ValueError where that has none, or no numbers."""
    array = value.asnumpy() if isinstance(value, mx.nd.NDArray) else np.asarray(value)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ValueError(f"an array of numbers is needed, its rows first; got {array.dtype} {array.shape}")
    if len(array) == 0:
        raise ValueError(f"at least one row is needed, got {array.shape}")
    return array
