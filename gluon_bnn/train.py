"""Training any Gluon net on any batches: fit, evaluate, and checkpoints that resume to the bit.

A checkpoint is one safetensors file, renamed into place at the end of every epoch: the net's parameters
and averages, those of the best epoch, the optimiser's state and counts, and the history so far. Nothing
is pickled. All that is random in an epoch is drawn from (seed, epoch), so a resumed run ends with the
same numbers as one that was never cut off.

With a Trainer on the kvstore dist_sync, fit trains in several processes at once: see distributed.py.
"""
import errno
import json
import os
import time

import numpy as np
from tqdm import tqdm

from . import _files, _interrupt
from ._compat import mx
from .distributed import Workers, digest

FORMAT = 1
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def rates(start, end, epochs):
    """Learning rates falling by a constant factor from `start` in the first epoch to `end` in the last.

    >>> [round(rate, 6) for rate in rates(1e-2, 1e-4, 3)]
    [0.01, 0.001, 0.0001]
    """
    return [start * (end / start) ** (epoch / max(1, epochs - 1)) for epoch in range(epochs)]


def predict(net, x, batch_size=1000):
    """The net's outputs for x as a NumPy array (rows, ...), a batch at a time, in inference mode."""
    if len(x) == 0:
        raise ValueError("predict needs at least one row, got none")
    return np.concatenate([net(mx.nd.array(x[i:i + batch_size], dtype=x.dtype)).asnumpy()
                           for i in range(0, len(x), batch_size)])


def evaluate(net, x, labels, batch_size=1000):
    """The share of rows of x whose largest output is not their label."""
    wrong = predict(net, x, batch_size).argmax(axis=1) != np.asarray(labels)
    return float(wrong.mean())


def fit(net, trainer, loss, batches, steps, learning_rates, validate, seed, checkpoint=None,
        resume=False, settings=None, progress=True):
    """Train for len(learning_rates) epochs; returns the history and leaves the best epoch in the net.

    Parameters
    ----------
    net : initialised Block whose parameter shapes are known
    trainer : gluon.Trainer over the net's parameters, kvstore=None; or that of one worker of many, with
        distributed.connect()'s kvstore: this process then trains on its part of every batch
    loss : function of (outputs, labels) to a vector, one number a row
    batches : function of a NumPy generator to an iterable of (x, labels) NDArrays; called every epoch
        with a generator drawn from (seed, epoch), and so alike in all workers: the batches of all together
    steps : batches an epoch, for the progress bar
    learning_rates : one an epoch
    validate : function of the net to an error rate; the epoch with the lowest, the first of them, is best;
        worker 0 alone calls it
    checkpoint : path of the file that worker 0 writes every epoch; None for none
    resume : go on from that file where it exists
    settings : whatever must be equal for a checkpoint to be of this run (JSON)

    Returns {"loss", "error", "validation_error", "seconds": one number an epoch, "best_epoch": int}.
    Ctrl-C raises KeyboardInterrupt after the step that it falls in; the checkpoint of the last whole epoch stays.
    Raises OSError where a checkpoint cannot be written (before the first step if that shows by then), ValueError
    where one cannot be resumed or workers are not alike, FloatingPointError where the loss is no longer finite.
    """
    epochs = len(learning_rates)
    settings = json.loads(json.dumps(settings))
    workers = Workers(trainer)
    saves = bool(checkpoint) and workers.rank == 0
    state = {"history": {"loss": [], "error": [], "validation_error": [], "seconds": []},
             "best_epoch": None}
    best = _values(net)
    with workers.together():
        resumed = bool(resume and checkpoint and os.path.exists(checkpoint))
        if resumed:
            state, best = load_checkpoint(checkpoint, net, trainer, settings)
    history = state["history"]
    done = len(history["loss"])
    if workers.size > 1:
        workers.check_equal(
            "Start all with the same options and seed; resume all from one file, in a directory that they share",
            options=digest(json.dumps([settings, seed, steps, learning_rates]).encode()), epochs_done=done,
            weights=digest(*_values(net).values(), *best.values()),
            optimizer_state=digest(*(a.asnumpy() for a in _flat(_optimizer_arrays(trainer).values()))))
    with workers.together():
        if saves and done < epochs:
            _files.remove_unfinished(checkpoint)
            # Over an old one, as it will be: an unwritable directory, or a disk without room for two,
            # shows now, not an hour later.
            for _ in range(1 if resumed else 2):
                save_checkpoint(checkpoint, net, trainer, state, best, settings)
    workers.start()
    bar = tqdm(total=epochs * steps, initial=done * steps, disable=not progress or workers.rank > 0,
               unit="step", dynamic_ncols=True)
    with bar, _interrupt.deferred() as check_interrupt:
        for epoch in range(done, epochs):
            began = time.perf_counter()
            generator = np.random.default_rng([seed, epoch])
            mx.random.seed(int(generator.integers(2**31)))
            trainer.set_learning_rate(learning_rates[epoch])
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            try:
                sums = _train_epoch(net, trainer, loss, batches(generator), workers, bar, check_interrupt)
            except BaseException:
                workers.leave()
                raise
            total, wrong, rows = map(sum, zip(*workers.gather(sums)))
            if not np.isfinite(total):
                raise FloatingPointError(f"the loss of epoch {epoch + 1} is {total / rows}: the run has "
                                         "diverged; try a smaller --lr")
            if workers.size > 1:
                workers.average()
                workers.check_equal("Run all on machines that compute alike", weights=digest(*_values(net).values()))
            with workers.together():
                error = validate(net) if workers.rank == 0 else None
            history["loss"].append(total / rows)
            history["error"].append(wrong / rows)
            history["validation_error"].append(workers.gather(error)[0])
            history["seconds"].append(time.perf_counter() - began)
            bar.set_postfix(loss=f"{history['loss'][-1]:.4f}", accuracy=f"{1 - history['error'][-1]:.2%}",
                            validation=f"{1 - history['validation_error'][-1]:.2%}")
            best_epoch = int(np.argmin(history["validation_error"]))
            if best_epoch == epoch:
                state["best_epoch"], best = epoch, _values(net)
            with workers.together():
                if saves:
                    save_checkpoint(checkpoint, net, trainer, state, best, settings)
    _set_values(net, best)
    return {**history, "best_epoch": state["best_epoch"]}


