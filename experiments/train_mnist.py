"""Trains a binary net on MNIST or your own images: by default the notebook's, by options any method of the papers.

    python experiments/train_mnist.py                                     # digits, under a minute
    python experiments/train_mnist.py --dataset mnist                     # real hidden activations
    python experiments/train_mnist.py --dataset mnist --activation binary # binary ones too
    python experiments/train_mnist.py --recipe bnn                        # a published method, see recipes/
    python experiments/train_mnist.py --dataset photographs               # your own: photographs/CLASS/*.jpg
    python -m gluon_bnn launch -n 2 python experiments/train_mnist.py --kvstore dist_sync   # in two processes at once

By default every weight is one bit at test: 784 * 100 + 100 * 10 = 79,400 bits, plus scales and batch norm. The epoch is
chosen on validation images (the last sixth of the training set), never on the test set. After training, the net is
cross-checked against the NumPy reference, hybridized, exported, loaded back and compared, and frozen: the test error is
that of the frozen net. Results go to --save-dir: record.json, curves.png, confusion.png, filters.png, the exported net
(net-symbol.json, net-0000.params), the frozen one (model.safetensors) and checkpoint.safetensors.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing was written yet")

import contextlib
import os
import sys
import time

import numpy as np

import gluon_bnn
from gluon_bnn import mx, train
from gluon_bnn.train.workers import Workers, connect

import nets
from common.images import Images, batches_of
from common.options import BATCH_SIZE, LOSSES, learning_rates, net_options, parse_args, settings_of
from common.record import writable, write_record
from common.report import draw, network_of, results_of, summary
from common.run_directory import FILES, advice, checkpoint_in, claimed


def main(argv=None):
    args = parse_args(argv)
    if args.resume and not os.path.exists(checkpoint_in(args.save_dir)):
        sys.exit(
            f"train_mnist.py: --resume finds no checkpoint in {args.save_dir}; check --save-dir and the other "
            "options, or leave --resume out"
        )
    with contextlib.ExitStack() as held:  # the lock of --save-dir, until the results are written
        run(args, argv, held)


def run(args, argv, held):
    began = time.perf_counter()
    np.random.seed(args.seed)
    mx.random.seed(args.seed)

    # The data: training, validation and test parts, and batches of the first.
    try:
        images = Images(args.dataset, args.data_dir, args.inputs, args.image_size)
        kvstore = connect() if args.kvstore else None
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"train_mnist.py: {error}")
    workers, rank = (kvstore.num_workers, kvstore.rank) if kvstore else (1, 0)
    batch_size = batch_size_of(args, len(images.train), workers)
    if rank == 0:
        writable(args.save_dir, *FILES)
        channels, height, width = images.shape
        print(
            f"{args.dataset}: {len(images.train)} training, {len(images.validation)} validation, "
            f"{len(images.test)} test images\n"
            f"{height}x{width} pixels in {'grey' if channels == 1 else 'colour'}, {images.classes} classes; seed "
            f"{args.seed}; results go to {args.save_dir}",
            flush=True,
        )
    batches = batches_of(images.train, images.train_labels, batch_size, images.shift, args.shift, args.warp, args.bend)

    # The net. Stochastic signs are for training: what is tested then are the real weights (BinaryConnect, section 2.6).
    try:
        net = nets.make(**net_options(args), shape=images.shape, classes=images.classes)
    except ValueError as error:
        sys.exit(f"train_mnist.py: {error}")
    net.hybridize(static_alloc=True, static_shape=True)
    tested = gluon_bnn.nn.with_real_weights(net) if args.weights == "stochastic" else net

    # The loss.
    loss = LOSSES[args.loss]()
    loss.hybridize(static_alloc=True, static_shape=True)

    # The optimizer, and its rate in each epoch.
    options = {"learning_rate": args.lr, "wd": args.weight_decay or 0, **({"glorot": True} if args.glorot else {})}
    trainer = mx.gluon.Trainer(net.collect_params(), args.optimizer, options, kvstore=kvstore, update_on_kvstore=False)
    rates = learning_rates(args)

    # The loop; its step is `_step` in gluon_bnn/train/epoch.py. The net keeps the best epoch.
    settings = {**settings_of(args), **({"workers": workers} if kvstore else {})}
    interrupt.says("the last whole epoch is kept, add --resume to go on")
    try:
        held.enter_context(claimed(args, Workers(trainer)))
        history = train.fit(
            net,
            trainer,
            loss,
            batches,
            steps=len(images.train) // batch_size,
            learning_rates=rates,
            validate=lambda net: train.evaluate(tested, images.validation, images.validation_labels),
            patience=args.patience,
            reestimate=images.train[: args.reestimate] if args.reestimate else None,
            # Few validation images make many epochs equal, and the first of them may be hardly trained.
            ties="last" if images.own else "first",
            watch={"test_error": lambda net: train.evaluate(tested, images.test, images.test_labels)}
            if args.watch_test
            else None,
            seed=args.seed,
            checkpoint=checkpoint_in(args.save_dir),
            resume=args.resume,
            settings=settings,
            overwrite=args.overwrite,
        )
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(advice(error))
    if rank > 0:
        return  # the results are those of worker 0; this one's net is the same
    best, done = history["best_epoch"], len(history["loss"])
    val_error = history["validation_error"][best]
    stopped = f"; stopped after epoch {done} of {args.epochs}" if history.get("stopped_early") else ""
    print(f"best epoch {best + 1} of {done}: validation error {val_error:.2%}{stopped}", flush=True)

    # The test.
    results, outputs = results_of(net, images, args)
    curve = {"loss": history["loss"], "error": history["error"], "val_error": history["validation_error"]}
    if args.watch_test:
        curve["test_error"] = history["test_error"]
        results["test_error_best_epoch"] = min(history["test_error"])
    write_record(
        os.path.join(args.save_dir, "record.json"),
        argv if argv is None else ["train_mnist.py", *argv],
        method=args.method,
        network=network_of(net, images.shape),
        **({"classes": images.names} if images.names else {}),
        seed=args.seed,
        epochs=done,
        **({"stopped_early": history["stopped_early"]} if args.patience else {}),
        best_epoch=best + 1,
        val_error=val_error,
        **results,
        curve={name: [round(v, 6) for v in values] for name, values in curve.items()},
        settings=settings,
        training_seconds=round(sum(history["seconds"]), 1),
        seconds=round(time.perf_counter() - began, 1),
    )
    draw(net, history, outputs, images, args)
    summary(results, len(images.test), args.save_dir, time.perf_counter() - began)
    if not results["ok"]:
        sys.exit("train_mnist.py: the net differs from the NumPy reference or from its export")


def batch_size_of(args, images, workers):
    """Images in a step of all workers together: --batch-size for each; all images where its default is too large."""
    most = images // workers
    if args.batch_size > most and (args.batch_size != BATCH_SIZE or most < 1):
        sys.exit(
            f"train_mnist.py: --batch-size times {workers} worker(s) must be at most the {images} "
            f"training images, got {args.batch_size}"
        )
    return min(args.batch_size, most) * workers


if __name__ == "__main__":
    main()
