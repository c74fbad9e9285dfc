"""Kinds of node one by one: the order and the rounding of their sums, functions and their ends, moves."""

import decimal
import math

import numpy as np
import pytest
import scipy.special

from gluon_bnn import runtime
from gluon_bnn.graph import bits as bits_of
from gluon_bnn.graph import engine
from gluon_bnn.graph.graph import Node, Value
from gluon_bnn.graph.kinds import KINDS, activation, arithmetic
from gluon_bnn.graph.kinds.batch_norm import NORM
from gluon_bnn.graph.kinds.binary_dense import integer_dot
from gluon_bnn.native import library
from gluon_bnn.reference import bits
from gluon_bnn.reference.graph import ACTIVATIONS, ARITHMETIC

from random_nets import SIZES, Net, dense_over, odd_floats, same


def run(kind, *xs, form="float", arrays=(), pixels=False, **attributes):
    """The value of one node, from floats or bits; `form` is "float", or of bits (form, elements)."""
    form, *size = form if isinstance(form, tuple) else (form,)
    taken = [Value(form, tuple(size) or x.shape[1:], pixels) for x in xs]
    node = Node(kind, tuple(range(len(xs))), attributes, dict(arrays))
    with np.errstate(all="ignore"):
        return KINDS[kind].run(node, taken, *xs)


@pytest.mark.parametrize("inputs", SIZES)
def test_integer_products(rng, inputs):
    for units in SIZES:
        x, w = odd_floats(rng, 3, inputs), odd_floats(rng, units, inputs)
        packed, weights = bits.pack_inputs(x), bits.pack_weights(w)
        assert (run("pack", x, to="bits") == packed).all()
        dot = bits.xnor_dense(packed, weights, units, inputs)
        signs = np.where(w < 0, -1, 1)
        sizes = dict(units=units, to="float")
        assert same(run("binary_dense", packed, form=("bits", inputs), arrays=dense_over(w), **sizes), dot.astype("f4"))
        dot01 = ((x >= 0).astype(np.int64) @ signs.T).astype(np.float32)
        arrays = dense_over(w, sums=signs.sum(axis=1).astype(np.int32))
        assert same(run("binary_dense", packed, form=("bits01", inputs), arrays=arrays, **sizes), dot01)

        arrays = {"weight_bits": weights, "threshold": rng.integers(-4, 5, units).astype(np.int32)}
        for form in ("bits", "bits01"):  # the threshold is one of dot, not of dot01
            for to in ("bits", "bits01"):
                found = run("binary_dense", packed, form=(form, inputs), arrays=arrays, units=units, to=to)
                assert found.dtype == np.int32
                assert (found == bits.pack_inputs(np.where(dot < arrays["threshold"], -1.0, 1.0))).all()

        pixels = rng.integers(0, 256, (3, inputs), np.uint8)
        arrays = {**dense_over(w), "alpha": None, "bias": None}
        arrays.update(alpha_u8=np.ones(units, np.float32), bias_u8=np.full(units, -0.0, np.float32))
        exact = (pixels.astype(np.int64) @ signs.T).astype(np.float32)
        assert same(run("binary_dense", pixels, pixels=True, arrays=arrays, **sizes), exact)


def test_always_and_never():
    """Thresholds at the ends of int32 mean what they say."""
    arrays = {
        "weight_bits": bits.pack_weights(np.ones((2, 40))),
        "threshold": np.array([2**31 - 1, -(2**31)], np.int32),
    }
    packed = bits.pack_inputs(np.ones((1, 40)))
    assert run("binary_dense", packed, form=("bits", 40), arrays=arrays, units=2, to="bits").tolist() == [[1]]
    pixels, threshold = np.uint8([[0, 0, 255, 255, 7, 7]]), np.int32([0, 1, 255, 256, 7, 8])
    assert run("pack", pixels, pixels=True, arrays={"threshold_u8": threshold}, to="bits").tolist() == [[0b101010]]


@pytest.mark.parametrize("inputs", [70001, 200000])
def test_integer_products_past_float32(rng, inputs):
    """Sums that float32 cannot hold are made in exact pieces: here the result is odd and above 2^24."""
    pixels = np.full((2, inputs), 255, np.uint8)
    pixels[1] = rng.integers(0, 256, inputs)
    w = np.ones((17, inputs), np.float32)
    w[1:] = rng.standard_normal((16, inputs))
    dot = integer_dot(pixels, bits.pack_weights(w), 17)
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
    assert same(run("binary_dense", x, arrays=dense_over(w), units=18, to="float"), expected)

    arrays = {"weight": np.ascontiguousarray(w.T)}
    expected = np.array([[in_order(row * unit) for unit in w] for row in x])
    assert same(run("dense", x, arrays=arrays, units=18), expected)
    arrays["bias"] = odd_floats(rng, 18)
    assert same(run("dense", x, arrays=arrays, units=18), expected + arrays["bias"])


