"""The NumPy fallback against the reference, and the compiled library against the fallback, to the bit."""

import math
import tracemalloc

import numpy as np
import pytest

from gluon_bnn import runtime
from gluon_bnn.graph import engine, layers
from gluon_bnn.graph.layers import Layer
from gluon_bnn.native import library
from gluon_bnn.reference import bits

from random_nets import SIZES, awkward_nets, dense_over, model_of, odd_floats, random_net, same


def pack(inputs):
    return Layer("pack", inputs, inputs, "float", "bits")


@pytest.mark.parametrize("inputs", SIZES)
def test_integer_products(rng, inputs):
    for units in SIZES:
        x, w = odd_floats(rng, 3, inputs), odd_floats(rng, units, inputs)
        packed, weights = bits.pack_inputs(x), bits.pack_weights(w)
        dot = bits.xnor_dense(packed, weights, units, inputs)
        signs = np.where(w < 0, -1, 1)
        first = pack(inputs)
        assert same(engine.run([first, dense_over(inputs, w, "bits")], x), dot.astype(np.float32))
        dot01 = ((x >= 0).astype(np.int64) @ signs.T).astype(np.float32)
        assert same(engine.run([first, dense_over(inputs, w, "bits01")], x), dot01)

        threshold = rng.integers(-4, 5, units).astype(np.int32)
        for source in ("bits", "bits01"):  # the threshold is one of dot, not of dot01
            found = engine._binary_dense(dense_over(inputs, w, source, "bits", threshold=threshold), packed)
            assert found.dtype == np.int32
            assert (found == bits.pack_inputs(np.where(dot < threshold, -1.0, 1.0))).all()

        pixels = rng.integers(0, 256, (3, inputs), np.uint8)
        alpha, bias = np.ones(units, np.float32), np.full(units, -0.0, np.float32)
        layer = dense_over(inputs, w, alpha_u8=alpha, bias_u8=bias)
        exact = (pixels.astype(np.int64) @ signs.T).astype(np.float32)
        assert same(engine.run_u8([layer], pixels, 1.0, np.zeros(inputs, np.float32)), exact)


def test_always_and_never():
    """Thresholds at the ends of int32 mean what they say."""
    w = np.ones((2, 40))
    layer = dense_over(40, w, "bits", "bits", threshold=np.array([2**31 - 1, -(2**31)], np.int32))
    assert engine._binary_dense(layer, bits.pack_inputs(np.ones((1, 40)))).tolist() == [[1]]


@pytest.mark.parametrize("inputs", [70001, 200000])
def test_integer_products_past_float32(rng, inputs):
    """Sums that float32 cannot hold are made in exact pieces: here the result is odd and above 2^24."""
    pixels = np.full((2, inputs), 255, np.uint8)
    pixels[1] = rng.integers(0, 256, inputs)
    w = np.ones((17, inputs), np.float32)
    w[1:] = rng.standard_normal((16, inputs))
    dot = engine._integer_dot(pixels, bits.pack_weights(w), 17)
    assert (dot == pixels.astype(np.int64) @ np.where(w < 0, -1, 1).T).all()


def in_order(terms):
    """The sum of float32 terms in the fixed order: those of 256 inputs from 0, then these sums from 0."""
    total = np.float32(0)
    for begin in range(0, len(terms), 256):
        part = np.float32(0)
        for term in terms[begin : begin + 256]:
            part = np.float32(part + term)
        total = np.float32(total + part)
    return total


def in_fours(products):
    """(a + b) + (c + d) of four float32 products each, and three zeros: 256 terms are 256 inputs still."""
    products = list(products) + [np.float32(0)] * (-len(products) % 4)
    fours = []
    for a, b, c, d in zip(*(products[i::4] for i in range(4))):
        fours += [np.float32(np.float32(a + b) + np.float32(c + d))] + [np.float32(0)] * 3
    return fours


@pytest.mark.parametrize("inputs", [*(size for size in SIZES if size < 130), 255, 256, 257, 515, 769])
def test_float_products_add_in_order(rng, inputs):
    x, w = odd_floats(rng, 3, inputs), odd_floats(rng, 18, inputs)
    signs = np.where(w < 0, -1, 1).astype(np.float32)
    expected = np.array([[in_order(in_fours(row * s)) for s in signs] for row in x])
    assert same(engine.run([dense_over(inputs, w)], x), expected)

    weight = np.ascontiguousarray(w.T)
    expected = np.array([[in_order(row * unit) for unit in w] for row in x])
    dense = Layer("dense", inputs, 18, arrays={"weight": weight})
    assert same(engine.run([dense], x), expected)
    bias = odd_floats(rng, 18)
    dense.arrays["bias"] = bias
    assert same(engine.run([dense], x), expected + bias)


