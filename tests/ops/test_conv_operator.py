"""Binary convolutions and max pooling in one operator each, against the reference and MXNet's own, on every
instruction set, and through the layers of `nn`."""

import numpy as np
import pytest
from hypothesis import example, given, settings

from gluon_bnn import nn
from gluon_bnn._compat import mx
from gluon_bnn.check.sign_scale import all_rules, weight_magnitude
from gluon_bnn.native import library
from gluon_bnn.reference import binary, conv

from needs import needs_library
from sizes import SEEDS

pytestmark = needs_library
# Largest error in units of eps times the sum of magnitudes: 2.4 seen over all cases and 20 seeds.
BOUND = 8.0
# Rows, channels, units, sizes of the image, kernel, strides, padding, dilation: what regions, strips, and rows of
# kernels in whole blocks depend on.
CASES = (
    (1, 1, 1, (1,), (1,), (1,), (0,), (1,)),
    (2, 33, 17, (70,), (3,), (2,), (2,), (3,)),
    (1, 16, 5, (3000,), (5,), (1,), (2,), (1,)),
    (3, 1, 32, (12, 13), (5, 5), (1, 1), (0, 0), (1, 1)),
    (2, 32, 16, (9, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 64, 40, (7, 6), (3, 3), (2, 2), (1, 1), (1, 1)),
    (1, 48, 3, (11, 5), (2, 1), (1, 3), (3, 0), (2, 1)),
    (1, 3, 7, (5, 90), (4, 3), (3, 1), (2, 4), (1, 5)),
    (1, 70, 33, (2, 2), (3, 3), (1, 1), (3, 3), (1, 1)),  # a tap that never lies inside
    (2, 5, 4, (6, 6), (1, 1), (3, 3), (0, 0), (1, 1)),  # places that no window has
    # where the weight gradient of real inputs is Winograd's
    (3, 17, 19, (21, 23), (3, 3), (1, 1), (0, 0), (1, 1)),
    (1, 33, 16, (27, 30), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 16, 16, (1, 500), (3, 3), (1, 1), (2, 1), (1, 1)),
)


def options(kernel, strides, padding, dilation, **others):
    return {"kernel": kernel, "strides": strides, "padding": padding, "dilation": dilation, **others}


def drawn(rng):
    """A case as in CASES."""
    axes = rng.integers(1, 3)

    def each(low, high):
        return tuple(int(v) for v in rng.integers(low, high, axes))

    kernel, strides, padding, dilation = each(1, 5), each(1, 4), each(0, 4), each(1, 4)
    least = [max(1, (k - 1) * d + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation)]
    sizes = tuple(int(rng.integers(low, low + 12)) for low in least)
    channels, units = rng.choice([1, 2, 3, 16, 31, 32, 33, 64, 65]), rng.choice([1, 4, 15, 16, 17, 33, 64])
    return int(rng.integers(1, 4)), int(channels), int(units), sizes, kernel, strides, padding, dilation


def within(found, expected, magnitude):
    error = np.abs(found.asnumpy().astype(np.float64) - expected)
    assert (error <= BOUND * np.finfo(np.float32).eps * magnitude).all()


def compare(rng, case, scale, gradient):
    """One layer, forward and backward, against the reference."""
    rows, channels, units, sizes, kernel, strides, padding, dilation = case
    clip, pad_value = (1.0, None, 0.25)[rng.integers(3)], int(rng.integers(-1, 2))
    inputs = ("reals", "signs", "signs of reals")[rng.integers(3)]
    before = rng.standard_normal((rows, channels, *sizes)).astype(np.float32)
    before.flat[:4] = [1.0, -1.0, 0.0, -0.0][: before.size]
    x = before if inputs == "reals" else binary.sign(before).astype(np.float32)
    w = (2 * rng.standard_normal((units, channels, *kernel))).astype(np.float32)
    w.flat[0], w.flat[-1] = 1.0, -1.0  # |w| = clip, but for None and 0.25
    if units > 2:
        w[1] = 0  # with scale="channel" a group that gets no gradient
    bias = rng.standard_normal(units).astype(np.float32)
    curvature = rng.uniform(0.1, 3, w.shape).astype(np.float32) if scale == "loss" else None
    shape = options(kernel, strides, padding, dilation)
    data = before if inputs == "signs of reals" else x
    arrays = [mx.nd.array(a) for a in (data, w, bias, curvature) if a is not None]
    for array in arrays:
        array.attach_grad()
        array.grad[:] = 7  # all of it must be written, zeros too
    with mx.autograd.record():
        y, alphas = mx.nd.gluon_bnn_binary_conv(
            *arrays,
            channels=units,
            pad_value=pad_value,
            scale=str(scale),
            gradient=gradient,
            clip=str(clip),
            sign=inputs == "signs of reals",
            sign_clip=str(clip),
            **shape,
        )[:2]
    d = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(mx.nd.array(d))
    x, w, bias, d = (a.astype(np.float64) for a in (x, w, bias, d))
    shape = {name: value for name, value in shape.items() if name != "kernel"}
    alpha = binary.sign_scale(w, scale, curvature)[1]
    along = np.reshape(np.broadcast_to(alpha, units), (1, -1) + (1,) * len(sizes))
    within(alphas, along.ravel(), along.ravel())
    expected = conv.binary_conv(x, w, bias, scale, curvature, pad_value=pad_value, **shape)
    ones = np.ones_like(w)
    # Bits of places outside stand for 1 where they are 0: what is added for them is taken away at the end.
    sizes_of_x, around = np.abs(x), 1
    within(
        y,
        expected,
        along * conv.conv(sizes_of_x, ones, pad_value=around, **shape)
        + np.abs(bias.reshape(along.shape[:2] + (1,) * len(sizes))),
    )
    if inputs != "reals" and scale is None:
        np.testing.assert_array_equal(y.asnumpy(), expected.astype(np.float32))
    expected = conv.binary_conv_backward(d, x, w, scale, gradient, clip, curvature, pad_value=pad_value, **shape)
    sizes_of = conv.conv_backward(np.abs(d), sizes_of_x, ones, pad_value=around, **shape)
    passes = np.abs(before) <= clip if inputs == "signs of reals" and clip is not None else True
    scaled = conv.conv_backward(np.abs(d) * along, sizes_of_x, ones, pad_value=around, **shape)
    within(arrays[0].grad, expected["x"] * passes, scaled["x"])
    within(arrays[1].grad, expected["weight"], weight_magnitude(sizes_of["weight"], w, scale, gradient))
    within(arrays[2].grad, expected["bias"], np.abs(d).sum(axis=(0, *range(2, d.ndim))))
    if scale == "loss":
        assert (arrays[3].grad.asnumpy() == 0).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_case(rng, instruction_set, case):
    for scale, gradient in all_rules():
        compare(rng, case, scale, gradient)


@settings(max_examples=60)
@given(seed=SEEDS)
@example(seed=0)
def test_forward_and_backward(instruction_set, seed):
    rng = np.random.default_rng(seed)
    rules = all_rules()
    compare(rng, drawn(rng), *rules[rng.integers(len(rules))])


def results(layer, arrays, d):
    """y, and the gradients of the arrays, all in the type of these."""
    arrays = [mx.nd.array(a, dtype=a.dtype) for a in arrays]
    for array in arrays:
        array.attach_grad()
    with mx.autograd.record():
        y = layer(*arrays)
    y.backward(mx.nd.array(np.broadcast_to(d, y.shape), dtype=y.dtype))
    return [each.asnumpy() for each in (y, *(array.grad for array in arrays))]


def test_float_inputs_are_added_up_as_in_the_runtime(rng, instruction_set):
    """As a dense product over windows in the order (kernel row, kernel column, channel)."""
    x, w = rng.standard_normal((2, 20, 6, 7)).astype(np.float32), rng.standard_normal((9, 20, 4, 4)).astype(np.float32)
    sizes = options((4, 4), (1, 1), (0, 0), (1, 1), channels=9, scale="None", gradient="ste", no_bias=True)
    y = mx.nd.gluon_bnn_binary_conv(mx.nd.array(x), mx.nd.array(w), **sizes)[0]
    windows = np.lib.stride_tricks.sliding_window_view(x, (4, 4), axis=(2, 3)).transpose(0, 2, 3, 4, 5, 1)
    dense = mx.nd.gluon_bnn_binary_dense(
        mx.nd.array(windows.reshape(-1, 320)),
        mx.nd.array(w.transpose(0, 2, 3, 1).reshape(9, 320)),
        units=9,
        scale="None",
        gradient="ste",
        no_bias=True,
    )[0]
    np.testing.assert_array_equal(y.asnumpy().transpose(0, 2, 3, 1).reshape(-1, 9), dense.asnumpy())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("where", ["x", "dy"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_an_extreme_number_reaches_the_weights_that_it_meets(rng, instruction_set, kernel, where, value):
    """Winograd's filtering would bring it to all taps of a kernel, and the difference of two large ones is infinite.
    Sums along the places, for other kernels than 3 x 3, would multiply it by zeros that fill vectors."""
    x, d = (rng.standard_normal((2, 16, 21, 24)).astype(np.float32) for _ in range(2))
    w = rng.standard_normal((16, 16, kernel, kernel)).astype(np.float32)
    changed, other = (x, d) if where == "x" else (d, x)
    changed[1, 3, 0, 0], changed[1, 3, 0, 1:3] = value, -value
    other *= np.float32(1e-6)
    sizes = options((kernel, kernel), (1, 1), (kernel // 2, kernel // 2), (1, 1), channels=16, no_bias=True)
    sizes.update(scale="None", gradient="ste", clip="None")
    found = results(lambda *arrays: mx.nd.gluon_bnn_binary_conv(*arrays, **sizes)[0], (x, w), d)[2]
    with np.errstate(invalid="ignore"):
        x, d, w = x.astype(np.float64), d.astype(np.float64), np.ones_like(w)
        expected = conv.conv_backward(d, x, w, padding=kernel // 2)["weight"]
        magnitude = conv.conv_backward(np.abs(d), np.abs(x), w, padding=kernel // 2)["weight"]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    assert finite.any() and (np.isfinite(value) == finite.all())
    within(mx.nd.array(found[finite]), expected[finite], magnitude[finite])


class Net(mx.gluon.HybridBlock):
    """Convolutions and pools with signs between them, as nets have them."""

    def __init__(self, *first):
        super().__init__()
        self.body = mx.gluon.nn.HybridSequential()
        self.body.add(
            *first,
            nn.BinaryConv2D(17, 3, padding=1, pad_value=1),
            nn.MaxPool2D(3, 2, ceil_mode=True),
            nn.BatchNorm(axis=1),
            nn.BinaryActivation(),
            nn.BinaryConv2D(5, (2, 3), dilation=(1, 2), use_bias=False, scale="channel"),
            nn.MaxPool2D(),
            nn.BinaryActivation(clip=None),
            nn.BinaryConv2D(4, 1, strides=2),
        )

    def hybrid_forward(self, F, x):
        return self.body(x)


@pytest.mark.parametrize("signs_first", [False, True])
@pytest.mark.parametrize("needs_dx", [False, True])
def test_a_hybridized_net(rng, monkeypatch, needs_dx, signs_first):
    """Its graph has bits for signs, native pools, and the gradient of its images apart; the numbers are those of the
    net that is not hybridized, and its export has MXNet's pools."""
    graphs, cached_op = [], mx.nd.CachedOp
    monkeypatch.setattr(
        mx.nd, "CachedOp", lambda graph, *flags: graphs.append(graph.tojson()) or cached_op(graph, *flags)
    )
    net = Net(*[nn.BinaryActivation(clip=0.5)] * signs_first)
    net.initialize(mx.init.Xavier(rnd_type="gaussian", magnitude=8))
    x, found = mx.nd.array(rng.standard_normal((3, 2, 21, 22))), []
    for hybrid in (False, True):
        net.hybridize(hybrid, static_alloc=True, static_shape=True)
        if needs_dx:
            x.attach_grad()
        with mx.autograd.record():
            y = net(x)
        y.backward(mx.nd.array(rng.standard_normal(y.shape) * 0 + 1))
        parameters = net.collect_params().values()
        gradients = [each.grad() for each in parameters if each.grad_req != "null"]
        found.append([each.asnumpy() for each in ([x.grad] if needs_dx else []) + [y, *gradients]])
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)
    assert graphs[-1].count('"sign": "True"') == 2 + signs_first
    assert graphs[-1].count('"gluon_bnn_sign"') == 0
    assert graphs[-1].count('"gluon_bnn_max_pool"') == 2 and graphs[-1].count('"gluon_bnn_conv_data_gradient"') == 1
    exported = net(mx.sym.var("data")).tojson()
    assert exported.count('"Pooling"') == 2 and "gluon_bnn_max_pool" not in exported


def test_gradients_are_added(rng):
    net = Net()
    net.initialize()
    x = mx.nd.array(rng.standard_normal((2, 2, 13, 14)))
    for hybrid in (False, True):
        net.hybridize(hybrid)
        net(x)
        weight = net.body[0].weight
        gradients = []
        for request in ("write", "add", "add"):
            weight.grad_req = request
            weight.zero_grad()
            for _ in range(1 if request == "write" else 2):
                with mx.autograd.record():
                    y = net(x)
                y.backward()
            gradients.append(weight.grad().asnumpy())
        weight.grad_req = "write"
        for twice in gradients[1:]:
            np.testing.assert_allclose(twice, 2 * gradients[0], rtol=1e-6)


VALID = options((3, 3), (1, 1), (0, 0), (1, 1), channels=4, no_bias=True)


@pytest.mark.parametrize(
    "changed, shape, weight, message",
    [
        ({"kernel": "3"}, (1, 2, 5, 5), None, "kernel must be a tuple of whole numbers from 1"),
        ({"kernel": "(3, 3"}, (1, 2, 5, 5), None, "kernel must be a tuple"),
        ({"kernel": "(3, 0)"}, (1, 2, 5, 5), None, "from 1 to"),
        ({"kernel": "()"}, (1, 2, 5, 5), None, "kernel must be a tuple"),
        ({"kernel": "(3, 3, 3)"}, (1, 2, 5, 5), None, "one axis or two"),
        ({"strides": "(1,)"}, (1, 2, 5, 5), None, "as many numbers as kernel"),
        ({"padding": "(-1, 0)"}, (1, 2, 5, 5), None, "padding must be a tuple of whole numbers from 0"),
        ({"dilation": "(99999999999999999999, 1)"}, (1, 2, 5, 5), None, "dilation must be"),
        ({"dilation": "(2, 3)"}, (1, 2, 5, 5), None, "a kernel that covers 7 places does not fit into the 5"),
        ({"pad_value": "2"}, (1, 2, 5, 5), None, "pad_value must be 0, 1 or -1"),
        ({"channels": "0"}, (1, 2, 5, 5), None, "channels must be a whole number from 1"),
        ({"scale": "None"}, (1, 2, 5, 5), None, "allows gradient=ste only"),
        ({}, (1, 2, 5), None, "takes a batch axis, channels and 2 axes of places"),
        ({}, (1, 2, 5, 5), (4, 3, 3, 3), "of 3 channels takes images of as many"),
        ({}, (1, 2, 5, 5), (5, 2, 3, 3), r"the weight must have the shape \(4, 2, 3, 3\)"),
        ({"padding": f"({2**29}, {2**29})"}, (1, 2, 5, 5), None, "an image with its padding must have at most"),
    ],
)
def test_errors(changed, shape, weight, message):
    library.load_operators()
    with pytest.raises(mx.MXNetError, match=message):
        mx.nd.gluon_bnn_binary_conv(
            mx.nd.ones(shape), mx.nd.ones(weight or (4, shape[1], 3, 3)), **{**VALID, **changed}
        )


@pytest.mark.parametrize("strides", [2**14, 2**30])
@pytest.mark.parametrize("real", [True, False])
def test_strides_beyond_the_image(rng, strides, real):
    """They give one place, as strides of the image's size do, and take no more memory."""
    x = rng.standard_normal((2, 16, 3, 5)).astype(np.float32)
    x = x if real else np.sign(x)
    far, near = (nn.BinaryConv2D(4, 2, strides=each, padding=1, in_channels=16) for each in (strides, 7))
    weight = rng.standard_normal((4, 16, 2, 2)).astype(np.float32)
    for net in (far, near):
        net.initialize()
        net.weight.set_data(mx.nd.array(weight))
    of_each = [results(net, (x,), 3) + [net.weight.grad().asnumpy()] for net in (far, near)]
    for one, other in zip(*of_each):
        np.testing.assert_array_equal(one, other)


def test_other_types_are_refused():
    library.load_operators()
    with pytest.raises(mx.MXNetError, match="binary_conv takes float32 as its input 1, got float64"):
        mx.nd.gluon_bnn_binary_conv(mx.nd.ones((1, 2, 5, 5)), mx.nd.ones((4, 2, 3, 3), dtype="float64"), **VALID)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_pool_is_mxnets(rng, dtype):
    """Kernels, strides, padding and both roundings, ties, and zeros of both signs."""
    library.load_operators()
    for _ in range(80):
        kernel, strides = ([int(v) for v in rng.integers(1, 4, 2)] for _ in range(2))
        padding = tuple(int(rng.integers(0, k)) for k in kernel)
        rows, channels, height, width = (
            rng.integers(1, 4),
            rng.integers(1, 5),
            *rng.integers(3, 150 if _ == 0 else 14, 2),
        )
        x = rng.integers(-3, 3, (rows, channels, height, width)).astype(dtype)
        x[rng.random(x.shape) < 0.2] = -0.0
        ceil = bool(rng.integers(2))
        sizes = {"pool_size": kernel, "strides": strides, "padding": padding, "ceil_mode": ceil}
        pools = mx.gluon.nn.MaxPool2D(**sizes), nn.MaxPool2D(**sizes)
        d = rng.integers(-9, 9, pools[0](mx.nd.array(x)).shape)
        for one, other in zip(*(results(pool, (x,), d) for pool in pools)):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_pool_ignores_nan(dtype):
    x = np.array([[np.nan, 1, np.nan, np.nan], [2, np.nan, -np.inf, np.nan]], dtype).reshape(1, 1, 2, 4)
    y, dx = results(nn.MaxPool2D(), (x,), 3)
    assert y.tolist() == [[[[2, np.finfo(dtype).min]]]]
    np.testing.assert_array_equal(y, mx.gluon.nn.MaxPool2D()(mx.nd.array(x, dtype=dtype)).asnumpy())
    np.testing.assert_array_equal(y, conv.max_pool(x, (2, 2), 2))
    np.testing.assert_array_equal(dx[0, 0], [[0, 0, 3, 0], [3, 0, 0, 0]])


@pytest.mark.parametrize("strides", [2, 3])
def test_max_pool_of_numbers_below_those_of_float32(strides):
    x = -(10.0 ** np.array([[50, 60, 40, 70], [70, 45, 80, 39]])).reshape(1, 1, 2, 4)
    layer = nn.MaxPool2D(2, (2, strides), ceil_mode=True)  # the last window of three has one column
    y, dx = results(layer, (x,), 3)
    np.testing.assert_array_equal(y, conv.max_pool(x, (2, 2), (2, strides), ceil=True))
    assert y.ravel().tolist() == [-1e45, -1e39]
    np.testing.assert_array_equal(dx[0, 0], [[0, 0, 0, 0], [0, 3, 0, 3]])


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"padding": "(2, 0)"}, "padding of a pool must be smaller than its kernel"),
        ({"kernel": "(2,)"}, "as many numbers as kernel"),
        ({"kernel": "(2,)", "strides": "(2,)", "padding": "(0,)"}, "have two numbers"),
        ({"kernel": "(9, 2)"}, "a kernel that covers 9 places does not fit into the 5"),
        # So many places of the result that their number, of 16 channels, does not fit into 64 bits.
        ({"kernel": (2**30 - 4,) * 2, "strides": (1, 1), "padding": (2**30 - 5,) * 2}, "with its padding must have"),
        ({"rounding": "up"}, "rounding must be floor or ceil"),
    ],
)
def test_errors_of_max_pool(changed, message):
    library.load_operators()
    sizes = {"kernel": (2, 2), "strides": (2, 2), "padding": (0, 0), **changed}
    with pytest.raises(mx.MXNetError, match=message):
        mx.nd.gluon_bnn_max_pool(mx.nd.ones((1, 16, 5, 5)), **sizes)
