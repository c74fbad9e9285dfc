"""The nets that train_mnist.py trains, made from its options; the same in the NumPy reference."""

import inspect

import numpy as np

import gluon_bnn
from gluon_bnn import initializer, reference, train  # initializer: by name, in initialize
from gluon_bnn._compat import mx

INPUTS, CLASSES = 784, 10
WEIGHTS = ("binary", "stochastic", "real")
ACTIVATIONS = ("relu", "sigmoid", "binary", "binary_sigmoid")
INITIALIZERS = {
    "xavier": mx.init.Xavier,
    "binaryconnect": initializer.BinaryConnectUniform,
    "lab": initializer.LABUniform,
}
ROUNDING = 1e-4  # 1.2e-5 seen over all activations and scales, on digits and MNIST
SECTION = 1000  # rows that the reference computes at a time


def make_net(
    hidden=(100,),
    weights="binary",
    scale="channel",
    gradient=None,
    clip=1.0,
    activation="relu",
    dropout=(0.0, 0.0),
    initializer="xavier",
):
    """784-hidden-10 with batch norm after every product, the last one too; no biases.

    weights : "binary", "stochastic" (signs drawn for every batch) or "real" (plain Dense)
    scale, gradient, clip : as in nn.BinaryDense, for binary weights; dropout : of inputs and of hidden values
    """
    nn, blocks = mx.gluon.nn, mx.gluon.nn.HybridSequential()
    sizes = [INPUTS, *hidden, CLASSES]
    for i, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
        if dropout[i > 0]:
            blocks.add(nn.Dropout(dropout[i > 0]))
        if weights == "real":
            blocks.add(nn.Dense(units, use_bias=False, in_units=inputs))
        else:
            blocks.add(
                gluon_bnn.nn.BinaryDense(
                    units,
                    use_bias=False,
                    in_units=inputs,
                    scale=scale,
                    gradient=gradient,
                    clip=clip,
                    stochastic=weights == "stochastic",
                )
            )
        blocks.add(gluon_bnn.nn.BatchNorm(in_channels=units))
        if i < len(hidden):
            blocks.add(_activation(activation))
    blocks.initialize(INITIALIZERS[initializer]())
    return blocks


NET_OPTIONS = tuple(inspect.signature(make_net).parameters)  # of train_mnist.py, under the same names


def _activation(name):
    binary = {"binary": gluon_bnn.nn.BinaryActivation, "binary_sigmoid": gluon_bnn.nn.BinarySigmoid}
    return binary[name]() if name in binary else mx.gluon.nn.Activation(name)


def binary_weights(net):
    """The number of weights that are one bit at test."""
    return sum(block.weight.data().size for block in net if isinstance(block, gluon_bnn.nn.BinaryDense))


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


def _activates(block):
    return isinstance(block, (mx.gluon.nn.Activation, gluon_bnn.nn.BinaryActivation, gluon_bnn.nn.BinarySigmoid))


def _is_binary(block):
    return isinstance(block, (gluon_bnn.nn.BinaryActivation, gluon_bnn.nn.BinarySigmoid))


def reference_outputs(net, x):
    """([values before each activation], outputs) of a net of `make_net`: float64, only by gluon_bnn.reference."""
    hidden, x = [], x.astype(np.float64)
    for block in net:
        if _activates(block):
            hidden.append(x)
        x = _reference(block, x)
    return hidden, x


def _reference(block, x):
    nn = mx.gluon.nn

    def values(*names):
        return [getattr(block, name).data().asnumpy().astype(np.float64) for name in names]

    if isinstance(block, gluon_bnn.nn.BinaryDense):
        curvature = None if block.curvature is None else block.curvature.data().asnumpy().astype(np.float64)
        return reference.binary.binary_dense(x, *values("weight"), scale=block.scale, curvature=curvature)
    if isinstance(block, nn.Dense):
        return reference.dense.affine(x, *values("weight"))
    if isinstance(block, nn.BatchNorm):
        return reference.dense.batch_norm_inference(x, *values("gamma", "beta", "running_mean", "running_var"))
    if isinstance(block, gluon_bnn.nn.BinaryActivation):
        return reference.binary.sign(x)
    if isinstance(block, gluon_bnn.nn.BinarySigmoid):
        return reference.binary.binary_sigmoid(x)
    if isinstance(block, nn.Activation):
        return getattr(reference.dense, block._act_type)(x)
    return x  # dropout does nothing at test


def hidden_values(net, x):
    """What `reference_outputs` returns for hidden values, by the net itself."""
    found, blocks = [], mx.gluon.nn.HybridSequential()
    for block in net:
        if _activates(block):
            found.append(train.predict(blocks, x))
        blocks.add(block)
    return found


def cross_check(net, x, outputs):
    """Compare hidden values and predictions with the reference; what was found, for the record.

    float32 and float64 round differently, so a prediction may differ where the top two classes tie, or
    where a binary hidden unit was at zero and fell on the other side. Both are told from an error in the
    net by size: hidden values and outputs must agree to ROUNDING in every row whose hidden bits agreed so far.
    """
    binary = any(map(_is_binary, net))
    hidden_error = output_error = 0.0
    differing = different_bits = 0
    for begin in range(0, len(x), SECTION):
        rows = slice(begin, begin + SECTION)
        hidden, expected = reference_outputs(net, x[rows])
        alike = np.ones(len(expected), bool)
        for found, value in zip(hidden_values(net, x[rows]), hidden):
            hidden_error = max(hidden_error, np.abs(found - value)[alike].max(initial=0))
            if binary:
                alike &= ((found < 0) == (value < 0)).all(axis=1)
        output_error = max(output_error, np.abs(outputs[rows] - expected)[alike].max(initial=0))
        differing += int((outputs[rows].argmax(axis=1) != expected.argmax(axis=1)).sum())
        different_bits += int((~alike).sum())
    return {
        "rows": len(x),
        "differing_predictions": differing,
        "rows_with_differing_hidden_bits": different_bits,
        "largest_hidden_error": float(hidden_error),
        "largest_output_error": float(output_error),
        "ok": bool(hidden_error < ROUNDING and output_error < ROUNDING),
    }
