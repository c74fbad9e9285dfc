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
        parameter = getattr(layer, name)
        return None if parameter is None else parameter.data().asnumpy().astype(np.float64)

    if isinstance(layer, (nn.Dense, nn.Conv1D, nn.Conv2D, nn.Conv3D)):
        y = _product(layer, x, value)
        return y if layer.act is None else _reference(layer.act, y)
    if isinstance(layer, nn.BatchNorm):
        axis, eps = layer._kwargs["axis"], layer._kwargs["eps"]
        gamma, *others = map(value, ("gamma", "beta", "running_mean", "running_var"))
        gamma = np.ones_like(gamma) if layer._kwargs["fix_gamma"] else gamma
        y = reference.dense.batch_norm_inference(np.moveaxis(x, axis, -1), gamma, *others, eps)
        return np.moveaxis(y, -1, axis)
    if isinstance(layer, nn.conv_layers._Pooling) and layer._kwargs["pool_type"] in ("max", "avg"):
        return _pool(x, **layer._kwargs)
    if isinstance(layer, nn.Flatten):
        return x.reshape(len(x), -1)
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


def _product(layer, x, value):
    """What a dense layer or a convolution gives, its activation left aside."""
    arrays = value("weight"), value("bias")
    binary = isinstance(layer, gluon_bnn.nn.binary_layer.BinaryLayer)
    scale = dict(scale=layer.scale, curvature=value("curvature")) if binary else {}
    if isinstance(layer, mx.gluon.nn.Dense):
        x = x.reshape(len(x), -1) if layer._flatten else x
        return (reference.binary.binary_dense if binary else reference.dense.affine)(x, *arrays, **scale)
    names = {"strides": "stride", "padding": "pad", "dilation": "dilate", "groups": "num_group"}
    sizes = {name: layer._kwargs[theirs] for name, theirs in names.items()}
    if binary:
        return reference.conv.binary_conv(x, *arrays, **scale, **sizes, pad_value=layer.pad_value)
    y = reference.conv.conv(x, arrays[0], **sizes)
    return y if arrays[1] is None else y + arrays[1].reshape((1, -1) + (1,) * (y.ndim - 2))


def _pool(x, kernel, stride, pad, global_pool, pool_type, pooling_convention, count_include_pad=True, **_):
    """What a pooling layer of Gluon's with these attributes gives."""
    if global_pool:
        kernel, stride, pad = x.shape[2:], 1, 0
    ceil = pooling_convention == "full"
    if pool_type == "max":
        return reference.conv.max_pool(x, kernel, stride, pad, ceil)
    return reference.conv.average_pool(x, kernel, stride, pad, ceil, count_include_pad)


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
    if any(isinstance(layer, mx.gluon.nn.conv_layers._Conv) for layer in layers):
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
                same_bits &= ((found < 0) == (value < 0)).reshape(len(value), -1).all(axis=1)
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
