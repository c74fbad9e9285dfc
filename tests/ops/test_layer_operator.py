"""The whole layer in one operator against the reference, on every instruction set, and through `nn.BinaryDense`."""

import json

import numpy as np
import pytest
from hypothesis import example, settings

from gluon_bnn import nn
from gluon_bnn._compat import mx
from gluon_bnn.check.sign_scale import all_rules, weight_magnitude
from gluon_bnn.native import library
from gluon_bnn.reference import binary, bits

from needs import needs_library
from pairs import INSTRUCTION_SETS, pairs
from sizes import over_sizes

pytestmark = needs_library
# Largest error in units of eps times the sum of magnitudes: 2.6 seen over all cases and 20 seeds.
BOUND = 8.0


def within(found, expected, magnitude):
    error = np.abs(found.asnumpy().astype(np.float64) - expected)
    assert (error <= BOUND * np.finfo(np.float32).eps * magnitude).all()


@pytest.mark.parametrize("scale, gradient", all_rules())
@settings(max_examples=5)
@over_sizes(rows=129, units=129, inputs=1000)
@example(seed=0, rows=300, units=40, inputs=33)  # more rows than a block of the outer product
@example(seed=0, rows=2, units=2100, inputs=40)  # more units than a stack holds
def test_forward_and_backward(instruction_set, scale, gradient, seed, rows, units, inputs):
    rng = np.random.default_rng(seed)
    clip, of_signs = (1.0, None, 0.25)[rng.integers(3)], rng.random() < 0.5
    x, d = rng.standard_normal((rows, inputs)), rng.standard_normal((rows, units))
    x = (binary.sign(x) if of_signs else x).astype(np.float32)
    w = 2 * rng.standard_normal((units, inputs))
    w.flat[0], w.flat[-1] = 1.0, -1.0  # |w| = clip, but for None and 0.25
    if units > 2:
        w[1] = 0  # with scale="channel" a group that gets no gradient
    w, d, bias = w.astype(np.float32), d.astype(np.float32), rng.standard_normal(units).astype(np.float32)
    curvature = rng.uniform(0.1, 3, w.shape).astype(np.float32) if scale == "loss" else None
    arrays = [mx.nd.array(a) for a in (x, w, bias, curvature) if a is not None]
    for array in arrays:
        array.attach_grad()
        array.grad[:] = 7  # all of it must be written, zeros too
    with mx.autograd.record():
        y, weight_bits, alphas = mx.nd.gluon_bnn_binary_dense(
            *arrays, units=units, scale=str(scale), gradient=gradient, clip=str(clip)
        )
    y.backward(mx.nd.array(d))
    np.testing.assert_array_equal(weight_bits.asnumpy(), bits.pack_weights(w))
    x, w, bias, d = (a.astype(np.float64) for a in (x, w, bias, d))
    alpha = binary.sign_scale(w, scale, curvature)[1]
    expected = binary.binary_dense_backward(d, x, w, scale, gradient, clip, curvature)
    within(alphas, np.broadcast_to(alpha, units), alpha)
    magnitude = alpha * np.abs(x).sum(1, keepdims=True) + np.abs(bias)
    within(y, binary.binary_dense(x, w, bias, scale, curvature), magnitude)
    within(arrays[0].grad, expected["x"], (np.abs(d) * alpha).sum(1, keepdims=True))
    magnitude = weight_magnitude(np.abs(d).T @ np.abs(x), w, scale, gradient)
    within(arrays[1].grad, expected["weight"], magnitude)
    within(arrays[2].grad, expected["bias"], np.abs(d).sum(0))
    if scale == "loss":
        assert (arrays[3].grad.asnumpy() == 0).all()


@pairs(instruction_set=INSTRUCTION_SETS, rule=all_rules(), clip=[1.0, None])
def test_signs_within_the_operator(rng, instruction_set, rule, clip):
    """With sign=True it is gluon_bnn_sign and the layer, to the bit, forward and backward; also for rows that are no
    multiple of anything, images, |x| = clip, zeros of both signs and NaN."""
    scale, gradient = rule
    library.load_operators()
    for shape, units in (((1, 1), 1), ((5, 33), 7), ((100, 97), 130), ((33, 3, 5, 7), 20), ((64, 1000), 10)):
        x = rng.standard_normal(shape).astype(np.float32)
        x.flat[:5] = [1.0, -1.0, 0.0, -0.0, np.nan][: x.size]
        w = rng.standard_normal((units, x[0].size)).astype(np.float32)
        curvature = [rng.uniform(0.1, 3, w.shape).astype(np.float32)] if scale == "loss" else []
        options = {"units": units, "scale": str(scale), "gradient": gradient, "clip": "1.0"}
        d = mx.nd.array(rng.standard_normal((len(x), units)))

        def run(layer):
            arrays = [mx.nd.array(a) for a in (x, w, rng.standard_normal(units) * 0 + 0.5, *curvature)]
            for array in arrays:
                array.attach_grad()
            with mx.autograd.record():
                y = layer(*arrays)
            y.backward(d)
            return [y, *(array.grad for array in arrays)]

        found = run(lambda *arrays: mx.nd.gluon_bnn_binary_dense(*arrays, sign=True, sign_clip=str(clip), **options)[0])
        expected = run(
            lambda x, *arrays: mx.nd.gluon_bnn_binary_dense(
                mx.nd.gluon_bnn_sign(x, clip=str(clip)), *arrays, **options
            )[0]
        )
        for one, other in zip(found, expected):
            np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


