"""The NumPy engine: graphs against their nodes and the reference; the compiled library against it, to the bit."""

import math
import tracemalloc

import numpy as np
import pytest

from gluon_bnn import runtime
from gluon_bnn.graph import bits, engine
from gluon_bnn.graph.graph import Graph, Node
from gluon_bnn.graph.kinds import KINDS, binary_dense
from gluon_bnn.native import library
from gluon_bnn.reference import graph as reference

from random_nets import SCALE, Net, awkward_nets, chain, odd_floats, random_graph, same


def signs(value, x):
    """A value as the reference has it: floats, or +1 and -1."""
    return (x if value.form == "float" else bits.unpack(x, value.channels)).astype(np.float64)


def close(found, exact, sums):
    """Within the rounding of float32 of sums of the size of `sums`; NaN and infinities where the exact ones are."""
    near = np.abs(found - exact) <= 1e-5 * (np.abs(exact) + sums)
    huge = (np.abs(exact) > 1e37) & (np.abs(found) > 1e37) & (np.sign(found) == np.sign(exact))
    return (near | huge | (found == exact) | (np.isnan(found) & np.isnan(exact))).all()


def node_is_the_reference(graph, index, xs, y):
    """Whether node `index` gives y from xs, as the reference has it."""
    node, taken, gives = graph.nodes[index], graph.taken(index), graph.values[index]
    exact_xs = [signs(value, x) for value, x in zip(taken, xs)]
    attributes, arrays = node.attributes, node.arrays
    rounded = gives.form != "float" and "alpha" in arrays
    if rounded:
        attributes = {**attributes, "to": "float"}
    exact = reference.node(node.kind, attributes, arrays, *exact_xs, form=taken[0].form)
    finite = [np.where(np.isfinite(x), np.abs(x), 0) for x in exact_xs]
    constants = [np.abs(array).max() for array in arrays.values() if array.dtype == np.float32]
    sums = max(x.sum(axis=-1).max() for x in finite) * (1 + float(max(constants, default=0))) ** 2
    sums *= math.prod(attributes.get("kernel", (1,)))
    if not rounded:
        return close(signs(gives, y), exact, sums)
    sure = (np.abs(exact) > 1e-4 * (1 + sums)) | np.isnan(exact)  # about 0 the sign depends on the rounding
    return ((signs(gives, y) == np.where(exact < 0, -1, 1)) | ~sure).all()


def test_every_node_is_the_reference_and_the_whole_is_its_nodes(rng):
    for graph in [graph for _ in range(3) for graph in awkward_nets(rng)]:
        x = odd_floats(rng, 4, graph.inputs)
        values = [x]
        with np.errstate(all="ignore"):
            for index, node in enumerate(graph.nodes[1:], 1):
                xs = [values[source] for source in node.sources]
                values.append(KINDS[node.kind].run(node, graph.taken(index), *xs))
                value = graph.values[index]
                words = value.shape if value.form == "float" else (*value.shape[:-1], bits.words(value.channels))
                assert values[-1].shape == (4, *words), node
                assert values[-1].dtype == (np.float32 if value.form == "float" else np.int32), node
                assert values[-1].flags.c_contiguous and values[-1][0].size == value.words
                assert node_is_the_reference(graph, index, xs, values[-1]), (index, node)
        assert same(engine.run(graph, x), values[-1])


def test_pixels_and_what_they_stand_for(rng):
    """Some nodes take a value of pixels as uint8, others as floats, also behind image and flatten; where nothing is
    rounded, both give what float inputs give."""
    scale, size = 0.5, 2 * 3 * 32
    shift = rng.integers(-100, 1, size).astype(np.float32)
    net = Net(rng, (32, 2, 3), scale)
    net.nodes[0].arrays["shift"] = shift
    image = net.add("image", shape=(2, 3, 32))
    moved = shift.reshape(32, 2, 3).transpose(1, 2, 0).reshape(-1)
    packed = net.add("pack", image, to="bits", arrays={"threshold_u8": np.ceil(-moved / scale).astype(np.int32)})
    flat = net.add("flatten", image)
    w = rng.choice([-1.0, 1.0], (17, size))
    arrays = {
        "weight_bits": bits.pack_weights(w),
        "alpha": np.ones(17, np.float32),
        "bias": np.zeros(17, np.float32),
        "alpha_u8": np.full(17, scale, np.float32),
        "bias_u8": (w @ moved).astype(np.float32),
    }
    whole = net.add("binary_dense", flat, units=17, to="float", arrays=arrays)
    parts = net.add("flatten", net.add("binary_dense", net.add("slice", image, begin=3, end=20), units=2, to="float"))
    relu = net.add("activation", flat, function="relu")
    last = net.add("flatten", net.add("binary_dense", packed, units=3, to="float"))
    net.add("concat", whole, parts, relu, last)
    graph = net.graph()
    pixels = rng.integers(0, 256, (9, size), np.uint8)
    x = scale * pixels.astype(np.float32) + shift
    y = engine.run(graph, pixels)
    assert same(y, engine.run(graph, x))
    assert same(
        y[:, :17], (x[:, np.arange(size).reshape(32, 2, 3).transpose(1, 2, 0).reshape(-1)] @ w.T).astype(np.float32)
    )
    # The thresholds and the scales for pixels are what was used: others change the answers.
    graph.nodes[packed].arrays["threshold_u8"][:] = 0
    graph.nodes[whole].arrays["alpha_u8"][:] = 1
    z = engine.run(graph, pixels)
    assert not same(z[:, :17], y[:, :17]) and not same(z[:, -18:], y[:, -18:]) and same(z[:, 17:-18], y[:, 17:-18])
    assert same(engine.run(graph, x), y)


