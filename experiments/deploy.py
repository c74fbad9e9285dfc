"""Deployment as a user does it: a net is trained, frozen, exported, saved, and proven to answer the same in each form.

    python experiments/deploy.py                            # trains on digits first: 40 s in all
    python experiments/deploy.py --dataset mnist            # 3 min
    python experiments/deploy.py --from runs/mnist-binary   # the net of an earlier train_mnist.py

Any net with binary weights that train_mnist.py trains. All options but those below are those of train_mnist.py, which
trains in the directory "train" of --save-dir. Then every form that this machine can run, the net as trained among them,
classifies all test images in a process of its own, as in `python -m gluon_bnn prove`.

Expected: the runtime, C and JavaScript give the same scores, to the bit. Where a net multiplies real numbers, MXNet and
ONNX Runtime add them in another order, so that the last bits may differ: where two scores are a near tie, so may the
class. Those images are listed with bounds of both scores. Any other difference is an error: the exit code then is 1.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

import argparse
import contextlib
import os
import sys
import time

import numpy as np

import gluon_bnn
from gluon_bnn._progress import progress_bar
from gluon_bnn.prove import in_mxnet, inputs_of, prove

import train_mnist
from common import trained
from common.arguments import add_dataset
from common.images import Images
from common.options import settings_of
from common.record import writable, write_record
from common.run_directory import contents

FILES = {  # and what each of them is
    "net.params": "the parameters of the net as trained, for Gluon",
    "float-symbol.json": "the net frozen in MXNet's own operators, the graph of its export",
    "float-0000.params": "its parameters",
    "packed-symbol.json": "the net frozen to 1 bit per weight, for MXNet and our library, the graph of its export",
    "packed-0000.params": "its parameters",
    "model.safetensors": "the frozen net for the runtime, C with our library, and JavaScript",
    "model.onnx": "for ONNX Runtime",
    "model.h": "for C without a library",
    "record.json": "all figures, settings and versions",
}


def fail(message):
    sys.exit(f"deploy.py: {message}")


def parse_args(argv):
    """(own options, the settings of the run, the command line with which train_mnist.py is to train into args.trained:
    None with --from)."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        allow_abbrev=False,
        epilog="All other options are those of train_mnist.py: see its --help.",
    )
    add = parser.add_argument
    add(
        "--from",
        dest="trained",
        metavar="DIR",
        help="--save-dir of an earlier train_mnist.py; default: train now, on digits",
    )
    add_dataset(parser, default=None)
    add("--save-dir", help="for the files and the record; default: runs/deploy-DATASET")
    add("--prove", action="store_true", help="run every form over all test images and compare; every run does")
    args, rest = parser.parse_known_args(argv)
    if args.trained is not None:
        if args.dataset is not None or rest:
            parser.error(
                "--from takes net and data set of an earlier run: only --data-dir and --save-dir are allowed "
                f"with it, got {' '.join(rest) or '--dataset'}"
            )
        try:
            settings, training = trained.read_settings(args.trained), None
        except ValueError as error:
            fail(f"--from must be the --save-dir of an earlier train_mnist.py: {error}")
    else:
        for name in ("dataset", "data_dir"):
            if getattr(args, name) is not None:
                rest += ["--" + name.replace("_", "-"), getattr(args, name)]
        settings = settings_of(train_mnist.parse_args(rest))
        args.trained = os.path.join(save_dir(args, settings), "train")
        training = [*rest, "--save-dir", args.trained]
    if settings["weights"] == "real":
        where = "" if training else f" in {args.trained}"
        parser.error(f"only nets with binary or stochastic weights have bits to deploy, got --weights real{where}")
    return args, settings, training


def save_dir(args, settings):
    return args.save_dir or os.path.join("runs", f"deploy-{os.path.basename(os.path.normpath(settings['dataset']))}")


def deploy(net, as_trained, images, directory):
    """Freeze, export, save and prove; {name: figure} of the record, and whether all forms give the same answers.

    as_trained : a function of a file of the net's parameters, to the net as a form of its own
    """
    files = {name: os.path.join(directory, name) for name in FILES}
    net.save_parameters(files["net.params"])

    # Freeze the net, which then takes the pixels p of an image as scale * p + shift, and export it for MXNet.
    shape, scale, shift = images.shape, float(images.scale), images.shift
    graph, in_gluon = in_mxnet(net, directory, input_shape=shape, input_scale=scale, input_shift=shift)

    # Save it for what runs without MXNet.
    model = gluon_bnn.runtime.Model(graph)
    print()
    model.summary()
    right = float((model.predict(images.test_pixels) == images.test_labels).mean())
    for name in ("model.safetensors", "model.onnx", "model.h"):
        try:
            gluon_bnn.save(model, files[name], labels=images.names, accuracy=right)
        except (ImportError, ValueError) as error:
            print(f"no {name}: {error}")
            with contextlib.suppress(FileNotFoundError):  # it would be of another net
                os.remove(files[name])

    # Prove that each form gives the same answers, in a process of its own.
    x, pixels = inputs_of(graph, images.test_pixels / np.float32(255))
    with progress_bar(unit=" forms") as bar:
        also = [as_trained(files["net.params"]), *in_gluon]
        report = prove(graph, x, pixels, also=also, done=lambda form: bar.update())
    print(f"\n{right:.2%} of {len(x):,} test images right\n{report}\n")
    return {"images": len(x), "right": right, **report.as_dict()}, report.ok


def main(argv=None):
    began = time.perf_counter()
    args, settings, training = parse_args(argv)
    directory = save_dir(args, settings)
    try:
        images = Images(settings["dataset"], args.data_dir, settings["inputs"], settings.get("image_size"))
    except (ImportError, OSError, ValueError) as error:
        fail(error)
    if training:
        writable(directory, *FILES)  # before the work
        train_mnist.main(training)
        interrupt.says(f"no record is written; --from {args.trained} deploys the net that was trained")
    options = trained.options_of(settings, images)
    try:
        net = trained.load(args.trained, options)
        writable(directory, *FILES)
        figures, ok = deploy(net, lambda parameters: trained.form(options, parameters), images, directory)
    except (OSError, RuntimeError, ValueError) as error:
        fail(error)
    write_record(os.path.join(directory, "record.json"), settings=settings, **figures)
    print(contents(directory, FILES, time.perf_counter() - began))
    return not ok


if __name__ == "__main__":
    sys.exit(main())
