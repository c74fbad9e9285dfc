"""What `check` refuses of graphs that no file can hold; the other refusals are in test_model_files."""

import numpy as np
import pytest

from gluon_bnn.graph.check import check
from gluon_bnn.graph.graph import MOST_ELEMENTS, MOST_ELEMENTS_U8, Graph, Node, Value
from gluon_bnn.graph.kinds import KINDS

from random_nets import Net, awkward_nets, chain

RELU = {"function": "relu"}


def net(*nodes, shape=(6,), **arrays):
    return Graph((Node("input", (), {"shape": shape}, arrays), *nodes))


@pytest.mark.parametrize(
    "made, error, words",
    [
        (lambda: [Node("input")], TypeError, "graph must be a gluon_bnn.graph.graph.Graph, got list"),
        (net, ValueError, "a net must have 2 to 65536 nodes, an input and what follows it, got 1"),
        (lambda: net("dense"), TypeError, "node 1 must be a gluon_bnn.graph.graph.Node, got str"),
        (lambda: net(Node("conv", (0,))), ValueError, "node 1, conv: kind must be one of input, .* got 'conv'"),
        (lambda: net(Node(["dense"], (0,))), ValueError, r"kind must be one of .* got \['dense'\]"),
        (lambda: net(Node("input", (), {"shape": (1,)})), ValueError, "node 1, input: the first node, and no other"),
        (lambda: Graph((Node("dense"), Node("dense"))), ValueError, "node 0, dense: the first node, and no other"),
        (lambda: net(Node("activation", [0], RELU)), TypeError, r"sources must be a tuple of int, got \[0\]"),
        (lambda: net(Node("activation", (True,), RELU)), TypeError, r"tuple of int, got \(True,\)"),
        (lambda: net(Node("activation", (1,), RELU)), ValueError, "nodes before this one, 0 to 0, got 1"),
        (lambda: net(Node("activation", (-1,), RELU)), ValueError, "nodes before this one, 0 to 0, got -1"),
        (lambda: net(Node("activation", (), RELU)), ValueError, "takes the values of 1 nodes, got 0"),
        (lambda: net(Node("concat", (0,))), ValueError, "concat takes the values of 2 to 64 nodes, got 1"),
        (lambda: net(Node("concat", (0,) * 65)), ValueError, "2 to 64 nodes, got 65"),
        (lambda: net(Node("activation", (0,), [])), TypeError, "attributes must be a dict, got list"),
        (lambda: net(Node("activation", (0,), {})), ValueError, "must have the attributes function, got none"),
        (lambda: net(Node("batch_norm", (0,), RELU)), ValueError, "must have the attributes none, got function"),
        (lambda: net(Node("activation", (0,), {"function": 3})), ValueError, "function must be one of relu, .* got 3"),
        (lambda: net(Node("dense", (0,), {"units": 3.0})), TypeError, "units must be an int, got 3.0"),
        (lambda: net(Node("dense", (0,), {"units": True})), TypeError, "units must be an int, got True"),
        (lambda: net(Node("dense", (0,), {"units": 0})), ValueError, "units must be 1 to 1073741824, got 0"),
        (lambda: net(Node("slice", (0,), {"begin": -1, "end": 1})), ValueError, "begin must be 0 to .* got -1"),
        (lambda: net(Node("batch_norm", (0,), {}, [])), TypeError, "arrays must be a dict, got list"),
        (lambda: net(Node("dense", (0,), {"units": 2}, {"weight": [[0.0] * 2] * 6})), TypeError, "array, got list"),
        (
            lambda: net(Node("dense", (0,), {"units": 2}, {"weight": np.zeros((2, 6), np.float32).T})),
            ValueError,
            "node 1, dense: weight must be C-contiguous",
        ),
        (lambda: net(Node("dense", (0,), {"units": 2}, {"weight": np.zeros((6, 2), ">f4")})), ValueError, "got >f4"),
        (lambda: net(Node("activation", (0,), RELU), Node("activation", (0,), RELU)), ValueError, "node 1, .* by none"),
        (lambda: net(Node("pack", (0,), {"to": "bits"})), ValueError, "node 1, pack, is the last .* got bits 6"),
        (lambda: net(Node("image", (0,), {"shape": (1, 2, 3)})), ValueError, "is the last .* got float 1x2x3"),
    ],
)
def test_graphs_that_are_refused(made, error, words):
    with pytest.raises(error, match=words):
        check(made())


