"""Tracing a net for `freeze`: what it leaves alone, and its errors."""

import threading

import numpy as np
import pytest

from gluon_bnn import nn, ops
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.deploy.trace import trace
from gluon_bnn.nn import tracing

from frozen_blocks import OnArrays, Own, before
from frozen_nets import FORMS, gluon, lines, plus_minus, randomise, sequential
from needs import needs_library


@pytest.fixture
def net(rng, implementation):
    """One with everything that a trace could leave marks on."""
    blocks = nn.BinaryDense(8, in_units=8, scale="loss"), nn.BatchNorm(in_channels=8), before(8), nn.BinaryActivation()
    with ops.use("composed"):
        last = OnArrays(nn.BinaryDense(8, in_units=8))
    return randomise(sequential(*blocks, last, nn.BinaryDense(3, "relu", in_units=8)), rng)


def state(net):
    """All that blocks and parameters hold."""
    blocks = []
    net.apply(lambda block: blocks.append({n: v for n, v in vars(block).items() if n not in ("_scope",)}))
    return blocks, {name: dict(vars(p)) for name, p in net.collect_params().items()}


def test_nothing_changes(rng, net):
    """No mark on a parameter, no attribute of a block: grad_req may still be set, and names go on as before."""
    x = mx.nd.array(plus_minus(rng, 5, 8))
    net(x)
    before, name = state(net), mx.sym.relu(mx.sym.var("x")).name
    freeze(net, FORMS[-1], verbose=False)
    assert state(net) == before
    assert int(mx.sym.relu(mx.sym.var("x")).name[4:]) == int(name[4:]) + 1
    net.collect_params().setattr("grad_req", "add")


def test_a_hybridized_net_goes_on(rng, implementation):
    """Its graph is the same one, and trains as before."""
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), before(8), gluon.Dense(3, in_units=8)), rng)
    x = mx.nd.array(plus_minus(rng, 5, 8))
    net.hybridize()
    net(x)

    def gradients():
        with mx.autograd.record():
            net(x).backward()
        return [p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null"]

    expected, graph = gradients(), net._cached_op
    for form in FORMS:
        freeze(net, form, verbose=False)
    assert net._cached_op is graph
    for found, wanted in zip(gradients(), expected):
        np.testing.assert_array_equal(found, wanted)


def test_a_failing_trace_changes_nothing_either(rng, implementation):
    layers = {"body": before(8), "dense": nn.BinaryDense(8, in_units=8)}
    net = randomise(Own(lambda self, F, x: self.dense(self.body(x)).no_such_method(), **layers), rng)
    found = state(net)
    with pytest.raises(ValueError, match=rf"and {net.name}, a Own, fails there: .*no_such_method"):
        freeze(net, "float", verbose=False)
    assert state(net) == found
    assert tracing.stand_in(net.dense, mx.sym.relu, mx.sym.var("x")) is None


def test_binary_layers_are_marked(rng, implementation):
    """Each is one operator of MXNet's on the real weights, with what a subclass's own forward does around it."""

    class Mine(nn.BinaryDense):
        def hybrid_forward(self, F, x, weight, bias=None):
            return super().hybrid_forward(F, 3 * x, weight, bias)

    net = sequential(Mine(4, in_units=5), nn.BinaryActivation(), nn.BinarySigmoid())
    net.initialize()
    found = [(node.operator, node.layer, node.row.layer) for node in trace(net).nodes if node.operator != "null"]
    names = [block.name for block in net]
    assert found == [
        ("_mul_scalar", None, names[0]),
        ("FullyConnected", net[0], names[0]),
        ("sign", net[1], names[1]),
        ("sign", net[2], names[2]),
    ]


@pytest.mark.parametrize("factor", [-1, 0.5])
def test_weights_that_a_subclass_changes(rng, implementation, factor):
    class Mine(nn.BinaryDense):
        def hybrid_forward(self, F, x, weight, bias=None):
            return super().hybrid_forward(F, x, factor * weight, bias)

    net = randomise(Mine(4, in_units=5), rng)
    x = plus_minus(rng, 9, 5)
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), net(mx.nd.array(x)).asnumpy())


def test_weights_that_depend_on_the_input(rng):
    class Mine(nn.BinaryDense):
        def hybrid_forward(self, F, x, weight, bias=None):
            return super().hybrid_forward(F, x, F.broadcast_mul(weight, F.sum(x)), bias)

    net = randomise(Mine(4, in_units=5), rng)
    with pytest.raises(ValueError, match=f"the weights of {net.name} must not depend on the input"):
        freeze(net, "float")


@needs_library
def test_layers_in_a_loop_are_what_they_always_are(rng, implementation):
    """The body of a loop is a graph of its own, which nobody converts: no stand-in may be in it."""
    layer = nn.BinaryDense(8, in_units=8)
    net = Own(lambda self, F, x: F.contrib.foreach(lambda row, s: (layer(row), s), F.expand_dims(x, 0), [])[0], l=layer)
    net = randomise(sequential(nn.BinaryActivation(), net), rng)
    x = mx.nd.array(plus_minus(rng, 5, 8))
    expected = net(x).asnumpy()
    np.testing.assert_array_equal(freeze(net, verbose=False)(x).asnumpy(), expected)
    if implementation == "composed":
        np.testing.assert_array_equal(freeze(net, "float", verbose=False)(x).asnumpy(), expected)
        return
    with pytest.raises(ValueError, match=r"\(_foreach\), .* runs on our library \(gluon_bnn_binary_dense\)"):
        freeze(net, "float", verbose=False)


