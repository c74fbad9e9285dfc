"""Thresholds for every reachable product, packed signs and uint8 inputs, against direct evaluation."""

import numpy as np
import pytest

from gluon_bnn.deploy import fold
from gluon_bnn.graph.graph import Node
from gluon_bnn.reference import bits

SIZES = (1, 2, 3, 7, 31, 32, 33, 64, 65, 129, 1000)


def float32(dot, alpha, bias, norm):
    """((alpha dot + bias) - mean) factor + beta, each operation rounded to float32."""
    y = np.float32(np.float32(alpha * np.float32(dot)) + bias)
    if norm:
        y = np.float32(np.float32(np.float32(y - norm["mean"]) * norm["factor"]) + norm["beta"])
    return y


def wild(rng, units):
    """float32 of all magnitudes, with zeros of both signs and the smallest numbers there are."""
    numbers = rng.standard_normal(units) * 10.0 ** rng.integers(-12, 5, units)
    special = rng.choice([0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 1.0, -1.0], units)
    return np.where(rng.random(units) < 0.3, special, numbers).astype(np.float32)


def parameters(rng, inputs, normed, units=200):
    """alpha, bias, norm for `units` units, a third of which have an output that is exactly 0 at some dot."""
    alpha, bias = np.abs(wild(rng, units)), wild(rng, units)
    bias[::5] = -0.0
    dot = 2 * rng.integers(0, inputs + 1, units) - inputs
    exact = np.arange(units) % 3 == 0
    if not normed:
        return alpha, np.where(exact, -(alpha * dot.astype(np.float32)), bias), {}
    mean, factor, beta = wild(rng, units), wild(rng, units), wild(rng, units)
    mean = np.where(exact, alpha * dot.astype(np.float32) + bias, mean)
    beta = np.where(exact, np.where(rng.random(units) < 0.5, 0.0, -0.0).astype(np.float32), beta)
    return alpha, bias, {"mean": mean, "factor": factor, "beta": beta}


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("inputs", SIZES)
def test_thresholds(rng, inputs, normed):
    """bit = dot < threshold is the sign of the float32 expression for every dot, with inputs of +-1 and of 0 and 1."""
    alpha, bias, norm = parameters(rng, inputs, normed)
    alpha[rng.random(len(alpha)) < 0.2] *= -1  # as from a net that multiplies by a number below 0
    dots = np.arange(-inputs, inputs + 1, 2)[:, None]
    for sums in (None, rng.choice(dots[:, 0], len(alpha))):
        with np.errstate(all="ignore"):
            expected = float32(dots if sums is None else (dots + sums) // 2, alpha, bias, norm) < 0
        threshold, falls = fold.thresholds(alpha, bias, norm, inputs, sums)
        assert threshold.dtype == np.int32 and falls.any() == (normed or (alpha < 0).any())
        np.testing.assert_array_equal(np.where(falls, -dots, dots) < threshold, expected)
        assert 0 < expected.mean() < 1


def test_thresholds_with_no_dot_or_all_below():
    alpha, bias = np.ones(3, np.float32), np.array([8, 7, -8], np.float32)
    threshold, falls = fold.thresholds(alpha, bias, {}, 7)
    assert threshold.tolist() == [fold.NEVER, fold.NEVER, fold.ALWAYS]
    assert not falls.any()


@pytest.mark.parametrize("inputs", [1 << 24, (1 << 24) + 1, 1 << 30])
def test_thresholds_of_many_inputs(inputs):
    """Near the threshold, where dot itself is rounded to float32."""
    bias = np.array([0.0, 3.0, -3.0, 1e7 + 1, -1e7 - 1], np.float32)
    threshold, _ = fold.thresholds(np.ones(5, np.float32), bias, {}, inputs)
    dots = threshold + 2 * np.arange(-9, 9)[:, None]
    np.testing.assert_array_equal(dots < threshold, float32(dots, np.float32(1), bias, {}) < 0)


@pytest.mark.parametrize("name", ["alpha", "bias", "mean", "factor", "beta"])
def test_outputs_that_overflow_are_refused(name):
    arrays = {n: np.ones(4, np.float32) for n in ("alpha", "bias", "mean", "factor", "beta")}
    arrays[name][2] = {"alpha": 1e38, "factor": 3e38}.get(name, np.inf)
    alpha, bias = arrays.pop("alpha"), arrays.pop("bias")
    with pytest.raises(ValueError, match="output of unit 2 must be finite for every product from -7 to 7"):
        fold.thresholds(alpha, bias, arrays, 7)


@pytest.mark.parametrize("source", ["bits", "bits01"])
def test_bits_to_bits(rng, source):
    """A whole layer: the bits it gives are the signs of the expression over the exact products."""
    units, inputs, rows = 50, 37, 64
    alpha, bias, norm = parameters(rng, inputs, True, units)
    signs = rng.choice([-1.0, 1.0], (units, inputs)).astype(np.float32)
    x = rng.choice([-1.0, 1.0], (rows, inputs))
    arrays = fold.packed(signs, alpha, bias, norm, source, "bits")
    assert arrays.keys() == {"weight_bits", "threshold"}
    found = bits.xnor_dense(bits.pack_inputs(x), arrays["weight_bits"], units, inputs)
    dot = (x if source == "bits" else (x + 1) / 2) @ signs.T
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found < arrays["threshold"], float32(dot, alpha, bias, norm) < 0)


def test_norm_that_is_not_finite_is_refused():
    one = np.ones(3, np.float32)
    var = np.array([1, -2, -3], np.float32)
    with pytest.raises(ValueError, match=r"got 1.0 / sqrt\(-2.0 \+ 1e-05\) for unit 1, 2 units in all"):
        fold.norm(one, one, one, var, 1e-5)


