"""`python -m gluon_bnn doctor`: the report of `gluon_bnn.doctor`."""

import argparse
import json

from . import add_json

HELP = "say what is installed, what is missing and what to do about it"
DESCRIPTION = """Says what is installed and where, what is missing and what to do about it. The exit code is 0 where all
is well and 1 where there is a problem."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from .. import doctor

    report = doctor.examine()
    print(json.dumps(report, indent=1) if args.json else doctor.describe(report))
    return 0 if report["ok"] else 1
