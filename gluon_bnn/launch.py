"""Starts all processes of a distributed job on this machine, and leaves none behind.

    python -m gluon_bnn launch -n 2 python experiments/train_mnist.py --kvstore dist_sync

When one process fails, the others, which would wait for it for ever, are killed a little later; so they are on
Ctrl-C. (MXNet's own launcher, tools/launch.py in its wheel, stops on Python 3.9 and later: it calls Thread.isAlive.)
For several machines start each process there with the variables that train/workers.py names.
"""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Optional

from ._compat import physical_cores

__all__ = ["kill", "main", "run", "start", "wait"]


def __dir__():
    return __all__


GRACE = 10  # seconds for the others to end by themselves after one has failed


def start(
    command: Sequence[str],
    workers: int,
    servers: int = 1,
    server_environ: Optional[Mapping[str, str]] = None,
    **options: Any,
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Yields (role, Popen) for a scheduler, servers and workers that run `command` (a list), workers last.

    They talk over 127.0.0.1 only. Each worker gets its share of the cores, unless OMP_NUM_THREADS is set.
    server_environ : further environment variables of the servers; options : as for subprocess.Popen
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "OMP_NUM_THREADS": str(max(1, physical_cores() // workers)),
        **os.environ,
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NODE_HOST": "127.0.0.1",
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
    }
    for role in ["scheduler"] + ["server"] * servers + ["worker"] * workers:
        environ = {**common, "DMLC_ROLE": role, **(server_environ or {} if role == "server" else {})}
        yield role, subprocess.Popen(command, env=environ, **options)


def wait(processes: Iterable[tuple[str, subprocess.Popen]], signals: Sequence[int] = ()) -> int:
    """Wait until all have ended, or until GRACE seconds after one has failed, or until `signals` has a number.

    Returns the exit code of one that failed, minus the number in `signals`, or 0.
    """
    deadline = math.inf
    while not signals:
        codes = [process.poll() for _, process in processes]
        failed = next((code for code in codes if code), 0)
        if failed and deadline == math.inf:
            deadline = time.monotonic() + GRACE
        if None not in codes or time.monotonic() > deadline:
            return failed
        time.sleep(0.1)
    return -signals[0]


def kill(processes: Iterable[tuple[str, subprocess.Popen]]) -> None:
    """End all of them at once, and wait until they have ended."""
    for _, process in processes:
        process.kill()
        process.wait()


def run(command: Sequence[str], workers: int, servers: int = 1) -> int:
    """Run a job to its end, or to the signal that ends this process, and leave no process of it behind.

    Returns the exit code of one that failed, 128 and the signal's number where a signal ended it or this process, or 0.
    Raises OSError where the command cannot be started. To be called in the main thread, whose handlers it sets.
    """
    signals: list[int] = []
    processes: list[tuple[str, subprocess.Popen]] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # noted: an exception could lose a process that just began
        signal.signal(number, lambda number, _: signals.append(number))
    try:
        processes.extend(start(command, workers, servers))
        code = wait(processes, signals)
    finally:
        kill(processes)
    return code if code >= 0 else 128 - code


def main(argv: Optional[Sequence[str]] = None) -> NoReturn:
    """`python -m gluon_bnn launch`, by its older name."""
    from . import cli

    sys.exit(cli.main(["launch", *(sys.argv[1:] if argv is None else argv)]))


if __name__ == "__main__":
    main()
