"""`python -m gluon_bnn summary`."""

import argparse
import json

from . import add_json, models

HELP = "say what a model is made of"
DESCRIPTION = """Says what a model is made of, layer by layer, with its bits, its bytes and what it computes. The exit
code is 1 where the file is not that of a model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_model(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    import gluon_bnn

    summary = gluon_bnn.summary(models.load(args.model))
    print(json.dumps(summary.to_json(), indent=1) if args.json else summary)
    return 0
