"""What the commands take for MODEL: the name of a net of the zoo, or the file of one."""

import argparse
import os
import re
from typing import TYPE_CHECKING, Optional

from . import fail

if TYPE_CHECKING:
    from ..runtime import Model

EXPORT = "-symbol.json"  # what MXNet adds to the prefix of a net that it exports; parameters are in PREFIX-EPOCH.params


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
        if export(name) is not None:
            fail(f"{name} is an exported net: `python -m gluon_bnn convert {name} OUT.safetensors` makes a model of it")
        made = {".onnx": "an ONNX model, for ONNX Runtime", ".h": "a header, for C"}
        suffix = os.path.splitext(name)[1].lower()
        if suffix in made:
            fail(f"{name} is {made[suffix]}: give the model or the net that it was made from")
        if not os.path.exists(name):
            fail(f"there is no model file {name!r}, and the nets of the zoo are {', '.join(zoo.names())}")
        return runtime.load(name)
    except (ImportError, OSError, ValueError) as error:
        fail(error)


def export(name: str) -> Optional[tuple[str, Optional[int]]]:
    """(prefix, epoch) of the exported net that this is the prefix of, or the file of its graph or its parameters; the
    epoch is None but for the latter. None for the name of anything else."""
    named = re.fullmatch(f"(.*)(?:{re.escape(EXPORT)}|-([0-9]{{4,}})[.]params)", name, re.DOTALL)
    if named:
        return named[1], None if named[2] is None else int(named[2])
    return (name, None) if os.path.exists(name + EXPORT) and not os.path.isfile(name) else None
