"""Graphs with random arrays for the tests, and what compares their results to the bit."""

import math

import numpy as np

from gluon_bnn.graph.bits import sign_sums
from gluon_bnn.graph.check import check
from gluon_bnn.graph.graph import Graph, Node
from gluon_bnn.graph.kinds import KINDS
from gluon_bnn.graph.kinds.activation import FUNCTIONS
from gluon_bnn.graph.kinds.arithmetic import FUNCTIONS as OPERATIONS
from gluon_bnn.graph.kinds.batch_norm import NORM
from gluon_bnn.graph.kinds.kind import PLACES
from gluon_bnn.graph.kinds.kind import SIZES as AXES
from gluon_bnn.graph.kinds.window import CONV, POOL, pool_shape
from gluon_bnn.reference import bits

from sizes import SIZES

SCALE = 0.0078125


def same(found, expected):
    """Equal to the bit, 0.0 and -0.0 apart; any NaN is like any other."""
    return (
        found.dtype == expected.dtype == np.float32
        and found.shape == expected.shape
        and ((found.view(np.int32) == expected.view(np.int32)) | (np.isnan(found) & np.isnan(expected))).all()
    )


def odd_floats(rng, *shape):
    """Normal numbers with zeros of both signs among them."""
    x = rng.standard_normal(shape).astype(np.float32)
    x[rng.random(shape) < 0.2] = 0.0
    x[rng.random(shape) < 0.2] = -0.0
    return x


def scales(rng, inputs):
    """One input scale for each of `inputs`, of both signs."""
    return (rng.choice([-1, 1], inputs) * rng.uniform(0.001, 0.02, inputs)).astype(np.float32)


class Net:
    """A graph in the making.

    shape : of one input, or its size
    scale : None, or the input scale, a float or float32 (inputs,); the input shift is random
    """

    def __init__(self, rng, shape, scale=None):
        shape = shape if isinstance(shape, tuple) else (shape,)
        self.rng, self.nodes, self.values = rng, [], []
        arrays = {}
        if scale is not None:
            arrays["scale"] = np.array(scale, np.float32).reshape(-1)
            arrays["shift"] = (rng.uniform(-2, 0, math.prod(shape)) * np.sign(scale)).astype(np.float32)
        self._append(Node("input", (), {"shape": shape}, arrays))

    def add(self, kind, *sources, norm=False, bias=True, arrays=(), **attributes):
        """Add a node with random arrays but those given, and return its number.

        sources : by default the last node; norm, bias : whether it has those arrays that it may have
        """
        node = Node(kind, sources or (len(self.nodes) - 1,), attributes)
        taken = tuple(self.values[source] for source in node.sources)
        must, may = KINDS[kind].arrays(node, taken)
        for name, (dtype, shape) in {**must, **may}.items():
            if name in dict(arrays):
                node.arrays[name] = dict(arrays)[name]
            elif name in must or (norm if name in NORM else bias):
                node.arrays[name] = self._array(name, dtype, shape, node, taken)
        return self._append(node)

    def _append(self, node):
        self.nodes.append(node)
        self.values.append(KINDS[node.kind].value(node, tuple(self.values[source] for source in node.sources)))
        return len(self.nodes) - 1

    def _array(self, name, dtype, shape, node, taken):
        rng, channels = self.rng, taken[0].channels
        taps = math.prod(node.attributes.get("kernel", (1,)))
        spread = (taps * channels) ** 0.5 / 2
        if name == "weight_bits":
            units = node.attributes["units" if "units" in node.attributes else "channels"]
            signs = rng.choice([-1.0, 1.0], (units, taps, channels))
            return sign_bits(signs if taken[0].form != "float" else signs.reshape(units, 1, -1))
        if name == "sums":
            return sign_sums(node.arrays["weight_bits"], shape[0], taps * channels)
        if name == "threshold_u8":
            low, high = (-1, 258) if node.kind == "pack" else (-300 * spread, 300 * spread)
            return rng.integers(low, high, shape).astype(dtype)
        if name == "threshold":
            spread = max(2, int(spread))
            return rng.integers(-spread, spread, shape).astype(dtype)
        if name == "falls":
            return bits.pack_inputs(rng.choice([-1.0, 1.0], (1, channels)))[0]
        # Small constants, so that a difference of the inputs still shows after several layers.
        return rng.standard_normal(shape).astype(dtype) * dtype(0.1 if name in ("bias", "mean", "beta") else 1)

    def graph(self):
        return check(Graph(tuple(self.nodes)))


