"""All that `train.fit` draws comes from (seed, epoch), so that a resumed run draws what one without a stop does.

An epoch begins with the global generators of NumPy, Python and MXNet seeded, which shuffles of Gluon's DataLoader and
transforms draw from. Worker processes of a DataLoader have generators of their own, and any of them may load any
batch: there each batch is seeded.
"""

import contextlib
import functools
import random
from collections.abc import Iterator
from typing import Callable

import numpy as np

from .._compat import mx

_BATCHES, _EPOCH = 2, 1  # keeps the seeds of batches apart from those of epochs
_running: list[list] = []  # of each call of `fit` at work its seed, its epoch and whether it must be resumable


@contextlib.contextmanager
def seeded(resumable: bool) -> Iterator[Callable[[int, int], np.random.Generator]]:
    """Yields begin(seed, epoch), which seeds all generators and returns one more; the caller's states of NumPy's and
    Python's generators are there again after the block (MXNet does not tell its own).

    resumable : refuse a DataLoader whose batches do not follow from (seed, epoch)
    """
    run = [0, 0, resumable]

    def begin(seed: int, epoch: int) -> np.random.Generator:
        run[:2] = seed, epoch
        _seed(seed, epoch, _EPOCH)
        generator = np.random.default_rng([seed, epoch])
        mx.random.seed(int(generator.integers(2**31)))
        return generator

    states = np.random.get_state(), random.getstate()
    _running.append(run)
    try:
        yield begin
    finally:
        _running[:] = [other for other in _running if other is not run]
        np.random.set_state(states[0])
        random.setstate(states[1])


def _seed(*numbers):
    """Seed NumPy's, Python's and MXNet's global generators."""
    words = np.random.SeedSequence(numbers).generate_state(4)
    np.random.seed(words)
    random.seed(words.tobytes())
    mx.random.seed(int(words[0] >> 1))


class _Batch:
    """The row numbers of one batch; to go over them, as a worker process does to load it, seeds that process first."""

    def __init__(self, rows, numbers):
        self.rows, self.numbers = rows, numbers

    def __iter__(self):
        _seed(*self.numbers)
        return iter(self.rows)


def _iterate(original, loader):
    """DataLoader.__iter__, with seeded batches while `fit` is at work."""
    if not _running:
        yield from original(loader)
        return
    seed, epoch, resumable = _running[-1]
    if resumable:
        _check(loader)
    if loader._num_workers == 0 or loader._thread_pool:
        yield from original(loader)
        return
    batches = loader._batch_sampler
    loader._batch_sampler = (_Batch(rows, (seed, epoch, _BATCHES, n)) for n, rows in enumerate(batches))
    try:
        loaded = loader._prefetch_iter()  # not the one that auto_reload has begun in another epoch
    finally:
        loader._batch_sampler = batches
    yield from loaded


def _check(loader):
    if loader._num_workers > 0 and loader._thread_pool:
        raise ValueError(
            "a DataLoader with thread_pool=True cannot be resumed to the bit, since its threads share "
            "their random numbers: use worker processes (thread_pool=False), or train without a "
            "checkpoint"
        )
    if getattr(loader._batch_sampler, "_last_batch", None) == "rollover":
        raise ValueError(
            "a DataLoader with last_batch='rollover' cannot be resumed to the bit, since no checkpoint "
            "holds the rows that it keeps for the next epoch: use 'keep' or 'discard', or train without "
            "a checkpoint"
        )


def _replace_iter():
    original = mx.gluon.data.DataLoader.__iter__

    @functools.wraps(original)
    def __iter__(self):
        return _iterate(original, self)

    mx.gluon.data.DataLoader.__iter__ = __iter__


_replace_iter()
