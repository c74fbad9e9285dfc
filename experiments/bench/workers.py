"""Worker processes of the benchmarks, one a library: in one process their pools of threads take the cores from each
other. A worker reads requests, a line of JSON each, and answers in JSON when its threads sleep.

Needs nothing but Python: a worker may run on another one.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from common import interrupt
from common.arguments import positive


class Worker:
    """A process of `script`, which calls `serve`; a context that kills it, and what it has started, when it is left by
    an exception.

    name, threads : the script's arguments, and threads OMP_NUM_THREADS; environment : further variables
    directory : for its temporary files, and for what the process prints, in NAME.log; python : the interpreter
    """

    def __init__(self, script, name, threads, directory, python=sys.executable, **environment):
        self.name, self.log = name, os.path.join(directory, f"{name}.log")
        # Settings of OpenMP decide how long threads spin; every worker gets the number of threads and no other.
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))
        }
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), script)
        try:
            with open(self.log, "w", encoding="utf-8") as log:
                self.process = interrupt.start(
                    [python, script, name, str(threads)],
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


def serve(kinds, description):
    """In the worker: answer requests for methods of one of `kinds`, {name: class}, until there are no more."""
    parser = argparse.ArgumentParser(
        description=description.split("\n\n")[0],
        epilog="Requests are lines of JSON on standard input, [METHOD, ARGUMENT, ...]; "
        "the benchmark starts this by itself.",
    )
    parser.add_argument("name", choices=kinds, help="the library")
    parser.add_argument("threads", type=positive(int), help="what its pools of threads may use")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    worker = kinds[args.name](args.threads)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = getattr(worker, method)(*arguments)
        except MemoryError as error:
            sys.exit(f"{method} {arguments} takes more memory than there is: {error}")
        rest()
        print(json.dumps(answer), file=answers, flush=True)


def rest(longest=1.0):
    """Wait until every thread of this process sleeps: pools spin for a while after a call, and would take the
    cores from the next candidate."""
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.003)
        if time.process_time() - before < 0.001:
            return
    sys.exit("threads keep spinning between calls")


if __name__ == "__main__":
    print(__doc__)
