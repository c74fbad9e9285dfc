"""Training any Gluon net on any batches: fit, evaluate, and checkpoints that resume to the bit.

At the end of every epoch `fit` replaces its checkpoint, see checkpoint.py. All that is random in an epoch is drawn
from (seed, epoch), see seeding.py, so a resumed run ends with the same numbers as one that was never cut off.

With a Trainer on the kvstore dist_sync, fit trains in several processes at once: see workers.py.
"""

import contextlib
import errno
import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, Union

import numpy as np

from .. import _files, _interrupt
from .. import metric as metrics
from .._compat import mx
from .._progress import EpochProgress
from ..metric import AnyMetric
from ..nn.arguments import whole
from . import setup, statistics
from .arrays import in_batches, numbers
from .checkpoint import Checkpoint, set_values, states, values
from .seeding import seeded
from .workers import Workers, digest


def rates(start: float, end: float, epochs: int) -> list[float]:
    """Learning rates falling by a constant factor from `start` in the first epoch to `end` in the last.

    Raises ValueError unless both are finite numbers, `start` above 0 and `end` at least 0.

    >>> [round(rate, 6) for rate in rates(1e-2, 1e-4, 3)]
    [0.01, 0.001, 0.0001]
    """
    if not (0 < start < math.inf and 0 <= end < math.inf):
        raise ValueError(f"start must be a finite number above 0 and end one of at least 0, got {start!r} and {end!r}")
    return [start * (end / start) ** (epoch / max(1, epochs - 1)) for epoch in range(epochs)]


def predict(net: mx.gluon.Block, x: Any, batch_size: int = 1000) -> np.ndarray:
    """The net's outputs for x as a NumPy array (rows, ...), a batch at a time, in inference mode, on its device.

    x : array (rows, ...) of the net's own dtype, NumPy's or what NumPy makes one of; float64, NumPy's default, is cast
        to that of its parameters

    Raises ValueError for an x without rows or without numbers, for a batch size that is no whole number above 0, and
    for a net that gives more than one array.
    """
    return np.concatenate([_one(net(batch)).asnumpy() for batch in in_batches(net, x, batch_size)])


