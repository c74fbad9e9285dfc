"""What train_mnist.py finds out about the net that it has trained: errors, cross-checks, exports, pictures."""

import os

import numpy as np

import gluon_bnn
from gluon_bnn import mx, reference, train

import nets
from common.cross_check import cross_check


def results_of(net, images, args):
    """Errors, cross-checks and counts of the trained net, for the record, and its outputs; prints them too."""
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
    for name, value in found.items():
        if name.startswith("test_error"):
            print(f"{name.replace('_', ' ')}: {value:.2%} ({round(value * len(x))} of {len(x)} wrong)")
    checked = found["cross_check"] = _cross_checked(net, x, outputs)
    if binary:
        table = gluon_bnn.check_net(net, mx.nd.array(x[:64]))
        print(table)
    loaded = _exported_outputs(net, x, args.save_dir)
    same = found["export_same_predictions"] = int((loaded.argmax(1) == outputs.argmax(1)).sum())
    print(f"exported to {args.save_dir}/net-symbol.json and loaded back: {same} of {len(x)} predictions are equal")
    found["bits"] = sum(layer.weight.data().size for layer in _binary_layers(net))
    found["ok"] = (checked["ok"] if checked else not binary or table.ok) and same == len(x)
    return found, outputs


def _error(outputs, labels):
    return float((outputs.argmax(axis=1) != labels).mean())


def _binary_layers(net):
    blocks = []
    net.apply(blocks.append)  # children first
    return [block for block in blocks if isinstance(block, gluon_bnn.nn.BinaryDense)]


def network_of(net):
    """The sizes of a net's layers, such as 784-100-10."""
    weights = [p for name, p in net.collect_params().items() if name.endswith("weight")]
    return "-".join(str(size) for size in (nets.INPUTS, *(weight.shape[0] for weight in weights)))


def _cross_checked(net, x, outputs):
    """What `cross_check` finds; None where the reference does not know the net."""
    try:
        found = cross_check(net, x, outputs)
    except ValueError as error:
        print(f"not compared with the NumPy reference as a whole: {error}")
        return None
    print(
        f"NumPy reference: {len(x) - found['differing_predictions']} of {len(x)} predictions are "
        f"equal; hidden values differ by {found['largest_hidden_error']:.1e} at most, outputs by "
        f"{found['largest_output_error']:.1e}"
    )
    return found


def real_weights_errors(net, images):
    """Test errors with the real weights behind the binary ones, by name for the record.

    Once with the batch norm statistics of the binary net, and once with statistics re-estimated on 100 training batches
    of 100: real weights are smaller than binary ones, so pre-activations are distributed differently. The net's
    parameters stay as they are.
    """
    real = gluon_bnn.nn.with_real_weights(net)
    found = {"test_error_real_weights": train.evaluate(real, images.test, images.test_labels)}
    averages = [p for name, p in net.collect_params().items() if name.endswith(("running_mean", "running_var"))]
    kept = [average.data().copy() for average in averages]
    mx.random.seed(0)  # of dropout: after a run that was resumed, the same
    try:
        for i in range(100):
            rows = np.arange(100 * i, 100 * (i + 1)) % len(images.train)
            with mx.autograd.record():
                outputs = real(mx.nd.array(images.train[rows]))
            outputs.backward()  # where MXNet's own batch norm changes its averages
        found["test_error_real_weights_own_averages"] = train.evaluate(real, images.test, images.test_labels)
    finally:
        for average, value in zip(averages, kept):
            average.set_data(value)
    return found


def _frozen_outputs(net, images, directory):
    """Outputs of the net with 1-bit weights, as saved for the runtime and loaded back."""
    form = "packed" if gluon_bnn.native.library.available() else "float"
    frozen = gluon_bnn.freeze(net, form, input_scale=float(images.scale), input_shift=images.shift, verbose=False)
    path = os.path.join(directory, "model.safetensors")
    gluon_bnn.runtime.save(frozen, path)
    model = gluon_bnn.runtime.load(path)
    return np.concatenate([model(images.test[i : i + 1000]) for i in range(0, len(images.test), 1000)])


def _exported_outputs(net, x, directory):
    """Outputs of the hybridized net, exported and loaded back."""
    prefix = os.path.join(directory, "net")
    net.hybridize(static_alloc=True, static_shape=True)
    net(mx.nd.array(x[:1]))
    net.export(prefix)
    return train.predict(gluon_bnn.load_exported(prefix), x)


def draw(net, history, outputs, labels, directory):
    """Curves, confusion matrix and the binary filters of the first layer, where matplotlib is there."""
    try:
        from common import pictures
    except ImportError:
        print("no pictures: pip install 'gluon-bnn[experiments]' (or matplotlib) draws them")
        return
    pictures.curves(history, os.path.join(directory, "curves.png"))
    pictures.confusion_matrix(outputs.argmax(1), labels, os.path.join(directory, "confusion.png"))
    first = next((layer.weight.data().asnumpy() for layer in _binary_layers(net)), np.empty((0, 0)))
    if first.shape[1] == nets.INPUTS:
        pictures.filters(reference.binary.sign(first), os.path.join(directory, "filters.png"))
