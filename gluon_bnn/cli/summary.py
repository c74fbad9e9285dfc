"""`python -m gluon_bnn summary`: `gluon_bnn.summary` of a model file, with its accuracy and labels."""

import argparse
import json
import textwrap

from . import add_json, models, printable

HELP = "say what a model is made of"
DESCRIPTION = """Says what a model is made of: the weights, bytes and multiply-accumulates of each layer. The exit code
is 1 where the file is not that of a model."""
WIDTH = 80  # of a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_model(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    model = models.load(args.model)
    from ..summaries import summary

    found = summary(model)
    if args.json:
        print(json.dumps({**found.to_json(), "accuracy": model.accuracy, "labels": model.labels}, indent=1))
        return 0
    print(found)
    if model.accuracy is not None:
        print(f"test accuracy {model.accuracy:.2%}")
    if model.labels is not None:
        labels = printable(", ".join(model.labels))
        print(textwrap.shorten(f"{len(model.labels)} classes: {labels}", WIDTH, placeholder=" ..."))
    return 0
