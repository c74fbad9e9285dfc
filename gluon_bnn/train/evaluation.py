"""What a net gives for rows, and how good that is: `predict`, `evaluate`, and the validation of `fit`."""

from typing import Any, Callable, Optional

import numpy as np

from .. import metric as metrics
from .._compat import mx
from ..metric import AnyMetric
from .arrays import in_batches, numbers

BATCH = 1000  # rows


def predict(net: mx.gluon.Block, x: Any, batch_size: int = BATCH) -> np.ndarray:
    """The net's outputs for x as a NumPy array (rows, ...), a batch at a time, in inference mode, on its device.

    x : array (rows, ...) of the net's own dtype, NumPy's or what NumPy makes one of; float64, NumPy's default, is cast
        to that of its parameters

    Raises ValueError for an x without rows or without numbers, for a batch size that is no whole number above 0, and
    for a net that gives more than one array.
    """
    return np.concatenate([one_of(net(batch)).asnumpy() for batch in in_batches(net, x, batch_size)])


def evaluate(
    net: mx.gluon.Block, x: Any, labels: Any, batch_size: int = BATCH, metric: Optional[AnyMetric] = None
) -> float:
    """The net's error rate for x, as `predict` takes it, or its value of another metric.

    The error rate is the share of rows whose largest output is not their label. It needs outputs (rows, classes)
    with at least 2 classes, and labels (rows,) or (rows, 1) of any dtype that are whole numbers from 0 to classes - 1.

    metric : for all other labels and outputs (one-hot, regression, sequences, ...): an mx.metric.EvalMetric, the name
        of one, or a function of (labels, outputs), NumPy arrays of all rows, to a number

    Raises ValueError for what the error rate does not take, where there is not one label for each row, and as
    `predict`.
    """
    x = numbers(x)
    return metrics.create(metric).value(_labels_of(x, labels), predict(net, x, batch_size))


def _labels_of(x, labels):
    """The labels as a NumPy array, one for each row of x."""
    labels = labels.asnumpy() if isinstance(labels, mx.nd.NDArray) else np.asarray(labels)
    if labels.shape[:1] != (len(x),):
        raise ValueError(f"one label is needed for each of the {len(x)} rows, got labels {labels.shape}")
    return labels


class Arrays:
    """Two arrays that `fit` validates on, as the function of the net to a number that it takes as well."""

    def __init__(self, x: Any, labels: Any, metric: Optional[AnyMetric]) -> None:
        x = numbers(x)
        self._labels, self._metric = _labels_of(x, labels), metric
        self._x = x if x.dtype.kind == "f" else x.astype(np.float32)  # as in the batches of arrays

    def __call__(self, net: mx.gluon.Block) -> float:
        return evaluate(net, self._x, self._labels, metric=self._metric)

    def check(self, net: mx.gluon.Block) -> None:
        """What a call raises for labels that are no classes of the net, and for rows that it does not take."""
        outputs = one_of(net(next(in_batches(net, self._x, BATCH))))
        metrics.create(self._metric).check_all(self._labels, (len(self._x), *outputs.shape[1:]))


def validation(validate: Any, metric: Optional[AnyMetric]) -> Optional[Callable[[mx.gluon.Block], float]]:
    """`validate` of `fit` as a function of the net, or None."""
    if validate is None or callable(validate):
        return validate
    if not isinstance(validate, (tuple, list)) or len(validate) != 2:
        raise ValueError(f"validate must be a function of the net or a pair (x, labels), got {validate!r:.80}")
    x, labels = validate
    return Arrays(x, labels, metric)


def one_of(outputs: Any) -> mx.nd.NDArray:
    """The outputs of a net, which must be one array."""
    if not isinstance(outputs, mx.nd.NDArray):
        raise ValueError(f"the net must give one NDArray, got a {type(outputs).__name__}; wrap it in a Block that does")
    return outputs
