"""Trains the papers' methods on one network, split and budget; keeps a record and the frozen net of each.

    python experiments/reproduce.py            # what has no record yet; half an hour a run on 2 cores
    python experiments/reproduce.py --verify   # every recorded error, from its frozen net: 10 s
    python experiments/reproduce.py --list

A run is a recipe, a file of recipes/, with one of its seeds. What is recorded in --results is skipped; what was cut off
goes on from its checkpoint in --save-dir. Records are NAME-SEED.json, with the nets of bits as NAME-SEED.safetensors;
the README's table and the chart are made from them (results_table.py).
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("the same command goes on")

import argparse
import os
import sys

import recipes
import results_table
from common.arguments import SEED, add_data_dir
from common.record import replace, writable


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        allow_abbrev=False,
        epilog="All other options go to train_mnist.py, after those of the recipe; "
        "then --results is needed too, to keep such records apart.",
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", help="recipes to run or to verify; default: all")
    add(
        "--seed",
        type=SEED,
        nargs="+",
        dest="seeds",
        metavar="SEED",
        help="seeds to run or to verify; default: those of the recipe, or all that are recorded",
    )
    add_data_dir(parser, "mnist/, or cifar10/")
    add(
        "--save-dir",
        default=os.path.join("runs", "reproduce"),
        metavar="DIR",
        help="for checkpoints; default: %(default)s",
    )
    add("--results", metavar="DIR", help="where the records are; default: experiments/results/papers")
    add("--verify", action="store_true", help="classify the test images with every frozen net, compare with its record")
    add("--list", action="store_true", help="print the plan and what is recorded")
    args, options = parser.parse_known_args(argv)
    if options and not args.results:
        parser.error(f"{options[0]} makes other records than the recipes: say where to keep them, --results DIR")
    args.results = args.results or results_table.RESULTS
    if args.data_dir is not None and not os.path.isdir(args.data_dir):
        parser.error(f"--data-dir must be an existing directory that holds mnist/ or cifar10/, got {args.data_dir!r}")
    for name in args.only or ():
        if name not in recipes.names():
            parser.error(f"--only takes recipes, {', '.join(recipes.names())}; got {name}")
    without = ", ".join(without_seeds(args))
    if args.only and without and not (args.list or args.verify):
        parser.error(f"{without} needs --seed SEED: the recipe has no seeds, since its data is on few machines")
    return args, options


def without_seeds(args):
    """The recipes that would run, were it known with which seeds."""
    return [name for name in args.only or recipes.methods() if not (args.seeds or recipes.load(name).seeds)]


def planned(only=None, seeds=None):
    """[(recipe, seed)]: the first seed of every recipe comes first, then the second of each, and so on."""
    turns = [
        (turn, name, seed)
        for name in dict.fromkeys(only or recipes.methods())
        for turn, seed in enumerate(seeds or recipes.load(name).seeds)
    ]
    return [(name, seed) for _, name, seed in sorted(turns, key=lambda run: run[0])]


def run(name, seed, args, options):
    """Train, then keep what the run left; True where it ended well."""
    directory = os.path.abspath(os.path.join(args.save_dir, f"{name}-{seed}"))
    resume = ["--resume"] if os.path.exists(os.path.join(directory, "checkpoint.safetensors")) else []
    data = ["--data-dir", os.path.abspath(args.data_dir)] if args.data_dir else []
    # From the root, so that the record's command line is the same everywhere.
    command = [
        sys.executable,
        os.path.join("experiments", "train_mnist.py"),
        "--recipe",
        name,
        "--seed",
        str(seed),
        *options,
        *data,
        "--save-dir",
        directory,
        *resume,
    ]
    try:
        done = interrupt.run(command, cwd=results_table.ROOT)
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the bar of the run that was killed ended in the middle of a line
        raise
    if done.returncode:
        return False
    target = os.path.join(args.results, f"{name}-{seed}")
    # The net first: a record without its net would count as done.
    for source, end in (("model.safetensors", ".safetensors"), ("record.json", ".json")):
        source = os.path.join(directory, source)
        if os.path.exists(source):
            with open(source, "rb") as file:
                replace(target + end, file.read())
    results_table.update(args.results, results_table.README if is_own(args.results) else None)
    return True


def is_own(results):
    """Whether this is the checkout's directory of records, which the README's tables show."""
    return os.path.realpath(results) == os.path.realpath(results_table.RESULTS)


def verify(args):
    """Classify with every frozen net; the number of nets that do not have their recorded error."""
    from gluon_bnn import runtime

    from common.images import Images

    images, wrong, checked = {}, 0, 0
    for method, records in results_table.load_records(args.results).items():
        if args.only and method not in args.only:
            continue
        for record in records:
            if args.seeds and record["seed"] not in args.seeds:
                continue
            settings, path = record["settings"], os.path.join(args.results, f"{method}-{record['seed']}.safetensors")
            if settings["weights"] == "real":
                continue
            key = settings["dataset"], settings["inputs"]
            images[key] = images.get(key) or Images(key[0], args.data_dir, key[1])
            x, labels = images[key].test, images[key].test_labels
            try:
                model = runtime.load(path)
                found = float((model.predict(x.reshape(len(x), *model.input_shape)) != labels).mean())
            except (OSError, ValueError) as error:
                print(f"{method}-{record['seed']}: {error}")
                wrong += 1
                continue
            same = found == record["test_error"]
            print(
                f"{method}-{record['seed']}: {found:.2%} of {len(x)} images wrong, "
                f"{'as' if same else 'NOT as'} recorded ({record['test_error']:.2%}); as trained "
                f"{record['test_error_as_trained']:.2%}; {os.path.getsize(path):,} bytes"
            )
            wrong, checked = wrong + (not same), checked + 1
    print(
        f"{checked} nets classified, {wrong} differ from their records"
        if checked + wrong
        else f"no records of binary nets{' of these recipes and seeds' if args.only or args.seeds else ''} in "
        f"{args.results}"
    )
    return wrong + (checked == 0)


def main(argv=None):
    args, options = parse_args(argv)
    try:
        if args.verify:
            sys.exit(1 if verify(args) else 0)
        results_table.load_records(args.results)  # of which tables are made after each run
    except (OSError, ValueError) as error:
        sys.exit(f"reproduce.py: {error}")

    def recorded(name, seed):
        return os.path.exists(os.path.join(args.results, f"{name}-{seed}.json"))

    plan = planned(args.only, args.seeds)
    if not args.list and not all(recorded(*run) for run in plan):
        writable(args.save_dir)
        writable(args.results, "curves.png", what="--results")
        if is_own(args.results):
            results_table.check_writable()
    failed = []
    for name, seed in plan:
        if recorded(name, seed):
            print(f"{name}, seed {seed}: recorded")
        elif args.list:
            print(f"{name}, seed {seed}: to do")
        else:
            print(f"{name}, seed {seed}:", flush=True)
            if not run(name, seed, args, options):
                failed.append(f"{name}-{seed}")
    for name in without_seeds(args) if args.list else ():
        print(f"{name}: by --only {name} --seed SEED, since its data is on few machines")
    if failed:
        sys.exit(f"reproduce.py: these runs failed, see above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