def evaluate(
    net: mx.gluon.Block, x: Any, labels: Any, batch_size: int = 1000, metric: Optional[AnyMetric] = None
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


def fit(
    net: mx.gluon.Block,
    trainer: mx.gluon.Trainer,
    loss: Callable[..., mx.nd.NDArray],
    batches: Callable[[np.random.Generator], Iterable],
    steps: Optional[int] = None,
    learning_rates: Optional[Sequence[float]] = None,
    validate: Union[Callable[[mx.gluon.Block], float], Sequence[Any], None] = None,
    seed: int = 0,
    checkpoint: Union[str, bytes, os.PathLike, None] = None,
    resume: bool = False,
    settings: Any = None,
    progress: bool = True,
    metric: Optional[AnyMetric] = None,
    mode: Optional[str] = None,
    overwrite: bool = False,
    *,
    epochs: Optional[int] = None,
    patience: Optional[int] = None,
    ties: str = "first",
    reestimate: Union[np.ndarray, Iterable[Any], None] = None,
    watch: Optional[Mapping[str, Callable[[mx.gluon.Block], float]]] = None,
) -> dict:
    """Train for a number of epochs; returns the history and leaves the best epoch in the net.

    >>> from gluon_bnn import nn, train
    >>> x = np.random.default_rng(0).normal(size=(300, 8))
    >>> labels = (x[:, 0] > 0).astype(int)
    >>> net = mx.gluon.nn.HybridSequential()
    >>> net.add(nn.BinaryDense(16), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(2))
    >>> net.initialize(mx.init.Xavier())

    >>> trainer, loss = mx.gluon.Trainer(net.collect_params(), "adam"), mx.gluon.loss.SoftmaxCrossEntropyLoss()
    >>> batches = train.batches(x[:200], labels[:200], batch_size=20)
    >>> history = train.fit(net, trainer, loss, batches, epochs=3, validate=(x[200:], labels[200:]), progress=False)

    >>> sorted(history)
    ['best_epoch', 'error', 'loss', 'seconds', 'validation_error']
    >>> history["validation_error"][history["best_epoch"]] == train.evaluate(net, x[200:], labels[200:])
    True

    Parameters
    ----------
    net : initialised Block on one device; shapes that it leaves open are those of the first batch
    trainer : gluon.Trainer over the net's parameters, kvstore=None; or that of one worker of several, with the kvstore
        of `gluon_bnn.train.workers.connect()`: this process then trains on its part of every batch
    loss : function of (outputs, labels) to one number for each row
    batches : of arrays, what `train.batches` returns; or a function of a NumPy generator to an iterable of pairs
        (x, labels) of NDArrays, called every epoch, in all workers, which gives the batches of all of them together,
        as `lambda generator: loader` does for a gluon DataLoader
    steps : batches in an epoch, for the progress bar; by default len(batches), where it has one
    learning_rates : one for each epoch; or None and `epochs`, which leaves the Trainer its own rate
    validate : function of the net to a number, or two arrays (x, labels) to be evaluated by `metric`; the epoch with
        the best number is kept. Worker 0 alone calls it. Without it the last epoch is kept.
    seed : int of at least 0, see below
    checkpoint : path of the file that worker 0 writes every epoch; None for none. It is locked until fit returns.
    resume : go on from that file
    settings : whatever must be equal for a checkpoint to be of this run (JSON)
    progress : show on stderr a bar in a terminal, one line per epoch elsewhere
    metric : what is measured on the training batches, as in `evaluate`; by default the error rate, which needs
        the labels and outputs that `evaluate` names. A metric of your own may wait for the outputs of every step.
    mode : "min" or "max", whichever number of `validate` is best. By default "min", for error rates; with a metric it
        must be given.
    overwrite : begin again where the file is of a run that is not finished, or is no checkpoint at all
    epochs : how many, in place of learning_rates
    patience : stop after so many epochs in a row without a better number of `validate`; None to train them all
    ties : "first" or "last", which of equally good epochs is kept; where validation has few rows, many are equal
    reestimate : inputs, without augmentation, on which batch norm statistics are re-estimated at the end of every epoch
        before it is validated and kept: what `train.reestimate` takes, an array or an iterable of batches that can be
        gone over in every epoch. By default they are running averages of training batches. Every worker does it.
    watch : functions of the net to a number, called after every epoch as `validate` is, each with the name under which
        the history has its numbers; they choose nothing

    Returns {"loss", "error", "validation_error", "seconds": one number for each epoch, "best_epoch": int}; with a
    metric the names are "metric" and "validation_metric". Without `validate` there is no "validation_error"; with
    `patience` there is "stopped_early", a bool; the names of `watch` are added.

    Every epoch begins with the global generators of NumPy, Python and MXNet seeded from (seed, epoch), and so is every
    batch that a worker process of a DataLoader loads. Shuffles, transforms, dropout and whatever else draws from these,
    or from the generator that `batches` gets, are then the same in a resumed run. Generators of your own are not.
    NumPy's and Python's are afterwards in the state that they had before.

    A UserWarning says where a net is set up so that it cannot learn: a sign whose input is never below 0, as that of a
    relu is, and binary weights beyond a clip that gives them no gradient, under an optimiser that leaves them there.
    Another one names convolutions that pad signs with 0, which costs their 1-bit form time.

    Ctrl-C raises KeyboardInterrupt after the step that it falls in; the checkpoint of the last whole epoch stays.

    Raises ValueError for options that do not go together, for labels or outputs that are not as said above, where a
    checkpoint cannot be resumed, for a DataLoader that could not be resumed to the bit, and where workers differ;
    FloatingPointError where the loss is no longer finite; OSError where a checkpoint cannot be written, before the
    first step if that shows by then: FileNotFoundError where there is nothing to resume, FileExistsError where a run
    that is not finished would be overwritten, BlockingIOError where another process has the file.
    """
    measure = metrics.create(metric)
    judge = _validation(validate, metric)
    mode = mode or ("min" if metric is None or judge is None else None)
    if mode not in ("min", "max"):
        raise ValueError(
            'mode must be "min" or "max", whichever number of validate is best, got '
            f"{'nothing with a metric' if mode is None else repr(mode)}"
        )
    watch = {} if watch is None else watch
    _check_options(loss, trainer, batches, steps, seed, checkpoint, resume, patience, ties, watch, judge)
    epochs = _number_of_epochs(epochs, learning_rates)
    steps = steps or getattr(batches, "__len__", lambda: None)()
    workers = Workers(trainer)
    _complete(net, batches)
    run = {"settings": json.loads(json.dumps(settings)), "seed": int(seed), "mode": mode}
    if ties == "last":
        run["ties"] = ties
    if reestimate is not None:
        statistics.check(net, reestimate)
        run["reestimated"] = True
    validation = None if judge is None else f"validation_{measure.name}"
    shown_names = ["loss", measure.name, *([validation] if validation else [])]
    taken = set(watch) & {*shown_names, "seconds", "best_epoch", "stopped_early"}
    if taken:
        raise ValueError(f"watch must have names that the history does not have already, got {', '.join(taken)}")
    names = [*shown_names, "seconds", *watch]
    history: dict[str, list[float]] = {name: [] for name in names}
    best = values(net)
    file = Checkpoint(checkpoint, net, trainer, run) if checkpoint is not None else None
    saved = file if workers.rank == 0 else None  # the other workers only read it
    with contextlib.ExitStack() as stack:
        begin_epoch = stack.enter_context(seeded(resumable=file is not None))
        with workers.together():
            if saved:
                stack.enter_context(_claimed(saved, resume, overwrite))
            if file and resume:
                history, best = file.load(names)
        done = len(history["loss"])
        if file and done > epochs:
            raise ValueError(f"{file.path} has {done} epochs, more than the {epochs} epochs of this run")
        if workers.size > 1:
            _check_start(workers, net, trainer, best, done, [run, steps, epochs, learning_rates, patience])
        judged = _Judged(history, validation, mode, patience, ties)
        with workers.together():
            if saved and done < epochs and not judged.over:
                # Over an old one, as it will be: an unwritable directory, or a disk without room for two,
                # shows now, not an hour later.
                for _ in range(1 if resume else 2):
                    saved.save(epochs, history, best)
        warned = workers.rank > 0 or not isinstance(net, mx.gluon.Block)
        if not warned:
            setup.warn_of_signs(net)
            setup.warn_of_zeros(net)
            warned = setup.warn_of_starved(net, trainer._optimizer)
        workers.start()
        progress = progress and workers.rank == 0
        last = {} if not done else _shown(measure, *(history[name][-1] for name in shown_names))
        shown = stack.enter_context(EpochProgress(epochs, done, steps, progress, last.get("validation")))
        check_interrupt = stack.enter_context(_interrupt.deferred())
        for epoch in range(done, epochs):
            if judged.over:
                break
            began = time.perf_counter()
            generator = begin_epoch(seed, epoch)
            if learning_rates is not None:
                trainer.set_learning_rate(learning_rates[epoch])
            shown.begin_epoch(epoch)
            try:
                sums = _train_epoch(net, trainer, loss, batches(generator), measure, workers, shown, check_interrupt)
            except BaseException:
                workers.leave()
                raise
            total, measured, rows = map(sum, zip(*workers.gather(sums)))
            if not math.isfinite(total):
                raise FloatingPointError(
                    f"the loss of epoch {epoch + 1} is {total / rows}: the run has diverged; "
                    "lower learning rates may help"
                )
            if workers.size > 1:
                workers.average()
            if reestimate is not None:
                statistics.reestimate(net, reestimate)
            if workers.size > 1:
                workers.check_equal(
                    "Run all on machines that give the same results", weights=digest(*values(net).values())
                )
            found = [total / rows, measured / rows]
            warned = warned or setup.warn_of_starved(net, trainer._optimizer)
            if judge is not None:
                with workers.together():
                    validated = metrics.number(judge(net), "validate") if workers.rank == 0 else None
                found.append(workers.gather(validated)[0])
            found.append(time.perf_counter() - began)
            with workers.together():
                watched = [metrics.number(each(net), "watch") for each in watch.values() if workers.rank == 0]
            for name, value in zip(names, [*found, *workers.gather(watched)[0]]):
                history[name].append(value)
            shown.end_epoch(history["seconds"][-1], **_shown(measure, *found[: len(shown_names)]))
            if judged.best == epoch:
                best = values(net)
            with workers.together():
                if saved:
                    saved.save(epoch + 1 if judged.over else epochs, history, best)
    set_values(net, best)
    stopped = {} if patience is None else {"stopped_early": len(history["loss"]) < epochs}
    return {**history, "best_epoch": judged.best, **stopped}


def _check_options(loss, trainer, batches, steps, seed, checkpoint, resume, patience, ties, watch, judge):
    """ValueError for an option of `fit` that is wrong, whatever the net is; judge is what `_validation` makes."""
    if checkpoint is not None and not os.fspath(checkpoint):
        raise ValueError("checkpoint must be the path of a file, or None for none, got an empty one")
    if resume and checkpoint is None:
        raise ValueError("resume needs a checkpoint, got none")
    if patience is not None:
        whole("patience", patience, 1)
        if judge is None:
            raise ValueError("patience is about the numbers of validate: it needs validate, got none")
    if ties not in ("first", "last"):
        raise ValueError(f'ties must be "first" or "last", got {ties!r}')
    if not callable(batches):
        raise ValueError(
            f"batches must be a function of a NumPy generator, called in every epoch, got a {type(batches).__name__}; "
            "of a list or a DataLoader give lambda generator: loader"
        )
    if not callable(loss):
        raise ValueError(f"loss must be a function of (outputs, labels), got {loss!r:.80}")
    if not isinstance(trainer, mx.gluon.Trainer):
        raise ValueError(f"trainer must be a gluon.Trainer over the net's parameters, got {trainer!r:.80}")
    if steps is not None:
        whole("steps", steps, 0)
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    if not isinstance(watch, Mapping) or not all(map(callable, watch.values())):
        raise ValueError(f"watch must be a dict of functions of the net by their names, got {watch!r:.80}")


def _validation(validate: Any, metric: Optional[AnyMetric]) -> Optional[Callable[[mx.gluon.Block], float]]:
    """`validate` of `fit` as a function of the net, or None."""
    if validate is None or callable(validate):
        return validate
    if not isinstance(validate, (tuple, list)) or len(validate) != 2:
        raise ValueError(f"validate must be a function of the net or a pair (x, labels), got {validate!r:.80}")
    x = numbers(validate[0])
    labels = _labels_of(x, validate[1])
    x = x if x.dtype.kind == "f" else x.astype(np.float32)  # as in the batches of arrays
    return lambda net: evaluate(net, x, labels, metric=metric)


def _number_of_epochs(epochs, learning_rates):
    if (epochs is None) == (learning_rates is None):
        raise ValueError(
            "fit needs either epochs, how many, or learning_rates, one for each, got "
            f"{'neither' if epochs is None else 'both'}"
        )
    if epochs is None:
        try:
            if all(0 <= rate < math.inf for rate in learning_rates):
                return len(learning_rates)
        except TypeError:
            pass
        raise ValueError(f"learning_rates must be a list of finite numbers of at least 0, got {learning_rates!r:.80}")
    if isinstance(epochs, (int, np.integer)) and epochs >= 0:
        return int(epochs)
    raise ValueError(f"epochs must be a whole number of at least 0, got {epochs!r}")


def _complete(net, batches):
    """Give the net the shapes that it leaves open, by the first row of a batch."""
    parameters = net.collect_params().values() if isinstance(net, mx.gluon.Block) else ()
    if any(parameter._deferred_init for parameter in parameters):
        with seeded(resumable=False):  # which leaves NumPy's and Python's generators as they are
            batch = next(iter(batches(np.random.default_rng(0))), None)
        if batch is None:
            raise ValueError("batches must give at least one batch, got none")
        net(_pair(batch)[0][:1])


class _Judged:
    """What validation says of the epochs in a history, to which more may be added.

    validation : the name of its numbers there, None without any
    """

    def __init__(self, history, validation, mode, patience, ties):
        self._history, self._validation, self._patience, self._ties = history, validation, patience, ties
        self._sign = 1 if mode == "min" else -1

    @property
    def best(self):
        """The epoch that is kept: of the best number, where NaN is the worst; the last one without validation; None
        without epochs."""
        done = len(self._history["loss"])
        if self._validation is None or not done:
            return done - 1 if done else None
        losses = self._losses()
        return int(np.argmin(losses)) if self._ties == "first" else done - 1 - int(np.argmin(losses[::-1]))

    @property
    def over(self):
        """Whether the last `patience` epochs were no better than one before them."""
        done = len(self._history["loss"])
        return self._patience is not None and done > 0 and done - 1 - int(np.argmin(self._losses())) >= self._patience

    def _losses(self):
        losses = self._sign * np.array(self._history[self._validation])
        return np.where(np.isnan(losses), np.inf, losses)


@contextlib.contextmanager
def _claimed(file, resume, overwrite):
    """The checkpoint locked for this process, which may go on with it or overwrite it."""
    if resume and not os.path.exists(file.path):
        raise FileNotFoundError(errno.ENOENT, "there is no checkpoint to resume", file.path)
    if not resume:
        _files.make_directory(file.path)
    with _files.lock(file.path):
        if not resume and not overwrite:
            file.check_finished()
        yield


def _check_start(workers, net, trainer, best, done, options):
    """All workers begin with the same options, weights and state of the optimiser."""
    workers.check_equal(
        "Start all with the same options and seed; resume all from one file, in a directory that they share",
        options=digest(json.dumps(options).encode()),
        epochs_done=done,
        weights=digest(*values(net).values(), *best.values()),
        optimizer_state=digest(*(a.asnumpy() for state in states(trainer).values() for a in state)),
    )


def _shown(measure, loss, measured, validated=None):
    """What the progress shows: the text of each value, by the name that it has there."""
    text = "{:.2%}" if measure.name == "error" else "{:.4g}"
    found = {} if validated is None else {"validation": text.format(validated)}
    return {**found, measure.name: text.format(measured), "loss": f"{loss:.4f}"}


def _step(net, trainer, loss, x, labels, rows, measure):
    """A step of training: forward, backward, update. Returns (losses, outputs).

    rows : of the whole batch, of which x and labels are this worker's part; the gradients are divided by it
    """
    with mx.autograd.record():
        outputs = _one(net(x))
        measure.check(labels.shape, outputs.shape)  # what this refuses may be an obscure MXNetError in the loss
        losses = loss(outputs, labels)
    if not isinstance(losses, mx.nd.NDArray):
        raise ValueError(f"loss must give an NDArray, one number for each row, got a {type(losses).__name__}")
    if losses.shape[:1] != x.shape[:1]:
        raise ValueError(f"loss must give one number for each of the {len(x)} rows, got {losses.shape}")
    losses.backward()
    trainer.step(rows)
    return losses, outputs


def _train_epoch(net, trainer, loss, batches, measure, workers, shown, check_interrupt):
    """[sum of the losses, metric times rows, number of rows] that this worker saw."""
    total, rows, unread = 0.0, 0, []
    measure.reset()
    for step, batch in enumerate(batches):
        x, labels = _pair(batch)
        share, labels_share = workers.part(x), workers.part(labels)
        losses, outputs = _step(net, trainer, loss, share, labels_share, len(x), measure)
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


def _one(outputs):
    """The outputs of a net, which must be one array."""
    if not isinstance(outputs, mx.nd.NDArray):
        raise ValueError(f"the net must give one NDArray, got a {type(outputs).__name__}; wrap it in a Block that does")
    return outputs


def _pair(batch):
    """x and labels of a batch."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(a, mx.nd.NDArray) for a in batch):
        return batch
    found = type(batch).__name__
    if isinstance(batch, (tuple, list)):
        found += f" of ({', '.join(type(part).__name__ for part in batch)})"
    raise ValueError(
        f"batches must give pairs (x, labels) of NDArrays, got a {found}; of an mx.io.DataBatch give "
        "(batch.data[0], batch.label[0])"
    )
