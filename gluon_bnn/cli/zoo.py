"""`python -m gluon_bnn zoo`: the table of the trained nets that are here."""

import argparse
import json

from . import add_json, fail

HELP = "list the trained nets that are here"
DESCRIPTION = """Lists the trained nets that are here, by the names that the other commands take for MODEL: accuracy on
the test set, bits of the binary weights, bytes of the file, the input, what it was trained on, and the record that says
how. One comes with the package; a checkout has more."""
HEADS = "name", "accuracy", "bits", "bytes", "input", "data set", "record"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    try:
        from .. import _table, zoo

        found = [zoo.info(name) for name in zoo.names()]
    except (ImportError, OSError, ValueError) as error:
        fail(error)
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    rows = [
        (
            net["name"],
            f"{net['accuracy']:.2%}",
            f"{net['bits']:,}",
            f"{net['bytes']:,}",
            "x".join(map(str, net["input"]["shape"])),
            net["dataset"],
            net["record"],
        )
        for net in found
    ]
    print(_table.text([HEADS, *rows], right=(1, 2, 3)))
    return 0