def chain(rng, shape, *rows, scale=None):
    """A graph of nodes one after the other, each as in a file, like "binary_dense units=33 to=bits"; "norm" behind it
    gives it the arrays of a batch norm, "plain" takes the bias away."""
    net = Net(rng, shape, scale)
    for row in rows:
        kind, *words = row.split(" ")
        attributes = {}
        for word in (word for word in words if "=" in word):
            name, _, text = word.partition("=")
            numbers = text.split("x") if text[0].isdigit() else ()
            sizes = tuple(map(int, numbers))
            several = KINDS[kind].attributes[name] in (AXES, PLACES)
            attributes[name] = (sizes if several else sizes[0]) if numbers else text
        net.add(kind, norm="norm" in words, bias="plain" not in words, **attributes)
    return net.graph()


def sign_bits(signs):
    """weight_bits of signs (units, taps, channels), each tap from a word of its own."""
    words = [bits.pack_weights(signs[:, tap]) for tap in range(signs.shape[1])]
    return np.ascontiguousarray(np.concatenate(words, axis=1))


def dense_over(weights, **arrays):
    """Arrays of a binary_dense, as `add` takes them: the signs of weights (units, inputs), alpha 1 and bias -0.0."""
    units = len(weights)
    ones, zeros = np.ones(units, np.float32), np.full(units, -0.0, np.float32)
    return {"weight_bits": bits.pack_weights(weights), "alpha": ones, "bias": zeros, **arrays}


def awkward_nets(rng):
    """Chains over awkward sizes that have every kind, form and function between them, and graphs with shortcuts; with
    each kind of input scale."""
    for turn in range(6):
        a, b, c, d = (int(size) for size in rng.choice(SIZES, 4))
        scale = (SCALE, -SCALE, scales(rng, a))[turn % 3]
        functions = [f"activation function={name}" for name in FUNCTIONS]
        yield chain(
            rng,
            a,
            f"binary_dense units={b} to=bits norm",
            f"binary_dense units={c} to=bits01",
            f"binary_dense units={b} to=bits",
            f"binary_dense units={d} to=float norm",
            rng.choice(functions),
            scale=scale,
        )
        yield chain(rng, a, "pack to=bits01", f"binary_dense units={d} to=float", *functions, scale=scale)
        yield chain(
            rng,
            a,
            f"dense units={b}",
            "batch_norm",
            f"binary_dense units={c} to=float",
            f"binary_dense units={d} to=float",
            rng.choice(functions),
            scale=scale,
        )
        yield chain(
            rng,
            a,
            "batch_norm",
            "pack to=bits01",
            f"binary_dense units={b} to=bits01",
            f"binary_dense units={d} to=float norm",
            scale=scale,
        )
        for _ in range(4):
            yield random_graph(rng)


