"""Training any Gluon net on any batches: `fit`, with checkpoints that resume to the bit.

At the end of every epoch `fit` replaces its checkpoint, see checkpoint.py. All that is random in an epoch is drawn
from (seed, epoch), see seeding.py, so a resumed run ends with the same numbers as one that was never cut off.

With a Trainer on the kvstore dist_sync, fit trains in several processes at once: see workers.py.
"""

import contextlib
import errno
import json
import math
import os
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
from .checkpoint import Checkpoint, set_values, states, values
from .epoch import Epoch, pair
from .evaluation import Arrays, validation
from .judged import Judged
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
    validate : function of the net to a number, or two arrays (x, labels) to be evaluated by `metric`, which are tried
        before the first step; the epoch with the best number is kept. Worker 0 alone calls it. Without it the last
        epoch is kept.
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
    measure, judge = metrics.create(metric), validation(validate, metric)
    watch = {} if watch is None else watch
    _check_options(loss, trainer, batches, steps, seed, checkpoint, resume, patience, ties, watch, judge)
    mode = _mode(mode, metric, judge)
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
    with workers.together():
        if isinstance(judge, Arrays) and workers.rank == 0:
            judge.check(net)
    one = Epoch(net, trainer, loss, batches, measure, judge, reestimate, watch, workers)
    taken = set(watch) & {*one.shown_names, "seconds", "best_epoch", "stopped_early"}
    if taken:
        raise ValueError(f"watch must have names that the history does not have already, got {', '.join(taken)}")
    history: dict[str, list[float]] = {name: [] for name in one.names}
    best = values(net)
    file = Checkpoint(checkpoint, net, trainer, run) if checkpoint is not None else None
    saved = file if workers.rank == 0 else None  # the other workers only read it
    with contextlib.ExitStack() as stack:
        begin_epoch = stack.enter_context(seeded(resumable=file is not None))
        with workers.together():
            if saved:
                stack.enter_context(_claimed(saved, resume, overwrite))
            if file and resume:
                history, best = file.load(one.names)
        done = len(history["loss"])
        if file and done > epochs:
            raise ValueError(f"{file.path} has {done} epochs, more than the {epochs} epochs of this run")
        if workers.size > 1:
            _check_start(workers, net, trainer, best, done, [run, steps, epochs, learning_rates, patience])
        judged = Judged(history, one.validation, mode, patience, ties)
        with workers.together():
            if saved and done < epochs and not judged.over:
                # Over an old one, as it will be: an unwritable directory, or a disk without room for two,
                # shows now, not an hour later.
                for _ in range(1 if resume else 2):
                    saved.save(epochs, history, best)
        one.warned = workers.rank > 0 or not isinstance(net, mx.gluon.Block) or setup.warn(net, trainer._optimizer)
        workers.start()
        last = one.text({name: history[name][-1] for name in one.shown_names}) if done else {}
        progress = progress and workers.rank == 0
        shown = stack.enter_context(EpochProgress(epochs, done, steps, progress, last.get("validation")))
        check_interrupt = stack.enter_context(_interrupt.deferred())
        for epoch in range(done, epochs):
            if judged.over:
                break
            generator = begin_epoch(seed, epoch)
            if learning_rates is not None:
                trainer.set_learning_rate(learning_rates[epoch])
            for name, number in one.run(epoch, generator, shown, check_interrupt).items():
                history[name].append(number)
            if judged.best == epoch:
                best = values(net)
            with workers.together():
                if saved:
                    saved.save(epoch + 1 if judged.over else epochs, history, best)
    set_values(net, best)
    stopped = {} if patience is None else {"stopped_early": len(history["loss"]) < epochs}
    return {**history, "best_epoch": judged.best, **stopped}


def _mode(mode, metric, judge):
    """`mode` of `fit`, or what it is by default."""
    mode = mode or ("min" if metric is None or judge is None else None)
    if mode not in ("min", "max"):
        raise ValueError(
            'mode must be "min" or "max", whichever number of validate is best, got '
            f"{'nothing with a metric' if mode is None else repr(mode)}"
        )
    return mode


def _check_options(loss, trainer, batches, steps, seed, checkpoint, resume, patience, ties, watch, judge):
    """ValueError for an option of `fit` that is wrong, whatever the net is; judge is what `validation` makes."""
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
        net(pair(batch)[0][:1])


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