@needs_library
def test_operators_of_ours_that_nobody_converts(rng):
    """The packed form keeps them."""
    block = Own(lambda self, F, x: F.gluon_bnn_squared_hinge(x, F.slice_axis(x, axis=1, begin=0, end=1) * 0))
    with ops.use("native"):
        net = randomise(sequential(nn.BinaryDense(3, in_units=8), block), rng)
    x = mx.nd.array(plus_minus(rng, 5, 8))
    np.testing.assert_array_equal(freeze(net, verbose=False)(x).asnumpy(), net(x).asnumpy())
    with pytest.raises(ValueError, match=rf"{block.name} \(gluon_bnn_squared_hinge\), .* use form='packed'"):
        freeze(net, "float", verbose=False)


def test_deferred_shapes(rng, implementation):
    """As with chains: the batch that is missing is asked for; then all is known."""
    net = sequential(nn.BinaryDense(8), Own(lambda self, F, x: x + self.dense(x), dense=nn.BinaryDense(8)))
    with pytest.raises(ValueError, match="parameters have values; .* has none: call net.initialize"):
        freeze(net, "float", verbose=False)
    net.initialize()
    with pytest.raises(ValueError, match="parameters have values; .* has none: call the net once on a batch"):
        freeze(net, "float", verbose=False)
    net(mx.nd.ones((2, 5)))
    assert freeze(net, "float", verbose=False).input_shape == (5,)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda self, F, x: None, "computes all that it gives, and own.* gives None"),
        (lambda self, F, x: [x, None], "gives None"),
        (lambda self, F, x: {"y": x}, "fails there: ValueError"),
        (lambda self, F, x: mx.nd.ones((2, 2)), "computes all that it gives"),
        (lambda self, F, x: F.ones(shape=(2, 2)), "outputs depend on its input"),
        (lambda self, F, x: [x, F.ones(shape=(2, 2))], "outputs depend on its input"),
    ],
)
def test_outputs_that_are_none(function, message):
    with pytest.raises(ValueError, match=message):
        freeze(Own(function, sign=nn.BinaryActivation()), "float")


def test_several_inputs(tmp_path):
    class Two(gluon.HybridSequential):
        def hybrid_forward(self, F, x, y):
            return self[0](x) + y

    net = Two()
    net.add(nn.BinaryDense(3, in_units=4))
    net.initialize()
    net.hybridize()
    net(mx.nd.ones((2, 4)), mx.nd.ones((2, 3)))
    net.export(str(tmp_path / "net"))
    for each in (net, load_exported(tmp_path / "net")):
        with pytest.raises(ValueError, match="on one input, and .* fails there"):
            freeze(each, "float")


def test_parameters_of_one_name(rng):
    blocks = [nn.BinaryDense(3, in_units=3, prefix="one_") for _ in range(2)]
    net = sequential(*(randomise(block, rng) for block in blocks))
    with pytest.raises(ValueError, match="parameters have different names; two are one_"):
        freeze(net, "float")


def test_a_parameter_from_elsewhere(rng):
    other = nn.BinaryDense(3, in_units=3)
    other.initialize()
    net = Own(lambda self, F, x: self.sign(x) + F.broadcast_add(x, other.bias.var()), sign=nn.BinaryActivation())
    with pytest.raises(ValueError, match=f"uses {other.bias.name}, which is no parameter of it"):
        freeze(net, "float")


@pytest.mark.parametrize("mark", ["__layer__", "__row__"])
def test_attributes_in_an_export_are_only_names(rng, tmp_path, mark):
    """A file may have attributes of the names that the trace uses."""
    net = randomise(sequential(gluon.Dense(3, in_units=4), nn.BinaryActivation()), rng)
    net.hybridize()
    x = mx.nd.array(plus_minus(rng, 5, 4))
    expected = net(x).asnumpy()
    net.export(str(tmp_path / "net"))
    path = tmp_path / "net-symbol.json"
    text = path.read_text().replace('"num_hidden"', f'"{mark}": "0", "num_hidden"')
    assert mark in text
    path.write_text(text)
    frozen = freeze(load_exported(tmp_path / "net"), "float", verbose=False)
    np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
    assert lines(frozen.graph)[0] == "dense 4 -> 3 float float"


def test_other_threads_may_use_and_freeze_the_net_meanwhile(rng, implementation):
    net = randomise(sequential(before(8), nn.BinaryDense(3, in_units=8)), rng)
    x = mx.nd.array(plus_minus(rng, 5, 8))
    expected, found, unchanged, done = net(x).asnumpy(), [], state(net), threading.Event()

    def use():
        while not done.is_set():
            found.append(net(x).asnumpy())

    def freeze_it():
        for _ in range(4):
            found.append(freeze(net, "float", verbose=False)(x).asnumpy())

    user, others = threading.Thread(target=use), [threading.Thread(target=freeze_it) for _ in range(3)]
    user.start()
    for other in others:
        other.start()
    for other in others:
        other.join()
    done.set()
    user.join()
    assert len(found) > 12 and state(net) == unchanged
    for each in found:
        np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-5)
