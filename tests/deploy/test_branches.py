"""`freeze` of nets that are no chain: residual and concurrent blocks, own forwards, shared layers, loaded exports."""

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, ops, runtime
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.graph import engine
from gluon_bnn.native import library

from frozen_blocks import OnArrays, OnShapes, Own, Twice, after, before, concurrent
from frozen_nets import FORMS, gluon, lines, plus_minus, randomise, sequential
from needs import needs_library
from paths import GOLDEN


def shared():
    """One layer three times, of which one is before a shortcut."""
    dense, sign = nn.BinaryDense(8, in_units=8), nn.BinaryActivation()
    return Own(lambda self, F, x: dense(sign(dense(sign(x)))) + dense(sign(x + 1)), dense=dense, sign=sign)


def chain(*blocks):
    """A Sequential, which is not hybrid."""
    net = gluon.Sequential()
    net.add(*blocks)
    return net


def several(*blocks):
    """A Concurrent, which is not hybrid."""
    net = mx.gluon.contrib.nn.Concurrent(axis=1)
    net.add(*blocks)
    return net


def parts():
    """Slices from both ends, in both ways that MXNet has, and equal parts."""

    def forward(self, F, x):
        first, second = F.split(x, num_outputs=2, axis=1)
        middle = F.concat(
            F.slice(x, begin=(None, 1), end=(None, 5)), F.slice_axis(x, axis=-1, begin=-3, end=None), dim=1
        )
        return F.concat(self.first(first), self.second(middle), second, dim=1)

    layers = {"first": nn.BinaryDense(5, in_units=4), "second": nn.BinaryDense(6, in_units=7)}
    return sequential(nn.BinaryDense(8, in_units=8), nn.BinaryActivation(), Own(forward, **layers))


def scalars():
    """Arithmetic with numbers on either side, and between values."""

    def forward(self, F, x):
        y = self.dense(x)
        z = F.maximum(3 - (y * 2 + 0.5) / 4, x)
        return (
            F.minimum(z * y - x / (y * y + 1), 1.5)
            - F.broadcast_add(x, -z)
            + F.add_n(x, y, z)
            + F.add_n(x, y, z, y, z, x)
            + F.square(y)
        )

    return Own(forward, dense=nn.BinaryDense(8, in_units=8))


def with_constants():
    """Parameters of the block's own, as they are and computed with."""

    class Block(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.gate = self.params.get("gate", shape=(8,))
            self.weight = self.params.get("weight", shape=(8, 8))
            self.sign = nn.BinaryActivation()

        def hybrid_forward(self, F, x, gate, weight):
            signs, alpha = ops.current().sign_scale(F, weight)
            y = F.FullyConnected(self.sign(x), signs, no_bias=True, num_hidden=8)
            return F.broadcast_mul(F.broadcast_mul(y, alpha), F.exp(gate)) + F.broadcast_maximum(
                x, F.expand_dims(gate, 0)
            )

    return Block()


# Nets of 8 inputs; over +1 and -1 all of their sums are those that the 1-bit product gives too.
NETS = {
    "residual before": lambda: sequential(nn.BinaryActivation(), before(8), before(8, nn.BatchNorm)),
    "residual after": lambda: sequential(after(8), after(8), nn.BinaryDense(3, in_units=8)),
    "concurrent": lambda: sequential(
        nn.BinaryActivation(),
        concurrent(nn.BinaryDense(5, in_units=8), nn.BinaryDense(3, in_units=8), before(8)),
        gluon.BatchNorm(in_channels=16),
        nn.BinarySigmoid(),
        nn.BinaryDense(3, in_units=16),
    ),
    "not hybrid": lambda: chain(
        nn.BinaryActivation(),
        several(nn.BinaryDense(5, in_units=8), chain(nn.BinaryDense(3, in_units=8), gluon.Activation("relu"))),
        nn.BinaryActivation(),
        nn.BinaryDense(3, in_units=8),
    ),
    "shared": shared,
    "parts": parts,
    "scalars": scalars,
    "subclass": lambda: Twice(8, in_units=8),
    "a single layer": lambda: nn.BinaryDense(3, in_units=8, activation="relu", scale="channel"),
    "stochastic": lambda: sequential(
        nn.BinaryDense(8, in_units=8, scale=None, stochastic=True), nn.BinaryActivation(), nn.BinaryDense(3, in_units=8)
    ),
    "LAB": lambda: sequential(nn.BinaryDense(8, in_units=8, scale="loss"), nn.BatchNorm(in_channels=8)),
    "nested": lambda: sequential(sequential(sequential(before(8)), gluon.Dropout(0.5)), sequential(after(8))),
    "three consumers": lambda: sequential(
        nn.BinaryDense(8, in_units=8),
        Own(
            lambda self, F, x: F.concat(self.dense(self.sign(x)), self.sign(x), x, dim=1),
            sign=nn.BinaryActivation(),
            dense=nn.BinaryDense(8, in_units=8),
        ),
        nn.BinaryActivation(),
        nn.BinaryDense(2, in_units=24),
    ),
}


def check(net, x, expected, tmp_path):
    """Both forms of a net give what is expected to the bit: as they are, hybridized, exported, and as graphs."""
    for form in FORMS:
        frozen = freeze(net, form, verbose=False, input_shape=(8,))
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), expected, err_msg=form)
        frozen.export(str(tmp_path / form))
        loaded = load_exported(str(tmp_path / form))
        np.testing.assert_array_equal(loaded(mx.nd.array(x)).asnumpy(), expected, err_msg=form)
        np.testing.assert_array_equal(engine.run(frozen.graph, x), expected, err_msg=form)
        np.testing.assert_array_equal(runtime.Model(frozen.graph)(x), expected, err_msg=form)
    return frozen


