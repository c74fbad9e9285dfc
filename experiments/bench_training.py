"""What a training step costs: nets of binary weights, and plain ones in MXNet and in PyTorch.

    python experiments/bench_training.py

784-W-W-W-10 with batch norm after every layer, ReLU or for the BNN sign between them, squared hinge loss, batch 100,
Adam, for every width W; at the middle width some variants of ours, too. A LeNet, batch 100, and a block of a residual
net, batch 32, likewise. PyTorch (eager and torch.compile, convolutions also with the channels last) takes part when it
is installed.

MXNet and PyTorch are files of bench/peers and run in processes of their own; this one loads neither and asks them in
turn. Before anything is timed, each binary net is checked against the NumPy reference, and the first losses of MXNet's
and PyTorch's plain nets, of equal weights, against each other. Every round times a burst of steps of each candidate, so
that drift of the machine affects all of them. A burst starts when the threads of the one before sleep. Within it MXNet
is waited for every ten steps: as in training, Python goes on while it computes. Medians of the rounds are reported, and
medians of the rounds' ratios. Last, MXNet's profiler says what the steps consist of.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

import argparse
import contextlib
import os
import statistics
import sys
import tempfile

from gluon_bnn._compat import threads_wanted

from bench import peers
from bench.training import BURST, CONVOLUTIONS, net_of
from bench.workers import Worker
from common.arguments import HelpFormatter, positive
from common.record import writable, write_record

MOST_UNITS = 2**16
RECORD = "bench_training.json"
PROFILED = ("plain Dense", "plain Conv2D", "BWN", "BNN")
PEERS = ("PyTorch eager", "torch.compile", "plain Dense", "plain Conv2D")
LOSS_BOUND = 2e-6  # between MXNet and PyTorch, relative: ten times the most that was seen at widths from 1 to 2048


def fail(message):
    sys.exit(f"bench_training.py: {message}")


def check_losses(workers, net):
    """{worker: first loss of its plain net}; leaves unless they agree."""
    losses = {name: worker.ask("first_loss", net) for name, worker in workers.items()}
    smallest, largest = min(losses.values()), max(losses.values())
    if not largest - smallest <= LOSS_BOUND * smallest:
        fail(f"first losses of equal nets must agree within {LOSS_BOUND}, relative, got {losses}")
    return losses


def measure(workers, rounds, net, more, burst=BURST):
    """{name: seconds per step, one for each round} of all candidates of a net, which take turns."""
    owners = {name: worker for worker in workers.values() for name in worker.ask("prepare", net, more)}
    times = {name: [] for name in owners}
    for turn in range(rounds + 1):  # the first one compiles and warms up
        for name, worker in owners.items():
            seconds = worker.ask("time", name, burst)
            if turn > 0:
                times[name].append(seconds)
    return times


def ratios(times, peer):
    """{name: time of a step divided by that of `peer`}, medians of the rounds; None where the peer is missing."""
    if peer not in times:
        return None
    return {
        name: round(statistics.median(a / b for a, b in zip(seconds, times[peer])), 3)
        for name, seconds in times.items()
    }


def net_record(net, times, losses, profile):
    return {
        "net": net_of(net).title,
        "batch": net_of(net).batch,
        "first_loss": losses,
        "step": {name: round(1e3 * statistics.median(seconds), 3) for name, seconds in times.items()},
        "ratio": {peer: ratios(times, peer) for peer in PEERS},
        "profile": profile,
    }


def show(found, rows=12):
    print(f"\none training step of {found['net']}, batch {found['batch']}; times relative to {', '.join(PEERS)}")
    for name, value in found["step"].items():
        cells = (found["ratio"][peer] for peer in PEERS)
        print(f"  {name:38s}{value:9.2f} ms" + "".join("       -" if c is None else f"{c[name]:8.2f}" for c in cells))
    for name, table in found["profile"].items():
        print(f"\n{name}: MXNet's operators, calls and ms per step")
        for operator, row in list(table.items())[:rows]:
            print(f"  {operator[:60]:60s}{row['calls']:8.1f}{row['ms']:10.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    parser.add_argument(
        "--widths",
        type=positive(int, MOST_UNITS),
        nargs="+",
        default=[100, 1024, 2048],
        help="units of each hidden layer",
    )
    parser.add_argument(
        "--nets", choices=CONVOLUTIONS, nargs="*", default=list(CONVOLUTIONS), help="nets with convolutions"
    )
    parser.add_argument("--rounds", type=positive(int), default=20, help="timed rounds; medians are reported")
    parser.add_argument(
        "--burst", type=positive(float, 60), default=BURST, metavar="SECONDS", help="how long steps are timed in a row"
    )
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--save-dir", default=os.path.join("runs", "bench_training"), help="for the record")
    args = parser.parse_args()
    threads = threads_wanted()
    writable(args.save_dir, RECORD)
    names = [name for name in peers.present("training") if not (name == "torch" and args.no_torch)]

    nets = {}
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker("training", name, threads, directory)) for name in names}
        about = {key: value for worker in workers.values() for key, value in worker.ask("about").items()}
        found, middle = {}, sorted(args.widths)[(len(args.widths) - 1) // 2]
        for net in (*args.widths, *args.nets):
            losses = check_losses(workers, net)
            found[net] = losses, measure(workers, args.rounds, net, net == middle, args.burst)
        for worker in workers.values():
            worker.close()
        profiled = stack.enter_context(Worker("training", "mxnet", threads, directory, MXNET_EXEC_BULK_EXEC_TRAIN="0"))
        for net, (losses, times) in found.items():
            prepared = profiled.ask("prepare", net, False)
            nets[net] = net_record(
                net, times, losses, profiled.ask("profile", [name for name in PROFILED if name in prepared], 10)
            )
            show(nets[net])
    path = os.path.join(args.save_dir, RECORD)
    write_record(path, rounds=args.rounds, unit="ms, median", threads=threads, **about, nets=nets)
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
