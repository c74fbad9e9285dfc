"""`python -m gluon_bnn convert`: a model, or a net that MXNet exported, as a file of another form."""

import argparse
import glob
import json
import os
import re
from fractions import Fraction
from typing import Any, Optional

from . import add_json, fail, models, printable

HELP = "write a model, or a net that MXNet exported, in another form"
DESCRIPTION = """Writes a model to another file, in the form that the suffix of its name says, with its labels and its
accuracy. A file of an earlier format becomes one of today's. A net that MXNet exported is loaded, which needs MXNet,
and frozen. An old OUT is replaced once the new one is whole."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_model(parser, also=f", or PREFIX, PREFIX{models.EXPORT} or PREFIX-0000.params of an exported net")
    parser.add_argument(
        "out", metavar="OUT", help="the file to write, like model.safetensors or net.onnx; other suffixes list all"
    )
    export = parser.add_argument_group("for an exported net, as in gluon_bnn.freeze")
    export.add_argument("--input-shape", metavar="1x28x28", type=_shape, help="the shape of one input")
    export.add_argument("--input-scale", metavar="1/255", type=_number, help="uint8 inputs p stand for SCALE p + SHIFT")
    export.add_argument("--input-shift", metavar="SHIFT", type=_number, help="0 by default")
    parser.add_argument("--qonnx", action="store_true", help="write the form QONNX of OUT.onnx, for FINN and hls4ml")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ..deploy import forms, onnx

    options = {name: getattr(args, name) for name in ("input_shape", "input_scale", "input_shift")}
    given = {name: value for name, value in options.items() if value is not None}
    try:
        if args.qonnx and forms.form_of(args.out) is not onnx.save:
            raise ValueError(f"--qonnx is for a file whose name ends in .onnx, got {args.out!r}")
        forms.form_of(args.out)
        export = models.export(args.model)
        if export is not None:
            net = frozen(*export, given)
        elif given:
            raise ValueError(f"--{next(iter(given)).replace('_', '-')} is for an exported net; {args.model} is a model")
        else:
            net = models.load(args.model)
        if args.qonnx:
            onnx.save(net.graph, args.out, qonnx=True)
        else:
            forms.save(net, args.out)
        size = os.path.getsize(args.out)
    except (ImportError, OSError, ValueError) as error:
        fail(error)
    if args.json:
        print(json.dumps({"file": args.out, "bytes": size}, indent=1))
    else:
        print(printable(f"{args.out}: {size:,} bytes"))
    return 0


def frozen(prefix: str, epoch: Optional[int], options: dict[str, Any]) -> Any:
    """The net of an export, frozen, of its only epoch where none is given; raises as `load_exported` and `freeze`."""
    from ..deploy import freeze, load_exported
    from ..native import library

    ends = [path[len(prefix) :] for path in glob.glob(glob.escape(prefix) + "-*.params")]
    epochs = sorted(int(end[1:-7]) for end in ends if re.fullmatch("-[0-9]{4,}[.]params", end))
    if epoch is not None:
        epochs = [epoch]
    elif len(epochs) > 1:
        raise ValueError(
            f"{prefix} has the epochs {', '.join(map(str, epochs))}: name one, as {prefix}-{epochs[-1]:04}.params"
        )
    form = "packed" if library.available() else "float"  # the same graph; "float" refuses exports of the packed form
    return freeze(load_exported(prefix, *epochs), form, **options, verbose=False)


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch("[0-9]{1,10}(x[0-9]{1,10})*", text):
        raise argparse.ArgumentTypeError(f"must be sizes like 1x28x28, got {text!r:.80}")
    return tuple(map(int, text.split("x")))


def _number(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(f"must be a number, like 0.5 or 1/255, got {text!r:.80}") from None