@pytest.mark.parametrize("kind", NETS)
def test_every_form_is_equal_to_the_bit(rng, implementation, tmp_path, kind):
    """The net as trained, what it exports, and the export of its float form are frozen to the same."""
    net = randomise(NETS[kind](), rng)
    x = plus_minus(rng, 40, 8)
    expected = net(mx.nd.array(x)).asnumpy()
    found = check(net, x, expected, tmp_path)
    sources = [tmp_path / "float"]
    if isinstance(net, mx.gluon.HybridBlock):
        net.hybridize()
        net(mx.nd.array(x))
        net.export(str(tmp_path / "net"))
        sources.append(tmp_path / "net")
    for source in sources:
        for form in FORMS:
            again = freeze(load_exported(source), form, verbose=False, input_shape=(8,))
            np.testing.assert_array_equal(again(mx.nd.array(x)).asnumpy(), expected, err_msg=form)
            assert sorted(lines(again.graph)) == sorted(lines(found.graph)), "the same layers are found"
        np.testing.assert_array_equal(engine.run(again.graph, x), expected)
    assert "gluon_bnn_" not in (tmp_path / "float-symbol.json").read_text()


def test_own_parameters(rng, implementation, tmp_path):
    """Constants may be computed of parameters; alpha is then not part of the layer's own arithmetic."""
    net = randomise(with_constants(), rng)
    x = plus_minus(rng, 40, 8)
    frozen = check(net, x, net(mx.nd.array(x)).asnumpy(), tmp_path)
    assert lines(frozen.graph)[:2] == ["pack 8 -> 8 float bits", "binary_dense 8 -> 8 bits float"]


@pytest.mark.parametrize("implementation", ["native", "composed"])
def test_exports_of_version_0_1_0(rng, implementation, tmp_path):
    """They are nets of 7 inputs, with every scale, batch norm, both binary activations and dropout."""
    if implementation == "native" and not library.available():
        pytest.skip(library.problem())
    net = load_exported(f"{GOLDEN}/export_0.1.0_{implementation}")
    x = plus_minus(rng, 50, 7)
    expected = net(mx.nd.array(x)).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), expected)
        np.testing.assert_array_equal(engine.run(frozen.graph, x), expected)
        assert lines(frozen.graph) == [
            "binary_dense 7 -> 9 float bits",
            "binary_dense 9 -> 5 bits float",
            "relu 5 -> 5 float float",
            "pack 5 -> 5 float bits01",
            "binary_dense 5 -> 3 bits01 float",
        ]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_in_another_net(rng, implementation, tmp_path, form):
    """What was loaded is a block like any other."""
    body = randomise(sequential(nn.BinaryDense(8, in_units=8), before(8)), rng)
    body.hybridize()
    x = plus_minus(rng, 20, 8)
    body(mx.nd.array(x))
    body.export(str(tmp_path / "body"))
    head = randomise(sequential(nn.BinaryActivation(), nn.BinaryDense(3, in_units=8)), rng)
    net = sequential(load_exported(tmp_path / "body"), head)
    expected = net(mx.nd.array(x)).asnumpy()
    frozen = freeze(net, form, verbose=False)
    np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), expected)
    np.testing.assert_array_equal(engine.run(frozen.graph, x), expected)