def test_bits_are_kept_in_a_hybridized_net(rng, monkeypatch):
    """The graph of a net that trains has no operator for signs that only binary layers take; the numbers are those of
    the net that is not hybridized, also where others take the signs too, and exports have the operator."""

    class Net(mx.gluon.HybridBlock):
        def __init__(self, shared):
            super().__init__()
            self.shared = shared
            self.first, self.second, self.third = (
                nn.BinaryDense(n, in_units=k) for n, k in ((33, 20), (40, 33), (5, 40))
            )
            self.sign, self.hard = nn.BinaryActivation(), nn.BinaryActivation(clip=None)

        def hybrid_forward(self, F, x):
            signs = self.sign(self.first(x))
            y = self.third(self.hard(self.second(signs)))
            return F.concat(y, signs) if self.shared else y

    graphs, cached_op = [], mx.nd.CachedOp
    monkeypatch.setattr(
        mx.nd, "CachedOp", lambda graph, *flags: graphs.append(graph.tojson()) or cached_op(graph, *flags)
    )
    for shared in (False, True):
        net = Net(shared)
        net.initialize(mx.init.Xavier(rnd_type="gaussian", magnitude=8))
        x, results = mx.nd.array(2 * rng.standard_normal((17, 20))), []
        d = mx.nd.array(rng.standard_normal((17, 5 + 33 * shared)))
        for hybrid in (False, True):
            net.hybridize(hybrid, static_alloc=True, static_shape=True)
            x.attach_grad()
            with mx.autograd.record():
                y = net(x)
            y.backward(d)
            results.append([y, x.grad.copy(), *(p.grad().copy() for p in net.collect_params().values())])
        for one, other in zip(*results):
            np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())
        assert graphs[-1].count('"gluon_bnn_sign"') == shared and graphs[-1].count('"sign": "True"') == 2
        assert net(mx.sym.var("data")).tojson().count('"gluon_bnn_sign"') == 2


def test_products_of_signs_are_exact(rng, instruction_set):
    x, w = binary.sign(rng.standard_normal((9, 1000))), rng.standard_normal((33, 1000))
    y = mx.nd.gluon_bnn_binary_dense(
        mx.nd.array(x), mx.nd.array(w), units=33, scale="None", gradient="ste", no_bias=True
    )[0]
    np.testing.assert_array_equal(y.asnumpy(), x @ binary.sign(w).T)


@pytest.mark.parametrize("scale", ["layer", "channel", "loss", None])
def test_alpha_is_that_of_sign_scale_to_the_bit(rng, instruction_set, scale):
    """A frozen layer has it from there; over binary inputs it must equal the net as trained."""
    for units, inputs in ((1, 1), (7, 33), (130, 97), (10, 1000), (40, 20000)):
        w, curvature = (mx.nd.array(rng.uniform(0.1, 3, (units, inputs))) for _ in range(2))
        more = [curvature] if scale == "loss" else []
        alpha = mx.nd.gluon_bnn_binary_dense(
            mx.nd.ones((1, inputs)), w, *more, units=units, scale=str(scale), gradient="ste", no_bias=True
        )[2]
        expected = mx.nd.gluon_bnn_sign_scale(w, *more, scale=str(scale), gradient="ste")[1]
        np.testing.assert_array_equal(alpha.asnumpy(), np.broadcast_to(expected.asnumpy(), units))


