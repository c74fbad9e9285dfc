"""Between which numbers answers lie: as they are where all is exact, wide enough for any order of a sum, no wider."""

import numpy as np
import pytest

from gluon_bnn.graph import bounds, engine

from random_nets import SCALE, Net, chain, dense_over, odd_floats, random_graph, same


@pytest.mark.parametrize("seed", range(20))
def test_the_engine_is_between(seed):
    """For all kinds; to the bit where nothing is summed but integers."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, size=int(rng.integers(3, 14)))
    x = odd_floats(rng, 5, graph.inputs)
    x = rng.integers(0, 256, x.shape, np.uint8) if graph.input_scale is not None else x
    y, (low, high) = engine.run(graph, x), bounds.run(graph, x)
    assert bounds.within(y, low, high).all()
    if {node.kind for node in graph.nodes} <= {"input", "image", "pack", "binary_dense", "binary_conv2d", "flatten"}:
        assert graph.input_scale is None or same(low, y) and same(high, y)


def test_integers_are_exact(rng):
    """Products of bits and of pixels, and of floats that are whole numbers."""
    layers = (
        "binary_dense units=65 to=bits norm",
        "binary_dense units=33 to=bits01",
        "binary_dense units=7 to=float norm",
    )
    graph = chain(rng, 40, *layers, scale=SCALE)
    x = rng.integers(0, 256, (20, 40), np.uint8)
    for found in bounds.run(graph, x):
        assert same(found, engine.run(graph, x))
    graph = chain(rng, 40, *layers)
    x = rng.integers(-5, 6, (20, 40)).astype(np.float32)
    for found in bounds.run(graph, x):
        assert same(found, engine.run(graph, x))


def orders(rng, weight, x):
    """Products x (rows, inputs) times weight (inputs, units), summed in float32 in drawn orders, and in float64."""
    for _ in range(20):
        order = rng.permutation(len(weight))
        y = np.zeros((len(x), weight.shape[1]), np.float32)
        for k in order:
            y += x[:, k, None] * weight[k]
        yield y
    yield x.astype(np.float64) @ weight


@pytest.mark.parametrize("kind", ["dense", "binary_dense"])
def test_any_order(rng, kind):
    """Every order is within the bounds of a product, which are a small share of the magnitudes."""
    weight = rng.standard_normal((300, 4)).astype(np.float32)
    if kind == "binary_dense":
        weight = np.sign(weight)
    net = Net(rng, 300)
    arrays = {"weight": weight} if kind == "dense" else dense_over(weight.T)
    options = {"bias": False} if kind == "dense" else {"to": "float"}
    net.add(kind, units=4, arrays=arrays, **options)
    x = odd_floats(rng, 30, 300) * np.float32(10) ** rng.integers(-3, 4, (30, 300)).astype(np.float32)
    low, high = bounds.run(net.graph(), x)
    for y in orders(rng, weight, x):
        assert ((low <= y) & (y <= high)).all()
    assert (high - low <= 1e-4 * np.abs(x).sum(axis=1, keepdims=True)).all() and (low < high).all()


def test_what_is_at_zero_to_within_rounding(rng):
    """A sum of 0.1 + 0.2 - 0.3 has either sign: one bit of 3 is open, and the answer 1 or 3; far from 0 it is known."""
    net = Net(rng, 3)
    net.add("binary_dense", units=3, to="bits", arrays=dense_over(np.float32([[1, 1, 1], [1, 1, -1], [1, -1, 1]])))
    net.add("binary_dense", units=1, to="float", arrays=dense_over(np.ones((1, 3), np.float32)))
    low, high = bounds.run(net.graph(), np.float32([[0.1, 0.2, 0.3], [0.1, 0.2, 0.2]]))
    assert low.tolist() == [[1], [3]] and high.tolist() == [[3], [3]]


def test_softrelu_as_mxnet_computes_it(rng):
    """In float32, where 1 + exp(x) rounds away what is far below 1."""
    graph = chain(rng, 40, "activation function=softrelu")
    x = rng.uniform(-20, 20, (30, 40)).astype(np.float32)
    y = np.log(np.float32(1) + np.exp(x))
    low, high = bounds.run(graph, x)
    assert y.dtype == np.float32 and ((low <= y) & (y <= high)).all()
    assert (np.abs(y - engine.run(graph, x)) > 1e-3 * np.abs(y)).any()
    assert (high - low <= 3e-6 * (1 + y)).all()


@pytest.mark.parametrize("kind", ["dense", "binary_dense"])
def test_sums_that_may_pass_the_largest_float(rng, kind):
    """In one order they do, in another they do not: nothing is known of them, nor of what follows."""
    weight = np.sign(rng.standard_normal((40, 4))).astype(np.float32)
    net = Net(rng, 40)
    arrays = {"weight": weight} if kind == "dense" else dense_over(weight.T)
    first = net.add(kind, units=4, arrays=arrays, **({"bias": False} if kind == "dense" else {"to": "float"}))
    net.add("dense", net.add("batch_norm"), units=3)
    net.add("binary_dense", net.add("pack", to="bits"), units=2, to="float")
    net.add("concat", first, len(net.nodes) - 1)
    graph = net.graph()
    x = np.clip(odd_floats(rng, 30, 40), -3, 3) * np.float32(5e37)
    x[:10] *= np.float32(1e-6)
    x[10, 3], x[11, 7] = np.inf, np.nan
    low, high = bounds.run(graph, x)
    with np.errstate(all="ignore"):
        found = [engine.run(graph, x)[:, :4], *orders(rng, weight, x)]
        assert bounds.within(engine.run(graph, x), low, high).all()
        assert len({np.isnan(y).sum() + 1000 * np.isinf(y).sum() for y in found[:-1]}) > 1
    for y in found[:-1]:
        assert bounds.within(y, low[:, :4], high[:, :4]).all()
    assert np.isfinite(low[:10]).all() and np.isfinite(high[:10]).all()


def test_furthest():
    expected = np.float32([[1, 0], [np.nan, 2], [3, 3], [4, 4], [5, np.inf], [6, 6]])
    found = np.float32([[1, -0.0], [np.nan, 2], [3, 3.5], [np.nan, 4], [5, np.inf], [4, 6]])
    assert bounds.furthest(found, expected).tolist() == [3, 5, 2]
