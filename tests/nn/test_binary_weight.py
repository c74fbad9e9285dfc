"""`signs()`, `alpha()` and `binary_weight()`: what a binary layer multiplies by, while it trains and frozen."""

import numpy as np
import pytest

from gluon_bnn import freeze, mx, nn
from gluon_bnn.reference import binary

from gluon_nets import FORMS, sequential

# Errors are counted in eps times the sum of magnitudes; the most that was seen was 1.4 for the layer's own product and
# 1.0 for a scale.
BOUND = 4


def awkward_layer(rng, dtype="float32", **options):
    layer = nn.BinaryDense(7, in_units=33, dtype=dtype, **options)
    layer.initialize(mx.init.Normal(1))
    weight = rng.standard_normal((7, 33)).astype(dtype)
    weight.flat[:4] = 0.0, -0.0, 1.0, -1.0
    layer.weight.set_data(mx.nd.array(weight, dtype=dtype))
    layer.bias.set_data(mx.nd.array(rng.standard_normal(7), dtype=dtype))
    if layer.curvature is not None:
        layer.curvature.set_data(mx.nd.array(rng.random((7, 33)) + 0.1, dtype=dtype))
    return layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options", [dict(scale=s) for s in ("layer", "channel", "loss", None)] + [dict(stochastic=True)]
)
def test_against_the_reference(rng, implementation, dtype, options):
    layer = awkward_layer(rng, dtype, **{"scale": None, **options})
    weight, eps = layer.weight.data().asnumpy(), np.finfo(dtype).eps
    curvature = {} if layer.curvature is None else {"curvature": layer.curvature.data().asnumpy().astype("float64")}
    signs, alpha = binary.sign_scale(weight.astype("float64"), layer.scale, **curvature)
    for found in (layer.signs(), layer.binary_weight(), layer.alpha()):
        assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(layer.signs().asnumpy(), signs)
    assert (signs.flat[:4] == [1, 1, 1, -1]).all()
    expected = np.reshape(alpha, (-1, 1)) * signs
    np.testing.assert_allclose(layer.binary_weight().asnumpy(), expected, rtol=BOUND * eps)
    x = rng.standard_normal((5, 33)).astype(dtype)
    y, b = layer(mx.nd.array(x, dtype=dtype)).asnumpy(), layer.bias.data().asnumpy().astype("float64")
    product = x.astype("float64") @ layer.binary_weight().asnumpy().astype("float64").T + b
    magnitude = np.abs(x).astype("float64") @ np.abs(expected).T + np.abs(b)
    assert (np.abs(y - product) / (eps * magnitude)).max() < BOUND


def test_nan_counts_as_plus_one(rng, implementation):
    layer = awkward_layer(rng, scale=None)
    weight = layer.weight.data().asnumpy()
    weight.flat[5] = np.nan
    layer.weight.set_data(mx.nd.array(weight))
    assert layer.signs().asnumpy().flat[5] == layer.binary_weight().asnumpy().flat[5] == 1
    assert set(np.unique(layer.signs().asnumpy())) == {-1, 1}


def test_they_follow_the_weights_and_leave_no_gradient(rng, implementation):
    layer = awkward_layer(rng)
    before = layer.signs().asnumpy()
    with mx.autograd.record():
        y = layer.binary_weight().sum()
    with pytest.raises(mx.base.MXNetError):
        y.backward()
    layer.weight.set_data(-layer.weight.data())
    nonzero = layer.weight.data().asnumpy() != 0
    np.testing.assert_array_equal(layer.signs().asnumpy()[nonzero], -before[nonzero])


def test_stochastic_signs_are_those_of_inference_while_mxnet_trains(rng, implementation):
    layer = awkward_layer(rng, scale=None, stochastic=True)
    with mx.autograd.train_mode():
        found = layer.signs().asnumpy()
    np.testing.assert_array_equal(found, np.where(layer.weight.data().asnumpy() < 0, -1, 1))


def test_without_values():
    layer = nn.BinaryDense(3)
    for call in (layer.signs, layer.alpha, layer.binary_weight):
        with pytest.raises(RuntimeError, match="initialize"):
            call()
    layer.initialize()
    for call in (layer.signs, layer.alpha, layer.binary_weight):
        with pytest.raises(mx.gluon.parameter.DeferredInitializationError, match="pass one batch of data"):
            call()
    layer(mx.nd.ones((2, 5)))
    assert layer.signs().shape == layer.binary_weight().shape == (3, 5)


@pytest.mark.parametrize("scale", ["layer", "channel", "loss", None])
@pytest.mark.parametrize("form", FORMS)
def test_frozen(rng, form, scale):
    first, last = awkward_layer(rng, scale=scale), nn.BinaryDense(3, in_units=7, scale=scale)
    net = sequential(first, nn.BinaryActivation(), last)
    last.initialize()
    frozen = freeze(net, form, verbose=False)
    blocks = [block for block in frozen if hasattr(block, "signs")]
    assert len(blocks) == 2
    for block, layer in zip(blocks, (first, last)):
        np.testing.assert_array_equal(block.signs().asnumpy(), layer.signs().asnumpy())
        assert block.signs().dtype == np.float32
        np.testing.assert_array_equal(block.binary_weight().asnumpy(), layer.binary_weight().asnumpy())
        np.testing.assert_array_equal(block.alpha().asnumpy(), np.broadcast_to(layer.alpha().asnumpy(), layer.units))


@pytest.mark.parametrize("form", FORMS)
def test_frozen_with_signs_inverted(rng, form):
    """By a batch norm that falls: its unit then has the opposite signs in thresholds, and nowhere else."""
    first, norm = awkward_layer(rng), nn.BatchNorm(in_channels=7)
    net = sequential(nn.BinaryActivation(), first, norm, nn.BinaryActivation(), nn.BinaryDense(3, in_units=7))
    for block in (norm, net[4]):
        block.initialize()
    norm.gamma.set_data(mx.nd.array([1, -1, 1, -1, 1, -1, 1]))
    block = next(block for block in freeze(net, form, verbose=False) if hasattr(block, "signs"))
    falls = np.array([[1], [-1]] * 3 + [[1]]) if form == "packed" else 1
    np.testing.assert_array_equal(block.signs().asnumpy(), falls * first.signs().asnumpy())
    if form == "packed":
        for call in (block.alpha, block.binary_weight):
            with pytest.raises(ValueError, match="it gives bits, and scale, bias and batch norm became thresholds"):
                call()
    else:
        np.testing.assert_array_equal(block.binary_weight().asnumpy(), first.binary_weight().asnumpy())


@pytest.mark.parametrize("form", FORMS)
def test_they_are_of_the_kind_that_gluon_computes_with(form):
    with mx.util.np_shape(True), mx.util.np_array(True):
        net = sequential(nn.BinaryDense(3, in_units=4))
        net.initialize()
        for layer in (net[0], freeze(net, form, verbose=False)[0]):
            for found in (layer.signs(), layer.alpha(), layer.binary_weight()):
                assert isinstance(found, mx.np.ndarray)
            np.testing.assert_array_equal(layer.binary_weight().asnumpy(), net[0].binary_weight().asnumpy())
