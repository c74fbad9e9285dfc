"""One epoch of `fit`: the steps over its batches, and what is measured after them."""

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, Union

import numpy as np

from .. import metric as metrics
from .._compat import mx
from .._progress import EpochProgress
from . import setup, statistics
from .checkpoint import values
from .evaluation import one_of
from .workers import Workers, digest


@dataclasses.dataclass
class Epoch:
    """What every epoch of a run does; the options are those of `fit`, whose documentation describes them.

    measure : the metric; judge : `validate` as a function of the net, or None
    warned : whether a warning of a net that cannot learn was given, or is not wanted
    """

    net: mx.gluon.Block
    trainer: mx.gluon.Trainer
    loss: Callable[..., mx.nd.NDArray]
    batches: Callable[[np.random.Generator], Iterable]
    measure: Union[metrics.ErrorRate, metrics.Metric]
    judge: Optional[Callable[[mx.gluon.Block], float]]
    reestimate: Union[np.ndarray, Iterable[Any], None]
    watch: Mapping[str, Callable[[mx.gluon.Block], float]]
    workers: Workers
    warned: bool = False

    @property
    def validation(self) -> Optional[str]:
        """The name of what validation gives, None without any."""
        return None if self.judge is None else f"validation_{self.measure.name}"

    @property
    def shown_names(self) -> list[str]:
        """The names of the numbers that the progress shows."""
        return ["loss", self.measure.name, *([self.validation] if self.validation else [])]

    @property
    def names(self) -> list[str]:
        """The names of all numbers that an epoch has in the history."""
        return [*self.shown_names, "seconds", *self.watch]

    def run(
        self, number: int, generator: np.random.Generator, shown: EpochProgress, check_interrupt: Callable[[], None]
    ) -> dict[str, float]:
        """Train for an epoch, the one of this number; its numbers by `names`. Raises as `fit`."""
        began, workers = time.perf_counter(), self.workers
        shown.begin_epoch(number)
        try:
            sums = self._train(self.batches(generator), shown, check_interrupt)
        except BaseException:
            workers.leave()
            raise
        total, measured, rows = map(sum, zip(*workers.gather(sums)))
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss of epoch {number + 1} is {total / rows}: the run has diverged; lower learning rates may help"
            )
        self._complete_statistics()
        self.warned = self.warned or setup.warn_of_starved(self.net, self.trainer._optimizer)
        found = [total / rows, measured / rows]
        if self.judge is not None:
            with workers.together():
                validated = metrics.number(self.judge(self.net), "validate") if workers.rank == 0 else None
            found.append(workers.gather(validated)[0])
        found.append(time.perf_counter() - began)
        with workers.together():
            watched = [metrics.number(each(self.net), "watch") for each in self.watch.values() if workers.rank == 0]
        numbers = dict(zip(self.names, [*found, *workers.gather(watched)[0]]))
        shown.end_epoch(numbers["seconds"], **self.text(numbers))
        return numbers

    def text(self, numbers: Mapping[str, float]) -> dict[str, str]:
        """What the progress shows of an epoch's numbers: the text of each, by the name that it has there."""
        return _shown(self.measure, *(numbers[name] for name in self.shown_names))

    def _complete_statistics(self):
        """Batch norm's statistics become those of all workers, or of `reestimate`."""
        if self.workers.size > 1:
            self.workers.average()
        if self.reestimate is not None:
            statistics.reestimate(self.net, self.reestimate)
        if self.workers.size > 1:
            self.workers.check_equal(
                "Run all on machines that give the same results", weights=digest(*values(self.net).values())
            )

    def _train(self, batches, shown, check_interrupt):
        """[sum of the losses, metric times rows, number of rows] that this worker saw."""
        measure, total, rows, unread = self.measure, 0.0, 0, []
        measure.reset()
        for step, batch in enumerate(batches):
            x, labels = pair(batch)
            share, labels_share = self.workers.part(x), self.workers.part(labels)
            losses, outputs = _step(self.net, self.trainer, self.loss, share, labels_share, len(x), measure)
            measure.update(labels_share, outputs)
            unread.append(losses.sum())
            rows += len(share)
            shown.step()
            check_interrupt()
            if step % 50 == 49:  # this waits for the engine, so not in every step
                total = sum((found.asnumpy().item() for found in unread), total)
                unread.clear()
                shown.tell(**_shown(measure, total / rows, measure.total() / rows))
        if rows == 0:
            raise ValueError(
                "batches gave none for this epoch; it must give a new iterable each time it is called, and a "
                "generator or an mx.io iterator is used up after one epoch"
            )
        return [float(sum((found.asnumpy().item() for found in unread), total)), measure.total(), rows]


def _step(net, trainer, loss, x, labels, rows, measure):
    """A step of training: forward, backward, update. Returns (losses, outputs).

    rows : of the whole batch, of which x and labels are this worker's part; the gradients are divided by it
    """
    with mx.autograd.record():
        outputs = one_of(net(x))
        measure.check(labels.shape, outputs.shape)  # what this refuses may be an obscure MXNetError in the loss
        losses = loss(outputs, labels)
    if not isinstance(losses, mx.nd.NDArray):
        raise ValueError(f"loss must give an NDArray, one number for each row, got a {type(losses).__name__}")
    if losses.shape[:1] != x.shape[:1]:
        raise ValueError(f"loss must give one number for each of the {len(x)} rows, got {losses.shape}")
    losses.backward()
    trainer.step(rows)
    return losses, outputs


def pair(batch: Any) -> tuple[mx.nd.NDArray, mx.nd.NDArray]:
    """x and labels of a batch; ValueError where it is no pair of arrays."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(a, mx.nd.NDArray) for a in batch):
        return batch[0], batch[1]
    found = type(batch).__name__
    if isinstance(batch, (tuple, list)):
        found += f" of ({', '.join(type(part).__name__ for part in batch)})"
    raise ValueError(
        f"batches must give pairs (x, labels) of NDArrays, got a {found}; of an mx.io.DataBatch give "
        "(batch.data[0], batch.label[0])"
    )


def _shown(measure, loss, measured, validated=None):
    """What the progress shows: the text of each value, by the name that it has there."""
    text = "{:.2%}" if measure.name == "error" else "{:.4g}"
    found = {} if validated is None else {"validation": text.format(validated)}
    return {**found, measure.name: text.format(measured), "loss": f"{loss:.4f}"}
