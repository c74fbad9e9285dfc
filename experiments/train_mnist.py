"""The notebook's 784-100-10 net done right: binary weights, mini-batches, batch norm, Adam, validation.

    python experiments/train_mnist.py                                     # digits, under a minute
    python experiments/train_mnist.py --dataset mnist                     # real hidden activations
    python experiments/train_mnist.py --dataset mnist --activation binary # binary ones too

Every weight is one bit at test: 784 * 100 + 100 * 10 = 79,400 bits, plus scales and batch norm. The
epoch is chosen on validation images (the last sixth of the training set), never on the test set. After
training, the net is cross-checked against the NumPy reference, hybridized, exported, loaded back and
compared. Results go to --save-dir: record.json, curves.png, confusion.png, filters.png, the exported
net (net-symbol.json, net-0000.params) and checkpoint.safetensors.
"""
import argparse
import os
import sys
import time
import warnings

import numpy as np

import gluon_bnn
from gluon_bnn import reference, train
from gluon_bnn._compat import mx

from arguments import HelpFormatter, positive
from record import write_record

HIDDEN = 100
ROUNDING = 1e-4  # 1.2e-5 seen over all activations and scales, on digits and MNIST
ACTIVATIONS = ("relu", "sigmoid", "binary", "binary_sigmoid")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--dataset", default="digits", help="digits (embedded), mnist, or a directory with IDX files")
    add("--data-dir", help="where data sets are looked for first; default: GLUON_BNN_DATA, data/, ...")
    add("--epochs", type=positive(int), default=60, help="passes over the training images")
    add("--batch-size", type=positive(int), default=100, help="images a step")
    add("--lr", type=positive(float), default=0.01, help="learning rate of the first epoch, for Adam; "
        "it falls by a constant factor an epoch to a thousandth")
    add("--seed", type=int, default=0, help="of initial weights and of everything drawn in training")
    add("--save-dir", help="for results and the checkpoint; default: runs/DATASET-ACTIVATION")
    add("--resume", action="store_true", help="go on from the checkpoint in --save-dir")
    add("--activation", choices=ACTIVATIONS, default="relu", help="of the hidden layer")
    add("--scale", choices=("layer", "channel", "none"), default="channel",
        help="weights that share a scale")
    add("--gradient", choices=("ste", "xnor", "exact", "notebook"),
        help="rule for the gradient through the sign; default: xnor with a scale, ste without")
    add("--shift", type=int, choices=range(4), default=0,
        help="augmentation: move each training image by up to so many pixels")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error(f"--seed must be 0 or above, got {args.seed}")
    name = os.path.basename(os.path.normpath(args.dataset))
    args.save_dir = args.save_dir or os.path.join("runs", f"{name}-{args.activation}")
    return args


def make_net(activation, scale, gradient):
    """784-100-10, binary weights, batch norm after both products."""
    nn = gluon_bnn.nn
    layer = dict(use_bias=False, scale=None if scale == "none" else scale, gradient=gradient)
    act = {"binary": nn.BinaryActivation, "binary_sigmoid": nn.BinarySigmoid}.get(
        activation, lambda: mx.gluon.nn.Activation(activation))()
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryDense(HIDDEN, in_units=784, **layer),
            mx.gluon.nn.BatchNorm(in_channels=HIDDEN), act,
            nn.BinaryDense(10, in_units=HIDDEN, **layer),
            mx.gluon.nn.BatchNorm(in_channels=10))
    net.initialize(mx.init.Xavier())
    return net


def shifted(images, most, generator):
    """Each image (rows, 784) moved by up to `most` pixels in both directions, zeros moving in."""
    size = 28
    padded = np.pad(images.reshape(-1, size, size), ((0, 0), (most, most), (most, most)))
    by = generator.integers(0, 2 * most + 1, (len(images), 2))
    out = np.empty((len(images), size, size), images.dtype)
    for top in range(2 * most + 1):
        for left in range(2 * most + 1):
            rows = np.flatnonzero((by[:, 0] == top) & (by[:, 1] == left))
            out[rows] = padded[rows, top:top + size, left:left + size]
    return out.reshape(len(images), -1)


