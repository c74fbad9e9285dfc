"""A worker process of the benchmarks, which times one peer; bench/workers.py starts it.

    python experiments/bench/serve.py inference ours 2  # the benchmark, a file of peers/, the number of threads

Requests are lines of JSON on standard input, [METHOD, ARGUMENT, ...], which are answered in JSON when all threads of
the process sleep. Needs nothing but Python, because Larq Compute Engine runs in an environment of its own.
"""

import os
import sys

if __name__ == "__main__":  # or the file of a peer could be taken for the library of its name
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing is kept")

import argparse
import json
import time

from bench import peers
from common.arguments import positive


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


def main():
    """Answer requests for methods of the peer until there are no more."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="Requests are lines of JSON on standard input, [METHOD, ARGUMENT, ...]; "
        "the benchmark starts this by itself.",
    )
    parser.add_argument("benchmark", choices=peers.BENCHMARKS, help="what is timed")
    parser.add_argument("name", choices=peers.names(), help="the peer")
    parser.add_argument("threads", type=positive(int), help="what its pools of threads may use")
    args = parser.parse_args()
    kind = peers.worker_of(args.benchmark, args.name)
    if kind is None:
        parser.error(f"{args.name} takes no part in {args.benchmark}")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    worker = kind(args.threads)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = getattr(worker, method)(*arguments)
        except MemoryError as error:
            sys.exit(f"{method} {arguments} takes more memory than there is: {error}")
        rest()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
