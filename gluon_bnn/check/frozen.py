"""Frozen nets: what `check` compares each of their forms with.

The nets hold binary layers, over rows and over images, batch norm, binary activations and max pooling. Over binary
inputs their reference is float32, operation for operation, and every form must equal it to the bit, the net as trained
included. Over real inputs it is float64, and errors are counted in units of eps times the sums of magnitudes.
"""

import numpy as np

from .. import nn, quantizers, runtime
from .._compat import mx
from ..deploy import freeze
from ..graph import engine
from ..native import library
from ..reference import binary, bits, conv, dense
from .measure import MODES, Rows, exact, in_mode
from .measure import units as units_of

WIDTHS = 37, 70, 33, 10
IMAGE = 5, 6, 7  # channels, height, width
HIDDEN = nn.BinaryActivation, nn.BinarySigmoid


def rows(choice: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) of nets made with the operators `choice`: as trained, frozen, and on the runtime.

    For each scale, the largest error of several nets: dense ones with and without batch norm and bias, convolutional
    ones, each with BinaryActivation and with BinarySigmoid, and one layer over real inputs.
    """
    for scale in quantizers.SCALES:
        cases = [
            *(_binary_case(scale, normed, hidden, generator) for normed in (False, True) for hidden in HIDDEN),
            *(_image_case(scale, hidden, generator) for hidden in HIDDEN),
            _real_case(scale, generator),
        ]
        nets = {"net as trained": [net for net, *_ in cases]}
        for form in ("float", "packed") if library.available() else ("float",):
            nets[f"frozen {form}"] = [freeze(net, form, input_shape=x.shape[1:], verbose=False) for net, x, *_ in cases]
        row = dict(gradient="-", scale=str(scale), dtype="float32")
        for mode in MODES:
            for name, blocks in nets.items():
                found = [_outputs(block, x, mode, directory) for block, (_, x, *_) in zip(blocks, cases)]
                yield (_error(cases, found), 0), dict(operator=name, **row, mode=mode, ops=choice)
        if library.available() == (choice == "native"):  # once
            graphs = [frozen.graph for frozen in nets["frozen float"]]
            for kernels in (*library.instruction_sets(), "NumPy"):
                found = [_without_mxnet(graph, x, kernels) for graph, (_, x, *_) in zip(graphs, cases)]
                yield (_error(cases, found), 0), dict(operator="runtime", **row, mode="imperative", ops=kernels)


def _binary_case(scale, normed, hidden, generator):
    """(net, x, its outputs in float32, None), the net beginning with a binary activation."""
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryActivation())
    for depth, (inputs, units) in enumerate(zip(WIDTHS, WIDTHS[1:]), 1):
        net.add(nn.BinaryDense(units, in_units=inputs, scale=scale, use_bias=depth < 3))
        if normed:
            net.add(mx.gluon.nn.BatchNorm(in_channels=units))
        if units != WIDTHS[-1]:
            net.add(hidden())
    _randomise(net, generator)
    x = generator.standard_normal((50, WIDTHS[0])).astype(np.float32)
    x.flat[:2] = 0.0, -0.0
    return net, x, _reference(net, x)[0], None


def _image_case(scale, hidden, generator):
    """The same of a convolutional net: padding of each kind, max pooling after batch norm and before it."""
    net = mx.gluon.nn.HybridSequential()
    pad_value = 1 if hidden is nn.BinaryActivation else 0
    net.add(
        nn.BinaryActivation(),
        nn.BinaryConv2D(20, (3, 2), padding=1, in_channels=IMAGE[0], scale=scale),
        mx.gluon.nn.BatchNorm(in_channels=20),
        hidden(),
        mx.gluon.nn.MaxPool2D(2),
        nn.BinaryConv2D(33, 2, padding=1, in_channels=20, scale=scale, pad_value=pad_value, use_bias=False),
        mx.gluon.nn.MaxPool2D(2),
        mx.gluon.nn.BatchNorm(in_channels=33),
        hidden(),
        mx.gluon.nn.Flatten(),
        nn.BinaryDense(WIDTHS[-1], in_units=33 * 2 * 2, scale=scale),
    )
    _randomise(net, generator)
    x = generator.standard_normal((9, *IMAGE)).astype(np.float32)
    return net, x, _reference(net, x)[0], None


def _real_case(scale, generator):
    """(net, x, its outputs in float64, the sums of the magnitudes behind them): one layer with batch norm."""
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryDense(WIDTHS[1], in_units=WIDTHS[0], scale=scale), mx.gluon.nn.BatchNorm(in_channels=WIDTHS[1]))
    _randomise(net, generator)
    x = generator.standard_normal((50, WIDTHS[0])).astype(np.float32)
    return net, x, *_reference(net, x.astype(np.float64))


def _randomise(net, generator):
    net.initialize()
    for name, parameter in net._collect_params_with_prefix().items():
        values = generator.standard_normal(parameter.shape)
        if name.endswith("gamma"):
            values[::5] = 0
        positive = name.endswith(("running_var", "curvature"))
        parameter.set_data(mx.nd.array(np.abs(values) if positive else values))


def _reference(net, x):
    """(outputs, sums of magnitudes) by the reference, in the dtype of x; alpha is the layer's own number. The
    magnitudes are those of a net of one dense layer."""
    magnitude = np.abs(x).reshape(len(x), -1)
    for block in net:
        values = {name: p.data().asnumpy().astype(x.dtype) for name, p in block._reg_params.items()}
        if isinstance(block, nn.BinaryDense):
            alpha = block.alpha().asnumpy()
            bias = values.get("bias", np.zeros(block.units, x.dtype))
            x = (alpha * _product(x, values["weight"])).astype(x.dtype) + bias
            magnitude = alpha * magnitude.sum(axis=1, keepdims=True) + np.abs(bias)
        elif isinstance(block, nn.BinaryConv2D):
            alpha, bias = block.alpha().asnumpy(), values.get("bias", np.zeros(block.channels, x.dtype))
            dot = conv.conv(x, binary.sign(values["weight"]), padding=block.padding, pad_value=block.pad_value)
            x = (alpha.reshape(-1, 1, 1) * dot.astype(x.dtype)).astype(x.dtype) + bias.reshape(-1, 1, 1)
        elif isinstance(block, mx.gluon.nn.MaxPool2D):
            high, wide = (size // 2 * 2 for size in x.shape[2:])
            x = np.max([x[:, :, i:high:2, j:wide:2] for i in range(2) for j in range(2)], axis=0)
        elif isinstance(block, mx.gluon.nn.Flatten):
            x = magnitude = x.reshape(len(x), -1)
        elif isinstance(block, mx.gluon.nn.BatchNorm):
            arguments = [values[name] for name in ("gamma", "beta", "running_mean", "running_var")]
            eps = x.dtype.type(block._kwargs["eps"])
            x = np.moveaxis(dense.batch_norm_inference(np.moveaxis(x, 1, -1), *arguments, eps), -1, 1)
            if x.ndim == 2:
                magnitude = dense.batch_norm_inference(magnitude, *np.abs(arguments) * [[1], [1], [-1], [1]], eps)
        elif isinstance(block, nn.BinaryActivation):
            x = binary.sign(x)
        else:
            x = binary.binary_sigmoid(x)
    return x, magnitude


def _product(x, w):
    """x @ signs.T; of float32 x, +-1 or 0 and 1, the exact integers of the 1-bit product."""
    if x.dtype == np.float64:
        return x @ binary.sign(w).T
    dot = bits.xnor_dense(bits.pack_inputs(x - np.float32(0.5)), bits.pack_weights(w), *w.shape)
    zero_one = not (x == -1).any()
    return ((dot + binary.sign(w).sum(1).astype(np.int32)) // 2 if zero_one else dot).astype(np.float32)


def _outputs(block, x, mode, directory):
    x = mx.nd.array(x)
    return in_mode(block, [x], mode, directory)(x).asnumpy()


def _without_mxnet(graph, x, kernels):
    if kernels == "NumPy":
        return engine.run(graph, x.reshape(len(x), -1))
    with library.use(kernels):
        return runtime.Model(graph)(x)


def _error(cases, found):
    """The largest error of the outputs found, one array a case."""
    return max(
        exact(y, expected) if magnitude is None else units_of(y, expected, magnitude, np.float32)
        for y, (_, _, expected, magnitude) in zip(found, cases)
    )