@pytest.mark.parametrize(
    "shape, scale, shift, error, words",
    [
        ([6], None, None, TypeError, r"shape must be a tuple of int, got \[6\]"),
        ((6.0,), None, None, TypeError, "tuple of int"),
        ((), None, None, ValueError, r"shape must have 1 to 31 axes, .* got \(\)"),
        ((1,) * 32, None, None, ValueError, "1 to 31 axes"),
        ((-2, -3), None, None, ValueError, r"got \(-2, -3\)"),
        ((2**16, 2**15), None, None, ValueError, "at most 1073741824 elements"),
        ((6,), 1.0, np.zeros(6), TypeError, "scale must be a NumPy array, got float"),
        ((6,), np.ones(5), np.zeros(6), ValueError, r"scale must be float32 \(6,\), got float32 \(5,\)"),
        ((6,), np.array(["1"]), np.zeros(6), ValueError, r"scale must be float32 \(1,\), got <U1"),
        ((6,), np.array([1e39]), np.zeros(6), ValueError, "scale must be finite, got inf"),
        ((6,), np.array([-0.0]), np.zeros(6), ValueError, "scale must not be 0, got -0.0 at 0"),
        ((6,), np.array([1, 1, 1, 0, 1, 1]), np.zeros(6), ValueError, "scale must not be 0, got 0.0 at 3"),
        ((6,), np.array([1, 1, 1, np.nan, 1, 1]), np.zeros(6), ValueError, "scale must be finite, got nan at 3, 1 "),
        ((6,), np.ones(1), [0.0] * 6, TypeError, "shift must be a NumPy array"),
        ((6,), np.ones(1), np.zeros(5), ValueError, r"shift must be float32 \(6,\), got float32 \(5,\)"),
        ((6,), np.ones(1), None, ValueError, "scale, shift must be there together or not at all, got scale"),
        ((6,), None, np.zeros(6), ValueError, "scale, shift must be there together or not at all, got shift"),
    ],
)
def test_inputs_that_are_refused(shape, scale, shift, error, words):
    def single(array):
        with np.errstate(over="ignore"):
            return array.astype(np.float32) if getattr(array, "dtype", None) in (float, int) else array

    arrays = {name: single(array) for name, array in (("scale", scale), ("shift", shift)) if array is not None}
    with pytest.raises(error, match=f"node 0, input: .*{words}"):
        check(net(Node("activation", (0,), RELU), shape=shape, **arrays))


@pytest.mark.parametrize(
    "shape, nodes, words",
    [
        ((6,), [("pack", dict(to="bits")), ("pack", dict(to="bits"))], "pack takes floats, got bits 6"),
        (
            (6,),
            [("image", dict(shape=(2, 3)))],
            "a height, width and channels of as many elements, got float 6 and 2x3",
        ),
        ((6,), [("image", dict(shape=(1, 2, 2)))], "got float 6 and 1x2x2"),
        ((6,), [("image", dict(shape=(1, 2, 3))), ("image", dict(shape=(1, 2, 3)))], "got float 1x2x3 and 1x2x3"),
        ((6,), [("slice", dict(begin=3, end=3))], "slice must have begin < end <= 6, got begin 3, end 3"),
        ((6,), [("slice", dict(begin=3, end=7))], "got begin 3, end 7"),
        ((6,), [("dense", dict(units=2)), ("concat", {}, 0, 1), ("arithmetic", dict(function="add"), 0, 2)], "6 and 8"),
        (
            (6,),
            [("image", dict(shape=(1, 2, 3))), ("concat", {}, 0, 1)],
            "differ in the last axis only, got 6 and 1x2x3",
        ),
        ((2**20, 32), [("image", dict(shape=(2**20, 1, 32))), ("dense", dict(units=1025))], "at most 1073741824 elem"),
    ],
)
def test_values_that_do_not_fit(rng, shape, nodes, words):
    made = Net(rng, shape)
    for kind, attributes, *sources in nodes[:-1]:
        made.add(kind, *sources, **attributes)
    kind, attributes, *sources = nodes[-1]
    with pytest.raises(ValueError, match=words):
        made.add(kind, *sources, **attributes)


