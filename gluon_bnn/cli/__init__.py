"""The command line, `python -m gluon_bnn COMMAND`: one module per command, and what all commands have in common.

A command is a module of this folder whose name is in COMMANDS. It has HELP, a line for the list of commands, and
DESCRIPTION, a paragraph for its own help; `add_arguments(parser)`; and `run(args)`, which prints the answer and returns
the exit code. It imports what it works with in `run`, so that --help and --version are quick and `predict` never
imports MXNet. An error is one line, printed by `fail`.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, Optional, Union

from .. import __version__

COMMANDS = "predict", "zoo", "summary", "convert", "prove", "doctor", "check", "launch"
INTERRUPTED, BROKEN_PIPE = 130, 141  # exit codes, as a shell has them for a command that a signal ended


def main(argv: Optional[Sequence[str]] = None) -> "int | str":
    """Runs one command and returns what `sys.exit` takes: the exit code, 0 where all is well, 1 where not, 130 after
    Ctrl-C, and 141 where the reader of the output, for instance `head`, has closed it; or a line for stderr, with which
    it is 1. Wrong arguments end the process with exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    try:
        try:
            args = _parser().parse_args(argv)
            return args.run(args)
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        return "there is not enough memory for this"
    except OSError as error:  # of the output: commands take care of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        return BROKEN_PIPE if isinstance(error, BrokenPipeError) else f"the output cannot be written: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gluon_bnn",
        description="Binary neural networks for Apache MXNet/Gluon.",
        epilog="`python -m gluon_bnn COMMAND --help` explains a command. Exit codes: 0 where all is well, 1 where "
        "something failed, 2 for wrong arguments, 130 after Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"gluon_bnn {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="|".join(COMMANDS))
    for name in COMMANDS:
        module = importlib.import_module(f".{name}", __name__)
        command = commands.add_parser(name, help=module.HELP, description=module.DESCRIPTION, allow_abbrev=False)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, which every command has that prints an answer."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def fail(error: Union[str, BaseException]) -> NoReturn:
    """End with exit code 1 and one line of what went wrong."""
    sys.exit(line_of(error))


def line_of(error: Union[str, BaseException]) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return printable(f"{os.fsdecode(error.filename)}: {error.strerror}")
    return printable(str(error) or type(error).__name__)


def printable(text: str) -> str:
    """The text in one line, with control characters escaped: the name of a file may hold what steers a terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def whole_number(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r:.40}")
    return number