def test_epilogue_is_rounded_after_each_operation(rng):
    """((alpha * dot + bias) - mean) * factor + beta in float32, and its signs."""
    x, w = odd_floats(rng, 50, 40), odd_floats(rng, 33, 40)
    packed = bits.pack_inputs(x)
    dot = bits.xnor_dense(packed, bits.pack_weights(w), 33, 40)
    a = {name: odd_floats(rng, 33) for name in ("alpha", "bias", *NORM)}
    expected = np.empty((50, 33), np.float32)
    for row, unit in np.ndindex(50, 33):
        y = np.float32(a["alpha"][unit] * np.float32(dot[row, unit]))
        y = np.float32(y + a["bias"][unit])
        y = np.float32(np.float32(y - a["mean"][unit]) * a["factor"][unit])
        expected[row, unit] = np.float32(y + a["beta"][unit])
    sizes = dict(form=("bits", 40), units=33, to="float")
    assert same(run("binary_dense", packed, arrays=dense_over(w, **a), **sizes), expected)
    plain = run("binary_dense", packed, arrays=dense_over(w, alpha=a["alpha"], bias=a["bias"]), **sizes)
    assert same(run("batch_norm", plain, arrays={name: a[name] for name in NORM}), expected)
    # From floats to bits, the signs of the same expression.
    y = run("binary_dense", x, arrays=dense_over(w, **a), units=33, to="float")
    for to in ("bits", "bits01"):
        found = run("binary_dense", x, arrays=dense_over(w, **a), units=33, to=to)
        assert (found == bits.pack_inputs(y)).all()


def test_images_are_rows_of_pixels(rng):
    """On (height, width, channels) every kind does for each pixel what it does for a row of its channels."""
    x = odd_floats(rng, 3, 2, 5, 40)
    packed = bits_of.pack(x < 0)
    w = odd_floats(rng, 33, 40)
    norm = {name: odd_floats(rng, 40) for name in NORM}
    sums = np.where(w < 0, -1, 1).sum(axis=1).astype(np.int32)
    threshold = {"weight_bits": bits.pack_weights(w), "threshold": rng.integers(-4, 5, 33).astype(np.int32)}
    for kind, form, arrays, attributes in (
        ("binary_dense", "float", dense_over(w), dict(units=33, to="float")),
        ("binary_dense", "float", dense_over(w), dict(units=33, to="bits")),
        ("binary_dense", "bits01", dense_over(w, sums=sums), dict(units=33, to="float")),
        ("binary_dense", "bits", threshold, dict(units=33, to="bits01")),
        ("dense", "float", {"weight": np.ascontiguousarray(w.T)}, dict(units=33)),
        ("batch_norm", "float", norm, {}),
        ("pack", "float", {}, dict(to="bits")),
        ("slice", "float", {}, dict(begin=3, end=17)),
        ("activation", "float", {"slope": norm["mean"]}, dict(function="prelu")),
        ("arithmetic", "float", {"operand": norm["mean"]}, dict(function="subtract")),
    ):
        images = x if form == "float" else packed
        whole = run(kind, images, form=(form, 2, 5, 40), arrays=arrays, **attributes)
        each = run(kind, images.reshape(30, -1), form=(form, 40), arrays=arrays, **attributes)
        assert whole.shape == (3, 2, 5, each.shape[1]) and (whole.reshape(each.shape) == each).all(), kind


def test_moves(rng):
    x = rng.standard_normal((3, 24)).astype(np.float32)
    image = run("image", x, shape=(3, 4, 2))
    assert same(image, np.ascontiguousarray(x.reshape(3, 2, 3, 4).transpose(0, 2, 3, 1)))
    assert same(run("flatten", image), image.reshape(3, 24))
    pixels = rng.integers(0, 256, (3, 24), np.uint8)
    moved = run("image", pixels, shape=(3, 4, 2), pixels=True)
    assert moved.dtype == np.uint8 and (moved == pixels.reshape(3, 2, 3, 4).transpose(0, 2, 3, 1)).all()
    assert run("flatten", moved, pixels=True).dtype == np.uint8
    wide = odd_floats(rng, 3, 2, 2, 64)
    flat = run("flatten", bits_of.pack(wide < 0), form=("bits", 2, 2, 64))
    assert (flat == bits.pack_inputs(wide.reshape(3, -1))).all()
    both = run("concat", image, image[..., :1].copy(), image)
    assert both.shape == (3, 3, 4, 5) and (both[..., 2:3] == image[..., :1]).all() and (both[..., 3:] == image).all()
    assert same(run("slice", both, begin=2, end=3), np.ascontiguousarray(image[..., :1]))


