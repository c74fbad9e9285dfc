"""Convolutions and pools: against the reference, products of windows, and MXNet; the compiled library to the bit."""

import itertools
import json
import os
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from gluon_bnn import runtime
from gluon_bnn.graph import bits, engine
from gluon_bnn.graph.check import check
from gluon_bnn.graph.graph import MOST_ELEMENTS, MOST_ELEMENTS_U8, Node, Value
from gluon_bnn.graph.kinds import KINDS, window
from gluon_bnn.graph.kinds.batch_norm import NORM
from gluon_bnn.native import bindings, library
from gluon_bnn.reference import graph as reference
from gluon_bnn.runtime import file

import programs
from needs import needs_library
from random_nets import Net, odd_floats, random_graph, same, sign_bits, sign_sums

# (image, kernel, strides, padding, dilation): one tap, the whole image, windows apart and next to one another, padding
# that whole windows lie in, taps that all miss the image, a line.
WINDOWS = [
    ((5, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((7, 5), (3, 2), (2, 1), (1, 2), (1, 2)),
    ((4, 4), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((4, 4), (1, 1), (1, 2), (1, 2), (1, 1)),
    ((4, 3), (4, 3), (1, 1), (0, 0), (1, 1)),
    ((1, 9), (1, 5), (1, 2), (0, 2), (1, 1)),
    ((2, 2), (2, 3), (1, 1), (2, 3), (4, 3)),
    ((3, 2), (5, 5), (2, 3), (4, 4), (1, 1)),
    ((9, 9), (2, 2), (4, 5), (0, 1), (1, 1)),
]
POOLS = [
    ((6, 5), (2, 2), (2, 2), (0, 0)),
    ((6, 6), (3, 3), (2, 2), (1, 1)),
    ((5, 7), (3, 2), (2, 3), (1, 0)),
    ((4, 3), (4, 3), (1, 1), (0, 0)),
    ((5, 6), (3, 4), (1, 2), (2, 3)),
    ((1, 8), (1, 3), (1, 2), (0, 1)),
]
NAMES = "kernel", "strides", "padding", "dilation"
PADS = {"zero": 0, "plus": 1, "minus": -1}


def one(kind, x, form="float", arrays=(), pixels=False, **attributes):
    """The value of one node, from an image of floats, of pixels, or of bits (form, channels)."""
    form, channels = (form, x.shape[-1]) if form == "float" else form
    taken = (Value(form, (*x.shape[1:3], channels), pixels),)
    node = Node(kind, (0,), attributes, dict(arrays))
    KINDS[kind].check(node, taken)
    with np.errstate(all="ignore"):
        y = KINDS[kind].run(node, taken, x)
    value = KINDS[kind].value(node, taken)
    assert y.shape[1:3] == value.shape[:2] and y[0].size == value.words and y.flags.c_contiguous
    return y


def exact(kind, x, form="float", arrays=(), **attributes):
    return reference.node(kind, attributes, dict(arrays), x.astype(np.float64), form=form)


def sign_arrays(w, form):
    """Arrays of a binary_conv2d with the weights w (units, taps, channels), alpha 1 and bias -0.0."""
    units = len(w)
    arrays = {"weight_bits": sign_bits(w if form != "float" else w.reshape(units, 1, -1))}
    arrays.update(alpha=np.ones(units, np.float32), bias=np.full(units, -0.0, np.float32))
    if form == "bits01":
        arrays["sums"] = sign_sums(arrays["weight_bits"], units, w[0].size)
    return arrays


@pytest.mark.parametrize("window", WINDOWS)
def test_products_of_bits(rng, window):
    image, sizes = window[0], dict(zip(NAMES, window[1:]))
    taps = sizes["kernel"][0] * sizes["kernel"][1]
    for channels, form, pad in itertools.product((1, 3, 32, 33), ("bits", "bits01"), PADS):
        if (form, pad) == ("bits01", "minus"):
            continue
        x, units = odd_floats(rng, 2, *image, channels), int(rng.choice([5, 17]))
        signs, w = np.where(x < 0, -1.0, 1.0), rng.choice([-1.0, 1.0], (units, taps, channels))
        sizes.update(channels=units, pad=pad)
        arrays = sign_arrays(w, form)
        found = one("binary_conv2d", bits.pack(x < 0), (form, channels), arrays, to="float", **sizes)
        assert same(found, exact("binary_conv2d", signs, form, arrays, to="float", **sizes).astype(np.float32))
        arrays = {"weight_bits": arrays["weight_bits"]}
        arrays["threshold"] = rng.integers(-taps * channels, taps * channels + 1, units).astype(np.int32)
        found = one("binary_conv2d", bits.pack(x < 0), (form, channels), arrays, to="bits", **sizes)
        assert (found == bits.pack(exact("binary_conv2d", signs, form, arrays, to="bits", **sizes) < 0)).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_products_of_floats_are_those_of_their_windows(rng, window):
    """Order and rounding are those of dense layers over all inputs of a window, what is outside among them."""
    image, sizes = window[0], dict(zip(NAMES, window[1:]))
    taps = sizes["kernel"][0] * sizes["kernel"][1]
    for channels, pad in itertools.product((1, 3, 40), PADS):
        x, w = odd_floats(rng, 2, *image, channels), rng.choice([-1.0, 1.0], (17, taps, channels))
        rows = reference.windows(sizes, x.astype(np.float64), PADS[pad]).astype(np.float32)
        places = rows.shape[:3]
        rows = rows.reshape(-1, taps * channels)

        def dense(kind, arrays, rows=rows, **attributes):
            return KINDS[kind].run(Node(kind, (0,), attributes, arrays), [Value("float", rows.shape[1:])], rows)

        arrays = {**sign_arrays(w, "float"), **{name: odd_floats(rng, 17) for name in NORM}}
        for to in ("float", "bits", "bits01"):
            expected = dense("binary_dense", arrays, units=17, to=to).view(np.int32)
            found = one("binary_conv2d", x, arrays=arrays, channels=17, to=to, pad=pad, **sizes).view(np.int32)
            assert (found == expected.reshape(*places, -1)).all()
        if pad == "zero":
            arrays = {"weight": odd_floats(rng, taps * channels, 18), "bias": odd_floats(rng, 18)}
            expected = dense("dense", arrays, units=18).reshape(*places, 18)
            assert same(one("conv2d", x, arrays=arrays, channels=18, groups=1, **sizes), expected)


def test_groups_are_convolutions_of_their_own(rng):
    sizes = dict(kernel=(3, 2), strides=(1, 2), padding=(1, 1), dilation=(1, 1))
    x = odd_floats(rng, 3, 5, 4, 6)
    for groups, units in ((2, 10), (3, 3), (6, 6), (6, 12)):
        weight, bias, each = odd_floats(rng, 36 // groups, units), odd_floats(rng, units), units // groups
        found = one("conv2d", x, arrays=dict(weight=weight, bias=bias), channels=units, groups=groups, **sizes)
        for group, part in enumerate(np.split(x, groups, axis=-1)):
            own = slice(group * each, (group + 1) * each)
            arrays = dict(weight=np.ascontiguousarray(weight[:, own]), bias=bias[own])
            expected = one("conv2d", np.ascontiguousarray(part), arrays=arrays, channels=each, groups=1, **sizes)
            assert same(np.ascontiguousarray(found[..., own]), expected)


def test_pixels(rng):
    """What they stand for and the integers themselves give the same, where nothing is rounded."""
    for padding, pad in (((1, 2), "zero"), ((0, 0), "minus")):
        shift = np.zeros(3) if pad == "zero" else np.float64([-3, 0, 7])
        sizes = dict(channels=17, kernel=(3, 2), strides=(2, 1), padding=padding, dilation=(1, 1), pad=pad)
        pixels, w = rng.integers(0, 256, (4, 6, 5, 3), np.uint8), rng.choice([-1.0, 1.0], (17, 6, 3))
        x = (0.5 * pixels + shift).astype(np.float32)
        arrays = sign_arrays(w, "float")
        constant = (w.sum(axis=1) @ shift).astype(np.float32)
        arrays.update(bias=np.full(17, 3.0, np.float32), alpha_u8=np.full(17, 0.5, np.float32), bias_u8=3 + constant)
        y = one("binary_conv2d", x, arrays=arrays, to="float", **sizes)
        assert same(one("binary_conv2d", pixels, pixels=True, arrays=arrays, to="float", **sizes), y)
        arrays = {name: arrays[name] for name in ("weight_bits", "alpha", "bias")}
        arrays["threshold_u8"] = np.ceil(-2 * (3 + constant)).astype(np.int32)
        found = one("binary_conv2d", pixels, pixels=True, arrays=arrays, to="bits", **sizes)
        assert (found == bits.pack(y < 0)).all() and 0.1 < (y < 0).mean() < 0.9


def test_pixels_are_taken_where_there_are_arrays_for_them(rng):
    """Else the floats: the answers are those of the floats to the bit. Padding with 1 is no pixel."""
    sizes = dict(channels=5, kernel=(2, 2), strides=(1, 1), dilation=(1, 1), pad="plus")
    pixels = rng.integers(0, 256, (3, 48), np.uint8)
    for bias, padding, to, taken in (
        (True, (0, 0), "float", True),
        (False, (0, 0), "float", False),
        (True, (0, 1), "float", False),
        (True, (0, 0), "bits", True),
        (False, (0, 0), "bits", False),
        (True, (1, 0), "bits", False),
    ):
        net = Net(rng, (3, 4, 4), 0.01)
        net.add("image", shape=(4, 4, 3))
        conv = net.add("binary_conv2d", padding=padding, to=to, bias=bias, **sizes)
        net.add("flatten")
        net.add("binary_dense", units=2, to="float")
        graph = net.graph()
        node = graph.nodes[conv]
        assert KINDS["binary_conv2d"].takes_pixels(node, graph.taken(conv)) == taken
        assert taken == ("alpha_u8" in node.arrays or "threshold_u8" in node.arrays)
        x = (graph.input_scale * pixels.astype(np.float32) + graph.input_shift).astype(np.float32)
        y = engine.run(graph, pixels)
        assert same(runtime.Model(graph)(pixels), y)
        assert same(y, engine.run(graph, x)) or taken


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_pools(rng, rounding):
    for image, *numbers in POOLS:
        sizes = dict(zip(NAMES, numbers), rounding=rounding)
        x = odd_floats(rng, 2, *image, 33)
        for count in ("all", "inside"):
            found = one("average_pool", x, count=count, **sizes)
            assert np.allclose(found, exact("average_pool", x, count=count, **sizes), rtol=0, atol=1e-6)
        x[rng.random(x.shape) < 0.3] = np.nan
        x[0, :, :, 0], x[0, :, :, 1] = -np.inf, np.nan
        assert (one("max_pool", x, **sizes) == exact("max_pool", x, **sizes)).all()
        signs = rng.choice([-1.0, 1.0], x.shape)
        falls = bits.pack(rng.choice([True, False], 33))
        for form, arrays in itertools.product(("bits", "bits01"), ({}, {"falls": falls})):
            found = one("max_pool", bits.pack(signs < 0), (form, 33), arrays, **sizes)
            assert (found == bits.pack(exact("max_pool", signs, form, arrays, **sizes) < 0)).all()


def test_flatten_packs_bits_again(rng):
    for places, channels in itertools.product(((1, 1), (2, 3), (5, 7)), (1, 3, 31, 32, 33, 96)):
        x = rng.choice([-1.0, 1.0], (3, *places, channels))
        found = one_row = KINDS["flatten"].run(
            Node("flatten", (0,)), [Value("bits", (*places, channels))], bits.pack(x < 0)
        )
        assert one_row is found and (found == bits.pack(x.reshape(3, -1) < 0)).all()


@pytest.mark.slow
def test_convolutions_and_pools_of_mxnet(rng):
    """Of signs, exactly; of pools to the bit, NaN and zeros of both signs included."""
    from gluon_bnn import mx

    def nchw(x):
        return mx.nd.array(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))

    def ours(y):
        return np.ascontiguousarray(y.asnumpy().transpose(0, 2, 3, 1))

    for image, kernel, strides, padding, dilation in WINDOWS:
        sizes = dict(kernel=kernel, strides=strides, padding=padding, dilation=dilation)
        x, w = rng.choice([-1.0, 1.0], (2, *image, 6)), rng.choice([-1.0, 1.0], (4, kernel[0] * kernel[1], 6))
        found = one("binary_conv2d", bits.pack(x < 0), ("bits", 6), sign_arrays(w, "bits"), channels=4, pad="zero",
                    to="float", **sizes)  # fmt: skip
        options = dict(kernel=kernel, stride=strides, pad=padding, dilate=dilation, num_filter=4, no_bias=True)
        weight = mx.nd.array(w.transpose(0, 2, 1).reshape(4, 6, *kernel))
        expected = ours(mx.nd.Convolution(nchw(x), weight, **options))
        assert same(found, expected)
        assert same(one("conv2d", x.astype(np.float32), arrays={"weight": np.float32(w.reshape(4, -1).T.copy())},
                        channels=4, groups=1, **sizes), expected)  # fmt: skip
        weight = rng.choice([-1.0, 1.0], (kernel[0] * kernel[1], 6)).astype(np.float32)
        found = one("conv2d", x.astype(np.float32), arrays={"weight": weight}, channels=6, groups=6, **sizes)
        options.update(num_filter=6, num_group=6)
        assert same(found, ours(mx.nd.Convolution(nchw(x), mx.nd.array(weight.T.reshape(6, 1, *kernel)), **options)))
    for (image, kernel, strides, padding), rounding in itertools.product(POOLS, ("floor", "ceil")):
        sizes = dict(kernel=kernel, strides=strides, padding=padding, rounding=rounding)
        x = odd_floats(rng, 2, *image, 5)
        options = dict(kernel=kernel, stride=strides, pad=padding)
        options["pooling_convention"] = "valid" if rounding == "floor" else "full"
        for count in ("all", "inside"):
            y = mx.nd.Pooling(nchw(x), pool_type="avg", count_include_pad=count == "all", **options)
            assert same(one("average_pool", x, count=count, **sizes), ours(y))
        x[rng.random(x.shape) < 0.4] = np.nan
        x[0, :, :, 0] = -np.inf
        assert same(one("max_pool", x, **sizes), ours(mx.nd.Pooling(nchw(x), pool_type="max", **options)))


CONV = dict(channels=2, kernel=(3, 3), strides=(1, 1), padding=(0, 0), dilation=(1, 1))
POOL = dict(kernel=(2, 2), strides=(2, 2), padding=(0, 0), rounding="floor")


@pytest.mark.parametrize(
    "kind, attributes, value, words",
    [
        ("conv2d", dict(CONV, groups=1), Value("float", (75,)), "windows need an image, .* got float 75"),
        ("conv2d", dict(CONV, groups=1, kernel=(3,)), None, r"kernel must be two numbers, .* got \(3,\)"),
        ("conv2d", dict(CONV, groups=1, padding=(0, 0, 0)), None, r"padding must be two numbers"),
        ("conv2d", dict(CONV, groups=1, kernel=(6, 3)), None, "kernel 6 with dilation 1 covers 6 places, of 5"),
        ("conv2d", dict(CONV, groups=1, dilation=(1, 3)), None, "kernel 3 with dilation 3 covers 7 places, of 5"),
        ("conv2d", dict(CONV, groups=2), None, "groups must divide the channels, got 2 groups of 3 to 2 channels"),
        ("conv2d", dict(CONV, groups=3), None, "got 3 groups of 3 to 2 channels"),
        ("conv2d", dict(CONV, groups=1), Value("bits", (5, 5, 3)), "conv2d takes floats, got bits 5x5x3"),
        ("conv2d", dict(CONV, groups=1, padding=(2**29, 0)), None, "at most 1073741824 elements, got 1073741827x3x2"),
        ("conv2d", dict(CONV, groups=1, channels=2**28), None, "at most 1073741824 elements, got 3x3x268435456"),
        ("binary_conv2d", dict(CONV, pad="minus", to="bits"), Value("bits01", (5, 5, 3)), "must be zero or plus"),
        ("average_pool", dict(POOL, count="all"), Value("bits", (5, 5, 3)), "average_pool takes floats"),
        ("max_pool", dict(POOL, kernel=(6, 2)), None, "a window must fit into the padded image: kernel 6"),
        (
            "max_pool",
            dict(POOL, padding=(0, 2)),
            None,
            "have places inside of the image: kernel 2, .* padding 2 over 5",
        ),
        (
            "max_pool",
            dict(POOL, kernel=(2, 1), strides=(2, 3), rounding="ceil"),
            None,
            "inside of the image: kernel 1, strides 3 and padding 0 over 5",
        ),
    ],
)
def test_windows_that_do_not_fit(kind, attributes, value, words):
    with pytest.raises(ValueError, match=words):
        KINDS[kind].value(Node(kind, (0,), attributes), [value or Value("float", (5, 5, 3))])


def test_most_inputs_of_a_window():
    """The product is an int32."""
    node = Node("binary_conv2d", (0,), dict(CONV, kernel=(2, 2), pad="zero", to="float"))
    for form, pixels, most in (("bits", False, MOST_ELEMENTS), ("float", True, MOST_ELEMENTS_U8)):
        node.arrays["alpha_u8"] = None  # that there is one is what takes pixels
        KINDS["binary_conv2d"].value(node, [Value(form, (2, 2, most // 4), pixels)])
        with pytest.raises(ValueError, match=f"a window must have at most {most} inputs, got {4 * (most // 4 + 1)}"):
            KINDS["binary_conv2d"].value(node, [Value(form, (2, 2, most // 4 + 1), pixels)])


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("weight_bits", lambda bits: bits | np.int32(8), "weight_bits must be 0 past input 2"),
        ("weight_bits", lambda bits: np.where(np.arange(16) == 15, 1, bits), "weight_bits must be 0 past unit 4"),
        ("sums", lambda sums: sums + 2, "sums must be the sums of the signs, .* for unit 0"),
        ("falls", lambda falls: falls | np.int32(8), "falls must be 0 past channel 2"),
    ],
)
def test_arrays_that_are_refused(rng, name, change, words):
    net = Net(rng, (3, 4, 4))
    net.add("image", shape=(4, 4, 3))
    net.add("pack", to="bits01")
    net.add("max_pool", kernel=(2, 2), strides=(1, 1), padding=(0, 0), rounding="floor")
    net.add("binary_conv2d", **dict(CONV, channels=5), pad="zero", to="float")
    net.add("flatten")
    graph = net.graph()
    content = file.dumps(graph)
    (node,) = (node for node in graph.nodes if name in node.arrays)
    node.arrays[name] = change(node.arrays[name]).astype(np.int32)
    with pytest.raises(ValueError, match=words):
        check(graph)
    if library.available():  # which reads files that Python would not write
        (line, tensors), name = parts_of(content), f"{graph.nodes.index(node)}.{name}"
        tensors[name] = node.arrays[name.partition(".")[2]]
        with pytest.raises(ValueError, match=words.split(",")[0]):
            bindings.Model(serialize(tensors, {"gluon_bnn": f"{line}; crc32 {file.crc32(line, tensors):08x}"}))


def parts_of(content):
    """(the line of text before its checksum, the tensors) of a model file."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header["__metadata__"]["gluon_bnn"].rpartition("; ")[0], dict(deserialize(content))


def test_blocks_of_windows(rng, monkeypatch):
    """How many windows go through a product of floats at a time changes nothing."""
    x, w = odd_floats(rng, 3, 4, 4, 3), rng.choice([-1.0, 1.0], (17, 9, 3))
    sign = dict(CONV, channels=17, pad="zero", to="float", arrays=sign_arrays(w, "float"))
    real = dict(CONV, channels=6, groups=3, arrays={"weight": odd_floats(rng, 9, 6)})
    whole = one("binary_conv2d", x, **sign), one("conv2d", x, **real)
    for elements in (1, 250):
        monkeypatch.setattr(window, "ELEMENTS", elements)
        assert same(one("binary_conv2d", x, **sign), whole[0]) and same(one("conv2d", x, **real), whole[1])


def test_a_small_file_asks_for_little(rng, monkeypatch):
    """A pool whose window is all padding but for a place takes no time for the padding, and windows of a convolution
    that are together larger than memory are never there together."""
    wide = dict(kernel=(2**30, 1), strides=(2**29, 1), padding=(2**30 - 1, 0), rounding="floor")
    net = Net(rng, (5, 3, 2))
    net.add("image", shape=(3, 2, 5))
    net.add("average_pool", **wide, count="all")
    net.add("max_pool", **wide)
    net.add("flatten")
    graph, x = net.graph(), odd_floats(rng, 1, 30)
    assert same(runtime.Model(graph)(x), engine.run(graph, x))
    monkeypatch.setattr(window, "ELEMENTS", 1 << 16)
    sizes = dict(channels=1, kernel=(20, 20), strides=(1, 1), padding=(25, 25), dilation=(1, 1))
    tracemalloc.start()
    one("conv2d", odd_floats(rng, 1, 2, 2, 1), arrays={"weight": odd_floats(rng, 400, 1)}, groups=1, **sizes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2e6  # of 1.7 MB for all windows


def layers(rng):
    """Graphs of one convolution or pool that is large enough for several threads, and of awkward sizes."""
    sizes = dict(strides=(1, 1), padding=(1, 1), dilation=(1, 1))
    for channels, units, image in ((64, 64, (9, 9)), (33, 200, (5, 7)), (3, 65, (9, 8)), (257, 33, (3, 4))):
        for pad, form in (("zero", "bits"), ("plus", "bits01"), ("minus", "bits"), ("zero", "bits01"), ("zero", None)):
            net = Net(rng, (channels, *image), 0.01)
            net.add("image", shape=(*image, channels))
            if form is not None:
                net.add("pack", to=form)
            kernel = (1, 1) if units == 200 and pad == "plus" else (3, 3)
            if kernel == (1, 1):
                sizes["padding"] = (0, 0)
            to = "float" if rng.random() < 0.5 else "bits"
            net.add("binary_conv2d", channels=units, kernel=kernel, **sizes, pad=pad, to=to, norm=True)
            net.add("max_pool", **dict(POOL, kernel=(3, 2)))
            net.add("flatten")
            net.add("binary_dense", units=9, to="float")
            sizes["padding"] = (1, 1)
            yield net.graph()


def inputs_of(rng, graph, rows):
    x = odd_floats(rng, rows, graph.inputs)
    x[rng.random(x.shape) < 0.01] = np.nan
    yield x
    if graph.input_scale is not None:
        yield rng.integers(0, 256, x.shape, np.uint8)


@pytest.mark.parametrize("isa", library.instruction_sets())
def test_library_is_the_engine(rng, isa):
    with library.use(isa):
        for graph in [*layers(rng), *(random_graph(rng, images=1) for _ in range(20))]:
            model = runtime.Model(graph)
            for x in itertools.chain(inputs_of(rng, graph, 3), inputs_of(rng, graph, 1)):
                y = engine.run(graph, x)
                assert same(model(x), y)
                images = x.reshape(len(x), *graph.input_shape)
                assert same(model(images), y) and same(model(images[0]), y[0])
                assert (model.predict(images) == y.argmax(axis=1)).all()


def main():
    """Print a checksum of what the library computes."""
    rng, outputs = np.random.default_rng(0), []
    for graph in layers(rng):
        outputs += [runtime.Model(graph)(x) for x in inputs_of(rng, graph, 2)]
    print(zlib.crc32(b"".join(y.tobytes() for y in outputs)), len(outputs))


@pytest.mark.slow
@needs_library
def test_any_number_of_threads():
    path = os.pathsep.join(sys.path)
    first, other = (programs.output(__file__, PYTHONPATH=path, OMP_NUM_THREADS=str(n)) for n in (1, 5))
    assert first.endswith(" 40\n") and other == first


if __name__ == "__main__":
    main()