def _train_epoch(net, trainer, loss, batches, workers, bar, check_interrupt):
    """[sum of the losses, number of wrong rows, number of rows] that this worker saw."""
    sums, unread = np.zeros(3), []

    def read():  # waits for the engine, so not in every step
        for found, wrong, rows in unread:
            sums[:] += found.asscalar(), wrong.asscalar(), rows
        unread.clear()

    for step, (x, labels) in enumerate(batches):
        whole = len(x)
        x, labels = workers.part(x), workers.part(labels)
        with mx.autograd.record():
            outputs = net(x)
            losses = loss(outputs, labels)
        losses.backward()
        trainer.step(whole)
        wrong = outputs.argmax(axis=1).astype(labels.dtype, copy=False) != labels
        unread.append((losses.sum(), wrong.sum(), len(x)))
        bar.update()
        check_interrupt()
        if step % 50 == 49:
            read()
            bar.set_postfix(loss=f"{sums[0] / sums[2]:.4f}", accuracy=f"{1 - sums[1] / sums[2]:.2%}")
    read()
    return sums.tolist()


def save_checkpoint(path, net, trainer, state, best, settings):
    """Write one safetensors file, under a temporary name first; an OSError leaves the old one whole.

    The error is of the system's own kind (PermissionError, ...) and says what to do.
    """
    from safetensors.numpy import save
    tensors = {f"net/{name}": value for name, value in _values(net).items()}
    tensors.update({f"best/{name}": value for name, value in best.items()})
    for index, arrays in _optimizer_arrays(trainer).items():
        tensors.update({f"optimizer/{index}/{i}": a.asnumpy() for i, a in enumerate(arrays)})
    optimizer = trainer.optimizer
    metadata = {"format": FORMAT, "settings": settings, "state": state,
                "num_update": optimizer.num_update,
                "counts": {str(k): v for k, v in optimizer._index_update_count.items()}}
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    content = save(tensors, metadata={"gluon_bnn": json.dumps(metadata)})
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        _files.replace(path, content)
    except OSError as error:
        room = "; there must be room for the old one and the new" if error.errno in _NO_ROOM else ""
        raise OSError(error.errno, f"{error.strerror}: a checkpoint of {len(content) / 1e6:.1f} MB cannot be "
                      f"written{room}; the last one is as it was. Use another --save-dir, or --resume once this "
                      "is mended", str(path)) from error


