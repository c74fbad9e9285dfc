"""Each operator that `freeze` converts, by itself, and what happens to those that it does not."""

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, ops, runtime
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.deploy.convert.build import converts
from gluon_bnn.graph import engine
from gluon_bnn.graph.kinds.activation import FUNCTIONS
from gluon_bnn.native import library
from gluon_bnn.nn import tracing
from gluon_bnn.nn.binary_layer import BinaryLayer

from frozen_blocks import Own, Shift
from frozen_nets import FORMS, gluon, lines, plus_minus, randomise, sequential
from needs import needs_library
from pairs import IMPLEMENTATIONS

ACTIVATIONS = {
    "relu": lambda: gluon.Activation("relu"),
    "leaky": lambda: gluon.LeakyReLU(0.3),
    "prelu": gluon.PReLU,
    "elu": lambda: gluon.ELU(0.7),
    "gelu": gluon.GELU,
    "sigmoid": lambda: gluon.HybridLambda("sigmoid"),
    "tanh": lambda: gluon.HybridLambda("tanh"),
    "softrelu": lambda: gluon.Activation("softrelu"),
    "softsign": lambda: gluon.HybridLambda("softsign"),
    "swish": lambda: gluon.Swish(1.5),
    "sign": nn.BinaryActivation,
    "binary_sigmoid": nn.BinarySigmoid,
}


def values(rng):
    """Inputs around every bend, zeros of both signs, large and small ones."""
    x = rng.standard_normal((60, 8)).astype(np.float32) * rng.choice([1e-3, 1, 10], (60, 1)).astype(np.float32)
    x.flat[:6] = 0.0, -0.0, 80, -80, 1e-30, -1e-30
    return x


def check(net, x, tmp_path):
    """Every Gluon form of a net has the bits of the net, and of each other; the graph of the last is returned."""
    expected = net(mx.nd.array(x)).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, input_shape=x.shape[1:], verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), expected)
        frozen.export(str(tmp_path / form))
        loaded = load_exported(tmp_path / form)
        np.testing.assert_array_equal(loaded(mx.nd.array(x)).asnumpy(), expected)
        if form == "float":
            again = freeze(loaded, form, input_shape=x.shape[1:], verbose=False)
            np.testing.assert_array_equal(again(mx.nd.array(x)).asnumpy(), expected)
            assert lines(again.graph) == lines(frozen.graph)
    return frozen.graph


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(rng, tmp_path, name):
    """All that the runtime has. MXNet's own approximations differ from it in last bits."""
    block = ACTIVATIONS[name]()
    net = randomise(sequential(nn.BinaryActivation(), nn.BinaryDense(8, in_units=8), block), rng)
    x = plus_minus(rng, 60, 8)
    graph = check(net, x, tmp_path)
    assert lines(graph)[-1] == f"{name} 8 -> 8 float float"
    expected = net(mx.nd.array(x)).asnumpy()
    for found in (engine.run(graph, x), runtime.Model(graph)(x)):
        if not FUNCTIONS[name].rounded:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)  # MXNet's gelu loses digits below 0


@pytest.mark.parametrize("block", [gluon.PReLU(), gluon.PReLU(in_channels=8), gluon.Swish(), gluon.LeakyReLU(0)])
def test_slopes(rng, tmp_path, block):
    net = randomise(sequential(nn.BinaryActivation(), nn.BinaryDense(8, in_units=8), block), rng)
    x = plus_minus(rng, 60, 8)
    graph = check(net, x, tmp_path)
    np.testing.assert_allclose(engine.run(graph, x), net(mx.nd.array(x)).asnumpy(), rtol=2e-6, atol=2e-7)