def random_windows(rng, value, names):
    """Attributes of windows that fit an image: kernels of one place and of the whole image, windows side by side and
    apart, and padding that some windows lie in."""
    chosen = {name: [] for name in names}
    for size in value.shape[:2]:
        dilation = int(rng.choice([1, 1, 2, 3])) if "dilation" in names else 1
        kernel = int(rng.choice([1, 2, 3, min(size, 5)]))
        least = max(0, -((size - (kernel - 1) * dilation - 1) // 2))
        padding = int(rng.integers(least, max(least, kernel if "dilation" in names else kernel - 1) + 1))
        for name, number in zip(CONV, (kernel, int(rng.integers(1, 4)), padding, dilation)):
            if name in chosen:
                chosen[name].append(number)
    return {name: tuple(numbers) for name, numbers in chosen.items()}


def random_pool(rng, value):
    while True:
        attributes = dict(random_windows(rng, value, POOL), rounding=str(rng.choice(["floor", "ceil"])))
        try:
            pool_shape(value, attributes)
            return attributes
        except ValueError:  # a window that lies wholly outside
            pass


def random_groups(rng, value, some):
    groups = int(rng.choice([1, 1, value.channels, math.gcd(value.channels, 6)]))
    channels = groups * int(rng.integers(1, 4)) if groups > 1 else some()
    return dict(channels=channels, **random_windows(rng, value, CONV), groups=groups, bias=rng.random() < 0.5)


def random_graph(rng, size=14, images=0.5):
    """A graph of about so many nodes, drawn one after the other: each takes earlier values of the form that it needs,
    late ones more often. Values that no node has taken are joined at the end.

    images : the share of graphs that begin with an image
    """
    sizes = [size for size in SIZES if size < 70]

    def some():
        return int(rng.choice(sizes))

    image = rng.random() < images
    shape = (some(),)
    if image:
        shape = (int(rng.choice([1, 3, 32, some()])), int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    inputs = math.prod(shape)
    net = Net(rng, shape, (None, SCALE, SCALE, -SCALE, scales(rng, inputs))[rng.integers(5)])
    if image:
        net.add("image", shape=(*shape[1:], shape[0]))
    makers = {
        "binary_dense": lambda: dict(
            units=some(), to=str(rng.choice(["float", "bits", "bits01"])), norm=rng.random() < 0.5
        ),
        "dense": lambda: dict(units=some(), bias=rng.random() < 0.5),
        "activation": lambda: dict(function=str(rng.choice(list(FUNCTIONS)))),
        "pack": lambda: dict(to=str(rng.choice(["bits", "bits01"]))),
        "arithmetic": lambda: dict(function=str(rng.choice(list(OPERATIONS)))),
    }
    windows = {
        "binary_conv2d": lambda value: dict(
            channels=some(),
            **random_windows(rng, value, CONV),
            pad=str(rng.choice(["zero", "plus", "minus"][: 2 if value.form == "bits01" else 3])),
            to=str(rng.choice(["float", "bits", "bits01"])),
            norm=rng.random() < 0.5,
            bias=rng.random() < 0.5,
        ),
        "conv2d": lambda value: random_groups(rng, value, some),
        "max_pool": lambda value: random_pool(rng, value),
        "average_pool": lambda value: dict(random_pool(rng, value), count=str(rng.choice(["all", "inside"]))),
    }
    kinds = [*makers, "arithmetic", "batch_norm", "flatten", "concat", "slice"]
    while len(net.nodes) < size:
        kind = str(rng.choice(kinds))
        # Late values are likelier, so that the graph is deep.
        first = len(net.nodes) - 1 - min(int(rng.geometric(0.4)) - 1, len(net.nodes) - 1)
        value, sources = net.values[first], [first]
        if len(value.shape) == 3 and rng.random() < 0.4:
            kind = str(rng.choice(list(windows)))
        attributes = makers[kind]() if kind in makers else windows[kind](value) if kind in windows else {}
        if value.form != "float" and kind not in ("binary_dense", "flatten", "binary_conv2d", "max_pool"):
            continue
        if kind == "slice":
            begin = int(rng.integers(value.channels))
            attributes = dict(begin=begin, end=int(rng.integers(begin, value.channels)) + 1)
        if kind == "concat" or kind == "arithmetic" and rng.random() < 0.6:
            axes = slice(None, -1) if kind == "concat" else slice(None)
            others = [
                i for i, v in enumerate(net.values) if v.form == "float" and v.shape[axes] == value.shape[axes]
            ]  # at least itself
            sources += [int(i) for i in rng.choice(others, 1 if kind == "arithmetic" else rng.integers(1, 4))]
        net.add(kind, *sources, **attributes)
    left = sorted(set(range(len(net.nodes))) - {source for node in net.nodes for source in node.sources})
    for place, index in enumerate(left):
        if net.values[index].form != "float":
            index = net.add("binary_dense", index, units=some(), to="float")
        left[place] = net.add("flatten", index) if len(net.values[index].shape) == 3 else index
    if len(left) > 1:
        net.add("concat", *left)
    return net.graph()
