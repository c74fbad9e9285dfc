"""What `train.evaluate` and `train.fit` measure: the error rate of a classifier, or a metric of the caller's own.

Both kinds have the same methods: `value` for all rows at once, or `reset`, then `check` and `update` for one batch
after another, and `total`. A metric of the caller's own may wait for MXNet's engine in `update`; ErrorRate waits in
`total`.
"""

from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import numpy as np

from ._arrays import classic
from ._compat import mx

__all__ = ["ErrorRate", "Metric", "create", "number"]


def __dir__():
    return __all__


# What `create` takes.
AnyMetric = Union[str, mx.metric.EvalMetric, Callable[[np.ndarray, np.ndarray], Any]]

_ADVICE = "for other labels or outputs give metric=, an mx.metric.EvalMetric or a function of (labels, outputs)"


def create(metric: Optional[AnyMetric] = None) -> "Union[ErrorRate, Metric]":
    """An ErrorRate for None, a Metric for whatever else `train.evaluate` takes; ValueError for other things."""
    return ErrorRate() if metric is None else Metric(metric)


class ErrorRate:
    """The share of rows whose largest output is not their label.

    Labels are (rows,) or (rows, 1), whole numbers of any dtype from 0 to classes - 1; outputs are (rows, classes) with
    at least 2 classes. Everything else is a ValueError, for shapes in `check`, for values in `total`.
    """

    name = "error"

    def __init__(self) -> None:
        self._unread: list[tuple[Any, Any]] = []
        self.reset()

    def value(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The error rate of NumPy arrays."""
        self.check(labels.shape, outputs.shape)
        return _count_wrong(labels, outputs.argmax(axis=1), outputs.shape[1]) / len(outputs)

    def check_all(self, labels: np.ndarray, outputs: Sequence[int]) -> None:
        """What `value` raises for these labels and outputs of this shape, before there are any."""
        self.check(labels.shape, outputs)
        _check_classes(labels, outputs[1])

    def reset(self) -> None:
        """Count from the beginning again."""
        self._wrong = 0
        self._unread.clear()

    def check(self, labels: Sequence[int], outputs: Sequence[int]) -> None:
        """ValueError unless these shapes of a batch can be measured."""
        if len(outputs) != 2 or outputs[1] < 2:
            raise ValueError(
                f"an error rate needs outputs (rows, classes) with at least 2 classes, got {tuple(outputs)}; {_ADVICE}"
            )
        rows, self._classes = outputs
        if tuple(labels) not in ((rows,), (rows, 1)):
            raise ValueError(
                f"an error rate needs labels ({rows},) or ({rows}, 1), one for each row of the outputs "
                f"{tuple(outputs)}, got {tuple(labels)}; {_ADVICE}"
            )

    def update(self, labels: mx.nd.NDArray, outputs: mx.nd.NDArray) -> None:
        """Take one batch, two NDArrays."""
        # The labels are copied: an iterator may write those of its next batch into the same array.
        self._unread.append((labels.copy(), outputs.argmax(axis=1)))

    def total(self) -> int:
        """The number of wrong rows since `reset`."""
        if self._unread:
            labels, predicted = (
                np.concatenate([array.asnumpy().reshape(-1) for array in arrays]) for arrays in zip(*self._unread)
            )
            self._wrong += _count_wrong(labels, predicted, self._classes)
            self._unread.clear()
        return self._wrong


class Metric:
    """A metric of the caller's own.

    An mx.metric.EvalMetric, or one by its name, accumulates in its own way; it always gets arrays of `mx.nd`, because
    MXNet's metrics take no others. A function of (labels, outputs), two NumPy arrays, is called for each batch; the
    result over several batches is their mean, weighted by rows.
    """

    name = "metric"

    def __init__(self, metric: AnyMetric) -> None:
        if isinstance(metric, str):
            try:
                metric = mx.metric.create(metric)
            except AssertionError:
                raise ValueError(f"mx.metric has no metric of the name {metric!r}") from None
        self._counts = isinstance(metric, mx.metric.EvalMetric)
        if not self._counts and (isinstance(metric, type) or not callable(metric)):
            raise ValueError(
                "metric must be an mx.metric.EvalMetric, the name of one, or a function of (labels, "
                f"outputs), got {metric!r}"
            )
        self._metric: Any = metric
        self.reset()

    def value(self, labels: np.ndarray, outputs: np.ndarray) -> float:
        """The metric of NumPy arrays."""
        if not self._counts:
            return number(self._metric(labels, outputs), "metric")
        self._metric.reset()
        self._metric.update([mx.nd.array(labels, dtype=labels.dtype)], [mx.nd.array(outputs, dtype=outputs.dtype)])
        return number(self._metric.get()[1], "metric")

    def reset(self) -> None:
        """Count from the beginning again."""
        self._total, self._rows = 0.0, 0
        if self._counts:
            self._metric.reset()

    def check(self, labels: Sequence[int], outputs: Sequence[int]) -> None:
        """All shapes may be right: the metric itself may refuse them."""

    def check_all(self, labels: np.ndarray, outputs: Sequence[int]) -> None:
        """As `check`."""

    def update(self, labels: mx.nd.NDArray, outputs: mx.nd.NDArray) -> None:
        """Take one batch, two NDArrays."""
        self._rows += len(labels)
        if self._counts:
            self._metric.update(*classic(([labels], [outputs])))
        else:
            self._total += len(labels) * self.value(labels.asnumpy(), outputs.asnumpy())

    def total(self) -> float:
        """The metric over all rows since `reset`, times their number."""
        return self._rows * number(self._metric.get()[1], "metric") if self._counts else self._total


def number(value: Any, name: str) -> float:
    """`value` as a float; ValueError where what `name` gave is not one number."""
    found = value.asnumpy() if isinstance(value, mx.nd.NDArray) else value
    if not isinstance(found, (int, float, np.number, np.ndarray)) or np.size(found) != 1 or np.iscomplexobj(found):
        raise ValueError(f"{name} must give one number, got {value!r}")
    return float(np.asarray(found).item())


def _check_classes(labels, classes):
    """ValueError for a label that is no class."""
    labels = labels.reshape(-1)
    valid = labels.dtype.kind in "biuf" and (labels == np.floor(labels)) & (labels >= 0) & (labels < classes)
    if not np.all(valid):
        raise ValueError(
            f"an error rate needs labels that are whole numbers from 0 to {classes - 1}, got "
            f"{labels[np.argmin(valid)]}; {_ADVICE}"
        )


def _count_wrong(labels, predicted, classes):
    """How many labels are not the predicted class, two NumPy arrays; ValueError for a label that is no class."""
    _check_classes(labels, classes)
    return int((labels.reshape(-1) != predicted).sum())