def load_checkpoint(path, net, trainer, settings):
    """(state, best values) from a checkpoint, with net and trainer set to it.

    Raises ValueError when the file is damaged, of another format, or of a run with other settings or
    another net; net and trainer are then as they were.
    """
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("gluon_bnn", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a whole checkpoint ({error}); remove it to start anew") from error
    try:
        if metadata["format"] != FORMAT:
            raise ValueError(f"{path} has checkpoint format {metadata['format']}, expected {FORMAT}")
        saved, state = metadata["settings"], metadata["state"]
        counts = {int(k): int(v) for k, v in metadata["counts"].items()}
        num_update = int(metadata["num_update"])
        history, best_epoch = state["history"], state["best_epoch"]
        lengths = {len(history[k]) for k in ("loss", "error", "validation_error", "seconds")}
        if len(lengths) != 1 or not (best_epoch is None or 0 <= best_epoch < lengths.pop()):
            raise KeyError("history")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a checkpoint of gluon_bnn.train; remove it to start anew") from error
    if saved != settings:
        differing = {k: (saved.get(k), settings.get(k)) for k in {**saved, **settings}
                     if saved.get(k) != settings.get(k)} if saved and settings else (saved, settings)
        raise ValueError(f"{path} is of a run with other settings (saved, now): {differing}; "
                         "use the same ones, or another --save-dir")
    expected = {f"{kind}/{name}": value for kind in ("net", "best")
                for name, value in _values(net).items()}
    arrays = _optimizer_arrays(trainer)
    expected.update({f"optimizer/{index}/{i}": a for index, states in arrays.items()
                     for i, a in enumerate(states)})
    if set(expected) != set(tensors):
        raise ValueError(f"{path} is of another net or optimiser: these tensors are in one only: "
                         f"{sorted(set(expected) ^ set(tensors))[:6]}")
    for name, value in expected.items():
        if value.shape != tensors[name].shape or value.dtype != tensors[name].dtype:
            raise ValueError(f"{path}: {name} must be {np.dtype(value.dtype)} {value.shape}, got "
                             f"{tensors[name].dtype} {tensors[name].shape}")
    _set_values(net, {n[4:]: v for n, v in tensors.items() if n.startswith("net/")})
    for index, states in arrays.items():
        for i, array in enumerate(states):
            array[:] = tensors[f"optimizer/{index}/{i}"]
    trainer.optimizer.num_update = num_update
    trainer.optimizer._index_update_count.update(counts)
    return state, {n[5:]: v for n, v in tensors.items() if n.startswith("best/")}


def _parameters(net):
    return net._collect_params_with_prefix()


def _values(net):
    return {name: parameter.data().asnumpy() for name, parameter in _parameters(net).items()}


def _set_values(net, values):
    for name, parameter in _parameters(net).items():
        parameter.set_data(mx.nd.array(values[name], dtype=values[name].dtype))


def _optimizer_arrays(trainer):
    """{parameter index: its state arrays}, made now where the optimiser has not made them yet."""
    updater = trainer._updaters[0]
    for index, parameter in enumerate(trainer._params):
        if parameter.grad_req != "null" and index not in updater.states:
            updater.states[index] = trainer.optimizer.create_state_multi_precision(
                index, parameter.data())
            updater.states_synced[index] = True
    return {index: list(_flat(state)) for index, state in updater.states.items()}


def _flat(state):
    if isinstance(state, mx.nd.NDArray):
        yield state
    elif state is not None:
        for part in state:
            yield from _flat(part)