def batches_of(x, labels, batch_size, shift):
    """A function of a generator to whole batches in random order, moved to the device once an epoch.

    Rows left over, fewer than a batch, sit an epoch out: batch norm needs batches alike.
    """
    def batches(generator):
        order = generator.permutation(len(x))[:len(x) // batch_size * batch_size]
        images = mx.nd.array((shifted(x, shift, generator) if shift else x)[order])
        targets = mx.nd.array(labels[order].astype(np.float32))
        for i in range(0, len(order), batch_size):
            yield images[i:i + batch_size], targets[i:i + batch_size]
    return batches


def reference_outputs(net, x, activation, scale):
    """Hidden values before the activation, and outputs: float64, only by gluon_bnn.reference."""
    scale = None if scale == "none" else scale
    act = {"relu": reference.dense.relu, "sigmoid": reference.dense.sigmoid,
           "binary": reference.binary.sign,
           "binary_sigmoid": reference.binary.binary_sigmoid}[activation]

    def values(layer, *names):
        return [getattr(layer, name).data().asnumpy().astype(np.float64) for name in names]

    def dense_and_norm(x, dense, norm):
        y = reference.binary.binary_dense(x, *values(dense, "weight"), scale=scale)
        return reference.dense.batch_norm_inference(
            y, *values(norm, "gamma", "beta", "running_mean", "running_var"))

    hidden = dense_and_norm(x.astype(np.float64), net[0], net[1])
    return hidden, dense_and_norm(act(hidden), net[3], net[4])


def cross_check(net, x, outputs, activation, scale):
    """Compare hidden values and predictions with the reference; what was found, for the record.

    float32 and float64 round differently, so a prediction may differ where the top two classes tie, or
    where a binary hidden unit was at zero and fell on the other side. Both are told from an error in the
    net by size: hidden values must agree to ROUNDING in every row, and outputs in every row whose
    hidden bits agree.
    """
    hidden, expected = reference_outputs(net, x, activation, scale)
    first = mx.gluon.nn.HybridSequential()
    first.add(net[0], net[1])
    found = train.predict(first, x)
    alike = np.ones(len(x), bool)
    if activation.startswith("binary"):
        alike = ((found < 0) == (hidden < 0)).all(axis=1)
    hidden_error = float(np.abs(found - hidden).max())
    output_error = float(np.abs(outputs - expected)[alike].max(initial=0))
    differing = outputs.argmax(axis=1) != expected.argmax(axis=1)
    return {"rows": len(x), "differing_predictions": int(differing.sum()),
            "rows_with_differing_hidden_bits": int((~alike).sum()),
            "largest_hidden_error": hidden_error, "largest_output_error": output_error,
            "ok": hidden_error < ROUNDING and output_error < ROUNDING}


def export_and_load(net, x, directory):
    """Hybridize, export, load the export, and return its outputs for x."""
    prefix = os.path.join(directory, "net")
    net.hybridize(static_alloc=True, static_shape=True)
    net(mx.nd.array(x[:1]))
    net.export(prefix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MXNet says that the type of the input is open
        loaded = mx.gluon.SymbolBlock.imports(prefix + "-symbol.json", ["data"],
                                              prefix + "-0000.params")
    return train.predict(loaded, x)


def main(argv=None):
    args = parse_args(argv)
    began = time.perf_counter()
    try:
        data = gluon_bnn.data.load(args.dataset, root=args.data_dir)
    except (OSError, ValueError) as error:
        sys.exit(f"train_mnist.py: {error}")
    x, labels = data["train_data"].reshape(-1, 784), data["train_label"].astype(int)
    x_test, test_labels = data["test_data"].reshape(-1, 784), data["test_label"].astype(int)
    held_out = len(x) // 6
    x_train, train_labels = x[:-held_out], labels[:-held_out]
    if held_out < 1 or len(x_train) < args.batch_size:
        sys.exit(f"train_mnist.py: --batch-size must be at most the {len(x_train)} training images, "
                 f"got {args.batch_size}")
    x_validation, validation_labels = x[-held_out:], labels[-held_out:]

    np.random.seed(args.seed)
    mx.random.seed(args.seed)
    try:
        net = make_net(args.activation, args.scale, args.gradient)
    except ValueError as error:
        sys.exit(f"train_mnist.py: {error}")
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": args.lr}, kvstore=None)
    print(f"{args.dataset}: {len(x_train)} training, {held_out} validation, {len(x_test)} test images; "
          f"seed {args.seed}; results go to {args.save_dir}")
    settings = {k: v for k, v in vars(args).items() if k not in ("save_dir", "resume", "data_dir")}
    try:
        history = train.fit(
            net, trainer, mx.gluon.loss.SoftmaxCrossEntropyLoss(),
            batches_of(x_train, train_labels, args.batch_size, args.shift),
            len(x_train) // args.batch_size, train.rates(args.lr, args.lr / 1000, args.epochs),
            lambda net: train.evaluate(net, x_validation, validation_labels), args.seed,
            checkpoint=os.path.join(args.save_dir, "checkpoint.safetensors"), resume=args.resume,
            settings=settings)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the last whole epoch is kept, add --resume to go on")
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"train_mnist.py: {error}")

    outputs = train.predict(net, x_test)
    test_error = float((outputs.argmax(1) != test_labels).mean())
    best = history["best_epoch"]
    validation_error = history["validation_error"][best]
    print(f"best epoch {best + 1} of {args.epochs}: validation {1 - validation_error:.2%} right, "
          f"test {1 - test_error:.2%} right ({round(test_error * len(x_test))} of {len(x_test)} wrong)")
    checked = cross_check(net, x_test, outputs, args.activation, args.scale)
    layers = gluon_bnn.check_net(net, mx.nd.array(x_test[:64]))
    loaded = export_and_load(net, x_test, args.save_dir)
    same = int((loaded.argmax(1) == outputs.argmax(1)).sum())
    print(f"NumPy reference: {len(x_test) - checked['differing_predictions']} of {len(x_test)} predictions "
          f"alike; hidden values differ by {checked['largest_hidden_error']:.1e} at most, outputs by "
          f"{checked['largest_output_error']:.1e}")
    print(layers)
    print(f"exported to {args.save_dir}/net-symbol.json and loaded back: {same} of {len(x_test)} "
          "predictions alike")

    write_record(os.path.join(args.save_dir, "record.json"), settings=settings, epochs=args.epochs,
                 seed=args.seed, best_epoch=best + 1, validation_error=validation_error,
                 test_error=test_error, cross_check=checked, export_same_predictions=same,
                 bits=sum(layer.weight.data().size for layer in (net[0], net[3])),
                 curve={k: [round(v, 6) for v in history[k]]
                        for k in ("loss", "error", "validation_error")},
                 seconds=round(time.perf_counter() - began, 1))
    try:
        import pictures
    except ImportError:
        print("no pictures: pip install 'gluon-bnn[experiments]' (or matplotlib) draws them")
    else:
        pictures.curves(history, os.path.join(args.save_dir, "curves.png"))
        pictures.confusion_matrix(outputs.argmax(1), test_labels,
                                  os.path.join(args.save_dir, "confusion.png"))
        signs = reference.binary.sign(net[0].weight.data().asnumpy())
        pictures.filters(signs, os.path.join(args.save_dir, "filters.png"))
    print(f"results are in {args.save_dir}; {time.perf_counter() - began:.0f} s in all")
    if not checked["ok"] or same != len(x_test):
        sys.exit("train_mnist.py: the net differs from the NumPy reference or from its export")


if __name__ == "__main__":
    main()