ENDS = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)


@pytest.mark.parametrize("name", arithmetic.FUNCTIONS)
def test_arithmetic(rng, name):
    """One float32 operation, of two values, a value and a constant, a value and a constant per channel."""
    x, y = odd_floats(rng, 50, 33), odd_floats(rng, 50, 33)
    for z in (y, y[0], y[0, 2:3]):
        with np.errstate(all="ignore"):
            expected = ARITHMETIC[name](x, z)
        found = (
            run("arithmetic", x, z, function=name)
            if z is y
            else run("arithmetic", x, function=name, arrays={"operand": z})
        )
        assert found.dtype == np.float32 and np.array_equal(found, expected, equal_nan=True)
    if name in ("maximum", "minimum"):
        # The second of 0.0 and -0.0, and NaN where either number is NaN, as MXNet's operators of these names give.
        a, b = np.float32([[np.nan, 1, np.nan, 0.0, -0.0]]), np.float32([[1, np.nan, np.nan, -0.0, 0.0]])
        assert same(run("arithmetic", a, b, function=name), np.float32([[np.nan, np.nan, np.nan, -0.0, 0.0]]))


def numbers(rng):
    x = np.concatenate([rng.standard_normal(2000) * scale for scale in (1e-30, 1e-6, 1e-3, 1, 10, 100, 1000)])
    return np.concatenate([x, [0.0, -0.0, 3e38, -3e38, 2.0**-12, 0.25, -0.25, 1e-45, -1e-45]]).astype(np.float32)[None]


def slope_of(name, value=0.25, channels=1):
    kind = activation.FUNCTIONS[name].slope
    return {"slope": np.full(channels if kind == "channel" else 1, value, np.float32)} if kind else {}


@pytest.mark.parametrize(
    "name, slope",
    [
        (name, slope)
        for name, function in activation.FUNCTIONS.items()
        for slope in ((0.25, 1.7, -0.5, 0.0) if function.slope else (0,))
    ],
)
def test_functions(rng, name, slope):
    """Within the rounding of float32 of the function itself, and exact where that is."""
    x = numbers(rng)
    arrays = slope_of(name, slope, x.size)
    y = run("activation", x, function=name, arrays=arrays)
    assert y.dtype == np.float32
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if name == "gelu":  # 1 + erf loses all digits where it is close to 0
            exact = wide * scipy.special.ndtr(wide)
        else:
            exact = ACTIVATIONS[name](wide, *(array.astype(np.float64) for array in arrays.values()))
        rounded = exact.astype(np.float32)
    # Half a unit of float32 is the rounding of the result; softsign also rounds its sum and its quotient, and swish
    # slope * x, whose error exp enlarges, the sigmoid and the product.
    units, least = {"softsign": 1.5}.get(name, 0.5001), 1.5e-45
    if name == "swish":
        units, least = 1.5001 + 0.5 * np.minimum(np.abs(slope * wide), 150), 1e-36
    near = np.abs(y - exact) <= units * 2.0**-23 * np.abs(exact) + least
    assert (near | np.isinf(rounded) & (y == rounded)).all()


@pytest.mark.parametrize("name", activation.FUNCTIONS)
@pytest.mark.parametrize("slope", [0.0, 0.25, 3.0])
def test_functions_are_what_is_said_of_them(name, slope):
    """On a grid that is finer where they bend; differences of close numbers are rounded."""
    function, x = activation.FUNCTIONS[name], np.linspace(-3, 3, 3001) ** 3
    y = np.asarray(function.formula(x, *slope_of(name, slope, x.size).values()), np.float64)
    moves = np.diff(y)
    assert (moves >= -1e-12).all() or not function.rises
    assert (np.abs(y) <= 1).all() or not function.bounded
    jumps = np.isin(y[1:], (-1, 0, 1)) & np.isin(y[:-1], (-1, 0, 1))
    assert (np.abs(moves) <= activation.STEEPEST * max(1, slope) * np.diff(x) + 1e-7)[~jumps].all()
    assert abs(y[1500]) <= 1