OPERATORS = {
    "x + c": lambda F, x, y: x + 0.3,
    "c + x": lambda F, x, y: 0.3 + x,
    "x - c": lambda F, x, y: x - 0.3,
    "c - x": lambda F, x, y: 0.3 - x,
    "1 - x": lambda F, x, y: 1 - x,
    "1 - 2 x": lambda F, x, y: 1 - 2 * x,
    "x * c": lambda F, x, y: x * -0.3,
    "x / c": lambda F, x, y: x / 3,
    "c / x": lambda F, x, y: -2 / x,
    "-x": lambda F, x, y: -x,
    "negative": lambda F, x, y: F.negative(x),
    "maximum c": lambda F, x, y: F.maximum(x, 0.2),
    "c minimum": lambda F, x, y: F.minimum(0.2, x),
    "clip": lambda F, x, y: F.clip(x, -0.5, 2),
    "x + y": lambda F, x, y: x + y,
    "broadcast_add": lambda F, x, y: F.broadcast_add(x, y),
    "broadcast_plus": lambda F, x, y: F.broadcast_plus(x, y),
    "x - y": lambda F, x, y: x - y,
    "broadcast_minus": lambda F, x, y: F.broadcast_minus(y, x),
    "x * y": lambda F, x, y: x * y,
    "x * x": lambda F, x, y: x * x,
    "square": lambda F, x, y: F.square(x),
    "x / y": lambda F, x, y: F.broadcast_div(x, y),
    "maximum": lambda F, x, y: F.maximum(x, y),
    "broadcast_minimum": lambda F, x, y: F.broadcast_minimum(x, y),
    "add_n of 3": lambda F, x, y: F.add_n(x, y, x),
    "add_n of 7": lambda F, x, y: F.add_n(x, y, x, y, x, x, x),
    "concat": lambda F, x, y: F.concat(x, y, x, dim=1),
    "concat of one": lambda F, x, y: F.concat(x, dim=-1),
    "concat of many": lambda F, x, y: F.concat(*[x, y] * 40, dim=-1),
    "slice_axis": lambda F, x, y: F.slice_axis(x, axis=1, begin=2, end=-1),
    "slice_axis to the end": lambda F, x, y: F.slice_axis(x, axis=-1, begin=-3, end=None),
    "slice": lambda F, x, y: F.slice(x, begin=(None, 2), end=(None, 7)),
    "split": lambda F, x, y: F.split(x, num_outputs=4, axis=1)[2],
    "split in two": lambda F, x, y: F.concat(*reversed(list(F.split(x, num_outputs=2, axis=-1))), dim=1),
    "split in one": lambda F, x, y: F.split(x, num_outputs=1, axis=1) + y,
    "split_v2": lambda F, x, y: F.split_v2(x, 4, axis=1)[1],
    "reshape": lambda F, x, y: F.reshape(x, (0, -1)),
    "reshape to a size": lambda F, x, y: F.reshape(x, (-1, 8)),
    "flatten": lambda F, x, y: F.flatten(x),
    "identity": lambda F, x, y: F.identity(F.BlockGrad(F.stop_gradient(x))),
    "cast": lambda F, x, y: F.amp_cast(F.cast(x, "float32"), dtype="float32"),
    "dropout": lambda F, x, y: F.Dropout(x, p=0.7),
    "swish": lambda F, x, y: F.sigmoid(x) * x,
    "sign by comparison": lambda F, x, y: 1 - 2 * (x < 0),
    "0 and 1 by comparison": lambda F, x, y: 1 - (x < 0),
    "signs": lambda F, x, y: ops.current().sign(F, x, 0.5),
    "relu": lambda F, x, y: F.relu(x),
    "sigmoid of a product": lambda F, x, y: F.sigmoid(x * 2) * y,
}


# The layers before them are the same in all; so the few nets that are composed show what their signs are converted to.
@pytest.mark.parametrize(
    "implementation, name",
    [
        *((IMPLEMENTATIONS[0], name) for name in OPERATORS),
        *(pytest.param("composed", name, marks=pytest.mark.slow) for name in ["signs", *OPERATORS][::9]),
    ],
    indirect=["implementation"],
)
def test_operators(rng, implementation, tmp_path, name):
    def forward(self, F, x):
        y = self.dense(self.sign(x))
        return F.concat(OPERATORS[name](F, x, y), y, dim=1)

    net = randomise(Own(forward, sign=nn.BinaryActivation(), dense=nn.BinaryDense(8, in_units=8)), rng)
    x = values(rng)
    graph = check(net, x, tmp_path)
    expected = net(mx.nd.array(x)).asnumpy()
    if "sigmoid" in name or "swish" in name:
        np.testing.assert_allclose(engine.run(graph, x), expected, rtol=2e-6, atol=1e-7)
    else:
        np.testing.assert_array_equal(engine.run(graph, x), expected)
    np.testing.assert_array_equal(runtime.Model(graph)(x), engine.run(graph, x))


