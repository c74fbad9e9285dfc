"""The notebook's runs: their options and first weights, the losses that the notebook recorded, the picture."""

import argparse
import json
import os
import sys

import numpy as np

from gluon_bnn import quantizers
from gluon_bnn.reference import notebook

from common.arguments import RATE, SEED, HelpFormatter, add_dataset, positive
from common.record import save_figure

# The losses that the notebook's own output shows; its seed was not recorded.
# fmt: off
RECORDED = [
    10.864425421043748, 10.217508834486656, 9.62265561508035, 9.430731911468166, 9.421496707046531,
    8.82202434865556, 8.450189027497188, 8.001155364761852, 7.867413572632432, 7.362482122536241,
    7.357904459091113, 7.156522088259499, 6.893528333088547, 6.504667295983222, 6.501438330690913,
    6.4036233203365995, 6.412673175043907, 6.396620285737429, 6.307524135955853, 6.156097147056302,
    5.834342843988371, 5.673409952134881, 5.647192175945023, 5.5132415178341585, 5.5093894779666535,
    5.5209349851354235, 5.447772656561441, 5.381147785981573, 5.401137316252896, 5.3817608989869266,
    5.2210104776675195, 5.205435073451499,
]
# fmt: on
MOST_SEEDS = 10**6
MOST_DRAWS = 20000  # tried for --near-start; within 0.5 of the notebook's lie 3 in 100


def parse_args(description, is_binary, lr):
    name = "notebook_bnn" if is_binary else "notebook_nn"
    parser = argparse.ArgumentParser(description=description.split("\n\n")[0], formatter_class=HelpFormatter)
    add = parser.add_argument
    add(
        "--engine",
        choices=("numpy", "gluon", "both"),
        default="both",
        help="both: from the same weights, printing how far apart they are at each step",
    )
    if is_binary:
        add(
            "--gradient",
            choices=[rule.name for rule in quantizers.rules("layer")],
            default="notebook",
            help="rule for the gradient through the sign",
        )
    add("--lr", type=RATE, default=lr, help="step: W -= lr * dW")
    add("--iterations", type=positive(int), default=100, help="full-batch steps")
    add("--seed", type=SEED, default=0, help="of the weights, W ~ N(0, 1)")
    add("--seeds", type=positive(int, MOST_SEEDS), default=1, help="how many runs, with --seed, --seed + 1, ...")
    if is_binary:
        add(
            "--near-start",
            type=positive(float),
            metavar="D",
            help=f"run only draws of W that start within D of the notebook's loss, {RECORDED[0]:g}",
        )
        add(
            "--beside",
            metavar="RECORD",
            help="draw the median losses of this record of another run (JSON) into the picture too",
        )
    add_dataset(parser)
    add("--images", type=positive(int), help="use the first so many images; default: all")
    add("--save-dir", default=os.path.join("runs", name), help="for the record and the picture")
    args = parser.parse_args()
    if not is_binary:
        args.gradient = args.near_start = args.beside = None
    args.name = name
    return args


def draw(seed):
    """The weights of a seed, W ~ N(0, 1), (in, hidden)."""
    generator = np.random.RandomState(seed)
    return [generator.randn(784, 100), generator.randn(100, 10)]


def seeds(x, y, args):
    """The seeds to run: consecutive ones, with --near-start those whose first loss is near."""
    seed, found, last = args.seed, 0, args.seed + MOST_DRAWS
    while found < args.seeds:
        if args.near_start:
            if seed == last:
                sys.exit(
                    f"--near-start {args.near_start:g}: only {found} of {MOST_DRAWS} draws "
                    f"start that near to {RECORDED[0]:g}, --seeds wants {args.seeds}: allow more"
                )
            w1, w2 = draw(seed)
            start = notebook.softmax_ce(notebook.b_affine(notebook.sigmoid(notebook.b_affine(x, w1)), w2), y)
        if not args.near_start or abs(start - RECORDED[0]) <= args.near_start:
            found += 1
            yield seed
        seed += 1


def band(runs):
    """Where the notebook's recorded losses lie among ours, at each iteration and on average over all.

    The band from the lowest to the highest of ours widens with the number of runs; the share of runs that lie above the
    recorded loss does not.
    """
    ours = np.array([r["losses"] for r in runs])[:, : len(RECORDED)]
    theirs = np.array(RECORDED)[: ours.shape[1]]
    inside = (ours.min(axis=0) <= theirs) & (theirs <= ours.max(axis=0))
    # The start depends on the draw of W; the fall from it is what the formulas determine.
    ours_fall, their_fall = ours / ours[:, :1], theirs / theirs[0]
    fall_inside = (ours_fall.min(axis=0) <= their_fall) & (their_fall <= ours_fall.max(axis=0))
    return {
        "inside": inside.tolist(),
        "all_inside": bool(inside.all()),
        "runs_above": (ours > theirs).sum(axis=0).tolist(),
        "runs_above_on_average": int((ours.mean(axis=1) > theirs.mean()).sum()),
        "relative_to_start_inside": fall_inside.tolist(),
        "all_relative_to_start_inside": bool(fall_inside.all()),
    }


def picture(runs, path, title, compare=False, beside=None):
    """Draw our losses, one thin line per seed with their band, those recorded, and those of another record."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: pip install matplotlib draws it")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from common.palette import BLACK, BLUE, GREEN, RED

    figure, axes = plt.subplots(figsize=(7.6, 4))
    ours = np.array([r["losses"] for r in runs])
    steps = np.arange(ours.shape[1])
    if len(runs) > 1:
        band = ours.min(axis=0), ours.max(axis=0)
        axes.fill_between(steps, *band, alpha=0.2, color=BLUE, label=f"ours, all of {len(runs)} seeds")
        axes.plot(steps, ours.T, color=BLUE, linewidth=0.5, alpha=0.3)
    axes.plot(steps, np.median(ours, axis=0), color=BLACK, label="ours, median" if len(runs) > 1 else "ours")
    if compare:
        axes.plot(RECORDED[: len(steps)], "--", color=RED, linewidth=2, label="recorded in the notebook")
    if beside:
        axes.plot(beside[0], ":", color=GREEN, linewidth=2, label=beside[1])
    axes.set(xlabel="full-batch step", ylabel="loss", ylim=(0, None))
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def read_record(path):
    """(median losses, label) of a record that notebook_bnn.py wrote; ValueError for any other file."""
    with open(path, encoding="utf-8") as file:
        try:
            record = json.load(file)
            losses = np.array([run["losses"] for run in record["runs"]], float)
            if losses.ndim == 2 and losses.size:
                return (
                    np.median(losses, axis=0),
                    f"{record['gradient']}, step {float(record['lr']):g}: median of {len(losses)}",
                )
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            pass
    raise ValueError(f"--beside needs a record that notebook_bnn.py wrote, got {path}")
