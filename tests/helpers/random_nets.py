"""Nets with random arrays for the tests, and what compares their results to the bit."""

import types

import numpy as np

from gluon_bnn import runtime
from gluon_bnn.graph import layers
from gluon_bnn.graph.layers import Layer
from gluon_bnn.reference import bits

from sizes import SIZES


def same(found, expected):
    """Equal to the bit, 0.0 and -0.0 apart; any NaN is like any other."""
    return (
        found.dtype == expected.dtype == np.float32
        and found.shape == expected.shape
        and ((found.view(np.int32) == expected.view(np.int32)) | (np.isnan(found) & np.isnan(expected))).all()
    )


def odd_floats(rng, *shape):
    """Normal numbers with zeros of both signs among them."""
    x = rng.standard_normal(shape).astype(np.float32)
    x[rng.random(shape) < 0.2] = 0.0
    x[rng.random(shape) < 0.2] = -0.0
    return x


def dense_over(inputs, weights, source="float", target="float", **arrays):
    """A binary_dense with the signs of weights (units, inputs): alpha 1 and bias -0.0 unless given."""
    units = len(weights)
    arrays = {"weight_bits": bits.pack_weights(weights), **arrays}
    if source == "float" or target == "float":
        arrays = {"alpha": np.ones(units, np.float32), "bias": np.full(units, -0.0, np.float32), **arrays}
    if source == "bits01" and target == "float":
        arrays["sums"] = np.where(weights < 0, -1, 1).sum(axis=1).astype(np.int32)
    return Layer("binary_dense", inputs, units, source, target, None, arrays)


def random_layer(
    rng, kind, inputs, units=None, source="float", target="float", function=None, norm=False, bias=True, uint8=False
):
    """A layer with random arrays; `norm` and `bias` say whether it has those that it may have."""
    units = inputs if units is None else units
    layer = Layer(kind, inputs, units, source, target, function)
    must, may = layers.arrays_of(layer, uint8)
    for name, (dtype, shape) in {**must, **may}.items():
        if name == "weight_bits":
            signs = rng.choice([-1.0, 1.0], (units, inputs))
            array = bits.pack_weights(signs)
        elif name == "sums":
            array = signs.sum(axis=1).astype(dtype)
        elif name == "threshold_u8":
            array = rng.integers(-1, 258, shape).astype(dtype)
        elif name == "threshold":
            spread = max(2, int(inputs**0.5 / 2))
            array = rng.integers(-spread, spread, shape).astype(dtype)
        else:  # small constants, so that inputs still make a difference some layers on
            array = rng.standard_normal(shape).astype(dtype)
            array *= dtype(0.1 if name in ("bias", "mean", "beta") else 1)
        if name in must or (norm if name in layers.NORM else bias):
            layer.arrays[name] = array
    return layer


def random_net(rng, *rows, input_shape=None, uint8=True, scale=0.0078125):
    """What `save` takes, from a row (kind, inputs, units, from, to, function, ...) for each layer.

    `scale` is the input scale of a net that takes uint8.
    """
    keeps = uint8 and layers.keeps_uint8(scale)
    made = [
        random_layer(rng, *row, uint8=keeps and i == 0 and row[0] in ("binary_dense", "pack"))
        for i, row in enumerate(rows)
    ]
    inputs = made[0].inputs
    return types.SimpleNamespace(
        layers=made,
        input_shape=input_shape or (inputs,),
        input_scale=scale if uint8 else None,
        input_shift=(rng.uniform(-2, 0, inputs) * np.sign(scale)).astype(np.float32) if uint8 else None,
    )


def scales(rng, inputs):
    """One input scale for each of `inputs`, of both signs."""
    return (rng.choice([-1, 1], inputs) * rng.uniform(0.001, 0.02, inputs)).astype(np.float32)


def model_of(net):
    return runtime.Model(net.layers, net.input_shape, net.input_scale, net.input_shift)


def awkward_nets(rng):
    """Nets over awkward sizes that have every kind, form and function between them, and each kind of input scale."""
    for turn in range(6):
        a, b, c, d = (int(size) for size in rng.choice(SIZES, 4))
        scale = {"scale": (0.0078125, -0.0078125, scales(rng, a))[turn % 3]}
        functions = [("activation", d, d, "float", "float", name) for name in layers.FUNCTIONS]
        yield random_net(
            rng,
            ("binary_dense", a, b, "float", "bits", None, True),
            ("binary_dense", b, c, "bits", "bits"),
            ("binary_dense", c, b, "bits01", "bits"),
            ("binary_dense", b, d, "bits", "float", None, True),
            functions[rng.integers(7)],
            **scale,
        )
        yield random_net(
            rng, ("pack", a, a, "float", "bits"), ("binary_dense", a, d, "bits01", "float"), *functions, **scale
        )
        yield random_net(
            rng,
            ("dense", a, b),
            ("batch_norm", b),
            ("binary_dense", b, c),
            ("binary_dense", c, d),
            functions[rng.integers(7)],
            **scale,
        )
        yield random_net(
            rng,
            ("batch_norm", a),
            ("pack", a, a, "float", "bits"),
            ("binary_dense", a, b, "bits01", "bits"),
            ("binary_dense", b, d, "bits01", "float", None, True),
            **scale,
        )
