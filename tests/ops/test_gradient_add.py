"""Gradients that are added to what is there: grad_req="add", loops, arrays used many times, in every kind of graph.

(Batch norm is not tried in loops: MXNet's loops take no layer with running averages, its own included.)

An operator of an extension library overwrites its gradients; gluon_bnn/ops/gradients.py says how ours come to add.
"""

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, ops
from gluon_bnn._compat import mx

import programs
from gluon_nets import export, imported, sequential
from pairs import IMPLEMENTATIONS, pairs

PASSES = 3


def of_channels(layer):
    """A layer of six inputs, which `layer` sees as two channels."""
    return sequential(mx.gluon.nn.HybridLambda(lambda F, x: F.reshape(x, (-1, 2, 3))), layer)


def convolution(**options):
    return of_channels(nn.BinaryConv1D(4, 2, in_channels=2, **options))


LAYERS = {
    "dense": lambda **k: nn.BinaryDense(4, in_units=6, **k),
    "channel": lambda **k: nn.BinaryDense(4, in_units=6, scale="channel", gradient="exact", **k),
    "loss": lambda **k: nn.BinaryDense(4, in_units=6, scale="loss", **k),
    "no scale": lambda **k: nn.BinaryDense(4, in_units=6, scale=None, clip=None, use_bias=False, **k),
    "stochastic": lambda **k: nn.BinaryDense(4, in_units=6, scale=None, stochastic=True, **k),
    "conv": convolution,
    "conv, by channel": lambda **k: convolution(scale="channel", gradient="exact", padding=1, pad_value=1, **k),
    "conv, loss": lambda **k: convolution(scale="loss", **k),
    "sign": lambda **k: nn.BinaryActivation(),
    "sign without clip": lambda **k: nn.BinaryActivation(None),
    "sigmoid": lambda **k: nn.BinarySigmoid(),
    "batch norm": lambda **k: nn.BatchNorm(in_channels=6),
    "batch norm of channels": lambda **k: of_channels(nn.BatchNorm(1, in_channels=2)),
}
MODES = {"imperative": None, "hybridized": {}, "static": {"static_alloc": True, "static_shape": True}}


def gradients(net, x, passes, train_mode=False):
    """{name: gradient} of the parameters and of "x", after some passes over the same batch."""
    for _ in range(passes):
        with mx.autograd.record(train_mode=train_mode):  # stochastic signs are drawn in training
            y = net(x)
            loss = (y * mx.nd.arange(1, y.size + 1, dtype=y.dtype).reshape(y.shape)).sum()
        loss.backward()
    found = {name: p.grad().asnumpy().copy() for name, p in net.collect_params().items() if p.grad_req != "null"}
    return {**found, "x": x.grad.asnumpy().copy()}


def set_requests(net, x, req):
    net.collect_params().setattr("grad_req", req)
    x.attach_grad(req)
    for p in net.collect_params().values():
        if p.grad_req != "null":
            p.zero_grad()


def batch(rng, dtype="float32", rows=5):
    return mx.nd.array(rng.standard_normal((rows, 6)), dtype=dtype)