def test_uint8_thresholds(rng):
    """bit = p < threshold for all 256 p, with inputs that are never or always below 0."""
    shift = np.concatenate([wild(rng, 500), [0.0, -0.0, -1e9, 1e9, -0.1, -25.5, -12.7]]).astype(np.float32)
    node = Node("pack", (0,), {"to": "bits"})
    p = np.arange(256)[:, None]
    for scale in (1.0, 0.1, 1 / 255, 1e-30, 1e30):
        threshold = fold.with_uint8(node, scale, shift).arrays["threshold_u8"]
        x = np.float32(np.float32(scale) * p.astype(np.float32)) + shift
        np.testing.assert_array_equal(p < threshold, x < 0)


def test_uint8_dense(rng):
    """alpha_u8 * (signs . p) + bias_u8 is alpha * (signs . (scale p + shift)) + bias, to two roundings."""
    signs = rng.choice([-1.0, 1.0], (5, 37)).astype(np.float32)
    alpha, bias = rng.random(5).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    scale, shift = np.float32(1 / 255), rng.standard_normal(37).astype(np.float32)
    arrays = fold.packed(signs, alpha, bias, {}, "float", "float")
    node = fold.with_uint8(Node("binary_dense", (0,), {"units": 5, "to": "float"}, arrays), scale, shift)
    alpha, bias = alpha.astype(np.float64), bias.astype(np.float64)
    found = node.arrays
    np.testing.assert_array_equal(found["alpha_u8"], (alpha * scale).astype(np.float32))
    np.testing.assert_allclose(found["bias_u8"], bias + alpha * (signs.astype(np.float64) @ shift), rtol=1e-7)
    p = rng.integers(0, 256, (9, 37))
    y = alpha * ((p * np.float64(scale) + shift) @ signs.T) + bias
    np.testing.assert_allclose(found["alpha_u8"] * (p @ signs.T) + found["bias_u8"], y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normed", [False, True])
def test_thresholds_for_every_integer(rng, normed):
    """With a padding of 0 the product may be even or odd."""
    alpha, bias, norm = parameters(rng, 45, normed)
    dots = np.arange(-45, 46)[:, None]
    with np.errstate(all="ignore"):
        expected = float32(dots, alpha, bias, norm) < 0
    threshold, falls = fold.thresholds(alpha, bias, norm, 45, step=1)
    np.testing.assert_array_equal(np.where(falls, -dots, dots) < threshold, expected)
    assert len(set(threshold % 2)) == 2


@pytest.mark.parametrize("source", ["float", "bits"])
@pytest.mark.parametrize("shape", [(5, 37), (17, 33, 2), (16, 3, 2, 3), (3, 64, 1, 2)])
def test_signs_of_windows(rng, source, shape):
    signs = rng.choice([-1, 1], shape).astype(np.float32)
    packed = fold.pack_signs(signs, source)
    places = int(np.prod(shape[2:]))
    words = -(-places * shape[1] // 32) if source == "float" else places * -(-shape[1] // 32)
    assert packed.shape == (-(-shape[0] // 16), words, 16)
    np.testing.assert_array_equal(fold.unpack_signs(packed, shape, source), signs)


def test_uint8_conv_to_bits(rng):
    """All integers: where the output falls, the signs and alpha of the unit are turned, which changes no output."""
    alpha, bias, norm = parameters(rng, 18, True, 20)
    norm = {name: array.clip(-1e3, 1e3) for name, array in norm.items()}  # products of pixels are larger
    signs = rng.choice([-1, 1], (20, 2, 3, 3)).astype(np.float32)
    attributes = {"channels": 20, "kernel": (3, 3), "strides": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    arrays = fold.packed(signs, alpha, bias, norm, "float", "bits")
    node = Node("binary_conv2d", (0,), {**attributes, "pad": "zero", "to": "bits"}, arrays)
    scale, shift = np.float32(2.0**-7), np.float32([0.5, -1])
    found = fold.with_uint8(node, scale, np.broadcast_to(shift, (3, 3, 2))).arrays
    p = rng.integers(0, 256, (30, 2, 3, 3))
    turned = fold.unpack_signs(found["weight_bits"], signs.shape, "float")
    falls = (alpha < 0) != (norm["factor"] < 0)
    assert falls.any() and not falls.all()
    np.testing.assert_array_equal(turned, np.where(falls[:, None, None, None], -signs, signs))
    np.testing.assert_array_equal(found["alpha"], np.where(falls, -alpha, alpha))
    dot = np.einsum("rcij,ucij->ru", p, turned).astype(np.int64)
    alpha_u8 = (found["alpha"].astype(np.float64) * scale).astype(np.float32)
    shifts = np.einsum("c,ucij->u", shift.astype(np.float64), turned)
    bias_u8 = (bias + found["alpha"].astype(np.float64) * shifts).astype(np.float32)
    np.testing.assert_array_equal(dot < found["threshold_u8"], float32(dot, alpha_u8, bias_u8, norm) < 0)


@pytest.mark.parametrize(
    "change, shift", [({"padding": (0, 1)}, 0.5), ({"padding": (0, 1), "pad": "plus"}, 0), ({}, np.eye(3)[..., None])]
)
def test_uint8_conv_that_integers_are_not_enough_for(rng, change, shift):
    attributes = {"channels": 1, "kernel": (3, 3), "strides": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    one = np.ones(1, np.float32)
    arrays = fold.packed(np.ones((1, 1, 3, 3), np.float32), one, one, {}, "float", "bits")
    node = Node("binary_conv2d", (0,), {**attributes, "pad": "zero", "to": "bits", **change}, arrays)
    assert fold.with_uint8(node, 0.5, np.broadcast_to(np.float32(shift), (3, 3, 1))) is node
