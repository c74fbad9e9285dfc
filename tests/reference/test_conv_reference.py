"""The reference's convolutions: finite differences where they are linear, single places of the formula, and the printed
formula where gradients are straight-through."""

import itertools

import numpy as np
import pytest

from gluon_bnn.reference import binary, conv

SHAPES = [  # x, w, options
    ((2, 3, 7), (4, 3, 3), dict(strides=2, padding=1, pad_value=1)),
    ((2, 4, 6), (6, 2, 2), dict(dilation=3, groups=2, padding=2)),
    ((1, 2, 5, 4), (3, 2, 3, 2), dict(strides=(1, 2), padding=(2, 0), pad_value=-1)),
    ((1, 3, 5, 6), (3, 1, 2, 3), dict(strides=(3, 1), dilation=(1, 2), groups=3, padding=(1, 2))),
    ((1, 2, 3, 4, 3), (2, 1, 2, 1, 3), dict(groups=2, strides=(1, 2, 1), padding=1, pad_value=1)),
    ((1, 1, 1), (1, 1, 1), {}),
]


def arrays(rng, x, w, options):
    x, w = rng.standard_normal(x), rng.standard_normal(w)
    return x, w, rng.standard_normal(conv.conv(x, w, **options).shape)


def one_place(x, w, r, o, p, strides=1, padding=0, dilation=1, groups=1, pad_value=0):
    """y[r, o, p], a product at a time."""
    axes = x.ndim - 2
    strides, padding, dilation = (np.broadcast_to(each, axes) for each in (strides, padding, dilation))
    first = o // (len(w) // groups) * w.shape[1]
    total = 0.0
    for c, k in itertools.product(range(w.shape[1]), np.ndindex(w.shape[2:])):
        at = np.array(p) * strides + np.array(k) * dilation - padding
        inside = (at >= 0).all() and (at < x.shape[2:]).all()
        total += w[(o, c, *k)] * (x[(r, first + c, *at)] if inside else pad_value)
    return total


@pytest.mark.parametrize("x, w, options", SHAPES)
def test_every_place(rng, x, w, options):
    x, w, y = arrays(rng, x, w, options)
    y = conv.conv(x, w, **options)
    for r, o, *p in np.ndindex(y.shape):
        np.testing.assert_allclose(y[(r, o, *p)], one_place(x, w, r, o, p, **options), rtol=1e-12, atol=1e-12)