def test_values_and_arrays_of_good_nets(rng):
    """Each array that a node has is one that it must or may have; without one that it must have it is refused."""
    for graph in awkward_nets(rng):
        for index, node in enumerate(graph.nodes):
            for name in KINDS[node.kind].arrays(node, graph.taken(index))[0]:
                without = {key: array for key, array in node.arrays.items() if key != name}
                nodes = list(graph.nodes)
                nodes[index] = Node(node.kind, node.sources, node.attributes, without)
                with pytest.raises(ValueError, match=f"node {index}, {node.kind}: array '{name}' is missing"):
                    check(Graph(tuple(nodes)))


def test_too_many_uint8_inputs():
    """One scale above 0 needs integer sums, which more inputs could overflow; of other scales floats are added."""
    node = Node("binary_dense", (0,), {"units": 1, "to": "float"})
    inputs = (MOST_ELEMENTS_U8 + 1,)
    with pytest.raises(ValueError, match="at most 8421504 uint8 inputs are allowed, got 8421505"):
        KINDS["binary_dense"].value(node, [Value("float", inputs, pixels=True)])
    assert KINDS["binary_dense"].value(node, [Value("float", inputs)]) == Value("float", (1,))


def test_pixels_go_on_where_they_are_moved(rng):
    """A pack has thresholds for them; a binary_dense of an image, whose pixels each have a shift, gets floats."""
    for scale, pixels in ((0.5, True), (-0.5, False), (np.full(12, 0.5, np.float32), False), (None, False)):
        net = Net(rng, (3, 2, 2), scale)
        image = net.add("image", shape=(2, 2, 3))
        flat = net.add("flatten")
        whole, parts = net.add("binary_dense", units=3, to="float"), net.add("binary_dense", image, units=3, to="float")
        net.add("concat", whole, net.add("flatten", parts))
        graph = net.graph()
        assert [value.pixels for value in graph.values] == [pixels] * 3 + [False] * 4
        assert ("alpha_u8" in graph.nodes[whole].arrays) == pixels and "alpha_u8" not in graph.nodes[parts].arrays
        assert graph.values[flat].shape == (12,)


def doubled(times, *last):
    """x, then both of one value on end, `times` times."""
    nodes = [Node("input", (), {"shape": (1,)})]
    for index in range(times):
        nodes.append(Node("concat", (index, index)))
    return Graph((*nodes, *last))


def test_values_that_double(rng):
    """A file of a kilobyte does not ask for a terabyte."""
    assert check(doubled(24)).units == 1 << 24
    with pytest.raises(ValueError, match="node 25, concat: concat gives at most 16777216 elements, got 33554432"):
        check(doubled(25))
    many = [Node("activation", (24,), RELU) for _ in range(200)]
    with pytest.raises(ValueError, match="together at most 1073741824 words, node 87 is past"):
        check(doubled(24, *many))


@pytest.mark.slow
def test_deep_nets_need_no_stack(rng):
    """65,536 nodes, each of which takes the one before twice; the 65,537th is refused."""
    nodes = [Node("input", (), {"shape": (1,)})]
    nodes += [Node("arithmetic", (i, i), {"function": "maximum"}) for i in range(65535)]
    assert check(Graph(tuple(nodes))).units == 1
    with pytest.raises(ValueError, match="2 to 65536 nodes, an input and what follows it, got 65537"):
        check(Graph((*nodes, nodes[1])))


def test_largest_numbers_of_inputs():
    assert MOST_ELEMENTS == 1 << 30 and 255 * MOST_ELEMENTS_U8 < 1 << 31 <= 255 * (MOST_ELEMENTS_U8 + 1)


def test_checking_twice_changes_nothing(rng):
    graph = chain(rng, 6, "dense units=2")
    again = check(graph)
    assert again.values == graph.values and again.nodes == graph.nodes
    assert str(graph.values[-1]) == "float 2"