UNKNOWN = {
    "softmax": lambda F, x: F.softmax(x),
    "topk": lambda F, x: F.topk(x, k=2, ret_typ="value"),
    "LeakyReLU": lambda F, x: F.LeakyReLU(x, act_type="selu"),
    "_rdiv_scalar": lambda F, x: 0 / x,  # whose sign is that of x
    "_lesser_scalar": lambda F, x: x < 0.5,
    "_greater": lambda F, x: x > 2 * x,
    "sqrt": lambda F, x: F.sqrt(x * x),
    "clip": lambda F, x: F.clip(x, 1, -2),
    "expand_dims": lambda F, x: F.expand_dims(x, 1),
    "transpose": lambda F, x: F.transpose(x),
    "_foreach": lambda F, x: F.contrib.foreach(lambda row, state: (2 * row, state), x, [])[0],
    "_random_normal": lambda F, x: F.broadcast_add(x, 0 * F.random.normal(shape=(1, 1))),
    "Dropout": lambda F, x: F.Dropout(x, p=1e-9, mode="always"),
    "Reshape": lambda F, x: F.reshape(x, (0, 2, -1)),
    "slice": lambda F, x: F.slice(x, begin=(1, 0), end=(3, 2)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_nobody_converts(rng, tmp_path, name):
    """It stays in the Gluon forms, in the middle of a net; the runtime refuses it by layer and operator."""
    block = gluon.HybridLambda(lambda F, x: UNKNOWN[name](F, x))
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), block, nn.BinaryActivation()), rng)
    x = mx.nd.array(plus_minus(rng, 20, 8))
    expected = net(x).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
        frozen.export(str(tmp_path / "net"))
        np.testing.assert_array_equal(load_exported(tmp_path / "net")(x).asnumpy(), expected)
        with pytest.raises(ValueError, match=rf"the runtime takes .*; got {block.name} \({name}[()]"):
            gluon_bnn.save(frozen, tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("form", FORMS)
def test_parameters_of_what_nobody_converts(rng, tmp_path, form):
    """They are copied, saved and loaded like others."""
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), gluon.LayerNorm(in_channels=8)), rng)
    x = mx.nd.array(plus_minus(rng, 20, 8))
    frozen, expected = freeze(net, form, verbose=False), net(x).asnumpy()
    net[1].gamma.set_data(net[1].gamma.data() * 2)
    np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
    other = freeze(net, form, verbose=False)
    other.save_parameters(str(tmp_path / "p"))
    frozen.load_parameters(str(tmp_path / "p"))
    np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())
    assert [row.form for row in frozen.rows][1] == "LayerNorm" and frozen.rows[1].after == 64


# Graphs of x (rows, 8) and of a layer's signs and scales, (4, 8) and (4,). Where the operator took x as a hint of their
# shape, they still depend on parameters only.
WITH_SIGNS = {
    "negative": lambda x, signs, alpha: _product(x, mx.sym.negative(signs)),
    "relu": lambda x, signs, alpha: _product(x, mx.sym.relu(signs) * 2 + 1),
    "scaled": lambda x, signs, alpha: _product(x, mx.sym.broadcast_mul(signs, mx.sym.reshape(alpha, shape=(-1, 1)))),
    "add_n": lambda x, signs, alpha: mx.sym.add_n(alpha, alpha, mx.sym.sum(_product(x, signs), axis=0)),
    "split": lambda x, signs, alpha: _product(x, mx.sym.split(signs, num_outputs=2, axis=0)[1], 2),
    "alpha of x": lambda x, signs, alpha: mx.sym.gluon_bnn_scale_bias(
        _product(x, signs), mx.sym.slice_axis(mx.sym.mean(x, axis=0), axis=0, begin=0, end=4), no_bias="True"
    ),
}


def _product(x, weight, units=4):
    return mx.sym.FullyConnected(x, weight, no_bias=True, num_hidden=units)


@needs_library
@pytest.mark.parametrize("name", WITH_SIGNS)
def test_arithmetic_on_signs(rng, name):
    library.load_operators()
    data = mx.sym.var("data")
    x, weight = mx.sym.gluon_bnn_sign(data), mx.sym.var("weight", shape=(4, 8))
    hint = mx.sym.BlockGrad(mx.sym.slice_axis(data, axis=0, begin=0, end=1))
    options = dict(scale="channel", gradient="xnor", clip="1.0", hint="flatten")
    net = mx.gluon.SymbolBlock(WITH_SIGNS[name](x, *mx.sym.gluon_bnn_sign_scale(weight, hint, **options)), [data])
    net.initialize(mx.init.Normal(1))
    batch = mx.nd.array(rng.standard_normal((5, 8)))
    expected = net(batch).asnumpy()
    np.testing.assert_allclose(freeze(net, "packed", verbose=False)(batch).asnumpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [5, 0])  # 0 is a number that MXNet infers
