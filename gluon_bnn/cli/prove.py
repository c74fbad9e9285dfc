"""`python -m gluon_bnn prove`: every form of a net over all test images."""

import argparse
import json
import tempfile

from . import add_json, exports, fail, models, whole_number

HELP = "run every form of a net over a test set and compare the answers"
DESCRIPTION = """Runs every form of a net that this machine can run, each in a process of its own, over all test images:
the runtime on each instruction set and in NumPy alone, ONNX Runtime, C with our library and by a header alone,
JavaScript, and for an exported net MXNet. All must answer the same, to the bit; where a form adds real numbers in
another order, a class may differ by a near tie, which is listed. The exit code is 0 where all is so, else 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_model(parser, also=exports.ALSO)
    parser.add_argument(
        "--dataset", default="mnist", help="mnist, digits, or a directory, as in gluon_bnn.data (default: %(default)s)"
    )
    parser.add_argument("--data-dir", help="the directory that holds mnist/; default: GLUON_BNN_DATA, data/, ...")
    parser.add_argument("--images", metavar="N", type=whole_number, help="of the test set, the first N; default: all")
    exports.add_options(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from .. import data
    from .._progress import progress_bar
    from ..prove import Form, inputs_of, of_export, prove

    try:
        with tempfile.TemporaryDirectory() as directory, progress_bar(unit=" forms") as bar:
            export = exports.find(args)
            also: list[Form] = []
            if export is None:
                graph = models.load(args.model).graph
            else:
                graph, also = of_export(export.prefix, export.epoch, directory, **export.options)
            arrays = data.load(args.dataset, args.data_dir)
            images, labels = arrays["test_data"][: args.images], arrays["test_label"][: args.images].astype(int)
            x, pixels = inputs_of(graph, images)

            def done(form):
                bar.set_postfix_str(form)
                bar.update()

            report = prove(graph, x, pixels, also=also, done=done)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        fail(error)
    right = float((report.classes == labels).mean())
    if args.json:
        found = {"model": args.model, "dataset": args.dataset, "images": len(x), "right": right, "ok": report.ok}
        print(json.dumps({**found, **report.as_dict()}, indent=1, allow_nan=False))
    else:
        print(f"{args.model}: {right:.2%} of {len(x):,} test images of {args.dataset} right\n{report}")
    return 0 if report.ok else 1