@needs_library
def test_export_of_a_packed_net(rng, tmp_path):
    """It is frozen in the packed form again; the float form is not made of bits."""
    net = randomise(NETS["residual before"](), rng)
    x = mx.nd.array(plus_minus(rng, 20, 8))
    frozen = freeze(net, verbose=False)
    frozen.hybridize()
    y = frozen(x).asnumpy()
    frozen.export(str(tmp_path / "net"))
    loaded = load_exported(tmp_path / "net")
    again = freeze(loaded, verbose=False)
    np.testing.assert_array_equal(again(x).asnumpy(), y)
    assert lines(again.graph) == lines(frozen.graph)
    with pytest.raises(ValueError, match="was frozen in the packed form: freeze the net that it was made from"):
        freeze(loaded, "float", verbose=False)


class TestShortcuts:
    """Values that a shortcut takes stay floats; around them everything is at 1 bit."""

    def test_before(self, rng):
        net = sequential(nn.BinaryDense(8, in_units=8), before(8), nn.BinaryActivation(), nn.BinaryDense(3, in_units=8))
        graph = freeze(randomise(net, rng), "float", verbose=False).graph
        assert lines(graph) == [
            "binary_dense 8 -> 8 float float",
            "pack 8 -> 8 float bits",
            "binary_dense 8 -> 8 bits float",
            "add 8, 8 -> 8 float float",
            "pack 8 -> 8 float bits",
            "binary_dense 8 -> 3 bits float",
        ]
        assert "mean" in graph.nodes[3].arrays, "batch norm is folded, though no sign follows"

    def test_after(self, rng):
        """A sign that a shortcut and a binary layer take gives both."""
        net = sequential(nn.BinaryDense(8, in_units=8), nn.BinaryActivation(), after(8), nn.BinaryDense(3, in_units=8))
        assert lines(freeze(randomise(net, rng), "float", verbose=False).graph) == [
            "binary_dense 8 -> 8 float float",
            "sign 8 -> 8 float float",
            "pack 8 -> 8 float bits",
            "binary_dense 8 -> 8 bits float",
            "add 8, 8 -> 8 float float",
            "pack 8 -> 8 float bits",
            "binary_dense 8 -> 3 bits float",
        ]

    def test_several_binary_layers(self, rng):
        """They share the bits of one sign, and the layer before passes them on itself."""
        net = sequential(
            nn.BinaryDense(8, in_units=8),
            nn.BinaryActivation(),
            concurrent(nn.BinaryDense(3, in_units=8), nn.BinaryDense(4, in_units=8)),
        )
        assert lines(freeze(randomise(net, rng), "float", verbose=False).graph) == [
            "binary_dense 8 -> 8 float bits",
            "binary_dense 8 -> 3 bits float",
            "binary_dense 8 -> 4 bits float",
            "concat 3, 4 -> 7 float float",
        ]

    @pytest.mark.parametrize("scale", [0.5, -0.5])
    def test_uint8_inputs_with_a_shortcut(self, rng, scale):
        """The binary layer works on the pixels, the shortcut takes the numbers that they stand for."""
        net = randomise(sequential(before(8), nn.BinaryActivation(), nn.BinaryDense(3, in_units=8)), rng)
        frozen = freeze(net, "float", input_scale=scale, input_shift=-3, verbose=False)
        pixels = rng.integers(0, 13, (50, 8), np.uint8)
        expected = net(mx.nd.array(scale * pixels.astype(np.float32) - 3)).asnumpy()
        for run in (runtime.Model(frozen.graph), lambda p: engine.run(frozen.graph, p)):
            np.testing.assert_array_equal(run(pixels), expected)
        assert ("threshold_u8" in frozen.graph.nodes[1].arrays) == (scale > 0)


