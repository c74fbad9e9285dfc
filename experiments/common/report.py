"""What train_mnist.py finds out about the net that it has trained: errors, cross-checks, exports, pictures."""

import math
import os
import shlex

import numpy as np

import gluon_bnn
from gluon_bnn import mx, reference, train
from gluon_bnn.nn.binary_layer import BinaryLayer

from common.cross_check import cross_check
from common.run_directory import FILES, MODEL, contents


def results_of(net, images, args):
    """Errors, cross-checks and counts of the trained net, for the record, and its outputs."""
    x, labels, binary = images.test, images.test_labels, args.weights != "real"
    outputs = train.predict(net, x)
    found = {"test_error": _error(outputs, labels)}
    if binary:
        found["test_error_as_trained"] = found["test_error"]
        frozen = _frozen_outputs(net, images, args.save_dir)
        found["test_error"] = _error(frozen, labels)
        found["frozen_differing_predictions"] = int((frozen.argmax(1) != outputs.argmax(1)).sum())
        if args.scale is None:
            found.update(real_weights_errors(net, images))
    checked = found["cross_check"] = _cross_checked(net, x, outputs)
    if binary:
        table = gluon_bnn.check_net(net, mx.nd.array(x[:64]))
        if not table.ok:
            print(table)
    loaded = _exported_outputs(net, x, args.save_dir)
    same = found["export_same_predictions"] = int((loaded.argmax(1) == outputs.argmax(1)).sum())
    found["bits"] = bits_of(net)
    found["ok"] = (checked["ok"] if checked else not binary or table.ok) and same == len(x)
    return found, outputs


def summary(results, rows, directory, seconds):
    """Print the end of a run: errors, sizes, agreement with the reference, and where everything is.

    results : of `results_of`; rows : test images
    """
    lines = []
    for name, value in results.items():
        if name.startswith("test_error"):
            lines.append((name.replace("_", " "), f"{value:.2%} ({round(value * rows)} of {rows} wrong)"))
    model = os.path.join(directory, MODEL)
    if os.path.exists(model):
        lines.append(("frozen net", f"{os.path.getsize(model):,} bytes, with {results['bits']:,} weights of 1 bit"))
    checked, agree = results["cross_check"], []
    if checked is not None:
        agree.append(("NumPy reference", checked["rows"] - checked["differing_predictions"], checked["rows"]))
    if "frozen_differing_predictions" in results:
        agree.append(("frozen net", rows - results["frozen_differing_predictions"], rows))
    agree.append(("export", results["export_same_predictions"], rows))
    lines.append(("equal predictions", ", ".join(f"{name} {count} of {of}" for name, count, of in agree)))
    if checked is not None:
        lines.append(
            (
                "from the reference",
                f"hidden values at most {checked['largest_hidden_error']:.1e}, outputs "
                f"{checked['largest_output_error']:.1e}",
            )
        )
    width = max(len(name) for name, _ in lines)
    print("\n".join(f"{name:{width}}  {value}" for name, value in lines))
    print(contents(directory, FILES, seconds))
    if os.path.exists(model):
        print(f"to classify pictures: python -m gluon_bnn predict {shlex.quote(model)} PICTURE...")


def _error(outputs, labels):
    return float((outputs.argmax(axis=1) != labels).mean())


def _binary_layers(net):
    blocks = []
    net.apply(blocks.append)  # children first
    return [block for block in blocks if isinstance(block, BinaryLayer)]


def bits_of(net):
    """How many binary weights a net has."""
    return sum(layer.weight.data().size for layer in _binary_layers(net))


def network_of(net, shape):
    """The sizes of a net's layers as text, for instance 784-100-10; 28x28-32C5-10 has a convolution of 32 channels and
    5x5 places.

    shape : of its images
    """
    weights = [p.shape for name, p in net.collect_params().items() if name.endswith("weight")]
    layers = [f"{units}C{kernel[-1]}" if kernel else str(units) for units, _, *kernel in weights]
    inputs = "x".join(map(str, shape[shape[0] == 1 :])) if any("C" in layer for layer in layers) else math.prod(shape)
    return "-".join([str(inputs), *layers])


def _cross_checked(net, x, outputs):
    """What `cross_check` finds; None where the reference does not know the net."""
    try:
        return cross_check(net, x, outputs)
    except ValueError as error:
        print(f"not compared with the NumPy reference as a whole: {error}")
        return None


def real_weights_errors(net, images):
    """Test errors with the real weights behind the binary ones, by name for the record.

    Once with the batch norm statistics of the binary net, and once, where it has any, with statistics re-estimated on
    10,000 training images: real weights are smaller than binary ones, so pre-activations are distributed differently.
    The net's parameters stay as they are.
    """
    real = gluon_bnn.nn.with_real_weights(net)
    found = {"test_error_real_weights": train.evaluate(real, images.test, images.test_labels)}
    averages = [p for name, p in net.collect_params().items() if name.endswith(("running_mean", "running_var"))]
    if not averages:
        return found
    kept = [average.data().copy() for average in averages]
    try:
        train.reestimate(real, images.train[:10000])
        found["test_error_real_weights_own_averages"] = train.evaluate(real, images.test, images.test_labels)
    finally:
        for average, value in zip(averages, kept):
            average.set_data(value)
    return found


def _frozen_outputs(net, images, directory):
    """Outputs of the net with 1-bit weights, as saved for the runtime and loaded back."""
    form = "packed" if gluon_bnn.native.library.available() else "float"
    frozen = gluon_bnn.freeze(
        net, form, input_shape=images.shape, input_scale=float(images.scale), input_shift=images.shift, verbose=False
    )
    path = os.path.join(directory, MODEL)
    gluon_bnn.runtime.save(frozen, path)
    model = gluon_bnn.runtime.load(path)
    outputs = np.concatenate([model(images.test[i : i + 1000]) for i in range(0, len(images.test), 1000)])
    gluon_bnn.runtime.save(frozen, path, labels=images.names, accuracy=1 - _error(outputs, images.test_labels))
    return outputs


def _exported_outputs(net, x, directory):
    """Outputs of the hybridized net, exported and loaded back."""
    prefix = os.path.join(directory, "net")
    net.hybridize(static_alloc=True, static_shape=True)
    net(mx.nd.array(x[:1]))
    net.export(prefix)
    return train.predict(gluon_bnn.load_exported(prefix), x)


def draw(net, history, outputs, images, args):
    """Curves, confusion matrix and the binary filters of the first layer, where matplotlib is there."""
    directory = args.save_dir
    try:
        from common import pictures
    except ImportError:
        print("no pictures: pip install 'gluon-bnn[experiments]' (or matplotlib) draws them")
        return
    moved = any((args.shift, args.warp, args.bend))
    pictures.curves(history, moved, os.path.join(directory, "curves.png"))
    names = images.names or range(images.classes)
    pictures.confusion_matrix(outputs.argmax(1), images.test_labels, names, os.path.join(directory, "confusion.png"))
    weights = next((layer.weight.data().asnumpy() for layer in _binary_layers(net)), np.empty((0, 0)))
    # Of a first layer with binary weights, which takes the images: all their pixels, or all their channels.
    shape = images.shape if weights.ndim == 2 else weights.shape[1:]
    if weights[:1].size == math.prod(shape) and shape[0] == images.shape[0]:
        pictures.filters(reference.binary.sign(weights), shape, os.path.join(directory, "filters.png"))