def test_blocks_of_rows(rng, monkeypatch):
    """Blocks of rows, of units and of inputs change nothing."""
    graph = chain(rng, 300, "binary_dense units=65 to=bits", "binary_dense units=40 to=float", scale=SCALE)
    x, pixels = odd_floats(rng, 37, 300), rng.integers(0, 256, (37, 300), np.uint8)
    whole = engine.run(graph, x), engine.run(graph, pixels)
    for module in (engine, binary_dense):
        monkeypatch.setattr(module, "ELEMENTS", 1000)
    monkeypatch.setattr(binary_dense, "EXACT", 64)
    assert same(engine.run(graph, x), whole[0]) and same(engine.run(graph, pixels), whole[1])


def test_blocks_of_graphs(rng, monkeypatch):
    graphs = [random_graph(rng) for _ in range(8)]
    xs = [odd_floats(rng, 7, graph.inputs) for graph in graphs]
    pixels = [rng.integers(0, 256, x.shape, np.uint8) for x in xs]
    whole = [
        (engine.run(g, x), engine.run(g, p) if g.input_scale is not None else None)
        for g, x, p in zip(graphs, xs, pixels)
    ]
    for elements in (1, 2000):
        monkeypatch.setattr(engine, "ELEMENTS", elements)
        for graph, x, p, (y, z) in zip(graphs, xs, pixels, whole):
            assert same(engine.run(graph, x), y)
            assert z is None or same(engine.run(graph, p), z)


def peak(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_memory_does_not_grow_with_rows(rng, monkeypatch, dtype):
    graph = chain(rng, 100, "binary_dense units=65 to=bits", "binary_dense units=2 to=float", scale=-SCALE)
    x = np.zeros((20000, 100), dtype)  # 8 MB as float32, and as much for each temporary array of so many rows
    for module in (engine, binary_dense):
        monkeypatch.setattr(module, "ELEMENTS", 20000)
    assert peak(lambda: engine.run(graph, x)) < 2e6


def test_memory_does_not_grow_with_nodes(rng):
    """A value is dropped behind its last use: a hundred steps hold two at a time."""

    def steps(count):
        return chain(rng, 1000, *["arithmetic function=add"] * count)

    x = np.zeros((100, 1000), np.float32)
    assert peak(lambda: engine.run(steps(100), x)) < 3e6  # of 40 MB


@pytest.mark.slow
def test_many_values_at_once_are_few_rows_at_a_time(rng, monkeypatch):
    """How many rows go together depends on all values that are held, not on the largest."""
    net = Net(rng, 100)
    held = [net.add("arithmetic", 0, function="add") for _ in range(64)]
    net.add("concat", *held)
    net.add("slice", begin=0, end=3)
    graph, x = net.graph(), np.zeros((2000, 100), np.float32)
    monkeypatch.setattr(engine, "ELEMENTS", 100000)
    assert peak(lambda: engine.run(graph, x)) < 1.5e6  # 51 MB for all rows


def test_sources_may_be_repeated_and_far_away(rng):
    net = Net(rng, 5)
    first = net.add("activation", 0, function="relu")
    for _ in range(10):
        net.add("activation", function="leaky")
    net.add("arithmetic", first, len(net.nodes) - 1, function="multiply")
    net.add("concat", 0, len(net.nodes) - 1, 0)
    x = odd_floats(rng, 3, 5)
    y = engine.run(net.graph(), x)
    assert same(y[:, :5], x) and same(y[:, 10:], x)


def test_a_node_may_be_the_input_alone_at_the_end(rng):
    """The output is a copy: changing it leaves the input alone."""
    graph = Graph((Node("input", (), {"shape": (2, 3)}), Node("flatten", (0,))))
    x = odd_floats(rng, 3, 6)
    y = runtime.Model(graph)(x)
    y[:] = 7
    assert not (x == 7).any()


@pytest.mark.parametrize("isa", library.instruction_sets())
def test_library_is_the_engine(rng, isa):
    with library.use(isa):
        for graph in awkward_nets(rng):
            model = runtime.Model(graph)
            for rows in (1, 2, 5, 67):
                x = odd_floats(rng, rows, graph.inputs)
                if rows == 5:
                    x[rng.random(x.shape) < 0.02] = np.nan
                    x[rng.random(x.shape) < 0.02] = np.inf
                assert same(model(x), engine.run(graph, x))
                if graph.input_scale is not None:
                    pixels = rng.integers(0, 256, x.shape, np.uint8)
                    assert same(model(pixels), engine.run(graph, pixels))
