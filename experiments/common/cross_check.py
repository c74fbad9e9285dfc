"""A trained net against the NumPy reference: values before every activation, and outputs."""

import numpy as np

import gluon_bnn
from gluon_bnn import mx, reference, train

ROUNDING = 1e-4  # 1.2e-5 seen over all activations and scales, on digits and MNIST
SECTION = 1000  # rows that the reference computes at a time
PRODUCTS = 10**10  # the reference's convolutions are loops: of nets with more, it computes the first rows only


def _activates(block):
    return isinstance(block, (mx.gluon.nn.Activation, gluon_bnn.nn.BinaryActivation, gluon_bnn.nn.BinarySigmoid))


def _is_binary(block):
    return isinstance(block, (gluon_bnn.nn.BinaryActivation, gluon_bnn.nn.BinarySigmoid))


def _layers(net):
    """The layers of a net in their order; a block that is no sequence counts as one."""
    if not isinstance(net, mx.gluon.nn.HybridSequential):
        return [net]
    return [layer for block in net for layer in _layers(block)]


def reference_outputs(net, x):
    """([values before each activation], outputs) of a net, in float64, only by gluon_bnn.reference.

    ValueError where the net is no sequence of layers that the reference knows.
    """
    hidden, x = [], x.astype(np.float64)
    for layer in _layers(net):
        if _activates(layer):
            hidden.append(x)
        x = _reference(layer, x)
    return hidden, x


def _reference(layer, x):
    nn = mx.gluon.nn

    def value(name):
        parameter = getattr(layer, name, None)
        return None if parameter is None else parameter.data().asnumpy().astype(np.float64)

    if isinstance(layer, nn.BatchNorm):
        values = map(value, ("gamma", "beta", "running_mean", "running_var"))
        return np.moveaxis(reference.dense.batch_norm_inference(np.moveaxis(x, 1, -1), *values), -1, 1)
    if isinstance(layer, (nn.Dense, nn.Conv2D)):
        x = _product(layer, x, value("weight"), value("bias"), value("curvature"))
        return x if layer.act is None else _reference(layer.act, x)
    if isinstance(layer, (nn.MaxPool2D, nn.AvgPool2D, nn.GlobalAvgPool2D)):
        return _pooled(layer._kwargs, x)
    if isinstance(layer, gluon_bnn.nn.BinaryActivation):
        return reference.binary.sign(x)
    if isinstance(layer, gluon_bnn.nn.BinarySigmoid):
        return reference.binary.binary_sigmoid(x)
    if isinstance(layer, nn.Activation) and layer._act_type in _ACTIVATIONS:
        return _ACTIVATIONS[layer._act_type](x)
    if isinstance(layer, nn.Dropout):
        return x  # it does nothing at test
    name = type(layer).__name__ + (f"({layer._act_type})" if isinstance(layer, nn.Activation) else "")
    raise ValueError(f"the NumPy reference has no {name}")


_ACTIVATIONS = {"relu": reference.dense.relu, "sigmoid": reference.dense.sigmoid, "tanh": np.tanh}


def _product(layer, x, weight, bias, curvature):
    """Of a dense layer or a convolution, without its activation."""
    binary = isinstance(layer, (gluon_bnn.nn.BinaryDense, gluon_bnn.nn.BinaryConv2D))
    if isinstance(layer, mx.gluon.nn.Dense):
        x = x.reshape(len(x), -1)
        if binary:
            return reference.binary.binary_dense(x, weight, bias, layer.scale, curvature)
        return reference.dense.affine(x, weight, bias)
    names = dict(strides="stride", padding="pad", dilation="dilate", groups="num_group")
    options = {name: layer._kwargs[gluons] for name, gluons in names.items()}
    if binary:
        options["pad_value"] = layer.pad_value
        return reference.conv.binary_conv(x, weight, bias, layer.scale, curvature, **options)
    y = reference.conv.conv(x, weight, **options)
    return y if bias is None else y + bias[:, None, None]


def _pooled(options, x):
    """Of images (rows, channels, height, width), by a pool of deployed nets, which have the channels last."""
    attributes = dict(strides=options["stride"], kernel=options["kernel"], padding=options["pad"])
    attributes["rounding"] = {"valid": "floor", "full": "ceil"}[options["pooling_convention"]]
    if options["global_pool"]:
        attributes = dict(strides=(1, 1), kernel=x.shape[2:], padding=(0, 0), rounding="floor")
    attributes["count"] = "all" if options.get("count_include_pad", True) else "inside"
    kind = {"max": "max_pool", "avg": "average_pool"}[options["pool_type"]]
    return np.moveaxis(reference.graph.node(kind, attributes, {}, np.moveaxis(x, 1, -1)), -1, 1)


def hidden_values(net, x):
    """What `reference_outputs` returns for hidden values, by the net itself."""
    found, before = [], mx.gluon.nn.HybridSequential()
    for layer in _layers(net):
        if _activates(layer):
            found.append(train.predict(before, x))
        before.add(layer)
    return found


def cross_check(net, x, outputs):
    """Compare hidden values and predictions with the reference; what was found, for the record.

    Of a net with convolutions it takes only as many of the first rows as PRODUCTS allows.

    float32 and float64 round differently, so a prediction may differ where the top two classes tie, or
    where a binary hidden unit was at zero and fell on the other side. Both are told from an error in the
    net by size: hidden values and outputs must agree to ROUNDING in every row whose hidden bits agreed so far.
    ValueError as of `reference_outputs`.
    """
    layers = _layers(net)
    binary = any(map(_is_binary, layers))
    if any(isinstance(layer, mx.gluon.nn.Conv2D) for layer in layers):
        x = x[: max(1, PRODUCTS // sum(gluon_bnn.summary(net, x.shape[1:]).macs.values()))]
        outputs = outputs[: len(x)]
    hidden_error = output_error = 0.0
    differing = different_bits = 0
    for begin in range(0, len(x), SECTION):
        rows = slice(begin, begin + SECTION)
        hidden, expected = reference_outputs(net, x[rows])
        same_bits = np.ones(len(expected), bool)
        for found, value in zip(hidden_values(net, x[rows]), hidden):
            hidden_error = max(hidden_error, np.abs(found - value)[same_bits].max(initial=0))
            if binary:
                same_bits &= ((found < 0) == (value < 0)).reshape(len(found), -1).all(axis=1)
        output_error = max(output_error, np.abs(outputs[rows] - expected)[same_bits].max(initial=0))
        differing += int((outputs[rows].argmax(axis=1) != expected.argmax(axis=1)).sum())
        different_bits += int((~same_bits).sum())
    return {
        "rows": len(x),
        "differing_predictions": differing,
        "rows_with_differing_hidden_bits": different_bits,
        "largest_hidden_error": float(hidden_error),
        "largest_output_error": float(output_error),
        "ok": bool(hidden_error < ROUNDING and output_error < ROUNDING),
    }
