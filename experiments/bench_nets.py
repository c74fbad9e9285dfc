"""Times a training step and inference of the recipes' nets on random images, where their data set is not at hand.

    python experiments/bench_nets.py                           # the recipes for CIFAR-10
    python experiments/bench_nets.py --recipes larq lenet_bwn

Each net is timed as its recipe has it and, for comparison, with real weights and ReLU in MXNet: one step of training,
and the time per image of inference, one image at a time and 100 at once. Inference is that of the frozen net in the
runtime, on pixels of 8 bits, which is first seen to give the classes of the net in MXNet. No error is claimed.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing was written yet")

import argparse
import os
import statistics
import sys
import tempfile
import time

import numpy as np

import gluon_bnn
from gluon_bnn import mx, train
from gluon_bnn._compat import threads_wanted
from gluon_bnn.native import library

import image_sets
import nets
import recipes
from common import options
from common.arguments import HelpFormatter, positive
from common.record import writable, write_record
from common.report import bits_of, network_of
from common.tables import short

RECORD = "bench_nets.json"
ROWS = 100  # images in a batch of inference
MOST_DIFFERENT = 0.05  # of the classes: where sums of real inputs are at zero, MXNet rounds them to another sign


def shape_of(dataset):
    return image_sets.load(dataset).SHAPE if dataset in image_sets.names() else nets.IMAGE


def trained_on(args, images):
    """(the net of these options, a function that trains it by one step)."""
    net, loss = nets.make(**options.net_options(args), shape=images.shape[1:]), options.LOSSES[args.loss]()
    net.hybridize(static_alloc=True, static_shape=True)
    rows = images[: args.batch_size]
    labels = mx.nd.array(np.arange(len(rows)) % nets.CLASSES)
    trainer = mx.gluon.Trainer(net.collect_params(), args.optimizer, {"learning_rate": args.lr}, kvstore=None)

    def step():
        with mx.autograd.record():
            losses = loss(net(rows), labels)
        losses.backward()
        trainer.step(len(rows))
        mx.nd.waitall()

    return net, step


def frozen(net, shape):
    """The net in the runtime, by way of a file."""
    form = gluon_bnn.freeze(net, input_shape=shape, input_scale=2 / 255, input_shift=-1, verbose=False)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "model.safetensors")
        gluon_bnn.save(form, path)
        return gluon_bnn.runtime.load(path)


def medians(calls, rounds):
    """{name: median of the seconds of a call}; the calls take turns, and the first turn does not count."""
    found = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn:
                found[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def measure(name, rounds):
    """What the record has of one recipe."""
    args = options.parse_args(["--recipe", name])
    plain = options.parse_args(["--recipe", name, "--weights", "real", "--activation", "relu"])
    shape = shape_of(args.dataset)
    pixels = np.random.default_rng(0).integers(0, 256, (max(args.batch_size, ROWS), *shape), np.uint8)
    images = mx.nd.array(2 / 255 * pixels - 1)
    (net, step), (real, real_step) = trained_on(args, images), trained_on(plain, images)
    steps = medians({"binary": step, "real": real_step}, rounds)
    train.reestimate(net, images.asnumpy())
    model = frozen(net, shape)
    different = float((model.predict(pixels) != net(images).asnumpy().argmax(axis=1)).mean())
    if different > MOST_DIFFERENT:
        sys.exit(f"bench_nets.py: {name}: the runtime gives {different:.0%} of the images another class than MXNet")

    def inference(rows):
        calls = {"binary": lambda: model(pixels[:rows]), "real": lambda: real(images[:rows]).asnumpy()}
        return {name: seconds / rows for name, seconds in medians(calls, rounds).items()}

    times = {"step": steps, "one image": inference(1), "an image of 100": inference(ROWS)}
    return {
        "network": network_of(net, shape),
        "bits": bits_of(net),
        "batch": args.batch_size,
        "us": {what: {kind: round(1e6 * s, 1) for kind, s in found.items()} for what, found in times.items()},
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    binary = [name for name in recipes.names() if recipes.load(name).options.get("weights") != "real"]
    default = [name for name in binary if recipes.load(name).options.get("dataset") in image_sets.names()]
    parser.add_argument(
        "--recipes",
        choices=binary,
        nargs="+",
        default=default,
        metavar="RECIPE",
        help=f"whose nets are timed: {', '.join(binary)}",
    )
    parser.add_argument("--rounds", type=positive(int), default=10, help="timed calls; medians are reported")
    parser.add_argument("--save-dir", default=os.path.join("runs", "bench_nets"), help="for the record")
    args = parser.parse_args(argv)
    writable(args.save_dir, RECORD)
    found = {}
    for name in args.recipes:
        found[name] = measure(name, args.rounds)
        print(f"{name}: {found[name]['network']}, {found[name]['bits']:,} weights of 1 bit")
        for what, us in found[name]["us"].items():
            print(f"  {what:16s}{short(us['binary']):>10} us, real weights in MXNet{short(us['real']):>10} us")
    path = os.path.join(args.save_dir, RECORD)
    about = {"threads": threads_wanted(), "instruction_set": library.instruction_set()}
    write_record(path, argv, unit="us, median", rounds=args.rounds, **about, nets=found)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
