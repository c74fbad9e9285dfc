"""The tables of experiments/README.md, and the chart of the papers' methods on one network, made from the records.

    python experiments/results_table.py           # rewrites both
    python experiments/results_table.py --check   # says whether the README is up to date

reproduce.py does it too, after every run.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("README and chart are whole, old or new")

import argparse
import glob
import json
import os
import sys

import recipes
from common import tables
from common.record import replace, writable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = os.path.join(ROOT, "experiments", "README.md")
RECORDS = os.path.join(ROOT, "experiments", "results")
RESULTS = os.path.join(RECORDS, "papers")


def load_records(directory=RESULTS):
    """{method: its records, by seed}, in the order of the recipes; only methods that have any. ValueError for a file
    that is no record of train_mnist.py."""
    records = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.json"))):
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
            records.setdefault(record["method"], []).append(record)
        except (ValueError, LookupError, TypeError):
            raise ValueError(
                f"{path} is no record of train_mnist.py: take it out of the directory of records"
            ) from None
    return {
        method: sorted(records[method], key=lambda record: record["seed"])
        for method in dict.fromkeys([*recipes.methods(), *sorted(records)])
        if method in records
    }


def recipe_of(method):
    """The recipe of a method; where there is none, one with its name alone."""
    return recipes.load(method) if method in recipes.names() else recipes.Recipe(method, "", {})


def test_error(record):
    """The error that the method is judged by, from 0 to 1."""
    return record[recipe_of(record["method"]).error]


def mean_percent(records, name):
    return f"{100 * sum(record[name] for record in records) / len(records):.2f}"


def row(method, records):
    """The cells of a method: errors in percent, as their mean over the seeds and the spread from best to worst."""
    recipe, settings = recipe_of(method), records[0]["settings"]
    errors = [100 * test_error(record) for record in records]
    ours = mean_percent(records, recipe.error)
    if recipe.remark:
        others = {name: mean_percent(records, name) for name in records[0] if name.startswith("test_error")}
        ours += f" ({recipe.remark.format(**others)})"
    weights = {"real": "32", "stochastic": "1 (at test 32)"}.get(settings["weights"], "1")
    bits = f"{weights}, {1 if settings['activation'].startswith('binary') else 32}"
    if recipe.table == "nets":
        inputs = ", inputs 1" if settings.get("binary_inputs") else ""
        ends = ", first and last layer real" if settings.get("real_ends") else ""
        bits = f"{records[0]['network']} | {records[0]['bits']:,} | {bits}{inputs}{ends}"
    cells = (
        recipe.title,
        bits,
        records[0]["epochs"],
        recipe.published,
        ours,
        f"{max(errors) - min(errors):.2f}" if len(errors) > 1 else "",
        len(records),
        ", ".join(str(record["best_epoch"]) for record in records),
    )
    return f"| {' | '.join(map(str, cells))} |"


# What comes before and in the head of a table, by the `table` of its recipes.
TABLES = {
    "methods": ("", "| method | bits: weights, activations |", "|---|---|"),
    "nets": (
        "\nThe papers' own nets; of a convolution, an architecture names channels, C and the size of the kernel:\n\n",
        "| net | architecture | weights of 1 bit | bits: weights, activations |",
        "|---|---|---:|---|",
    ),
}


def table(records):
    """The tables of the papers' methods and nets in Markdown, one row per recipe."""
    tables = []
    for name, (before, head, line) in TABLES.items():
        rows = [row(method, found) for method, found in records.items() if recipe_of(method).table == name]
        if rows:
            head += " epochs | published | ours | spread | seeds | best epochs |"
            tables.append(before + "\n".join([head, line + "---:|" * 6, *rows]))
    return "\n".join(tables)


def read(*names):
    """The records of these names."""
    records = []
    for name in names:
        with open(os.path.join(RECORDS, name + ".json"), encoding="utf-8") as file:
            records.append(json.load(file))
    return records


def named(pattern):
    """The names of the records that are like this, sorted."""
    paths = glob.glob(os.path.join(RECORDS, pattern + ".json"))
    return sorted(os.path.basename(path)[: -len(".json")] for path in paths)


def by_instruction_set(name):
    """The records of a benchmark, one for each instruction set on which it was run, avx512 before avx2."""
    return read(*named(f"{name}_*")[::-1])


def sections(papers):
    """{name of a pair of marks: what stands between them}."""
    trained = [name for name, _ in tables.TRAINED]
    steps = [*map(tables.training_steps, by_instruction_set("bench_training"))]
    nets = named("bench_nets_*")
    if nets:
        titles = {name: recipe.title for name, recipe in recipes.methods().items()}
        steps.append(tables.random_images(read(*nets), titles))
    return {
        "onnx": tables.onnx(*read("bench_onnx")),
        "papers": table(papers),
        "trained": tables.trained(dict(zip(trained, read(*trained)))),
        "proven": tables.proven(*read("prove")),
        "deployment": tables.forms(*read("prove"), "sfc-0"),
        "headers": tables.headers(*read("bench_c")),
        "training steps": "\n\n".join(steps),
        "layers": "\n\n".join(map(tables.layers, by_instruction_set("bench_inference"))),
        "convolutions": "\n\n".join(
            map(tables.convolutions, (record for record in by_instruction_set("bench_inference") if "lenet" in record))
        ),
        "one image": "\n\n".join(map(tables.one_image, by_instruction_set("bench_inference"))),
    }


def readme_with(text, papers):
    """The README's text with new tables between their marks; `papers` are the records that `load_records` gives."""
    for name, content in sections(papers).items():
        text = tables.placed(text, name, content, "results_table.py")
    return text


def check_writable():
    writable(os.path.dirname(README), "README.md", what="the directory of the experiments,")
    writable(RESULTS, "curves.png", what="the directory of the records,")


def update(directory=RESULTS, readme=README):
    """Rewrite the tables in the README, and the chart of the methods in the directory of the records."""
    records = load_records(directory)
    if readme and records:
        with open(readme, encoding="utf-8") as file:
            text = readme_with(file.read(), records)
        replace(readme, text.encode())
    try:
        from common import pictures
    except ImportError:
        print("no chart: pip install 'gluon-bnn[experiments]' (or matplotlib) draws it")
    else:
        records = {method: found for method, found in records.items() if recipe_of(method).table == "methods"}
        if records:
            titles = {
                method: recipe_of(method).title + (f", seed {found[0]['seed']}" if found[1:] else "")
                for method, found in records.items()
            }
            first = {titles[m]: {**found[0], "test_error": test_error(found[0])} for m, found in records.items()}
            pictures.methods(first, os.path.join(directory, "curves.png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a table of the README is old")
    args = parser.parse_args()
    if not args.check:
        check_writable()
        update()
        return
    with open(README, encoding="utf-8") as file:
        text = file.read()
    if readme_with(text, load_records()) != text:
        sys.exit("results_table.py: experiments/README.md is out of date: run python experiments/results_table.py")


if __name__ == "__main__":
    main()
