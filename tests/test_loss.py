"""The squared hinge loss against the reference: labels of any type, hybridized, exported, wrong ones."""

import re
import warnings

import numpy as np
import pytest

from gluon_bnn import ops
from gluon_bnn._compat import mx
from gluon_bnn.loss import SquaredHingeLoss, WithLoss
from gluon_bnn.native import library
from gluon_bnn.reference import dense

from needs import needs_library

# In units of eps (1 + |x|)^2 and, for gradients, eps (1 + |x|) / classes: 1.0 and 2.5 seen over 20 seeds.
TOLERANCE = 6


def run(loss, outputs, labels, *more):
    """(loss, gradient to the outputs) as NumPy arrays, for a gradient of one to every row's loss."""
    outputs.attach_grad()
    with mx.autograd.record():
        value = loss(outputs, labels, *more)
    value.backward()
    return value.asnumpy(), outputs.grad.asnumpy()


def rows_of(x, labels):
    """The reference, a row at a time: its mean over one row is the row's loss."""
    x = x.astype(np.float64)
    return (
        np.array([dense.squared_hinge(x[i : i + 1], labels[i : i + 1]) for i in range(len(x))]),
        np.concatenate([dense.squared_hinge_backward(x[i : i + 1], labels[i : i + 1]) for i in range(len(x))]),
    )


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("label_dtype", ["float32", "float64", "int8", "uint8", "int32", "int64"])
def test_loss_and_gradient(rng, dtype, label_dtype, hybridize):
    loss, eps = SquaredHingeLoss(), np.finfo(dtype).eps
    if hybridize:
        loss.hybridize(static_alloc=True, static_shape=True)
    for rows, classes in ((1, 1), (1, 2), (2, 3), (7, 10), (33, 10), (1000, 7)):
        x = (2 * rng.standard_normal((rows, classes))).astype(dtype)
        x.flat[0] = 1
        labels = rng.integers(0, classes, rows)
        value, gradient = run(loss, mx.nd.array(x, dtype=dtype), mx.nd.array(labels, dtype=label_dtype))
        expected, wanted = rows_of(x, labels)
        assert value.shape == (rows,) and value.dtype == gradient.dtype == dtype
        assert (np.abs(value - expected) <= TOLERANCE * eps * (1 + np.abs(x).max(1)) ** 2).all()
        assert (np.abs(gradient - wanted) <= TOLERANCE * eps * (1 + np.abs(x)) / classes).all()


def test_its_mean_is_that_of_the_reference(rng):
    x, labels = rng.standard_normal((33, 10)), rng.integers(0, 10, 33)
    found = SquaredHingeLoss()(mx.nd.array(x, dtype="float64"), mx.nd.array(labels)).mean().asscalar()
    assert found == pytest.approx(dense.squared_hinge(x, labels), rel=1e-14)


@pytest.mark.parametrize("hybridize", [False, True])
def test_weights_and_axes(rng, hybridize):
    x, labels, share = rng.standard_normal((5, 7)), rng.integers(0, 7, 5), rng.random((5, 1))
    value, gradient = run(SquaredHingeLoss(), mx.nd.array(x), mx.nd.array(labels))
    loss = SquaredHingeLoss(weight=0.5)
    loss.hybridize(hybridize)
    weighted, its = run(loss, mx.nd.array(x), mx.nd.array(labels), mx.nd.array(share))
    np.testing.assert_allclose(weighted, 0.5 * share[:, 0] * value, rtol=1e-6)
    np.testing.assert_allclose(its, 0.5 * share * gradient, rtol=1e-6)
    loss = SquaredHingeLoss(batch_axis=1)
    loss.hybridize(hybridize)
    across, its = run(loss, mx.nd.array(x.T), mx.nd.array(labels))
    np.testing.assert_allclose(across, value, rtol=1e-6)
    np.testing.assert_allclose(its.T, gradient, rtol=1e-6)


