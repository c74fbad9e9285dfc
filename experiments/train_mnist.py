"""Trains a binary net on MNIST: by default the notebook's 784-100-10, by options any method of the papers.

    python experiments/train_mnist.py                                     # digits, under a minute
    python experiments/train_mnist.py --dataset mnist                     # real hidden activations
    python experiments/train_mnist.py --dataset mnist --activation binary # binary ones too
    python experiments/train_mnist.py --dataset mnist @experiments/recipes/bnn.txt   # options from a file
    python -m gluon_bnn.launch -n 2 python experiments/train_mnist.py --kvstore dist_sync   # in two processes at once

By default every weight is one bit at test: 784 * 100 + 100 * 10 = 79,400 bits, plus scales and batch norm. The
epoch is chosen on validation images (the last sixth of the training set), never on the test set. After
training, the net is cross-checked against the NumPy reference, hybridized, exported, loaded back and
compared, and frozen: the test error is that of the frozen net. Results go to --save-dir: record.json,
curves.png, confusion.png, filters.png, the exported net (net-symbol.json, net-0000.params), the frozen
one (model.safetensors) and checkpoint.safetensors.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing was written yet")

import argparse
import contextlib
import errno
import json
import os
import sys
import time
import warnings

import numpy as np

import gluon_bnn
from gluon_bnn import _files, quantizers, reference, train
from gluon_bnn._compat import mx
from gluon_bnn.train.workers import Workers, connect, digest

from common.arguments import SEED, HelpFormatter, add_dataset, none_or, number, positive, read_arguments
from common.cross_check import (
    ACTIVATIONS,
    INITIALIZERS,
    NET_OPTIONS,
    WEIGHTS,
    binary_weights,
    cross_check,
    make_net,
    real_weights_errors,
)
from common.images import INPUTS, SIZE, Images, batches_of
from common.record import writable, write_record

LOSSES = {"crossentropy": mx.gluon.loss.SoftmaxCrossEntropyLoss, "hinge": gluon_bnn.loss.SquaredHingeLoss}
FILES = (
    "checkpoint.safetensors",
    "record.json",
    "model.safetensors",
    "net-symbol.json",
    "net-0000.params",
    "curves.png",
    "confusion.png",
    "filters.png",
)  # all that goes to --save-dir
MOST_EPOCHS, MOST_UNITS = 10**6, 2**16
# The options that do not change what a run computes; the number of workers is a setting of its own.
NO_SETTINGS = ("save_dir", "resume", "overwrite", "data_dir", "kvstore")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=HelpFormatter,
        fromfile_prefix_chars="@",
        epilog="@FILE stands for the options in a file; # begins a comment there.",
    )
    parser.convert_arg_line_to_args = read_arguments
    add = parser.add_argument
    add_dataset(parser)
    add("--epochs", type=positive(int, MOST_EPOCHS), default=60, help="passes over the training images")
    add("--batch-size", type=positive(int), default=100, help="images a step, for each worker")
    add("--lr", type=positive(float), default=0.01, help="learning rate of the first epoch, for Adam")
    add(
        "--lr-end",
        type=positive(float),
        help="that of the last, reached by a constant factor an epoch; default: a thousandth of --lr",
    )
    add(
        "--lr-steps",
        type=positive(int),
        nargs="+",
        metavar="EPOCHS",
        help="instead of that, a tenth of the rate after so many epochs, and again after so many",
    )
    add("--seed", type=SEED, default=0, help="of initial weights and of everything drawn in training")
    add(
        "--save-dir",
        help="for results and the checkpoint; default: runs/DATASET-ACTIVATION, and a digest of the "
        "other options where they are not the defaults",
    )
    add("--resume", action="store_true", help="go on from the checkpoint in --save-dir")
    add("--overwrite", action="store_true", help="begin again where --save-dir has a run that is not finished")
    add(
        "--kvstore",
        choices=("dist_sync",),
        help="train in several processes, as python -m gluon_bnn.launch starts them",
    )
    add("--method", help="the name under which the record goes, for instance a recipe's")
    add(
        "--hidden",
        type=positive(int, MOST_UNITS),
        nargs="+",
        default=[100],
        metavar="UNITS",
        help="units of each hidden layer",
    )
    add(
        "--weights",
        choices=WEIGHTS,
        default="binary",
        help="stochastic: signs drawn for every batch, the epoch chosen with the real weights, with --scale none; "
        "real: a plain net to compare with",
    )
    add(
        "--scale",
        choices=[str(scale).lower() for scale in quantizers.SCALES],
        default="channel",
        help="weights that share a scale; loss is LAB's, with --optimizer binaryadam",
    )
    add(
        "--gradient",
        choices=quantizers.names(),
        help="rule for the gradient through the sign; default: xnor with a scale a layer or channel, else ste",
    )
    add(
        "--clip",
        type=none_or(positive(float)),
        default=1.0,
        help="weights beyond it get no gradient through the sign, or none for no limit",
    )
    add("--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layers")
    add(
        "--dropout",
        type=number(float, least=0, below=1),
        nargs=2,
        default=[0.0, 0.0],
        metavar=("INPUTS", "HIDDEN"),
        help="shares of values that are dropped",
    )
    add("--initializer", choices=INITIALIZERS, default="xavier", help="of the real weights")
    add(
        "--optimizer",
        choices=("adam", "binaryadam"),
        default="adam",
        help="binaryadam holds the weights behind binary ones within [-1, 1]",
    )
    add("--glorot", action="store_true", help="BinaryConnect's scale of learning rates, with binaryadam")
    add("--loss", choices=LOSSES, default="crossentropy", help="hinge is the squared hinge loss of the papers")
    add(
        "--inputs",
        choices=INPUTS,
        default="unit",
        help="pixels within [0, 1], within [-1, 1], or less the mean of each",
    )
    add(
        "--shift",
        type=int,
        choices=range(4),
        default=0,
        help="augmentation: move each training image by up to so many pixels",
    )
    add(
        "--warp",
        type=number(float, least=0, below=1),
        default=0.0,
        help="augmentation: turn, scale and shear each training image, by the unit matrix plus numbers up to this",
    )
    add(
        "--bend",
        type=number(float, least=0, most=SIZE),
        default=0.0,
        help="augmentation: bend each training image, by smooth displacements of this standard deviation in pixels",
    )
    try:
        args = parser.parse_args(argv)
    except (ValueError, RecursionError) as error:
        parser.error(f"a file of options, given as @FILE, cannot be read: {error}")
    if args.lr_steps and args.lr_end:
        parser.error("--lr-end and --lr-steps are two schedules: give one of them")
    if args.glorot and args.optimizer != "binaryadam":
        parser.error("--glorot needs --optimizer binaryadam")
    if args.scale == "loss" and args.weights != "real" and args.optimizer != "binaryadam":
        parser.error("--scale loss needs --optimizer binaryadam, which keeps the curvature of the loss")
    if args.weights == "stochastic" and args.scale != "none":
        parser.error("--weights stochastic needs --scale none: what is drawn is +1 or -1, without a scale")
    rules = [rule.name for rule in quantizers.rules(None if args.scale == "none" else args.scale)]
    if args.gradient not in (None, *rules):
        parser.error(f"--scale {args.scale} goes with --gradient {' or '.join(rules)}, got {args.gradient}")
    if args.resume and args.overwrite:
        parser.error("--resume goes on with a run and --overwrite begins again: give one of them")
    args.scale = None if args.scale == "none" else args.scale
    args.save_dir = args.save_dir or default_directory(args, parser)
    return args


def settings_of(args):
    return {name: value for name, value in vars(args).items() if name not in NO_SETTINGS}


def default_directory(args, parser):
    """One for every set of options."""
    name = os.path.basename(os.path.normpath(args.dataset))
    known = {"dataset": name, "activation": args.activation}
    others = {
        key: value
        for key, value in {**settings_of(args), "kvstore": args.kvstore}.items()
        if value != known.get(key, parser.get_default(key))
    }
    end = f"-{digest(json.dumps(others, sort_keys=True).encode())[:8]}" if others else ""
    return os.path.join("runs", f"{name}-{args.activation}{end}")


def checkpoint_in(directory):
    return os.path.join(directory, "checkpoint.safetensors")


@contextlib.contextmanager
def claimed(args, workers):
    """--save-dir, locked for this run; OSError where another process has it, or where a run in it is not finished."""
    record, checkpoint = os.path.join(args.save_dir, "record.json"), checkpoint_in(args.save_dir)
    with contextlib.ExitStack() as stack:
        with workers.together():
            if workers.rank == 0:
                _files.make_directory(record)
                stack.enter_context(_files.lock(record))
                # The record is written last.
                if (
                    not args.resume
                    and not args.overwrite
                    and os.path.exists(checkpoint)
                    and not (os.path.exists(record) and os.path.getmtime(record) >= os.path.getmtime(checkpoint))
                ):
                    raise FileExistsError(errno.EEXIST, "has a run that is not finished", args.save_dir)
        yield


def advice(error):
    """What to do about an error of training, by the options of this script."""
    kinds = {
        FloatingPointError: "try a smaller --lr",
        BlockingIOError: "wait for it, or use another --save-dir",
        FileExistsError: "go on with it by --resume, or begin again by --overwrite",
        ConnectionError: "",
        OSError: "use another --save-dir, or add --resume once this is mended",
        Exception: "",
    }
    text = next(text for kind, text in kinds.items() if isinstance(error, kind))
    return f"train_mnist.py: {error}" + (f"; {text}" if text else "")


def learning_rates(args):
    if args.lr_steps:
        return [args.lr * 0.1 ** sum(epoch >= step for step in args.lr_steps) for epoch in range(args.epochs)]
    return train.rates(args.lr, args.lr_end or args.lr / 1000, args.epochs)


def export_and_load(net, x, directory):
    """Hybridize, export, load the export, and return its outputs for x."""
    prefix = os.path.join(directory, "net")
    net.hybridize(static_alloc=True, static_shape=True)
    net(mx.nd.array(x[:1]))
    net.export(prefix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MXNet says that the type of the input is open
        loaded = mx.gluon.SymbolBlock.imports(prefix + "-symbol.json", ["data"], prefix + "-0000.params")
    return train.predict(loaded, x)


def frozen_outputs(net, images, directory):
    """Outputs of the net with 1-bit weights, as saved for the runtime and loaded back."""
    form = "packed" if gluon_bnn.native.library.available() else "float"
    frozen = gluon_bnn.freeze(net, form, input_scale=float(images.scale), input_shift=images.shift, verbose=False)
    path = os.path.join(directory, "model.safetensors")
    gluon_bnn.runtime.save(frozen, path)
    model = gluon_bnn.runtime.load(path)
    return np.concatenate([model(images.test[i : i + 1000]) for i in range(0, len(images.test), 1000)])


def error_of(outputs, labels):
    return float((outputs.argmax(axis=1) != labels).mean())


def results_of(net, images, args):
    """Errors, cross-checks and counts of the trained net, for the record; prints them too."""
    x, labels = images.test, images.test_labels
    outputs = train.predict(net, x)
    found = {"test_error": error_of(outputs, labels)}
    if args.weights != "real":
        found["test_error_as_trained"] = found["test_error"]
        frozen = frozen_outputs(net, images, args.save_dir)
        found["test_error"] = error_of(frozen, labels)
        found["frozen_differing_predictions"] = int((frozen.argmax(1) != outputs.argmax(1)).sum())
        if args.scale is None:
            found.update(real_weights_errors(net, images))
    for name, value in found.items():
        if name.startswith("test_error"):
            print(f"{name.replace('_', ' ')}: {value:.2%} ({round(value * len(x))} of {len(x)} wrong)")
    checked = found["cross_check"] = cross_check(net, x, outputs)
    print(
        f"NumPy reference: {len(x) - checked['differing_predictions']} of {len(x)} predictions are "
        f"equal; hidden values differ by {checked['largest_hidden_error']:.1e} at most, outputs by "
        f"{checked['largest_output_error']:.1e}"
    )
    if args.weights != "real":
        print(gluon_bnn.check_net(net, mx.nd.array(x[:64])))
    loaded = export_and_load(net, x, args.save_dir)
    same = found["export_same_predictions"] = int((loaded.argmax(1) == outputs.argmax(1)).sum())
    print(f"exported to {args.save_dir}/net-symbol.json and loaded back: {same} of {len(x)} predictions alike")
    found["bits"] = binary_weights(net)
    found["ok"] = checked["ok"] and same == len(x)
    return found, outputs


def draw(net, history, outputs, labels, args):
    try:
        from common import pictures
    except ImportError:
        print("no pictures: pip install 'gluon-bnn[experiments]' (or matplotlib) draws them")
        return
    pictures.curves(history, os.path.join(args.save_dir, "curves.png"))
    pictures.confusion_matrix(outputs.argmax(1), labels, os.path.join(args.save_dir, "confusion.png"))
    if args.weights != "real":
        first = next(block for block in net if isinstance(block, gluon_bnn.nn.BinaryDense))
        signs = reference.binary.sign(first.weight.data().asnumpy())
        pictures.filters(signs, os.path.join(args.save_dir, "filters.png"))


def main(argv=None):
    with contextlib.ExitStack() as held:
        run(argv, held)


def run(argv, held):
    """Train and write the results; `held` holds the lock of --save-dir until then."""
    args = parse_args(argv)
    if args.resume and not os.path.exists(checkpoint_in(args.save_dir)):
        sys.exit(
            f"train_mnist.py: --resume finds no checkpoint in {args.save_dir}; check --save-dir and the other "
            "options, or leave --resume out"
        )
    began = time.perf_counter()
    np.random.seed(args.seed)
    mx.random.seed(args.seed)
    try:
        images = Images(args.dataset, args.data_dir, args.inputs)
        net = make_net(**{name: getattr(args, name) for name in NET_OPTIONS})
        kvstore = connect() if args.kvstore else None
    except (OSError, ValueError) as error:
        sys.exit(f"train_mnist.py: {error}")
    workers, rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
    batch_size = args.batch_size * workers
    if len(images.train) < batch_size:
        sys.exit(
            f"train_mnist.py: --batch-size times {workers} worker(s) must be at most the {len(images.train)} "
            f"training images, got {args.batch_size}"
        )
    if rank == 0:
        writable(args.save_dir, *FILES)
    net.hybridize(static_alloc=True, static_shape=True)
    # Stochastic signs are for training: what is tested then are the real weights (BinaryConnect, section 2.6).
    validated = gluon_bnn.nn.with_real_weights(net) if args.weights == "stochastic" else net
    options = {"glorot": True} if args.glorot else {}
    trainer = mx.gluon.Trainer(
        net.collect_params(),
        args.optimizer,
        {"learning_rate": args.lr, **options},
        kvstore=kvstore,
        update_on_kvstore=False,
    )
    loss = LOSSES[args.loss]()
    loss.hybridize(static_alloc=True, static_shape=True)
    if rank == 0:
        print(
            f"{args.dataset}: {len(images.train)} training, {len(images.validation)} validation, "
            f"{len(images.test)} test images; seed {args.seed}; results go to {args.save_dir}"
        )
    settings = settings_of(args)
    if kvstore:
        settings["workers"] = workers
    interrupt.says("the last whole epoch is kept, add --resume to go on")
    try:
        held.enter_context(claimed(args, Workers(trainer)))
        history = train.fit(
            net,
            trainer,
            loss,
            batches_of(images.train, images.train_labels, batch_size, images.shift, args.shift, args.warp, args.bend),
            len(images.train) // batch_size,
            learning_rates(args),
            lambda net: train.evaluate(validated, images.validation, images.validation_labels),
            args.seed,
            checkpoint=checkpoint_in(args.save_dir),
            resume=args.resume,
            settings=settings,
            overwrite=args.overwrite,
        )
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(advice(error))
    if rank > 0:
        return  # the results are those of worker 0; this one's net is the same

    best = history["best_epoch"]
    val_error = history["validation_error"][best]
    print(f"best epoch {best + 1} of {args.epochs}: validation error {val_error:.2%}")
    results, outputs = results_of(net, images, args)
    curve = {"loss": history["loss"], "error": history["error"], "val_error": history["validation_error"]}
    write_record(
        os.path.join(args.save_dir, "record.json"),
        argv if argv is None else ["train_mnist.py", *argv],
        method=args.method,
        network="-".join(map(str, [784, *args.hidden, 10])),
        seed=args.seed,
        epochs=args.epochs,
        best_epoch=best + 1,
        val_error=val_error,
        **results,
        curve={name: [round(v, 6) for v in values] for name, values in curve.items()},
        settings=settings,
        training_seconds=round(sum(history["seconds"]), 1),
        seconds=round(time.perf_counter() - began, 1),
    )
    draw(net, history, outputs, images.test_labels, args)
    print(f"results are in {args.save_dir}; {time.perf_counter() - began:.0f} s in all")
    if not results["ok"]:
        sys.exit("train_mnist.py: the net differs from the NumPy reference or from its export")


if __name__ == "__main__":
    main()
