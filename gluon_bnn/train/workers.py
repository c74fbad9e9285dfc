"""Several processes that train one net, each on its part of every batch, over MXNet's parameter server.

A job is a scheduler, one or more servers and the workers. All run the same command and are told apart by
environment variables, which `python -m gluon_bnn launch` sets on one machine:

    DMLC_ROLE           scheduler, server or worker
    DMLC_PS_ROOT_URI    the scheduler's address, for instance 127.0.0.1
    DMLC_PS_ROOT_PORT   its port, any free one
    DMLC_NUM_WORKER     how many workers there are
    DMLC_NUM_SERVER     how many servers
    DMLC_NODE_HOST      this process's own address, if MXNet is not to choose a network interface

Schedulers and servers never get past `import mxnet`: with their role set it serves, and exits when all workers
have. A worker calls `connect` and gives its Trainer what it got; `train.fit` does the rest:

    kvstore = gluon_bnn.train.workers.connect()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", kvstore=kvstore, update_on_kvstore=False)

On batches of N * B rows, N workers compute what a single process would, except for the order of addition: servers add
up the gradients of all workers, and each worker updates its own copy of the weights. With two workers a run repeats to
the bit; with more, the order in which gradients arrive changes the last bits. Batch norm is the exception: a worker
normalises by its own B rows. Its running averages are averaged over the workers every epoch, so that all end
with the same net. What is drawn inside of a net, dropout or stochastic signs, is the same on all workers.

When a worker is killed, the others wait for it, inside of MXNet, for ever. `python -m gluon_bnn launch` then ends them;
without it, kill all processes and start them again from the checkpoint of the last whole epoch. An error of one worker
between epochs (a full disk, a damaged checkpoint) is raised in all of them, and the job ends.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Union

import numpy as np

from .._compat import mx

VARIABLES = {
    "DMLC_PS_ROOT_URI": "the address of the scheduler, for instance 127.0.0.1",
    "DMLC_PS_ROOT_PORT": "the port of the scheduler, 1 to 65535",
    "DMLC_NUM_WORKER": "the number of workers, at least 1",
    "DMLC_NUM_SERVER": "the number of servers, at least 1",
}
_WIDTH = 2048  # bytes of one worker's message
PATIENCE = 10  # seconds that `leave` waits for the other workers to fail in the same way


def connect() -> mx.kv.KVStore:
    """The job's KVStore "dist_sync", for a Trainer with update_on_kvstore=False; waits for all its processes.

    From here on Ctrl-C ends the process at once. Its peers are waited for inside of MXNet, where Python would
    never get to see a KeyboardInterrupt; checkpoints are whole all the same.

    Raises ValueError where an environment variable is missing or wrong, and says which.
    """
    check_environment(os.environ)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return mx.kv.create("dist_sync")


def check_environment(environ: Mapping[str, str]) -> None:
    """ValueError unless `environ` has all that a worker needs.

    >>> check_environment({"DMLC_ROLE": "worker", "DMLC_NUM_WORKER": "2"})
    Traceback (most recent call last):
    ...
    ValueError: kvstore dist_sync needs environment variables: DMLC_PS_ROOT_URI must be the address of the \
