"""`python -m gluon_bnn convert`: a model, or a net that MXNet exported, as a file of another form."""

import argparse
import json
import os

from . import add_json, exports, fail, models, printable

HELP = "write a model, or a net that MXNet exported, in another form"
DESCRIPTION = """Writes a model to another file, in the form that the suffix of its name says, with its labels and its
accuracy. A file of an earlier format becomes one of today's. A net that MXNet exported is loaded, which needs MXNet,
and frozen. An old OUT is replaced once the new one is whole."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_model(parser, also=exports.ALSO)
    parser.add_argument(
        "out", metavar="OUT", help="the file to write: net.safetensors, net.onnx or net.h, the suffix chooses the form"
    )
    exports.add_options(parser)
    parser.add_argument("--qonnx", action="store_true", help="write the form QONNX of OUT.onnx, for FINN and hls4ml")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ..deploy import forms, onnx
    from ..native import library

    try:
        if args.qonnx and forms.form_of(args.out) is not onnx.save:
            raise ValueError(f"--qonnx is for a file whose name ends in .onnx, got {args.out!r}")
        forms.form_of(args.out)
        export = exports.find(args)
        form = "packed" if library.available() else "float"  # the same graph; "float" refuses exports of the other
        net = export.frozen(form) if export else models.load(args.model)
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
