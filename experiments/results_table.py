"""The README's table of the papers' methods, and the chart of their curves, made from the records.

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

from common.record import replace, writable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "experiments", "results", "papers")
README = os.path.join(ROOT, "README.md")
BEGIN, END = "<!-- papers: made by experiments/results_table.py -->", "<!-- end of papers -->"
# In the order of the table: title, and the error that is published for this network and budget, in percent (LAB's
# paper, version 1, and where it differs the published table), or where it is from.
METHODS = {
    "full_precision": ("real weights", "1.19"),
    "bwn": ("BWN, one scale a layer", "1.20 (1.31)"),
    "bwn_unit": ("BWN, one scale a unit", ""),
    "binaryconnect": ("BinaryConnect", "1.28"),
    "binaryconnect_stochastic": ("BinaryConnect, stochastic", "1.18, half as wide, 1000 epochs"),
    "lab": ("LAB", "1.17 (1.18)"),
    "bnn": ("BNN", "1.47"),
    "xnor": ("XNOR", "1.45 (1.53)"),
    "lab2": ("LAB2", "1.38"),
    "bnn_best": ("BNN, our recipe", "0.96, twice as wide, 1000 epochs"),
}
STOCHASTIC = "binaryconnect_stochastic"  # is tested with its real weights (BinaryConnect, section 2.6)
BINARY_ACTIVATIONS = ("bnn", "xnor", "lab2", "bnn_best")


def load_records(directory=RESULTS):
    """{method: its records, by seed}, in the order of METHODS; only methods that have any."""
    records = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.json"))):
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        records.setdefault(record["method"], []).append(record)
    return {
        method: sorted(records[method], key=lambda record: record["seed"])
        for method in [*METHODS, *sorted(set(records) - set(METHODS))]
        if method in records
    }


def test_error(record):
    """The error that the method is judged by."""
    return record["test_error_real_weights" if record["method"] == STOCHASTIC else "test_error"]


def percent(found, kind):
    return f"{100 * sum(record[kind] for record in found) / len(found):.2f}"


def table(records):
    """Markdown: a row a method. Errors in percent, the mean over seeds and what lies between the extremes."""
    lines = [
        "| method | bits: weights, activations | epochs | published | ours | spread | seeds | best epochs |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for method, found in records.items():
        title, published = METHODS.get(method, (method, ""))
        errors = [100 * test_error(record) for record in found]
        ours = f"{sum(errors) / len(errors):.2f}"
        own = "test_error_real_weights_own_averages"
        if method == "binaryconnect":
            ours += (
                f" (real weights: {percent(found, 'test_error_real_weights')}, "
                f"{percent(found, own)} with averages of their own)"
            )
        elif method == STOCHASTIC:
            ours += (
                f" (with averages of their own: {percent(found, own)}; binary weights: {percent(found, 'test_error')})"
            )
        weights = {"full_precision": "32", STOCHASTIC: "1 (at test 32)"}.get(method, "1")
        bits = f"{weights}, {1 if method in BINARY_ACTIVATIONS else 32}"
        spread = f"{max(errors) - min(errors):.2f}" if len(errors) > 1 else ""
        lines.append(
            f"| {title} | {bits} | {found[0]['epochs']} | {published} | {ours} | {spread} | {len(found)} | "
            + ", ".join(str(record["best_epoch"]) for record in found)
            + " |"
        )
    return "\n".join(lines)


def readme_with(text, records):
    """The README's text with the table of these records between the marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(records)}\n{END}{after}"


def check_writable():
    writable(ROOT, "README.md", what="the checkout")
    writable(RESULTS, "curves.png", what="the directory of the records,")


def update(directory=RESULTS, readme=README):
    """Rewrite the table in the README, and the chart in the directory of the records."""
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
        if records:
            titles = {
                method: METHODS.get(method, (method,))[0] + (f", seed {found[0]['seed']}" if found[1:] else "")
                for method, found in records.items()
            }
            first = {titles[m]: {**found[0], "test_error": test_error(found[0])} for m, found in records.items()}
            pictures.methods(first, os.path.join(directory, "curves.png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the README's table is old")
    args = parser.parse_args()
    if not args.check:
        check_writable()
        update()
        return
    with open(README, encoding="utf-8") as file:
        text = file.read()
    if readme_with(text, load_records()) != text:
        sys.exit("results_table.py: README.md is out of date: run python experiments/results_table.py")


if __name__ == "__main__":
    main()
