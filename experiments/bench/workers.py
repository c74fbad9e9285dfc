"""The processes in which the benchmarks' peers are timed, one each, which meets no threads but its own.

In one process they would slow each other down: libgomp adds up the threads of all its teams, those of MXNet's engine
too, and once they are more than the processors, threads that wait go to sleep at once, so that every parallel region,
ours too, begins with waking them, at about 12 us.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys

from common import interrupt

SERVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "serve.py")


class Worker:
    """A process that runs serve.py; a context that kills it, and what it has started, when it is left by an exception.

    benchmark, name, threads : the arguments of serve.py, and threads OMP_NUM_THREADS; environment : further variables
    directory : for its temporary files, and for what the process prints, in NAME.log; python : the interpreter
    """

    def __init__(self, benchmark, name, threads, directory, python=sys.executable, **environment):
        self.name, self.log = name, os.path.join(directory, f"{name}.log")
        # Settings of OpenMP decide how long threads spin; every worker gets the number of threads and no other.
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))
        }
        try:
            with open(self.log, "w", encoding="utf-8") as log:
                self.process = interrupt.start(
                    [python, SERVE, benchmark, name, str(threads)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                    env={**kept, "OMP_NUM_THREADS": str(threads), "TMPDIR": directory, **environment},
                )
        except OSError as error:
            sys.exit(f"the worker {name} does not start: {error}")

    def ask(self, method, *arguments):
        """What this method of the worker returns."""
        try:
            print(json.dumps([method, *arguments]), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self.close()
            with open(self.log, encoding="utf-8", errors="replace") as log:
                sys.exit(f"the worker {self.name} ended: {log.read()[-2000:].strip() or self.process.returncode}")

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.close()