def test_the_layer_uses_it_where_it_can():
    def operators(**options):
        layer = nn.BinaryDense(3, in_units=5, **options)
        layer.initialize()
        if options.get("dtype"):
            layer.cast(options["dtype"])
        return layer(mx.sym.var("data")).tojson()

    for options in ({}, {"scale": "loss"}, {"gradient": "exact"}):
        assert "gluon_bnn_binary_dense" in operators(**options)
    for options in ({"dtype": "float64"}, {"scale": None, "stochastic": True}):
        assert "gluon_bnn_binary_dense" not in operators(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"units": 0}, "units must be a whole number from 1 to 1073741824, got 0"),
        ({"units": 3, "scale": "row"}, "scale must be layer, channel, loss or None, got row"),
        ({"units": 3, "gradient": "hebb"}, "gradient must be"),
        ({"units": 3, "clip": "-1"}, "clip must be"),
        ({"units": 3, "scale": "None"}, "gradient=ste only"),
        ({"units": 4}, r"weight must have the shape \(4, 5\), got \(3, 5\)"),
    ],
)
def test_wrong_attributes(options, message):
    library.load_operators()
    with pytest.raises(mx.base.MXNetError, match=message):
        mx.nd.gluon_bnn_binary_dense(mx.nd.ones((2, 5)), mx.nd.ones((3, 5)), no_bias=True, **options)[0].wait_to_read()


def test_wrong_shapes():
    library.load_operators()
    with pytest.raises(mx.base.MXNetError, match="5 inputs takes rows of as many numbers, got 4"):
        mx.nd.gluon_bnn_binary_dense(mx.nd.ones((2, 4)), mx.nd.ones((3, 5)), no_bias=True, units=3)
    message = r"curvature, as the weights, must have the shape \(3, 5\), got \(3, 4\)"
    with pytest.raises(mx.base.MXNetError, match=message):
        mx.nd.gluon_bnn_binary_dense(
            mx.nd.ones((2, 5)),
            mx.nd.ones((3, 5)),
            mx.nd.ones((3, 4)),
            no_bias=True,
            units=3,
            scale="loss",
            gradient="ste",
        )


@pairs(
    options=[{}, {"scale": "channel", "gradient": "exact"}, {"scale": "loss"}, {"scale": None, "use_bias": False}],
    signs=[(), (0.5,), (None,)],
    flatten=[False, True],
    static=[False, True],
)
def test_gradient_of_a_nets_inputs(options, signs, flatten, static, rng):
    """It is an operator's of its own in a hybridized net; with it and without it all gradients have the same bits.
    `signs` is the clip of signs before the first layer."""
    net = mx.gluon.nn.HybridSequential()
    net.add(*map(nn.BinaryActivation, signs))
    net.add(nn.BinaryDense(33, flatten=flatten, **options), nn.BinaryDense(5, flatten=flatten))
    net.initialize(mx.init.Uniform(1))
    x = mx.nd.array(rng.standard_normal((7, 3, 65)))

    def gradients(asked):
        data = x.copy()
        if asked:
            data.attach_grad()
        with mx.autograd.record():
            y = net(data)
        y.backward(mx.nd.array(head))
        found = [p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null"]
        return found + ([data.grad.asnumpy()] if asked else [])

    head = rng.standard_normal(net(x).shape).astype("float32")
    expected = gradients(True)
    assert np.abs(expected[-1]).max() > 0
    net.hybridize(static_alloc=static, static_shape=static)
    for asked in (False, True, False):
        for found, wanted in zip(gradients(asked), expected):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("convolution", [False, True])
def test_gradient_of_a_nets_inputs_is_left_out(rng, tmp_path, convolution, signs):
    """MXNet runs its operator only where somebody asks for it."""
    net = mx.gluon.nn.HybridSequential()
    if signs:
        net.add(nn.BinaryActivation())
    net.add(nn.BinaryConv1D(3, 2, in_channels=4) if convolution else nn.BinaryDense(3, in_units=20))
    net.initialize()
    net.hybridize()
    x = mx.nd.array(rng.standard_normal((2, 4, 5)))
    counts = []
    for asked in (False, True):
        if asked:
            x.attach_grad()
        for profiled in (False, True):
            mx.nd.waitall()
            mx.profiler.set_config(
                profile_imperative=True, profile_symbolic=True, aggregate_stats=True, filename=str(tmp_path / "profile")
            )
            mx.profiler.set_state("run" if profiled else "stop")
            with mx.autograd.record():
                y = net(x)
            y.backward()
            mx.nd.waitall()
        mx.profiler.set_state("stop")
        operators = json.loads(mx.profiler.dumps(reset=True, format="json"))["Time"]["operator"]
        names = [name for name in operators if name.startswith("_backward_gluon_bnn") and "data_gradient" in name]
        counts.append(sum(operators[name]["Count"] for name in names))
        assert "_backward_gluon_bnn_sign" not in operators
    assert counts == [0, 1]
