"""`python -m gluon_bnn prove`: every form of a net over all test images."""

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, Optional

from . import add_json, exports, fail, models, whole_number

if TYPE_CHECKING:
    import numpy as np

HELP = "run every form of a net over a test set and compare the answers"
DESCRIPTION = """Runs every form of a net that this machine can run, each in a process of its own, over all test images:
the runtime on each instruction set and in NumPy alone, ONNX Runtime, the C header alone, JavaScript, and for an
exported net MXNet. All must answer the same, to the bit; where a form adds real numbers in another order, a class may
differ by a near tie, which is listed. The exit code is 0 where all is so, else 1."""


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
    import tempfile

    from .._progress import progress_bar
    from ..prove import prove

    try:
        with tempfile.TemporaryDirectory() as directory, progress_bar(unit=" forms") as bar:
            graph, exported = _graph(args, directory)
            x, pixels, labels = _inputs(graph, args)

            def done(form):
                bar.set_postfix_str(form)
                bar.update()

            report = prove(graph, x, pixels, exported=exported, done=done)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        fail(error)
    right = float((report.classes == labels).mean())
    if args.json:
        found = {"model": args.model, "dataset": args.dataset, "images": len(x), "right": right, "ok": report.ok}
        print(json.dumps({**found, **report.as_dict()}, indent=1))
    else:
        print(f"{args.model}: {right:.2%} of {len(x):,} test images of {args.dataset} right\n{report}")
    return 0 if report.ok else 1


def _graph(args: argparse.Namespace, directory: str) -> tuple[Any, dict[str, str]]:
    """(the net's graph, {name: the file of the parameters of an export for MXNet})"""
    export = exports.find(args)
    if export is None:
        return models.load(args.model).graph, {}
    import numpy as np

    from .._compat import mx
    from ..native import library

    exported = {"MXNet, as exported": export.parameters}
    for form in ("float", "packed") if library.available() else ("float",):
        frozen = export.frozen(form)
        frozen.hybridize()
        frozen(mx.nd.array(np.zeros((1, *frozen.input_shape), np.float32)))
        frozen.export(os.path.join(directory, form))
        exported[f"MXNet, {form}"] = os.path.join(directory, f"{form}-0000.params")
    return frozen.graph, exported


def _inputs(graph: Any, args: argparse.Namespace) -> "tuple[np.ndarray, Optional[np.ndarray], np.ndarray]":
    """(float32 inputs, their pixels where the net takes those, labels) of the test set"""
    import numpy as np

    from .. import data
    from ..graph.kinds import KINDS

    found = data.load(args.dataset, args.data_dir)
    images, labels = found["test_data"][: args.images], found["test_label"][: args.images].astype(int)
    rows = images.reshape(len(images), -1)
    if rows.shape[1] != graph.inputs:
        raise ValueError(
            f"the net takes inputs of {'x'.join(map(str, graph.input_shape))}, the images of {args.dataset} are "
            f"{'x'.join(map(str, images.shape[1:]))}"
        )
    if graph.input_scale is None:
        return rows, None, labels
    pixels = np.rint(255 * rows).astype(np.uint8)
    return KINDS["input"].run(graph.nodes[0], (), pixels), pixels, labels