# At NaN, infinity, -infinity, -0.0; slopes 0.25.
AT_ENDS = {
    "relu": (np.nan, np.inf, 0, 0.0),
    "leaky": (np.nan, np.inf, -np.inf, -0.0),
    "prelu": (np.nan, np.inf, -np.inf, -0.0),
    "elu": (np.nan, np.inf, -0.25, -0.0),
    "gelu": (np.nan, np.inf, np.nan, -0.0),
    "sigmoid": (np.nan, 1, 0, 0.5),
    "tanh": (np.nan, 1, -1, -0.0),
    "softrelu": (np.nan, np.inf, 0, math.log(2)),
    "softsign": (np.nan, np.nan, np.nan, -0.0),
    "swish": (np.nan, np.inf, np.nan, -0.0),
    "sign": (1, 1, -1, 1),
    "binary_sigmoid": (1, 1, 0, 1),
}


@pytest.mark.parametrize("name", activation.FUNCTIONS)
def test_functions_at_their_ends(name):
    found = run("activation", ENDS[None], function=name, arrays=slope_of(name, channels=4))
    assert same(found[0], np.array(AT_ENDS[name], np.float32))


@pytest.mark.parametrize("name", activation.FUNCTIONS)
def test_functions_of_mxnet(rng, name):
    """Those without exp are MXNet's to the bit, the others within 6 units of 2^-24 of max(|x|, 1): 4.9 were measured,
    of gelu. Infinities and NaN are where MXNet has them."""
    from gluon_bnn import mx, nn

    gluon = mx.gluon.nn
    block = {
        "leaky": lambda: gluon.LeakyReLU(0.25),
        "prelu": lambda: gluon.PReLU(mx.init.Constant(0.25)),
        "elu": lambda: gluon.ELU(0.25),
        "gelu": gluon.GELU,
        "swish": lambda: gluon.Swish(0.25),
        "sign": nn.BinaryActivation,
        "binary_sigmoid": nn.BinarySigmoid,
    }.get(name, lambda: gluon.Activation(name))()
    block.initialize()
    x = np.concatenate([rng.standard_normal(2000) * scale for scale in (1e-6, 1e-3, 0.1, 1, 4, 30)] + [ENDS])
    x = x.astype(np.float32)[None]
    expected = block(mx.nd.array(x)).asnumpy()
    found = run("activation", x, function=name, arrays=slope_of(name, channels=x.size))
    if name == "relu":  # Gluon's Activation("relu") makes 0 of NaN, mx.nd.relu does not
        expected[np.isnan(x)] = np.nan
    if not activation.FUNCTIONS[name].rounded:
        assert np.array_equal(found, expected, equal_nan=True)
    same_ends = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(all="ignore"):
        near = np.abs(found.astype(np.float64) - expected) <= 6 * 2.0**-24 * np.maximum(np.abs(x), 1)
    assert (same_ends | (near & np.isfinite(x))).all()


@pytest.mark.parametrize("name", arithmetic.FUNCTIONS)
def test_arithmetic_of_mxnet(rng, name):
    from gluon_bnn import mx

    operator = {
        "add": mx.nd.broadcast_add,
        "subtract": mx.nd.broadcast_sub,
        "multiply": mx.nd.broadcast_mul,
        "divide": mx.nd.broadcast_div,
        "maximum": mx.nd.broadcast_maximum,
        "minimum": mx.nd.broadcast_minimum,
    }[name]
    x, y = odd_floats(rng, 300, 7), odd_floats(rng, 300, 7)
    for array in (x, y):
        array[rng.random(array.shape) < 0.1] = np.nan
        array[rng.random(array.shape) < 0.1] = np.inf
    assert same(run("arithmetic", x, y, function=name), operator(mx.nd.array(x), mx.nd.array(y)).asnumpy())
    constant = np.float32([0.3])
    scalar = getattr(
        mx.nd._internal, f"_{dict(add='plus', subtract='minus', multiply='mul', divide='div').get(name, name)}_scalar"
    )
    found = run("arithmetic", x, function=name, arrays={"operand": constant})
    assert same(found, scalar(mx.nd.array(x), scalar=float(constant[0])).asnumpy())


