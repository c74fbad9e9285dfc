"""The forms of several nets over a whole test set: what differs, bytes and times, in one record.

    python experiments/prove.py runs/larq runs/tfc mnist          # the test images of MNIST

A net is the --save-dir of a run of train_mnist.py, which has the net as MXNet exported it, a model file, or the name of
a net of gluon_bnn.zoo. Each form runs in a process of its own, as in `python -m gluon_bnn prove`.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("the record has the nets that are done")

import argparse
import os
import sys
import tempfile

from gluon_bnn import data, runtime, zoo
from gluon_bnn._progress import progress_bar
from gluon_bnn.prove import inputs_of, of_export, prove

from common.arguments import HelpFormatter, add_data_dir, find_dataset
from common.record import writable, write_record
from common.run_directory import MODEL

RECORD = "prove.json"


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter, allow_abbrev=False
    )
    parser.add_argument("nets", metavar="NET", nargs="+", help="a run's directory, a model file or a net of the zoo")
    parser.add_argument("--dataset", choices=data.SETS, default="mnist", help="whose test images")
    add_data_dir(parser, "digits/ or mnist/")
    parser.add_argument("--save-dir", default=os.path.join("runs", "prove"), help="for the record")
    return parser.parse_args(argv)


def load(net, directory):
    """(graph, forms in MXNet) of a net; those of a run are exported to the directory."""
    if net in zoo.names():
        return zoo.load(net).graph, []
    if not os.path.exists(os.path.join(net, MODEL) if os.path.isdir(net) else net):
        raise ValueError(
            f"NET must be the --save-dir of a run of train_mnist.py, with its {MODEL}, a model file, or one of "
            f"{', '.join(zoo.names())}; got {net!r}"
        )
    if not os.path.isdir(net):
        return runtime.load(net).graph, []
    graph = runtime.load(os.path.join(net, MODEL)).graph
    given = {} if graph.input_scale is None else dict(input_scale=graph.input_scale, input_shift=graph.input_shift)
    return of_export(os.path.join(net, "net"), 0, directory, input_shape=graph.input_shape, **given)


def main(argv=None):
    args = parse_args(argv)
    writable(args.save_dir, RECORD)
    found, complaints, path = {}, [], os.path.join(args.save_dir, RECORD)
    try:
        find_dataset(args.dataset, args.data_dir)
        images = data.load(args.dataset, args.data_dir)
        for net in args.nets:
            name = os.path.basename(os.path.normpath(net))
            with tempfile.TemporaryDirectory() as directory, progress_bar(desc=name, unit=" forms") as bar:
                graph, also = load(net, directory)
                inputs = inputs_of(graph, images["test_data"])
                report = prove(graph, *inputs, also=also, done=lambda form: bar.update())
            right = float((report.classes == images["test_label"]).mean())
            print(f"\n{name}: {right:.2%} right\n{report}", flush=True)
            found[name] = {"nodes": [node.kind for node in graph.nodes], "right": right, **report.as_dict()}
            complaints += report.complaints
            write_record(path, dataset=args.dataset, images=len(images["test_data"]), nets=found)  # a net takes minutes
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        sys.exit(f"prove.py: {error}")
    print(f"\nwritten to {path}")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
