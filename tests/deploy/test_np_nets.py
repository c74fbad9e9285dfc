"""freeze, export and load_exported after npx.set_np(): nets of mx.np's operators, and arrays of either kind."""

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import freeze, load_exported, nn
from gluon_bnn._compat import mx
from np_arrays import KINDS, arrays, is_np

from frozen_nets import FORMS, gluon, sequential
from gluon_nets import export, imported

ROWS = np.random.default_rng(0).standard_normal((6, 8)).astype("float32")


def chain():
    """A net of our layers and Gluon's."""
    return sequential(
        gluon.Flatten(),
        gluon.BatchNorm(),
        nn.BinaryDense(33),
        nn.BatchNorm(),
        nn.BinaryActivation(),
        nn.BinaryDense(16, scale="channel"),
        gluon.BatchNorm(),
        gluon.Swish(),
        gluon.Dropout(0.5),
        gluon.Dense(10, activation="relu"),
        gluon.LeakyReLU(0.1),
        gluon.HybridLambda(lambda F, x: F.np.tanh(x) if mx.util.is_np_array() else F.tanh(x)),
        nn.BinarySigmoid(),
        nn.BinaryDense(3),
    )


def filled(array):
    rng = np.random.default_rng(0)
    net = chain()
    net.initialize()
    net(array(ROWS.reshape(6, 2, 4)))
    for name, p in net._collect_params_with_prefix().items():
        values = rng.standard_normal(p.shape)
        p.set_data(array(abs(values) + 0.1 if "var" in name else values, dtype=p.dtype))
    return net


@pytest.mark.parametrize("form", FORMS)
def test_frozen_and_exported(tmp_path, implementation, form):
    """The same bits and the same graph, and each kind of session reads the other's exports."""
    outputs, graphs = {}, {}
    for kind in KINDS:
        with arrays(kind) as array:
            net, x = filled(array), array(ROWS.reshape(6, 2, 4))
            frozen = freeze(net, form, verbose=False, input_shape=(2, 4))
            y = frozen(x)
            assert is_np(y, *(p.data() for p in frozen.collect_params().values())) == (kind == "np")
            frozen.hybridize(static_alloc=True, static_shape=True)
            np.testing.assert_array_equal(frozen(x).asnumpy(), y.asnumpy())
            assert is_np(frozen[:2](x)) == (kind == "np")
            outputs[kind] = {"trained": net(x).asnumpy(), "frozen": y.asnumpy()}
            graphs[kind] = [(node.kind, node.attributes) for node in frozen.graph.nodes]
            np.testing.assert_array_equal(export(frozen, tmp_path / f"frozen_{kind}", x), y.asnumpy())
            np.testing.assert_array_equal(export(net, tmp_path / f"net_{kind}", x), net(x).asnumpy())
            np.testing.assert_array_equal(imported(tmp_path / f"frozen_{kind}")(x).asnumpy(), y.asnumpy())
            gluon_bnn.save(frozen, tmp_path / f"{kind}.safetensors")
    assert graphs["nd"] == graphs["np"] and len(graphs["np"]) == 11
    for name in outputs["nd"]:
        np.testing.assert_array_equal(outputs["nd"][name], outputs["np"][name])
    files = [gluon_bnn.runtime.load(tmp_path / f"{kind}.safetensors")(ROWS) for kind in KINDS]
    np.testing.assert_array_equal(*files)
    for kind in KINDS:
        with arrays(kind) as array:
            x = array(ROWS.reshape(6, 2, 4))
            for other in KINDS:
                loaded = load_exported(tmp_path / f"frozen_{other}")
                assert is_np(loaded(x)) == (kind == "np")
                np.testing.assert_array_equal(loaded(x).asnumpy(), outputs["nd"]["frozen"])
                loaded = load_exported(tmp_path / f"net_{other}")
                np.testing.assert_array_equal(loaded(x).asnumpy(), outputs["nd"]["trained"])
                again = freeze(sequential(loaded), form, verbose=False)  # in a net, and frozen
                np.testing.assert_array_equal(again(x).asnumpy(), outputs["nd"]["frozen"])