scheduler, for instance 127.0.0.1, got nothing; DMLC_PS_ROOT_PORT must be the port of the scheduler, 1 to 65535, \
got nothing; DMLC_NUM_SERVER must be the number of servers, at least 1, got nothing. python -m gluon_bnn launch sets \
them all
    """
    wrong = []
    role = environ.get("DMLC_ROLE")
    if role != "worker":  # other roles end inside of `import mxnet`
        wrong.append(f"DMLC_ROLE must be worker here, got {role or 'nothing'}")
    for name, meaning in VARIABLES.items():
        value = environ.get(name, "")
        most = 65535 if name.endswith("PORT") else 2**31 - 1
        if not value or not name.endswith("URI") and not (value.isdecimal() and 1 <= int(value) <= most):
            wrong.append(f"{name} must be {meaning}, got {value or 'nothing'}")
    if wrong:
        raise ValueError(
            f"kvstore dist_sync needs environment variables: {'; '.join(wrong)}. python -m "
            "gluon_bnn launch sets them all"
        )


def digest(*parts: Union[bytes, np.ndarray]) -> str:
    """A 64-bit BLAKE2 digest, in hexadecimal, of bytes and arrays.

    >>> digest(b"options", np.zeros(3)) == digest(b"options", -np.zeros(3))
    False
    """
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(part if isinstance(part, bytes) else part.tobytes())
    return found.hexdigest()


class Workers:
    """The workers of a Trainer's job: itself alone (rank 0 of 1) unless its kvstore is a distributed one.

    trainer : gluon.Trainer of a net on one device; a distributed one needs update_on_kvstore=False, since the
        optimiser's state would be on the servers, where no checkpoint gets at it. Others are a ValueError.

    All methods are collective: every worker calls them, in the same order.
    """

    def __init__(self, trainer: mx.gluon.Trainer) -> None:
        if len(trainer._contexts) > 1:
            raise ValueError(
                "training is on one device here, got a Trainer of parameters on "
                f"{', '.join(map(str, trainer._contexts))}; use several processes instead"
            )
        self._trainer = trainer
        config = trainer._kvstore_params
        kind = getattr(config["kvstore"], "type", config["kvstore"]) or ""
        self._kvstore = None
        self.rank, self.size = 0, 1
        if "dist" not in kind:
            return
        if kind != "dist_sync":
            raise ValueError(f"the only distributed kvstore here is dist_sync, got {kind}")
        if config["update_on_kvstore"] is not False:
            raise ValueError(
                "a Trainer with a distributed kvstore needs update_on_kvstore=False here, got "
                f"{config['update_on_kvstore']}"
            )
        check_environment(os.environ)
        if not trainer._kv_initialized:
            trainer._init_kvstore()
        self._kvstore = trainer._kvstore
        self.rank, self.size = self._kvstore.rank, self._kvstore.num_workers
        self._key = len(trainer._params)  # the Trainer has those below
        if not hasattr(self._kvstore, "gathers"):  # a key can be made once only
            self._kvstore.init(self._key, mx.nd.zeros((self.size, _WIDTH)))
            self._kvstore.gathers = True

    def part(self, batch: Any) -> Any:
        """This worker's rows of a batch (rows, ...) of all: an equal share, in the order of ranks."""
        if self.size == 1:
            return batch
        share, left = divmod(len(batch), self.size)
        if left or not share:
            raise ValueError(
                f"the rows of a batch must be divisible by the number of workers, {self.size}; got {len(batch)}"
            )
        return batch[self.rank * share : (self.rank + 1) * share]

    def gather(self, value: Any) -> list:
        """The values (JSON, floats to the bit) of all workers, as a list in the order of ranks."""
        text = json.dumps(value).encode()
        if self._kvstore is None:
            return [json.loads(text)]
        if len(text) > _WIDTH:
            raise ValueError(f"a message may have {_WIDTH} bytes, got {len(text)}")
        # Servers add the arrays of all workers; in each row all but one are zeros, so the bytes stay exact in float32.
        rows = np.zeros((self.size, _WIDTH), np.float32)
        rows[self.rank, : len(text)] = np.frombuffer(text, np.uint8)
        rows = mx.nd.array(rows)
        self._kvstore.pushpull(self._key, rows)
        return [json.loads(row.tobytes().rstrip(b"\0")) for row in rows.asnumpy().astype(np.uint8)]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """An error inside of this block in any worker is raised in all of them, so that none waits for the failed one.

        Where it arose it is raised unchanged, elsewhere as a ConnectionError that names it.
        """
        error = None
        try:
            yield
        except Exception as caught:
            if self.size == 1:
                raise
            error = caught
        found = self.gather(error and f"{type(error).__name__}: {error}"[: _WIDTH // 8])
        if error is not None:
            raise error
        for rank, text in enumerate(found):
            if text:
                raise ConnectionError(f"worker {rank} failed, so worker {self.rank} ends too: {text}")

    def leave(self) -> None:
        """Call it for an error outside of `together`: it ends this process with exit code 1, unless all workers fail in
        the same way.

        Otherwise MXNet would make it wait at its end for the others, and nobody would see that it failed.
        """
        if self._kvstore is None:
            return
        others = threading.Thread(target=self._kvstore._barrier, daemon=True)
        others.start()
        others.join(PATIENCE)
        if others.is_alive():
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # MXNet's own way out aborts while a thread of its waits

    def check_equal(self, advice: str, **values: Any) -> None:
        """ValueError, in all workers, that names those whose `values` (JSON) are not worker 0's."""
        first, *others = self.gather(values)
        differing = [
            f"worker {rank} differs in "
            + ", ".join(
                f"{name.replace('_', ' ')} ({other[name]}, not {first[name]})"
                for name in first
                if other[name] != first[name]
            )
            for rank, other in enumerate(others, 1)
            if other != first
        ]
        if differing:
            raise ValueError(f"not all workers are as worker 0: {'; '.join(differing)}. {advice}")

    def start(self) -> None:
        """Put the parameters, which are equal by now, on the servers, before the first step.

        The Trainer would do so in that step, after the backward pass: a slow worker then gets the first gradients
        in place of its weights (in 2 of 10 jobs).
        """
        if self._kvstore is None or not self._trainer._params_to_init:
            return
        self._check_float64()
        self._trainer._init_params()
        mx.nd.waitall()

    def average(self) -> None:
        """Batch norm's running averages become their mean over the workers."""
        if self._kvstore is None:
            return
        for index, parameter in enumerate(self._trainer._params):
            if parameter.name.endswith(("running_mean", "running_var")):
                value = parameter.data()
                self._kvstore.pushpull(index, value)
                value /= self.size

    def _check_float64(self):
        # MXNet 1.9.1 does not set the variable by which a server decides to add float64 up in float32: it
        # depends on what lay in that memory before.
        if all(np.dtype(p.dtype) != np.float64 for p in self._trainer._params):
            return
        sent = mx.nd.array([1 / 3 if self.rank == 0 else 0], dtype=np.float64)
        self._kvstore.init(self._key + 1, mx.nd.zeros_like(sent))
        self._kvstore.pushpull(self._key + 1, sent)
        if sent.asscalar() != 1 / 3:
            raise ValueError(
                "this job's servers add float64 in float32 (MXNet leaves that to chance): train in "
                "float32, or clear the servers' memory: start them with GLIBC_TUNABLES="
                "glibc.malloc.perturb=255:glibc.malloc.tcache_count=0"
            )