def test_export_and_import(rng, tmp_path):
    x, labels = mx.nd.array(rng.standard_normal((5, 7))), mx.nd.array(rng.integers(0, 7, 5))
    loss = SquaredHingeLoss()
    loss.hybridize()
    value = loss(x, labels).asnumpy()
    loss.export(str(tmp_path / "loss"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = mx.gluon.SymbolBlock.imports(str(tmp_path / "loss-symbol.json"), ["data0", "data1"])
    np.testing.assert_array_equal(loaded(x, labels).asnumpy(), value)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("labels", [[7, 0], [-1, 0], [0, 200]])
def test_labels_out_of_range(labels, hybridize):
    loss = SquaredHingeLoss()
    loss.hybridize(hybridize)
    message = "out of bound|must be whole numbers from 0 to 6, got (7|-1|200) for row"
    with pytest.raises(mx.base.MXNetError, match=message):
        loss(mx.nd.zeros((2, 7)), mx.nd.array(labels)).asnumpy()
    np.testing.assert_array_equal(loss(mx.nd.zeros((2, 7)), mx.nd.array([0, 6])).asnumpy(), [1, 1])


@needs_library
@pytest.mark.parametrize("label", [0.5, float("nan"), float("inf")])
def test_labels_that_are_no_whole_numbers(label):
    with pytest.raises(mx.base.MXNetError, match=f"labels must be whole numbers from 0 to 6, got {label} for row 1"):
        SquaredHingeLoss()(mx.nd.zeros((2, 7)), mx.nd.array([0, label])).asnumpy()


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("choice", ["native", "composed"] if library.available() else ["composed"])
def test_nan_outputs_give_nan(choice, hybridize):
    with ops.use(choice):
        loss = SquaredHingeLoss()
    loss.hybridize(hybridize)
    x = mx.nd.array([[0, float("nan")], [float("nan"), 0], [0, 0]])
    assert np.isnan(loss(x, mx.nd.array([0, 0, 0])).asnumpy()).tolist() == [True, True, False]


@needs_library
@pytest.mark.parametrize("label_dtype", ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"])
def test_native_is_composed(rng, label_dtype):
    """The same gradients to the bit, and losses within the rounding of their sum."""
    x, labels = (2 * rng.standard_normal((33, 10))).astype("float32"), rng.integers(0, 10, 33)
    if label_dtype == "bool":
        labels = labels % 2
    found = []
    for choice in ("native", "composed"):
        with ops.use(choice):
            loss = SquaredHingeLoss(weight=0.7)
        targets = mx.nd.array(labels, dtype=label_dtype)
        if choice == "composed" and label_dtype == "bool":
            targets = targets.astype("int32")
        found.append(run(loss, mx.nd.array(x), targets))
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=3e-7)


def test_a_net_with_its_loss(rng):
    """One graph gives what two give, gradients too."""
    x, labels = mx.nd.array(rng.standard_normal((5, 4))), mx.nd.array(rng.integers(0, 3, 5))
    net, loss = mx.gluon.nn.Dense(3, in_units=4), SquaredHingeLoss()
    net.initialize()
    both, found = WithLoss(net, loss), []
    both.hybridize(static_alloc=True, static_shape=True)
    for forward in (lambda: both(x, labels), lambda: (net(x), loss(net(x), labels))):
        with mx.autograd.record():
            outputs, value = forward()
        value.backward()
        found.append([a.asnumpy() for a in (outputs, value, net.weight.grad(), net.bias.grad())])
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize(
    "axis, shape",
    [(0, (1,)), (0, (3,)), (0, (7,)), (0, (1, 2)), (0, (2, 7)), (0, (2, 1, 1)), (1, (2,)), (1, (7, 2)), (1, (1, 7))],
)
def test_labels_of_another_shape(axis, shape, hybridize):
    loss = SquaredHingeLoss(batch_axis=axis)
    loss.hybridize(hybridize)
    with pytest.raises(ValueError, match=r"labels must be \((2|7),\) or \((2|7), 1\).*got " + re.escape(str(shape))):
        loss(mx.nd.zeros((2, 7)), mx.nd.zeros(shape))


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_labels_in_a_column(rng, axis, hybridize):
    x, labels = mx.nd.array(rng.standard_normal((5, 7))), mx.nd.array(rng.integers(0, 5, 7 if axis else 5))
    loss = SquaredHingeLoss(batch_axis=axis)
    loss.hybridize(hybridize)
    value, gradient = run(loss, x, labels)
    columns, its = run(loss, x, labels.reshape((-1, 1)))
    np.testing.assert_array_equal(columns, value)
    np.testing.assert_array_equal(its, gradient)


def test_outputs_of_another_shape():
    with pytest.raises(ValueError, match="outputs must be"):
        SquaredHingeLoss()(mx.nd.zeros((2, 3, 7)), mx.nd.zeros(2))


def test_nan_is_not_hidden():
    assert np.isnan(SquaredHingeLoss()(mx.nd.array([[np.nan, 0]]), mx.nd.array([0])).asscalar())


def test_wrong_axis():
    with pytest.raises(ValueError, match="batch_axis must be 0 or 1, got 2"):
        SquaredHingeLoss(batch_axis=2)