@pytest.mark.parametrize("layer", [lambda: nn.BinaryDense(8, in_units=8), nn.BinaryActivation])
def test_layers_of_constants(rng, rows, layer):
    """Refused: held as operators of MXNet they would have their real weights, and no signs."""
    block = Own(lambda self, F, x: x + self.layer(F.ones(shape=(rows, 8))), layer=layer())
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), block), rng)
    for form in FORMS:
        with pytest.raises(ValueError, match=f"depends on the net's input, and {block.layer.name} takes an array that"):
            freeze(net, form, verbose=False)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers(rng, tmp_path, kind):
    """Their first state is an array whose size only MXNet finds."""
    layer = getattr(mx.gluon.rnn, kind)(6, input_size=8, layout="NTC")
    net = randomise(sequential(layer, nn.BinaryActivation(), nn.BinaryDense(3, in_units=6, flatten=False)), rng)
    x = mx.nd.array(rng.standard_normal((4, 5, 8)))
    expected = net(x).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
        frozen.export(str(tmp_path / "net"))
        np.testing.assert_array_equal(load_exported(tmp_path / "net")(x).asnumpy(), expected)
        with pytest.raises(ValueError, match=rf"got {layer.name} \(SwapAxis\(.*{layer.name} \(RNN\("):
            frozen.graph


def test_transposed_convolutions(rng, tmp_path):
    """They stay; what follows is at 1 bit."""
    net = sequential(
        gluon.Conv2DTranspose(4, 3, in_channels=1),
        gluon.BatchNorm(in_channels=4),
        gluon.Activation("relu"),
        gluon.MaxPool2D(2),
        nn.BinaryActivation(),
        nn.BinaryDense(8, in_units=100),
        nn.BinaryActivation(),
        nn.BinaryDense(3, in_units=8),
    )
    x = mx.nd.array(rng.standard_normal((5, 1, 8, 8)))
    expected = randomise(net, rng)(x).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
        with pytest.raises(ValueError, match=rf"got {net[0].name} \(Deconvolution\(.*kernel=\(3, 3\)"):
            frozen.graph
    assert [type(block).__name__ for block in frozen][-2:] == [f"{form.capitalize()}Dense"] * 2


class TestAxes:
    """What works along axis 1 is over the units only where that is certain."""

    @pytest.mark.parametrize(
        "function",
        [
            lambda F, x: F.slice_axis(x, axis=1, begin=0, end=6),
            lambda F, x: F.concat(x, x, dim=1),
            lambda F, x: F.split(x, num_outputs=2, axis=1)[0],
            lambda F, x: F.LeakyReLU(x, F.ones(shape=(6,)) * 0.5, act_type="prelu"),
        ],
    )
    def test_rows_or_steps(self, rng, function):
        block = Own(lambda self, F, x: function(F, x))
        net = randomise(sequential(block, nn.BinaryDense(4, in_units=6, flatten=False)), rng)
        for shape, message in (
            (None, "needs input_shape|axis=1 only where that"),
            ((6, 6), "flatten=True.* got binary"),
        ):
            with pytest.raises(ValueError, match=message):
                freeze(net, "float", input_shape=shape, input_scale=1, verbose=False)

    @pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 8), (16, 1)])
    def test_constants_of_other_sizes(self, rng, shape):
        """The Gluon forms spread them over steps or images; the runtime has rows."""
        net = randomise(sequential(Shift(shape), nn.BinaryActivation(), nn.BinaryDense(4, in_units=16)), rng)
        frozen = freeze(net, "float", verbose=False)
        if shape != (16, 1):
            x = mx.nd.array(rng.standard_normal((2, 4, 4) if shape[0] == 4 else (5, 2, 8)))
            np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())
        with pytest.raises(ValueError, match=rf"values of one size in {net[0].name}, got 16 and \("):
            frozen.graph

    def test_constants_of_images(self, rng):
        """One for each pixel is one for each element of a row."""
        net = sequential(Shift((1, 2, 2, 4)), nn.BinaryActivation(), nn.BinaryDense(4, in_units=16))
        net = randomise(net, rng)
        frozen = freeze(net, "float", input_shape=(2, 2, 4), verbose=False)
        x = rng.standard_normal((5, 2, 2, 4)).astype(np.float32)
        expected = net(mx.nd.array(x)).asnumpy()
        np.testing.assert_array_equal(engine.run(frozen.graph, x.reshape(5, -1)), expected)

    def test_over_the_rows(self, rng, tmp_path):
        """That axis is none of an input: the Gluon forms alone have it."""
        net = sequential(nn.BinaryDense(8, in_units=8), gluon.BatchNorm(axis=0, in_channels=5), nn.BinaryActivation())
        x = mx.nd.array(plus_minus(rng, 5, 8))
        expected = randomise(net, rng)(x).asnumpy()
        for form in FORMS:
            frozen = freeze(net, form, verbose=False)
            np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
            with pytest.raises(ValueError, match=r"the runtime takes .* got batchnorm\d+ \(BatchNorm\(axis=0"):
                _ = frozen.graph

    def test_the_last_axis_of_images(self, rng):
        """Flattened, an image's last axis is not the last one."""
        block = Own(lambda self, F, x: F.concat(x, x, dim=-1))
        net = randomise(sequential(block, nn.BinaryDense(4, in_units=72)), rng)
        with pytest.raises(ValueError, match=r"got own\d+ \(Concat\(axis=-1\)\)"):
            freeze(net, "float", input_shape=(6, 6), verbose=False)


