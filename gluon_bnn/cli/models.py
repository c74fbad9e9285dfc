"""What the commands take for MODEL: the name of a net of the zoo, or the file of one."""

import argparse
import os
from typing import TYPE_CHECKING

from . import fail

if TYPE_CHECKING:
    from ..runtime import Model


def add_model(parser: argparse.ArgumentParser, also: str = "") -> None:
    """The argument MODEL."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=f"a model file, or the name of a net of gluon_bnn.zoo, like mnist{also}; a file called mnist is ./mnist",
    )


def load(name: str) -> "Model":
    """The model; ends the process with a line where there is none."""
    try:
        from .. import runtime, zoo

        if name in zoo.names():
            return zoo.load(name)
        if not os.path.exists(name):
            fail(f"there is no model file {name!r}, and the nets of the zoo are {', '.join(zoo.names())}")
        return runtime.load(name)
    except (ImportError, OSError, ValueError) as error:
        fail(error)