def test_what_MXNet_imported_is_frozen(tmp_path):
    with arrays("np") as array:
        net, x = filled(array), array(ROWS.reshape(6, 2, 4))
        export(net, tmp_path / "net", x)
        block = imported(tmp_path / "net")
        graph = block._cached_graph
        np.testing.assert_array_equal(
            freeze(block, verbose=False)(x).asnumpy(), freeze(net, verbose=False)(x).asnumpy()
        )
        assert block._cached_graph is graph and is_np(block(x))


@pytest.mark.parametrize("first", KINDS)
def test_a_frozen_net_takes_both_kinds(first):
    with arrays(first) as array:
        frozen = freeze(filled(array), verbose=False)
        expected = frozen(array(ROWS.reshape(6, 2, 4))).asnumpy()
    for kind in KINDS:
        with arrays(kind) as array:
            y = frozen(array(ROWS.reshape(6, 2, 4)))
            assert is_np(y) == (kind == "np")
            np.testing.assert_array_equal(y.asnumpy(), expected)


class Between(mx.gluon.HybridBlock):
    """A function between two binary layers."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function
        with self.name_scope():
            self.first, self.last = nn.BinaryDense(12, in_units=8), nn.BinaryDense(5)
            self.signs = nn.BinaryActivation()

    def hybrid_forward(self, F, x):
        return self.last(self.signs(self.function(F, self.first(x))))


def between(function):
    """A net under set_np, and its outputs for ROWS."""
    net = Between(function)
    net.initialize(mx.init.Normal(1))
    net.hybridize()
    return net, net(mx.np.array(ROWS)).asnumpy()


CONVERTED = {
    "add a number": (lambda F, x: x + 0.25, "arithmetic"),
    "subtract a number": (lambda F, x: x - 1, "arithmetic"),
    "subtract from a number": (lambda F, x: 1 - x, "arithmetic arithmetic"),
    "multiply by a number": (lambda F, x: x * -2, "arithmetic"),
    "divide by a number": (lambda F, x: x / 3 - 0.1, "arithmetic arithmetic"),
    "negative": (lambda F, x: F.np.negative(x), "arithmetic"),
    "add": (lambda F, x: x + F.npx.relu(x) - 1, "activation arithmetic arithmetic"),
    "subtract": (lambda F, x: F.npx.sigmoid(x) - x, "activation arithmetic"),
    "multiply": (lambda F, x: x * x - 1, "arithmetic arithmetic"),
    "divide": (lambda F, x: (x + 0.1) / (1 + x * x), "arithmetic arithmetic arithmetic arithmetic"),
    "square": (lambda F, x: F.np.square(x) - 1, "arithmetic arithmetic"),
    "swish": (lambda F, x: x * F.npx.sigmoid(2 * x), "activation"),
    "tanh": (lambda F, x: F.np.tanh(x) - 0.5, "activation arithmetic"),
    "softrelu": (lambda F, x: F.npx.activation(x, act_type="softrelu") - 1, "activation arithmetic"),
    "leaky": (lambda F, x: F.npx.leaky_relu(x, act_type="leaky", slope=0.3) + 0.1, "activation arithmetic"),
    "maximum": (lambda F, x: F.np.maximum(x, -x) - 1, "arithmetic arithmetic arithmetic"),
    "clip": (lambda F, x: F.np.clip(x, 0.1, None), "arithmetic"),
    "a constant": (lambda F, x: x + F.np.ones((12,)), "arithmetic"),
    "copy": (lambda F, x: F.np.copy(x), ""),
    "dropout": (lambda F, x: F.npx.dropout(x, p=0.5), ""),
    "batch_flatten": (lambda F, x: F.npx.batch_flatten(x), ""),
    "reshape": (lambda F, x: x.reshape(-1, 12), ""),
    "npx.reshape": (lambda F, x: F.npx.reshape(F.npx.reshape(x, (-2, -1)), -4), ""),
    "concatenate": (lambda F, x: F.np.concatenate([x, -x, x], axis=1), "arithmetic concat"),
    "concatenate the last axis": (lambda F, x: F.np.concatenate([x, -x], axis=-1), "arithmetic concat"),
    "a slice": (lambda F, x: x[:, 2:-1], "slice"),
    "split": (lambda F, x: F.np.split(x, 3, axis=1)[1], "slice"),
    "split with a rest": (lambda F, x: F.np.array_split(x, 5, axis=1)[1], "slice"),
    "split at places": (lambda F, x: F.np.split(x, [2, 7], axis=-1)[2], "slice"),
    "hsplit": (lambda F, x: F.np.hsplit(x, 2)[1], "slice"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CONVERTED)
def test_operators_are_converted(name, form):
    function, kinds = CONVERTED[name]
    with arrays("np"):
        net, y = between(function)
        frozen = freeze(net, form, verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(mx.np.array(ROWS)).asnumpy(), y)
        found = [node.kind for node in frozen.graph.nodes]
        assert " ".join(found[2 : -2 if "pack" in found else -1]) == kinds


STAY = {
    "power": lambda F, x: x**2 - 1,
    "a comparison": lambda F, x: (x < 0) * x + 0.1,
    "integers": lambda F, x: (F.np.ceil(x).astype("int32") * 2 - 1).astype("float32"),
    "float64": lambda F, x: (x.astype("float64") * 2 - 1).astype("float32"),
    "where": lambda F, x: F.np.where(x < 0, x, x * 2),
    "mean": lambda F, x: x - F.np.mean(x, axis=1, keepdims=True),
    "rows": lambda F, x: F.np.concatenate([x, -x]),
    "every other": lambda F, x: x[:, ::2],
    "some rows": lambda F, x: x[1:3],
    "all in one axis": lambda F, x: x.flatten().reshape(-1, 12),
    "npx.reshape": lambda F, x: F.npx.reshape(x, (-2, 3, 4)),
    "expand_dims": lambda F, x: F.np.expand_dims(x, 1),
    "one number": lambda F, x: x * F.np.reshape(F.np.sum(x), ()),
    "npx.reshape to one number": lambda F, x: x * F.npx.reshape(F.np.sum(x), ()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STAY)
def test_operators_that_stay(name, form):
    """MXNet runs them, on arrays of either kind; the runtime refuses them by name."""
    with arrays("np"):
        net, y = between(STAY[name])
        frozen = freeze(net, form, verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            np.testing.assert_array_equal(frozen(mx.np.array(ROWS)).asnumpy(), y)
        with pytest.raises(ValueError, match=r"the runtime takes .* got "):
            _ = frozen.graph


def test_random_numbers_stay_random():
    with arrays("np"):
        net, _ = between(lambda F, x: x + F.np.random.normal(0, 3, size=(1, 12)))
        frozen, x = freeze(net, verbose=False), mx.np.array(ROWS)
        assert any((frozen(x) != frozen(x)).any() for _ in range(5))


def test_a_block_that_takes_arrays_only_stays():
    class Block(mx.gluon.HybridBlock):
        def forward(self, x):
            assert is_np(x)
            return mx.np.array(np.tanh(x.asnumpy()))

    with arrays("np"):
        net, x = sequential(nn.BinaryDense(4, in_units=8), Block(), nn.BinaryDense(3, in_units=4)), mx.np.array(ROWS)
        net.initialize()
        np.testing.assert_array_equal(freeze(net, verbose=False)(x).asnumpy(), net(x).asnumpy())


def test_parameters_without_axes(tmp_path):
    class Scaled(mx.gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.layer = nn.BinaryDense(4, in_units=8, scale=None)
            self.factor = self.params.get("factor", shape=())

        def hybrid_forward(self, F, x, factor):
            return self.layer(x) * factor + F.np.power(2, factor)

    with arrays("np"):
        net, x = Scaled(), mx.np.array(ROWS)
        net.initialize(mx.init.Uniform(2))
        y = export(net, tmp_path / "net", x)
        frozen = freeze(net, verbose=False)
        np.testing.assert_allclose(frozen(x).asnumpy(), y, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(export(frozen, tmp_path / "frozen", x), frozen(x).asnumpy())
        for name, expected in (("net", y), ("frozen", frozen(x).asnumpy())):
            np.testing.assert_array_equal(load_exported(tmp_path / name)(x).asnumpy(), expected)
    with pytest.raises(
        ValueError, match=r"net-0000.params .* has no axes, which MXNet takes after mx.npx.set_np\(\) only"
    ):
        load_exported(tmp_path / "net")