def test_a_number_of_more_axes(rng):
    """It gives its axes to the value: the Gluon forms have that, and the runtime refuses it."""
    net = sequential(nn.BinaryActivation(), nn.BinaryDense(6, in_units=8), Shift((1, 1, 1)), nn.BinaryDense(3))
    net.initialize()
    x = mx.nd.array(plus_minus(rng, 5, 8))
    expected = net(x).asnumpy()
    assert expected.shape == (1, 3)
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        np.testing.assert_allclose(frozen(x).asnumpy(), expected, rtol=1e-5)
        with pytest.raises(ValueError, match=r"values of one size in shift\d+, got 6 and \(1, 1, 1\)"):
            gluon_bnn.save(frozen, "net.safetensors")


class Foreign(BinaryLayer, gluon.Dense):
    """A layer with binary weights that has no converter, and no subject of `check`."""

    def __init__(self):
        self._choose(None, "layer", None, 1.0, False)
        super().__init__(6, in_units=8)
        self._complete(None)

    def _stand_in(self, F, x, weight, bias):
        return tracing.stand_in(self, F.FullyConnected, x, weight, bias, num_hidden=6)

    def _product(self, F, x, weight, bias, *_):
        return F.FullyConnected(x, self._ops.sign_scale(F, weight)[0], bias, num_hidden=6)


def test_a_binary_layer_from_outside(rng, implementation):
    """It stays as it is; who does not know it says so, by its name."""
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), nn.BinaryActivation(), Foreign()), rng)
    x = mx.nd.array(plus_minus(rng, 20, 8))
    frozen = freeze(net, "packed" if implementation == "native" else "float", verbose=False)
    np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())
    with pytest.raises(ValueError, match=rf"got {net[2].name} \(Foreign"):
        gluon_bnn.save(frozen, "net.safetensors")
    with pytest.raises(ValueError, match=f"the reference has no Foreign, which is the type of {net[2].name}"):
        gluon_bnn.check_net(net, x)


def test_a_converter_from_outside(rng, monkeypatch):
    """One function for an operator, and nothing else."""
    from gluon_bnn.deploy.convert import build as registry
    from gluon_bnn.deploy.steps import Arithmetic

    monkeypatch.setattr(registry, "_converters", dict(registry._converters))

    @converts("_rdiv_scalar")
    def inverse(build, x):  # only as an example: 1 / x is not x / 1
        return build(Arithmetic, x, arrays={"operand": np.ones(1, np.float32)}, function="divide")

    net = randomise(sequential(nn.BinaryDense(8, in_units=8), gluon.HybridLambda(lambda F, x: 1 / x)), rng)
    assert lines(freeze(net, "float", verbose=False).graph)[-1] == "divide 8 -> 8 float float"