def numeric(f, x):
    """Central differences of the scalar f, which is linear in x, one element at a time."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + 1
        up = f()
        x[i] = old - 1
        gradient[i] = (up - f()) / 2
        x[i] = old
    return gradient


@pytest.mark.parametrize("x, w, options", SHAPES)
def test_gradients(rng, x, w, options):
    x, w, d = arrays(rng, x, w, options)
    found = conv.conv_backward(d, x, w, **options)
    for name, array in (("x", x), ("weight", w)):
        expected = numeric(lambda: (d * conv.conv(x, w, **options)).sum(), array)
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", binary.SCALES)
def test_binary_weights(rng, scale):
    """Forward in the order that makes binary inputs exact; backward through alpha signs and the rule."""
    options = dict(strides=(1, 2), padding=(2, 1), pad_value=-1)
    x, w, d = arrays(rng, (2, 3, 5, 6), (4, 3, 3, 2), options)
    w.flat[:4] = 0.0, -0.0, 1.0, -1.0
    curvature = rng.random(w.shape) + 0.1 if scale == "loss" else None
    signs, alpha = binary.sign_scale(w, scale, curvature)
    along, bias = alpha.reshape(1, -1, 1, 1), rng.standard_normal(4)
    y = conv.binary_conv(binary.sign(x), w, bias, scale, curvature, **options)
    dots = np.rint(conv.conv(binary.sign(x), signs, **options))
    np.testing.assert_array_equal(y, along * dots + bias.reshape(1, -1, 1, 1))
    for rule in binary.GRADIENTS if scale in ("layer", "channel") else ("ste",):
        found = conv.binary_conv_backward(d, x, w, scale, rule, 0.5, curvature, **options)
        real = conv.conv_backward(d, x, signs * alpha.reshape(-1, 1, 1, 1), **options)
        np.testing.assert_allclose(found["x"], real["x"], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(
            found["weight"], binary.sign_scale_backward(real["weight"], w, scale, rule, 0.5, curvature)
        )
        np.testing.assert_allclose(found["bias"], d.sum(axis=(0, 2, 3)))


def test_a_kernel_of_one_place_is_the_dense_layer(rng):
    x, w, d = rng.standard_normal((5, 7)), rng.standard_normal((3, 7)), rng.standard_normal((5, 3))
    y = conv.binary_conv(x[:, :, None], w[:, :, None], np.ones(3), "channel")
    np.testing.assert_allclose(y[:, :, 0], binary.binary_dense(x, w, np.ones(3), "channel"), rtol=1e-12)
    dense = binary.binary_dense_backward(d, x, w, "channel", "exact")
    found = conv.binary_conv_backward(d[:, :, None], x[:, :, None], w[:, :, None], "channel", "exact")
    for name, value in dense.items():
        np.testing.assert_allclose(found[name].reshape(value.shape), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernel, strides", [((2, 2), 2), ((3, 2), (2, 3)), ((3, 3), 1), ((2, 3), 3)])
def test_pooling(rng, kernel, strides, padding, ceil):
    """Window by window."""
    x = rng.standard_normal((2, 3, 6, 7))
    largest = conv.max_pool(x, kernel, strides, padding, ceil)
    means = [conv.average_pool(x, kernel, strides, padding, ceil, all_count) for all_count in (True, False)]
    room = [size + 2 * padding - k for size, k in zip(x.shape[2:], kernel)]
    steps = [-(-r // s) if ceil else r // s for r, s in zip(room, np.broadcast_to(strides, 2))]
    assert largest.shape == means[0].shape == (2, 3, steps[0] + 1, steps[1] + 1)
    for at in np.ndindex(*largest.shape[2:]):
        begin = np.array(at) * strides - padding
        inside = [slice(max(b, 0), max(b, 0) if b + k <= 0 else b + k) for b, k in zip(begin, kernel)]
        window = x[(slice(None), slice(None), *inside)]
        if window.size == 0:
            assert (largest[(..., *at)] == np.finfo(x.dtype).min).all()
            continue
        padded = np.prod([min(b + k, size + padding) - b for b, k, size in zip(begin, kernel, x.shape[2:])])
        np.testing.assert_allclose(largest[(..., *at)], window.max(axis=(2, 3)))
        np.testing.assert_allclose(means[0][(..., *at)], window.sum(axis=(2, 3)) / padded)
        np.testing.assert_allclose(means[1][(..., *at)], window.mean(axis=(2, 3)))


@pytest.mark.parametrize(
    "x, w, options",
    [
        ((2, 3), (4, 3), {}),
        ((2, 3, 5), (4, 2, 3), {}),
        ((2, 3, 5), (4, 3, 3, 3), {}),
        ((2, 4, 5), (3, 2, 3), dict(groups=2)),
        ((2, 3, 5), (4, 3, 6), {}),
        ((2, 3, 5), (4, 3, 3), dict(dilation=3)),
    ],
)
def test_shapes_that_do_not_fit(x, w, options):
    with pytest.raises(ValueError, match="got|larger"):
        conv.conv(np.ones(x), np.ones(w), **options)


def test_gradients_of_another_shape():
    with pytest.raises(ValueError, match=r"\(2, 4, 3\), got \(2, 4, 5\)"):
        conv.conv_backward(np.ones((2, 4, 5)), np.ones((2, 3, 5)), np.ones((4, 3, 3)))