def test_epilogue_is_rounded_after_each_operation(rng):
    """((alpha * dot + bias) - mean) * factor + beta in float32, and its signs."""
    x, w = odd_floats(rng, 50, 40), odd_floats(rng, 33, 40)
    dot = bits.xnor_dense(bits.pack_inputs(x), bits.pack_weights(w), 33, 40)
    a = {name: odd_floats(rng, 33) for name in ("alpha", "bias", *layers.NORM)}
    expected = np.empty((50, 33), np.float32)
    for row, unit in np.ndindex(50, 33):
        y = np.float32(a["alpha"][unit] * np.float32(dot[row, unit]))
        y = np.float32(y + a["bias"][unit])
        y = np.float32(np.float32(y - a["mean"][unit]) * a["factor"][unit])
        expected[row, unit] = np.float32(y + a["beta"][unit])
    assert same(engine.run([pack(40), dense_over(40, w, "bits", **a)], x), expected)
    norm = Layer("batch_norm", 33, 33, arrays={name: a[name] for name in layers.NORM})
    plain = dense_over(40, w, "bits", alpha=a["alpha"], bias=a["bias"])
    assert same(engine.run([pack(40), plain, norm], x), expected)
    # From floats to bits, the signs of the same expression.
    y = engine.run([dense_over(40, w, **a)], x)
    found = engine._binary_dense(dense_over(40, w, "float", "bits", **a), x)
    assert (found == bits.pack_inputs(y)).all()


@pytest.mark.parametrize("name", layers.FUNCTIONS)
def test_functions(rng, name):
    """Within the rounding of float32 of the function itself, and exact where that is; NaN and infinities."""
    exact = {
        "relu": lambda x: max(x, 0.0),
        "sign": lambda x: -1.0 if x < 0 else 1.0,
        "binary_sigmoid": lambda x: 0.0 if x < 0 else 1.0,
        "tanh": math.tanh,
        "softsign": lambda x: x / (1 + abs(x)),
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
        "softrelu": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    }[name]
    x = np.concatenate([rng.standard_normal(2000) * scale for scale in (1e-6, 1e-3, 1, 10, 100, 1000)])
    x = np.concatenate([x, [0.0, -0.0, 1e38, -1e38, 2.0**-12, 1e-45]]).astype(np.float32)[None]
    layer = Layer("activation", x.size, x.size, function=name)
    y = engine.run([layer], x)
    expected = np.array([[exact(float(v)) for v in x[0]]])
    assert y.dtype == np.float32
    # Half a unit of float32 is the rounding of the result; softsign also rounds its sum and its quotient.
    tolerance = (1.5 if name == "softsign" else 0.5001) * 2.0**-23
    assert (np.abs(y - expected) <= tolerance * np.abs(expected) + 1e-45).all()

    ends = {
        "relu": (np.nan, np.inf, 0, 0.0),
        "sign": (1, 1, -1, 1),
        "binary_sigmoid": (1, 1, 0, 1),
        "sigmoid": (np.nan, 1, 0, 0.5),
        "tanh": (np.nan, 1, -1, -0.0),
        "softrelu": (np.nan, np.inf, 0, math.log(2)),
        "softsign": (np.nan, np.nan, np.nan, -0.0),
    }[name]
    found = engine.run(
        [Layer("activation", 4, 4, function=name)], np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    )
    assert same(found[0], np.array(ends, np.float32))


def test_blocks_of_rows(rng, monkeypatch):
    """Blocks of rows, of units and of inputs change nothing."""
    net = random_net(rng, ("binary_dense", 300, 65, "float", "bits"), ("binary_dense", 65, 40, "bits", "float"))
    x, pixels = odd_floats(rng, 37, 300), rng.integers(0, 256, (37, 300), np.uint8)
    arguments = pixels, np.float32(net.input_scale), net.input_shift
    whole = engine.run(net.layers, x), engine.run_u8(net.layers, *arguments)
    monkeypatch.setattr(engine, "ELEMENTS", 1000)
    monkeypatch.setattr(engine, "EXACT", 64)
    assert same(engine.run(net.layers, x), whole[0])
    assert same(engine.run_u8(net.layers, *arguments), whole[1])


def test_memory_does_not_grow_with_rows(rng, monkeypatch):
    net = random_net(rng, ("binary_dense", 100, 65, "float", "bits"), ("binary_dense", 65, 2, "bits", "float"))
    x = np.zeros((20000, 100), np.float32)  # 8 MB, and as much for each temporary array of so many rows
    monkeypatch.setattr(engine, "ELEMENTS", 20000)
    tracemalloc.start()
    try:
        engine.run(net.layers, x)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("isa", library.instruction_sets())
def test_library_is_the_fallback(rng, isa):
    with library.use(isa):
        for net in awkward_nets(rng):
            model = model_of(net)
            for rows in (1, 2, 5, 67):
                x = odd_floats(rng, rows, model._inputs)
                if rows == 5:
                    x[rng.random(x.shape) < 0.02] = np.nan
                    x[rng.random(x.shape) < 0.02] = np.inf
                pixels = rng.integers(0, 256, x.shape, np.uint8)
                assert same(model(x), engine.run(model.layers, x))
                assert same(
                    model(pixels), engine.run_u8(model.layers, pixels, np.float32(net.input_scale), net.input_shift)
                )


@pytest.mark.parametrize("name", layers.FUNCTIONS)
def test_functions_of_the_library(rng, name):
    if not library.available():
        pytest.skip(library.problem())
    x = np.concatenate([rng.standard_normal(20000) * scale for scale in (1e-30, 1e-4, 1, 10, 1000)])
    x = np.concatenate([x, [0.0, -0.0, np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -1e-45]])
    x = x.astype(np.float32)[None]
    net = [Layer("activation", x.size, x.size, function=name)]
    assert same(runtime.Model(net, (x.size,))(x), engine.run(net, x))