class TestConstants:
    """What is next to a binary layer goes into it where that has the same bits."""

    def graph(self, rng, function, **options):
        layer = nn.BinaryDense(8, in_units=8, **options)
        net = randomise(sequential(Own(lambda self, F, x: function(self.dense(x)), dense=layer)), rng)
        x = plus_minus(rng, 30, 8)
        frozen = freeze(net, "float", verbose=False)
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), net(mx.nd.array(x)).asnumpy())
        np.testing.assert_array_equal(engine.run(frozen.graph, x), net(mx.nd.array(x)).asnumpy())
        return frozen.graph

    def test_alpha_and_bias(self, rng, implementation):
        graph = self.graph(rng, lambda y: y * -0.3 - 0.7, scale=None, use_bias=False)
        assert lines(graph) == ["binary_dense 8 -> 8 float float"]
        assert (graph.nodes[1].arrays["alpha"] == np.float32(-0.3)).all()
        assert (graph.nodes[1].arrays["bias"] == np.float32(-0.7)).all()

    def test_bias_alone(self, rng, implementation):
        assert len(self.graph(rng, lambda y: y + 0.1, use_bias=False).nodes) == 2

    @pytest.mark.parametrize(
        "options, function",
        [
            ({}, lambda y: y + 0.1),  # two sums, and so two roundings
            ({}, lambda y: y * 0.1),
            ({"scale": None, "use_bias": False}, lambda y: y / 3),  # not a product with 1 / 3
            ({"scale": None, "use_bias": False}, lambda y: (y + 0.1) * 0.1),
            ({"use_bias": False}, lambda y: y * y),
        ],
    )
    def test_what_has_other_bits_stays(self, rng, implementation, options, function):
        assert len(self.graph(rng, function, **options).nodes) > 2

    def test_a_negative_scale_before_a_sign(self, rng, implementation):
        """The threshold is one from above."""
        layer = nn.BinaryDense(8, in_units=9, scale=None, use_bias=False)
        net = sequential(
            nn.BinaryActivation(),
            Own(lambda self, F, x: self.dense(x) * -0.7, dense=layer),
            nn.BinaryActivation(),
            nn.BinaryDense(3, in_units=8),
        )
        x = rng.standard_normal((60, 9)).astype(np.float32)
        frozen = freeze(randomise(net, rng), FORMS[-1], verbose=False)
        assert len(frozen.graph.nodes) == 4
        np.testing.assert_array_equal(engine.run(frozen.graph, x), net(mx.nd.array(x)).asnumpy())
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), net(mx.nd.array(x)).asnumpy())

    def test_a_clipped_sign(self, rng, implementation):
        net = sequential(
            nn.BinaryDense(8, in_units=9),
            gluon.HybridLambda(lambda F, x: F.clip(x, -1, 1)),
            nn.BinaryActivation(),
            nn.BinaryDense(3, in_units=8),
        )
        x = plus_minus(rng, 60, 9)
        frozen = freeze(randomise(net, rng), FORMS[-1], verbose=False)
        assert lines(frozen.graph) == ["binary_dense 9 -> 8 float bits", "binary_dense 8 -> 3 bits float"]
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), net(mx.nd.array(x)).asnumpy())


@pytest.mark.parametrize("form", FORMS)
def test_several_outputs(rng, tmp_path, form):
    """Gluon's forms keep them, in their structure; the runtime refuses them."""
    layers = {"first": nn.BinaryDense(3, in_units=8), "second": nn.BinaryDense(4, in_units=8)}
    net = randomise(Own(lambda self, F, x: (self.first(x), [self.second(x), x]), **layers), rng)
    x = mx.nd.array(plus_minus(rng, 5, 8))
    first, (second, third) = net(x)
    frozen = freeze(net, form, verbose=False)
    for hybridize in (False, True):
        frozen.hybridize(hybridize)
        y, (z, same) = frozen(x)
        for found, expected in ((y, first), (z, second), (same, third)):
            np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy())
    with pytest.raises(ValueError, match="the runtime takes nets with one output, got 3"):
        gluon_bnn.save(frozen, tmp_path / "net.safetensors")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [OnArrays, OnShapes])