def test_prelu_has_a_slope_for_each_channel():
    x, slope = np.float32([[-1, -1, 2]]), np.float32([0.5, -3, 7])
    assert same(run("activation", x, function="prelu", arrays={"slope": slope}), np.float32([[-0.5, 3, 2]]))


def test_erfc(rng):
    """erf within 1e-15, erfc within 3e-15 of itself, against SciPy, and against its integral in 40 digits."""
    x = np.concatenate([np.linspace(0, 6, 100001), np.geomspace(1e-300, 25, 10001)])
    found = activation.erfc(x)
    assert np.abs((1 - found) - scipy.special.erf(x)).max() < 1e-15
    assert (np.abs(found - scipy.special.erfc(x)) / scipy.special.erfc(x)).max() < 3e-15
    with decimal.localcontext() as context:
        context.prec = 60
        pi = decimal.Decimal("3.14159265358979323846264338327950288419716939937510582097494")
        for z in (0.25, 1.0, 2.5, 4.0):
            d, term, total, n = decimal.Decimal(z), decimal.Decimal(z), decimal.Decimal(0), 0
            while abs(term) > decimal.Decimal(10) ** -45:  # erf = 2 / sqrt(pi) sum (-1)^n z^(2n+1) / (n! (2n+1))
                total += term / (2 * n + 1)
                n += 1
                term *= -d * d / n
            exact = 1 - 2 / pi.sqrt() * total
            assert abs(float((decimal.Decimal(float(activation.erfc(np.float64(z)))) - exact) / exact)) < 3e-15


def test_expm1():
    x = np.concatenate([-np.geomspace(1e-300, 700, 100001), np.geomspace(1e-300, 0.25, 1001)])
    assert (np.abs(activation.expm1(x) - np.expm1(x)) <= 1e-15 * np.abs(np.expm1(x))).all()


@pytest.mark.parametrize("isa", library.instruction_sets())
@pytest.mark.parametrize("name", activation.FUNCTIONS)
def test_functions_of_the_library(rng, name, isa):
    x = np.concatenate([numbers(rng), ENDS[None], rng.standard_normal((1, 20000)).astype(np.float32) * 5], axis=1)
    for slope in (0.25, 1.7, -0.5):
        net = Net(rng, x.size)
        net.add("activation", function=name, arrays=slope_of(name, slope, x.size))
        graph = net.graph()
        with library.use(isa):
            assert same(runtime.Model(graph)(x), engine.run(graph, x))


@pytest.mark.parametrize("isa", library.instruction_sets())
@pytest.mark.parametrize("name", arithmetic.FUNCTIONS)
def test_arithmetic_of_the_library(rng, name, isa):
    x = np.concatenate([odd_floats(rng, 67, 30), np.tile(ENDS, (67, 1))], axis=1)
    for operand in (1, 34, None):
        net = Net(rng, 34)
        moved = net.add("slice", 0, begin=1, end=34)
        other = net.add("concat", moved, net.add("slice", 0, begin=0, end=1))
        if operand:
            net.add("arithmetic", other, function=name, arrays={"operand": odd_floats(rng, operand)})
        else:
            net.add("arithmetic", 0, other, function=name)
        graph = net.graph()
        with library.use(isa):
            assert same(runtime.Model(graph)(x), engine.run(graph, x))


def test_sign_sums(rng):
    for units, inputs in ((1, 1), (16, 32), (17, 33), (3, 1000)):
        w = rng.standard_normal((units, inputs))
        found = bits_of.sign_sums(bits_of.pack_weights(w), units, inputs)
        assert found.dtype == np.int32 and (found == np.where(w < 0, -1, 1).sum(axis=1)).all()


@pytest.mark.parametrize("size", SIZES)
def test_bits_are_those_of_the_reference(rng, size):
    x = odd_floats(rng, 5, size)
    packed = bits_of.pack(x < 0)
    assert packed.dtype == np.int32 and (packed == bits.pack_inputs(x)).all()
    assert same(bits_of.unpack(packed, size), bits.unpack_inputs(packed, size))
    for units in (1, 15, 16, 17, 33):
        w = odd_floats(rng, units, size)
        weights = bits_of.pack_weights(w)
        assert (weights == bits.pack_weights(w)).all() and weights.flags.c_contiguous
        assert same(bits_of.unpack_weights(weights, units, size), np.where(w < 0, -1, 1).astype(np.float32))
    images = odd_floats(rng, 2, 3, 4, size)
    assert (bits_of.pack(images < 0).reshape(24, -1) == bits.pack_inputs(images.reshape(24, size))).all()