def assert_added(net, x):
    set_requests(net, x, "write")
    once = gradients(net, x, 1)
    set_requests(net, x, "add")
    added = gradients(net, x, PASSES)
    for name, gradient in once.items():
        np.testing.assert_allclose(added[name], PASSES * gradient, rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.abs(once["x"]).max() > 0


@pairs(implementation=IMPLEMENTATIONS, kind=LAYERS, dtype=["float32", "float64"], mode=MODES)
def test_every_layer(rng, implementation, kind, dtype, mode):
    net = mx.gluon.nn.HybridSequential()
    net.add(LAYERS[kind]())
    net.cast(dtype)
    net.initialize(mx.init.Uniform(1))
    if MODES[mode] is not None:
        net.hybridize(**MODES[mode])
    assert_added(net, batch(rng, dtype))


class Steps(mx.gluon.HybridBlock):
    """A layer in the body of a loop over the rows of x."""

    def __init__(self, layer, loop):
        super().__init__()
        self.layer, self._loop = layer, loop

    def hybrid_forward(self, F, x):
        if self._loop == "foreach":
            return F.contrib.foreach(lambda row, state: (self.layer(row), state), x, F.zeros((1,)))[0]
        if self._loop == "nested":

            def outer(rows, state):
                return F.contrib.foreach(lambda row, s: (self.layer(row), s), rows, F.zeros((1,)))[0], state

            return F.contrib.foreach(outer, x, F.zeros((1,)))[0]
        if self._loop == "cond":
            return F.contrib.cond(F.ones((1,)), lambda: self.layer(x), lambda: self.layer(2 * x))
        return F.contrib.while_loop(
            lambda i: i < 4, lambda i: (self.layer(F.broadcast_mul(x, i)), i + 1), F.ones((1,)), max_iterations=3
        )[0]


@pairs(
    implementation=IMPLEMENTATIONS,
    kind=[kind for kind in LAYERS if kind != "stochastic" and "batch norm" not in kind],
    loop=["foreach", "nested", "while", "cond"],
)
def test_loops_as_they_run_imperatively(rng, implementation, kind, loop):
    shape = {"foreach": (5, 2, 6), "nested": (3, 5, 2, 6)}.get(loop, (2, 6))
    x = mx.nd.array(rng.standard_normal(shape))
    net = Steps(LAYERS[kind](), loop)
    net.initialize(mx.init.Uniform(1))
    x.attach_grad()
    expected = gradients(net, x, 1)
    for options in ({}, {"static_alloc": True}):
        net.hybridize(**options)
        for name, gradient in gradients(net, x, 2).items():  # written, so the second pass replaces the first
            np.testing.assert_allclose(gradient, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def small_net(rng):
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BatchNorm(in_channels=6),
        nn.BinaryDense(8, in_units=6, scale="channel"),
        nn.BatchNorm(in_channels=8),
        nn.BinaryActivation(),
        nn.BinaryDense(4, in_units=8, scale="loss"),
        mx.gluon.nn.Dense(3, in_units=4),
    )
    net.initialize(mx.init.Uniform(1))
    return net


@pytest.mark.parametrize("load", [gluon_bnn.load_exported, imported])
def test_nets_that_were_exported(rng, implementation, load, tmp_path):
    net, x, prefix = small_net(rng), batch(rng), str(tmp_path / "net")
    export(net, prefix, x)
    assert_added(load(prefix), x)


def symbol_and_arguments(net, x):
    symbol = net(mx.sym.var("data"))
    values = {p.name: p.data() for p in net.collect_params().values()}
    auxiliary = {name: values[name] for name in symbol.list_auxiliary_states()}
    return symbol, {"data": x, **{n: v for n, v in values.items() if n not in auxiliary}}, auxiliary


@pytest.mark.parametrize("traced", ["symbol", "graph of a hybridized net"])
def test_bind(rng, implementation, traced):
    """Symbol.bind(grad_req="add"): of the net as a Symbol, and of the graph that its export would write."""
    net, x = small_net(rng), batch(rng)
    symbol, arguments, auxiliary = symbol_and_arguments(net, x)
    if traced != "symbol":
        net.hybridize()
        net(x)
        symbol = net._cached_graph[1]
    found = {}
    for req, passes in (("write", 1), ("add", PASSES)):
        arrays = {name: mx.nd.zeros_like(value) for name, value in arguments.items()}
        executor = symbol.bind(mx.cpu(), arguments, args_grad=arrays, grad_req=req, aux_states=auxiliary)
        for _ in range(passes):
            executor.forward(is_train=True)
            executor.backward(mx.nd.arange(15).reshape((5, 3)))
        found[req] = {name: value.asnumpy() for name, value in arrays.items()}
    for name, gradient in found["write"].items():
        np.testing.assert_allclose(found["add"][name], PASSES * gradient, rtol=1e-4, atol=1e-4, err_msg=name)


def test_module(rng, implementation):
    net, x = small_net(rng), batch(rng)
    symbol, arguments, auxiliary = symbol_and_arguments(net, x)
    found = []
    for req in "write", "add":
        module = mx.mod.Module(symbol, data_names=["data"], label_names=None)
        module.bind([("data", x.shape)], for_training=True, inputs_need_grad=True, grad_req=req)
        module.set_params({n: v for n, v in arguments.items() if n != "data"}, auxiliary)
        for _ in range(2):
            module.forward(mx.io.DataBatch([x]), is_train=True)
            module.backward([mx.nd.ones((5, 3))])
        executor = module._exec_group.execs[0]
        found.append({name: g.asnumpy() for name, g in executor.grad_dict.items() if g is not None})
    for name, gradient in found[0].items():
        np.testing.assert_allclose(found[1][name], 2 * gradient, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("mode", ["hybridized", "static"])
@pytest.mark.parametrize("again", ["nothing", "inner layer", "layer that shares the weight"])
def test_added_from_the_middle_of_training_on(rng, implementation, again, mode):
    net, x = small_net(rng), batch(rng)
    net.hybridize(**MODES[mode])
    x.attach_grad()
    once = gradients(net, x, 2)
    other = nn.BinaryDense(8, in_units=6, scale="channel", params=net[1].params)
    if again == "inner layer":
        net[1].hybridize()
    elif again != "nothing":
        other.hybridize()
        other(x)
    net[1].weight.grad_req = "add"
    name = net[1].weight.name
    np.testing.assert_allclose(gradients(net, x, PASSES)[name], PASSES * once[name], rtol=1e-5, atol=1e-6)
    net[1].weight.grad_req = "write"
    np.testing.assert_allclose(gradients(net, x, PASSES)[name], once[name], rtol=1e-5, atol=1e-6)


class Signs(mx.gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.sign = nn.BinaryActivation()

    def hybrid_forward(self, F, x):
        return F.slice_axis(self.sign(x), axis=1, begin=0, end=4)


class Repeat(mx.gluon.HybridBlock):
    """The sum of a layer over several multiples of x, and of another layer that shares its parameters."""

    def __init__(self, times, tied):
        super().__init__()
        self.layer, self.sign, self._times = nn.BinaryDense(4, in_units=6), Signs(), times
        self.tied = mx.gluon.nn.Dense(4, in_units=6, params=self.layer.params) if tied else None

    def hybrid_forward(self, F, x):
        found = sum((self.layer(x * i) for i in range(2, self._times + 1)), self.layer(x))
        found = found + sum(self.sign(x) * i for i in range(self._times))
        return found if self.tied is None else found + sum(self.tied(x * i) for i in range(1, 10))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("times", [1, 2, 7, 8, 12])
def test_a_weight_used_many_times_in_one_graph(rng, implementation, times, tied):
    net, x = Repeat(times, tied), batch(rng)
    net.initialize(mx.init.Uniform(1))
    x.attach_grad()
    expected = gradients(net, x, 1)
    for mode in "hybridized", "static":
        net.hybridize(**MODES[mode])
        for name, gradient in gradients(net, x, 2).items():
            np.testing.assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-4, err_msg=f"{mode} {name}")


class Own(mx.gluon.HybridBlock):
    """A user's own layer on the functions of `ops`."""

    def __init__(self):
        super().__init__()
        self._ops = ops.current()
        self.weight = self.params.get("weight", shape=(4, 6))
        self.bias = self.params.get("bias", shape=4)
        self.alpha = self.params.get("alpha", shape=4, init=mx.init.Constant(0.7))

    def hybrid_forward(self, F, x, weight, bias, alpha):
        signs, scale = self._ops.sign_scale(F, weight, "channel")
        dot = F.FullyConnected(self._ops.sign(F, x), signs, num_hidden=4, no_bias=True)
        y = self._ops.scale_bias(F, dot, scale, bias, alpha_gradient=False)
        return y + self._ops.scale_bias(F, dot, alpha, bias, alpha_gradient=True)


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_of_ones_own(rng, implementation, mode):
    net = Own()
    net.initialize(mx.init.Uniform(1))
    if MODES[mode] is not None:
        net.hybridize(**MODES[mode])
    assert_added(net, batch(rng))
    once = gradients(net, batch_with_gradient(rng), 1)
    assert all(np.abs(once[p.name]).max() > 0 for p in net.collect_params().values())


def batch_with_gradient(rng):
    x = batch(rng)
    x.attach_grad()
    return x


def test_the_graph_of_a_training_step_copies_no_parameter(rng):
    """Where nothing has to be added parameters go straight to the operator; what is exported always adds."""
    if ops.current() is not ops.native:
        pytest.skip("the native library is not there")
    net, x = mx.gluon.nn.HybridSequential(), batch_with_gradient(rng)
    net.add(nn.BinaryDense(4, in_units=6), nn.BatchNorm(in_channels=4), nn.BatchNorm(in_channels=4))
    net.initialize()
    net.hybridize()
    net(x)
    parameters = [net[0].weight, net[0].bias, net[1].gamma, net[1].beta, net[2].gamma, net[2].beta]
    assert list(net._writes) == parameters
    for i, parameter in enumerate(parameters):
        parameter.grad_req = "add"
        net(x)
        assert parameter not in net._writes and len(net._writes) == (4, 4, 2, 2, 0, 0)[i]


@pytest.mark.slow
def test_plain_nets_are_as_they_are_without_us():
    """Importing gluon_bnn changes nothing in how MXNet adds up the gradients of other nets."""
    program = """
import gluon_bnn
from gluon_bnn._compat import mx
import gluon_bnn.nn
net = mx.gluon.nn.Dense(7, in_units=13)
net.initialize()
net.hybridize(static_alloc=True, static_shape=True)
x, d = mx.nd.random.normal(shape=(5, 13)), mx.nd.random.normal(shape=(5, 7))
for uses in (1, 8, 12):
    with mx.autograd.record():
        loss = sum((net(x) * d).sum() for _ in range(uses))
    loss.backward()
    once = mx.nd.dot(d.T, x)
    print((net.weight.grad() / once).mean().asscalar() / uses)
"""
    printed = programs.output("-c", program, MXNET_EXEC_INPLACE_GRAD_SUM_CAP=None)
    np.testing.assert_allclose(list(map(float, printed.split())), [1, 1, 1], rtol=1e-3)
