"""`python -m gluon_bnn check`: every operator and layer against the NumPy reference."""

import argparse
import json

from . import add_json, fail

HELP = "check every operator and layer against the NumPy reference"
DESCRIPTION = """Checks every operator and layer, the loss, the optimiser and all forms of frozen nets against the NumPy
reference, which takes some 20 seconds. The exit code is 0 where every error is within its bound, else 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from .. import ops

    try:
        ops.current()
        from .. import check
    except (ImportError, OSError, ValueError) as error:
        fail(f"{error}; `python -m gluon_bnn doctor` says more")
    try:
        table = check.check()
    except OSError as error:  # of the directory for exported nets
        fail(f"the check could not be carried out: {error}")
    if args.json:
        # JSON has no infinity, which stands for what is wrong where it has to be exact: it becomes null.
        rows = [{key: None if value == float("inf") else value for key, value in row.items()} for row in table]
        print(json.dumps({"ok": table.ok, "rows": rows}, indent=1, allow_nan=False))
    else:
        failed = sum(not row["ok"] for row in table)
        print(
            f"{table}\n{len(table)} checks, {failed} failed; errors and bounds are in units of eps times "
            "the sum of magnitudes"
        )
    return 0 if table.ok else 1
