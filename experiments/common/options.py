"""The options of train_mnist.py, and what follows from them: settings, --save-dir, learning rates."""

import argparse
import json
import os
import sys

import gluon_bnn
from gluon_bnn import mx, quantizers, train
from gluon_bnn.train.workers import digest

import nets
import recipes
from common.arguments import RATE, SEED, HelpFormatter, add_dataset, image_size, none_or, number, positive
from common.images import INPUTS

LOSSES = {"crossentropy": mx.gluon.loss.SoftmaxCrossEntropyLoss, "hinge": gluon_bnn.loss.SquaredHingeLoss}
MOST_EPOCHS, MOST_UNITS, MOST_BEND = 10**6, 2**16, 28
BATCH_SIZE = 100
# The options that do not change what a run computes; the number of workers is a setting of its own.
NO_SETTINGS = ("recipe", "save_dir", "resume", "overwrite", "data_dir", "kvstore")
# Left out where not given: older checkpoints and records lack them.
WHERE_GIVEN = ("image_size", "patience", "real_ends", "binary_inputs", "weight_decay", "reestimate", "watch_test")


def _parser():
    parser = argparse.ArgumentParser(
        description="Trains a binary net on digits, MNIST or your own images: by default the notebook's 784-100-10, by "
        "options any method of the papers.",
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument_group("method").add_argument
    add(
        "--recipe",
        metavar="NAME",
        choices=recipes.names(),
        help="a published method, a file of experiments/recipes; options given with it count in place of its own: "
        "%(choices)s",
    )
    add("--method", help="the name under which the record goes; default: that of --recipe")
    add(
        "--weights",
        choices=nets.WEIGHTS,
        default="binary",
        help="binary: one bit each; stochastic: signs drawn for every batch, the epoch chosen with the real weights, "
        "with --scale none; real: a plain net to compare with",
    )
    add(
        "--scale",
        choices=[str(scale).lower() for scale in quantizers.SCALES],
        default="channel",
        help="which weights share a scale: those of a layer, those of a unit, or none has one; loss: LAB's scale, one "
        "for each layer, with --optimizer binaryadam",
    )
    add(
        "--gradient",
        choices=quantizers.names(),
        help="rule for the gradient through the sign; default: xnor with --scale layer or channel, else ste",
    )
    add(
        "--clip",
        type=none_or(positive(float)),
        default=1.0,
        help="weights beyond it get no gradient through the sign; none for no limit",
    )
    add("--activation", choices=nets.ACTIVATIONS, default="relu", help="of the hidden layers")
    add("--real-ends", action="store_true", help="real weights in the first and the last layer, as XNOR-Net has them")
    add("--binary-inputs", action="store_true", help="the net sees the signs of its inputs, with --inputs signed")

    add = parser.add_argument_group("net").add_argument
    add("--net", choices=nets.names(), default="mlp", help="a file of experiments/nets")
    add(
        "--hidden",
        type=positive(int, MOST_UNITS),
        nargs="+",
        default=[100],
        metavar="UNITS",
        help="units of each hidden layer",
    )
    add(
        "--dropout",
        type=number(float, least=0, below=1),
        nargs=2,
        default=[0.0, 0.0],
        metavar=("INPUTS", "HIDDEN"),
        help="shares of values that are dropped",
    )
    add(
        "--initializer",
        choices=nets.INITIALIZERS,
        default="xavier",
        help="how real weights are drawn: xavier is Glorot's, binaryconnect U(-1, 1), lab half as wide as Glorot's",
    )

    add = parser.add_argument_group("training").add_argument
    add("--loss", choices=LOSSES, default="crossentropy", help="hinge is the squared hinge loss of the papers")
    add(
        "--optimizer",
        choices=("adam", "binaryadam"),
        default="adam",
        help="binaryadam holds the weights behind binary ones within [-1, 1]",
    )
    add("--weight-decay", type=RATE, metavar="FACTOR", help="so many times a weight is added to its gradient")
    add("--glorot", action="store_true", help="BinaryConnect's scale of learning rates, with --optimizer binaryadam")
    add("--epochs", type=positive(int, MOST_EPOCHS), default=60, help="passes over the training images")
    add(
        "--patience",
        type=positive(int, MOST_EPOCHS),
        metavar="EPOCHS",
        help="stop when validation was no better for so many epochs in a row",
    )
    add(
        "--reestimate",
        type=positive(int),
        metavar="IMAGES",
        help="before every validation, and before the test, batch norm gets the statistics of so many training images, "
        "as they are without augmentation",
    )
    add(
        "--watch-test",
        action="store_true",
        help="measure the test error after every epoch too, as papers do that report the best; it chooses nothing",
    )
    add(
        "--batch-size",
        type=positive(int),
        default=BATCH_SIZE,
        help="images per step, for each worker; where there are fewer than the default, all of them",
    )
    add("--lr", type=RATE, default=0.01, help="learning rate of the first epoch, for Adam")
    add(
        "--lr-end",
        type=RATE,
        help="learning rate of the last epoch, reached by a constant factor per epoch; default: a thousandth of --lr",
    )
    add(
        "--lr-steps",
        type=positive(int),
        nargs="+",
        metavar="EPOCHS",
        help="in place of --lr-end: after each of these numbers of epochs the rate falls to a tenth",
    )
    add("--seed", type=SEED, default=0, help="of initial weights and of everything drawn in training")
    add(
        "--kvstore",
        choices=("dist_sync",),
        help="train in several processes, as python -m gluon_bnn launch starts them",
    )

    group = parser.add_argument_group("data")
    add_dataset(group)
    add = group.add_argument
    add(
        "--image-size",
        type=image_size,
        metavar="HEIGHTxWIDTH",
        help="pixels to which pictures in folders are resized, or one number for both; default: their own size where "
        "all have the same of at most 64x64, else 28",
    )
    add(
        "--inputs",
        choices=INPUTS,
        default="unit",
        help="pixels within [0, 1]; signed: within [-1, 1]; centered: within [0, 1], less the mean of each pixel "
        "over the training images",
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
        type=number(float, least=0, most=MOST_BEND),
        default=0.0,
        help="augmentation: bend each training image, by smooth displacements of this standard deviation in pixels",
    )

    add = parser.add_argument_group("output").add_argument
    add(
        "--save-dir",
        help="for results and the checkpoint; default: runs/DATASET-ACTIVATION, and a digest of the "
        "other options where they are not the defaults",
    )
    add("--resume", action="store_true", help="go on from the checkpoint in --save-dir")
    add("--overwrite", action="store_true", help="begin again where --save-dir has a run that is not finished")
    return parser


def parse_args(argv=None):
    """The options, those of --recipe among them; leaves with a message where they do not go together."""
    parser, argv = _parser(), sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.recipe:
        args = parser.parse_args([*recipes.command_line(args.recipe), *argv])
    if args.lr_steps and args.lr_end:
        parser.error("--lr-end and --lr-steps are two schedules: give one of them")
    if args.glorot and args.optimizer != "binaryadam":
        parser.error("--glorot needs --optimizer binaryadam")
    if args.scale == "loss" and args.weights != "real" and args.optimizer != "binaryadam":
        parser.error("--scale loss needs --optimizer binaryadam, which keeps the curvature of the loss")
    if args.weights == "stochastic" and args.scale != "none":
        parser.error("--weights stochastic needs --scale none: what is drawn is +1 or -1, without a scale")
    if args.weights == "stochastic" and args.reestimate:
        parser.error("--reestimate makes statistics of binary weights; --weights stochastic validates the real ones")
    rules = [rule.name for rule in quantizers.rules(None if args.scale == "none" else args.scale)]
    if args.gradient not in (None, *rules):
        parser.error(f"--scale {args.scale} goes with --gradient {' or '.join(rules)}, got {args.gradient}")
    if args.binary_inputs and args.inputs != "signed":
        parser.error(
            "--binary-inputs needs --inputs signed: the others are hardly ever negative, so that all signs are 1"
        )
    for name in nets.SHAPE:
        if getattr(args, name) != parser.get_default(name) and not nets.takes(args.net, name):
            parser.error(f"--net {args.net} does not take --{name}")
    if args.resume and args.overwrite:
        parser.error("--resume goes on with a run and --overwrite begins again: give one of them")
    args.scale = None if args.scale == "none" else args.scale
    args.save_dir = args.save_dir or _default_directory(args, parser)
    return args


def settings_of(args):
    """The options that decide what a run computes: a checkpoint is resumed only by a run with the same."""
    return {
        name: value
        for name, value in vars(args).items()
        if name not in NO_SETTINGS and not (name in WHERE_GIVEN and value in (None, False))
    }


def net_options(args):
    """The options of `nets.make`."""
    return {name: getattr(args, name) for name in nets.OPTIONS}


def learning_rates(args):
    """One for each epoch."""
    if args.lr_steps:
        return [args.lr * 0.1 ** sum(epoch >= step for step in args.lr_steps) for epoch in range(args.epochs)]
    return train.rates(args.lr, args.lr_end or args.lr / 1000, args.epochs)


def _default_directory(args, parser):
    """A directory of its own for every set of options, below runs/."""
    name = os.path.basename(os.path.abspath(args.dataset))
    known = {"dataset": name, "activation": args.activation}
    others = {
        key: value
        for key, value in {**settings_of(args), "kvstore": args.kvstore}.items()
        if value != known.get(key, parser.get_default(key))
    }
    end = f"-{digest(json.dumps(others, sort_keys=True).encode())[:8]}" if others else ""
    return os.path.join("runs", f"{name}-{args.activation}{end}")
