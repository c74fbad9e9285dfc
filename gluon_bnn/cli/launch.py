"""`python -m gluon_bnn launch`, which calls `gluon_bnn.launch.run`."""

import argparse
import sys

from . import INTERRUPTED, fail, whole_number

HELP = "train in several processes on this machine"
DESCRIPTION = """Starts a scheduler, servers and workers on this machine, all with the same command, and leaves none
behind: when one fails, or on Ctrl-C, the others are ended. The exit code is that of one that failed, 130 after Ctrl-C,
else 0. Example: python -m gluon_bnn launch -n 2 python experiments/train_mnist.py --kvstore dist_sync"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] -n WORKERS [-s SERVERS] COMMAND ..."
    parser.add_argument("-n", "--workers", type=whole_number, required=True, help="processes that train")
    parser.add_argument(
        "-s", "--servers", type=whole_number, default=1, help="processes that add up gradients (default: 1)"
    )
    parser.add_argument(
        "job",
        nargs=argparse.PARSER,  # all that follows, and at least one
        metavar="COMMAND",
        help="what each of them runs, with its options; it comes last",
    )


def run(args: argparse.Namespace) -> int:
    from .. import launch

    command = args.job[args.job[0] == "--" :]
    try:
        code = launch.run(command, args.workers, args.servers)
    except OSError as error:
        fail(f"cannot start {command[0]!r}: {error.strerror}")
    if code == INTERRUPTED:
        print("launch: interrupted, all processes have ended", file=sys.stderr)
    return code
