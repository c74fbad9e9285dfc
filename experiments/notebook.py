"""The notebook's run, in NumPy and in Gluon. notebook_nn.py and notebook_bnn.py are its two parts.

Full batch, 784-100-10, W ~ N(0, 1), no bias. A step is the same ten lines in both parts: a plain net has
affine(x, w) = x.dot(w), a binary one b_affine(x, w) = x.dot(mean|w| * sign(w)).
"""

import functools
import os
import sys
import time

import numpy as np

from gluon_bnn.reference import binary, notebook
from gluon_bnn.reference.notebook import sigmoid, sigmoid_, softmax_ce, softmax_ce_

from common.arguments import load_dataset, require_mnists_shape
from common.notebook_runs import band, draw, parse_args, picture, read_record, seeds
from common.record import writable, write_record


def numpy_run(x, y, w1, w2, lr, affine, affine_):
    """The notebook's cell, over and over: yields the loss and outputs of a step, and the weights after it."""
    while True:
        o1 = affine(x, w1)
        o2 = sigmoid(o1)
        o3 = affine(o2, w2)
        loss = softmax_ce(o3, y)

        second = affine_(softmax_ce_(o3, y), o2, w2)
        first = affine_(sigmoid_(second["x"], o1), x, w1)
        w1 -= lr * first["w"]
        w2 -= lr * second["w"]
        yield float(loss), o3, (w1, w2)


def gluon_run(x, y, w1, w2, lr, layer):
    """The same as a hybridized Gluon net in float64, of this kind of layer; Gluon's weights are (units, in_units)."""
    from gluon_bnn import mx

    x, y = mx.nd.array(x, dtype="float64"), mx.nd.array(y, dtype="float64")
    net = mx.gluon.nn.HybridSequential()
    net.add(layer(len(w1.T), in_units=len(w1)), mx.gluon.nn.Activation("sigmoid"), layer(len(w2.T), in_units=len(w2)))
    net.initialize()
    net[0].weight.set_data(mx.nd.array(w1.T, dtype="float64"))
    net[2].weight.set_data(mx.nd.array(w2.T, dtype="float64"))
    net.hybridize(static_alloc=True, static_shape=True)
    cross_entropy = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": lr}, kvstore=None)
    while True:
        with mx.autograd.record():
            outputs = net(x)
            loss = cross_entropy(outputs, y).mean()
        loss.backward()
        trainer.step(1)  # the loss is a mean already
        yield float(loss.asscalar()), outputs.asnumpy(), [net[i].weight.data().asnumpy().T for i in (0, 2)]


def functions_of(is_binary, gradient):
    """(affine, affine_) of the notebook, or with another rule for the gradient through the sign."""
    if not is_binary:
        return notebook.affine, notebook.affine_
    if gradient == "notebook":
        return notebook.b_affine, notebook.b_affine_

    def b_affine_(d, x, w):
        dw = binary.sign_scale_backward(x.T.dot(d), w, "layer", gradient)
        return {"x": d.dot(notebook.b(w).T), "w": dw}

    return notebook.b_affine, b_affine_


def layer_of(is_binary, gradient):
    """The kind of layer that does the same in Gluon."""
    from gluon_bnn import mx, nn

    if not is_binary:
        return functools.partial(mx.gluon.nn.Dense, use_bias=False, dtype="float64")
    return functools.partial(nn.BinaryDense, use_bias=False, dtype="float64", scale="layer", gradient=gradient)


def run(x, y, seed, args, is_binary):
    """One seed: {"losses", "train_accuracy"}, and with both engines their largest differences."""
    engines = []
    if args.engine != "gluon":
        engines.append(numpy_run(x, y, *draw(seed), args.lr, *functions_of(is_binary, args.gradient)))
    if args.engine != "numpy":
        engines.append(gluon_run(x, y, *draw(seed), args.lr, layer_of(is_binary, args.gradient)))
    losses, apart = [], []
    for i in range(args.iterations):
        (loss, outputs, weights), *others = map(next, engines)
        losses.append(loss)
        line = f"loss at {i} : {loss}"
        for other, _, other_weights in others:
            differences = [float(abs(a - b).max()) for a, b in zip(weights, other_weights)]
            apart.append([abs(loss - other), max(differences)])
            line += f"   Gluon is off by {apart[-1][0]:.1e}, its weights by {apart[-1][1]:.1e}"
        print(line)
    predictions = outputs.argmax(axis=1)
    accuracy = float((predictions == y).mean())
    print(f"predictions {predictions[:10]}\nlabels      {y[:10]}")
    print(f"{accuracy:.1%} of the training set right")
    result = {"seed": seed, "losses": [round(v, 6) for v in losses], "train_accuracy": round(accuracy, 4)}
    if apart:
        largest = np.max(apart, axis=0).tolist()
        result["largest_difference"] = dict(zip(("loss", "weights"), largest))
    return result


def title_of(content, is_binary):
    """The title of the picture of a record with this content."""
    weights = f'binary weights, gradient "{content["gradient"]}"' if is_binary else "real weights"
    return f"784-100-10, {weights}, step {content['lr']:g}; {content['images']:,} images of {content['dataset']}"


def main(description, is_binary, lr):
    args = parse_args(description, is_binary, lr)
    began = time.perf_counter()
    try:
        beside = read_record(args.beside) if args.beside else None
        data = load_dataset(args.dataset, args.data_dir)
        require_mnists_shape(args.dataset, data["train_data"].shape[1:], max(10, 1 + int(data["train_label"].max())))
        if args.images and args.images > len(data["train_data"]):
            raise ValueError(
                f"--images must be at most the {len(data['train_data'])} training images, got {args.images}"
            )
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{os.path.basename(sys.argv[0])}: {error}")
    writable(args.save_dir, args.name + ".json", args.name + ".png")
    x = data["train_data"][: args.images].reshape(-1, 784).astype(np.float64)
    y = data["train_label"][: args.images].astype(int)
    runs = []
    for seed in list(seeds(x, y, args)):  # all of them first: there may be too few
        print(f"seed {seed}, {len(x)} images of {args.dataset}")
        runs.append(run(x, y, seed, args, is_binary))
    content = {
        "dataset": args.dataset,
        "images": len(x),
        "engine": args.engine,
        "gradient": args.gradient,
        "lr": args.lr,
        "iterations": args.iterations,
    }
    if args.near_start:
        content["near_start"] = args.near_start
    compare = is_binary and args.gradient == "notebook" and args.dataset == "mnist"
    if compare and len(runs) >= 10:  # fewer make no band
        content["recorded_losses_in_our_band"] = band(runs)
        inside = content["recorded_losses_in_our_band"]["inside"]
        print(f"recorded losses inside our band at {sum(inside)} of {len(inside)} steps")
    write_record(
        os.path.join(args.save_dir, args.name + ".json"),
        **content,
        runs=runs,
        seconds=round(time.perf_counter() - began, 1),
    )
    picture(runs, os.path.join(args.save_dir, args.name + ".png"), title_of(content, is_binary), compare, beside)
    print(f"written to {args.save_dir}")


if __name__ == "__main__":
    print(__doc__)
