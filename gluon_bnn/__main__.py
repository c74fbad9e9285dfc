"""python -m gluon_bnn doctor | check"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Optional

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit codes, as a shell has them for a command that a signal ended


def main(argv: Optional[Sequence[str]] = None) -> "int | str":
    """Runs one command and returns the exit code: 0 where all is well, 1 where not, 130 after Ctrl-C, and 141 where
    whatever read the output, as `head` does, had enough of it."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    try:
        try:
            args = _parse(argv)
            return args.run(args.json)
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # of the output: commands take care of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        return BROKEN_PIPE if isinstance(error, BrokenPipeError) else f"the output cannot be written: {error}"


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m gluon_bnn",
        description="Binary neural networks for Apache MXNet/Gluon.",
        epilog="`python -m gluon_bnn COMMAND --help` says more of a command.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="doctor|check")
    for name, run, short, long in (
        (
            "doctor",
            _doctor,
            "say what is installed, what is missing and what to do about it",
            "Says what is installed and where, what is missing and what to do about it. The exit code is 0 where all "
            "is well and 1 where there is a problem.",
        ),
        (
            "check",
            _check,
            "check every operator and layer against the NumPy reference",
            "Checks every operator and layer, the loss, the optimiser and all forms of frozen nets against the NumPy "
            "reference, which takes some 20 seconds. The exit code is 0 where every error is within its bound, else "
            "1.",
        ),
    ):
        command = commands.add_parser(name, help=short, description=long)
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
        command.set_defaults(run=run)
    return parser.parse_args(argv)


def _doctor(as_json):
    from . import doctor

    report = doctor.examine()
    print(json.dumps(report, indent=1) if as_json else doctor.describe(report))
    return 0 if report["ok"] else 1


def _check(as_json):
    from . import ops

    try:
        ops.current()
        from . import check
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{error}\n`python -m gluon_bnn doctor` says more")
    try:
        table = check.check()
    except OSError as error:  # of the directory for exported nets
        sys.exit(f"the check could not be carried out: {error}")
    if as_json:
        # JSON has no infinity, which stands for "wrong where it has to be exact": null there
        rows = [{key: None if value == float("inf") else value for key, value in row.items()} for row in table]
        print(json.dumps({"ok": table.ok, "rows": rows}, indent=1, allow_nan=False))
    else:
        failed = sum(not row["ok"] for row in table)
        print(
            f"{table}\n{len(table)} checks, {failed} failed; errors and bounds are in units of eps times "
            "the sum of magnitudes"
        )
    return 0 if table.ok else 1


if __name__ == "__main__":
    sys.exit(main())
