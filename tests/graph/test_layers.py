"""What `layers.check` refuses of lists that no file can hold; the other refusals are in test_model_files."""

import numpy as np
import pytest

from gluon_bnn import runtime
from gluon_bnn.graph import layers
from gluon_bnn.graph.layers import Layer
from gluon_bnn.reference import bits

from random_nets import random_layer


@pytest.mark.parametrize(
    "made, error, words",
    [
        (list, ValueError, "at least one layer"),
        (lambda: ["dense"], TypeError, "layer 0 must be a gluon_bnn.graph.layers.Layer, got str"),
        (lambda: [Layer("conv", 3, 3)], ValueError, "kind must be one of binary_dense, .* got 'conv'"),
        (lambda: [Layer("activation", 3.0, 3, function="relu")], TypeError, "inputs must be an int, got 3.0"),
        (lambda: [Layer("activation", True, 3, function="relu")], TypeError, "inputs must be an int, got True"),
        (lambda: [Layer("activation", 0, 0, function="relu")], ValueError, "1 to 1073741824, got 0"),
        (lambda: [Layer("batch_norm", 3, 3, arrays=[])], TypeError, "arrays must be a dict, got list"),
        (lambda: [Layer("dense", 3, 2, arrays={"weight": [[0.0] * 2] * 3})], TypeError, "NumPy array, got list"),
        (
            lambda: [Layer("dense", 3, 2, arrays={"weight": np.zeros((2, 3), np.float32).T})],
            ValueError,
            "layer 0, dense 3 -> 2: weight must be C-contiguous",
        ),
        (lambda: [Layer("dense", 3, 2, arrays={"weight": np.zeros((3, 2), ">f4")})], ValueError, "got >f4"),
    ],
)
def test_lists_that_are_refused(made, error, words):
    with pytest.raises(error, match=words):
        runtime.Model(made(), (3,))


@pytest.mark.parametrize(
    "shape, scale, shift, error, words",
    [
        ([6], None, None, TypeError, r"input_shape must be a tuple of int, got \[6\]"),
        ((6.0,), None, None, TypeError, "tuple of int"),
        ((), None, None, ValueError, "6 elements"),
        ((-2, -3), None, None, ValueError, r"got \(-2, -3\)"),
        ((6,), "1", np.zeros(6, np.float32), TypeError, "input_scale must be a float, .* got '1'"),
        ((6,), True, np.zeros(6, np.float32), TypeError, "input_scale must be a float, .* got True"),
        ((6,), 1e39, np.zeros(6, np.float32), ValueError, r"finite in float32 and not 0, got 1e\+39"),
        ((6,), 10**400, np.zeros(6, np.float32), ValueError, "finite in float32"),
        ((6,), 1e-50, np.zeros(6, np.float32), ValueError, "not 0, got 1e-50"),
        ((6,), -0.0, np.zeros(6, np.float32), ValueError, "not 0, got -0.0"),
        (
            (6,),
            np.ones(5, np.float32),
            np.zeros(6, np.float32),
            ValueError,
            r"scale must be float32 \(6,\), got .* \(5,",
        ),
        ((6,), np.ones(6), np.zeros(6, np.float32), ValueError, "input_scale must be float32 .* got float64"),
        ((6,), np.float32([1, 1, 1, 0, 1, 1]), np.zeros(6, np.float32), ValueError, "and not 0, got array"),
        ((6,), np.float32([1, 1, 1, np.nan, 1, 1]), np.zeros(6, np.float32), ValueError, "input_scale must be finite"),
        ((6,), 1.0, [0.0] * 6, TypeError, "input_shift must be a NumPy array"),
        ((6,), 1.0, np.zeros(5, np.float32), ValueError, r"shift must be float32 \(6,\), got float32 \(5,\)"),
    ],
)
def test_input_descriptions_that_are_refused(rng, shape, scale, shift, error, words):
    with pytest.raises(error, match=words):
        runtime.Model([random_layer(rng, "dense", 6, 2)], shape, scale, shift)


def test_too_many_uint8_inputs():
    inputs = layers.MOST_INPUTS_U8 + 1
    first = Layer("binary_dense", inputs, 1)
    layers._check_input(first, (inputs,), None, None)
    with pytest.raises(ValueError, match="at most 8421504 uint8 inputs are allowed, got 8421505"):
        layers._check_input(first, (inputs,), 1.0, np.zeros(inputs, np.float32))
    # Of these the first layer gets the float32 numbers.
    layers._check_input(first, (inputs,), -1.0, np.zeros(inputs, np.float32))


def test_sign_sums(rng):
    for units, inputs in ((1, 1), (16, 32), (17, 33), (3, 1000)):
        w = rng.standard_normal((units, inputs))
        found = layers.sign_sums(bits.pack_weights(w), units, inputs)
        assert found.dtype == np.int32 and (found == np.where(w < 0, -1, 1).sum(axis=1)).all()
