"""The notebook's functions at the edges it left open, and its scratch net, worked out by hand.

tests/reference/test_reference.py differentiates the smooth ones numerically; here are the values.
"""

import numpy as np
import pytest

from gluon_bnn.reference import notebook

EDGES = np.array([-1.0, -1e-300, -0.0, 0.0, np.nan, 1e-300, np.inf, -np.inf])


def test_scratch_net():
    """x = [[-1, 2, 3]] through b_affine, back, one step of 1, and through again."""
    x, w = np.array([[-1.0, 2.0, 3.0]]), np.array([[0.5], [1.0], [-6.0]])
    assert notebook.l1(w) == 2.5
    np.testing.assert_array_equal(notebook.b(w), [[2.5], [2.5], [-2.5]])
    np.testing.assert_array_equal(notebook.b_affine(x, w), [[-2.5 + 5 - 7.5]])
    gradients = notebook.b_affine_(np.ones((1, 1)), x, w)
    # x_i (1/3 + w_i 2.5/3); the third weight lies beyond 5 and keeps the 1/3 alone.
    np.testing.assert_allclose(gradients["w"], [[-0.75], [7 / 3], [1.0]])
    np.testing.assert_array_equal(gradients["x"], [[2.5, 2.5, -2.5]])
    w -= gradients["w"]
    np.testing.assert_allclose(w, [[1.25], [-4 / 3], [-7.0]])
    np.testing.assert_allclose(notebook.b_affine(x, w), [[-6 * (1.25 + 4 / 3 + 7) / 3]])
    # The real layer's gradients, which the notebook prints beside them.
    plain = notebook.affine_(np.ones((1, 1)), x, w)
    np.testing.assert_array_equal(plain["w"], x.T)
    np.testing.assert_array_equal(plain["x"], w.T)


def test_whole_scratch_net_keeps_the_layouts():
    x, generator = np.array([[-1.0, 2.0, 3.0]]), np.random.RandomState(0)
    w1, w2 = generator.randn(3, 1), generator.randn(1, 3)
    o1 = notebook.b_affine(x, w1)
    o2 = notebook.sigmoid(o1)
    o3 = notebook.b_affine(o2, w2)
    assert (o1.shape, o3.shape) == ((1, 1), (1, 3))
    second = notebook.b_affine_(notebook.softmax_ce_(o3, np.array([2])), o2, w2)
    first = notebook.b_affine_(notebook.sigmoid_(second["x"], o1), x, w1)
    assert {k: v.shape for k, v in second.items()} == {"x": (1, 1), "w": (1, 3)}
    assert {k: v.shape for k, v in first.items()} == {"x": (1, 3), "w": (3, 1)}


@pytest.mark.parametrize("edge", [-5.0, 5.0])
def test_the_clip_includes_five(edge):
    w, one = np.array([[edge, 1.0]]), np.ones((1, 1))
    inside = notebook.b_affine_(np.ones((1, 2)), one, w)["w"][0, 0]
    assert inside == pytest.approx(1 / 2 + edge * 3 / 2)
    w[0, 0] = np.nextafter(edge, 2 * edge)
    assert notebook.b_affine_(np.ones((1, 2)), one, w)["w"][0, 0] == 1 / 2


def test_softmax_ce_is_the_bare_formula_where_that_does_not_overflow():
    generator = np.random.RandomState(1)
    x, y = 20 * generator.randn(8, 10), generator.randint(0, 10, 8)
    bare = np.log(np.exp(x).sum(axis=1)) - x[np.arange(8), y]
    assert notebook.softmax_ce(x, y) == pytest.approx(bare.mean(), rel=1e-14)
    assert notebook.softmax_ce(x + 1000, y) == pytest.approx(bare.mean(), rel=1e-12)
    np.testing.assert_allclose(notebook.softmax_ce_(x + 1000, y).sum(axis=1), 0, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_ce_at_the_largest_numbers(dtype):
    x = np.array([[1e30, -1e30], [1e30, -1e30]], dtype)
    assert notebook.softmax_ce(x, np.array([0, 1])) == np.mean([0, 2 * float(x[0, 0])], dtype=dtype)
    np.testing.assert_array_equal(notebook.softmax_ce_(x, np.array([0, 1])), [[0, 0], [0.5, -0.5]])
    assert notebook.softmax_ce_(x, np.array([0, 1])).dtype == dtype


def test_signs_at_the_edges():
    w = EDGES[:4] * 2
    np.testing.assert_array_equal(notebook.b(w), notebook.l1(w) * np.array([-1, -1, 1, 1]))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(notebook.b_sigmoid(EDGES), [0, 0, 1, 1, 1, 1, 1, 0])


def test_backward_leaves_its_arguments_alone():
    x, y = np.zeros((2, 3)), np.array([0, 1])
    notebook.softmax_ce_(x, y)
    assert not x.any()
    w = np.ones((3, 3))
    d, inputs, weights = np.ones((2, 3)), x.copy(), w.copy()
    notebook.b_affine_(d, inputs, weights)
    assert (d == 1).all() and (inputs == x).all() and (weights == w).all()