def test_a_block_that_cannot_be_traced_stays(rng, implementation, form, kind):
    """The very same block; the runtime refuses it, and the float form if it runs on our library."""
    block = kind(nn.BinaryDense(8, in_units=8))
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), block, nn.BinaryDense(3, in_units=8)), rng)
    x = mx.nd.array(plus_minus(rng, 5, 8))
    if form == "float" and implementation == "native":
        with pytest.raises(
            ValueError, match=rf"but {block.name} \({kind.__name__}\), .* our library \({block.body[0].name}"
        ):
            freeze(net, form, verbose=False)
        return
    frozen = freeze(net, form, verbose=False)
    np.testing.assert_allclose(frozen(x).asnumpy(), net(x).asnumpy(), rtol=1e-5, atol=1e-5)
    assert list(frozen[1].collect_params().values()) == list(block.collect_params().values())
    assert [row.form for row in frozen.rows][1] == kind.__name__
    with pytest.raises(ValueError, match=rf"got {block.name} \({kind.__name__}"):
        frozen.graph


class TestFrozen:
    def net(self, rng):
        blocks = nn.BinaryDense(8, in_units=8), before(8), nn.BinaryActivation(), nn.BinaryDense(3, in_units=8)
        return randomise(sequential(*blocks), rng)

    @pytest.mark.parametrize("form", FORMS)
    def test_slices(self, rng, form):
        """From the start any; from elsewhere where one value is enough."""
        net = self.net(rng)
        frozen = freeze(net, form, input_scale=0.5, verbose=False)
        x = mx.nd.array(plus_minus(rng, 5, 8))
        np.testing.assert_array_equal(frozen[:1](x).asnumpy(), net[0](x).asnumpy())
        np.testing.assert_array_equal(frozen[1:](frozen[:1](x)).asnumpy(), frozen(x).asnumpy())
        np.testing.assert_array_equal(frozen[-1:](frozen[:-1](x)).asnumpy(), frozen(x).asnumpy())
        assert frozen[:-2].graph.units == 8 and frozen[:-2].input_scale == 0.5
        with pytest.raises(ValueError, match="a slice takes one value, and blocks 2 to .* need 2 from before them"):
            frozen[2:]
        with pytest.raises(ValueError, match="must be of consecutive blocks, got"):
            frozen[::2]

    def test_graph_of_a_slice(self, rng):
        """What its last block does not need is not in it."""
        net = randomise(sequential(concurrent(nn.BinaryDense(5, in_units=8), before(8))), rng)
        frozen = freeze(net, "float", verbose=False, input_shape=(8,))
        assert lines(frozen[:-1].graph) == [
            "pack 8 -> 8 float bits", "binary_dense 8 -> 8 bits float", "add 8, 8 -> 8 float float"
        ]  # fmt: skip

    @pytest.mark.parametrize("form", FORMS)
    def test_parameters_loaded_later(self, rng, tmp_path, form):
        first, second = (freeze(self.net(rng), form, verbose=False) for _ in range(2))
        first.save_parameters(str(tmp_path / "p"))
        second.load_parameters(str(tmp_path / "p"))
        x = plus_minus(rng, 5, 8)
        np.testing.assert_array_equal(engine.run(second.graph, x), first(mx.nd.array(x)).asnumpy())
        np.testing.assert_array_equal(second(mx.nd.array(x)).asnumpy(), first(mx.nd.array(x)).asnumpy())

    def test_blocks_may_follow(self, rng):
        frozen = freeze(self.net(rng), "float", verbose=False)
        x = mx.nd.array(plus_minus(rng, 5, 8))
        y = frozen(x)
        frozen.add(gluon.HybridLambda("softmax"), gluon.HybridLambda("negative"))
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(x).asnumpy(), -mx.nd.softmax(y).asnumpy())
        np.testing.assert_array_equal(frozen[:-2](x).asnumpy(), y.asnumpy())
        with pytest.raises(ValueError, match=r"got hybridlambda\d+ \(HybridLambda\(softmax\)"):
            frozen.graph

    @needs_library
    def test_summary(self, rng, capsys):
        """A line for each layer, in the order in which they run; the sum is the residual block's own."""
        net = self.net(rng)
        freeze(net)
        block = net[1]
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        ran = [net[0], block.sign, block.dense, block.norm, block, net[2], net[3]]
        assert [row[0] for row in rows] == [*(each.name for each in ran), "total"]
        assert rows[3][1:] == ["folded", "into", block.dense.name, "128", "0"]
        assert rows[4][1:] == ["Arithmetic(add)", "0", "0"]
