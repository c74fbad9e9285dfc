"""The registry of gradient rules, and a rule that is registered from outside of the package."""

import copy
import pickle

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import loss, nn, ops, quantizers
from gluon_bnn._compat import mx
from gluon_bnn.check import conv, dense, sign_scale

from needs import needs_library


class Soft(quantizers.Rule):
    """A rule of nobody's, in everything that the interface has."""

    name, formula, source = "soft", "g alpha m / (1 + |W|) + s/n sum_j g_j s_j", "this test"
    through_alpha = True

    def factor(self, F, w, alpha, n, mask):
        return alpha * mask / (1 + F.abs(w))


class Damped(quantizers.Rule):
    """One that goes with every scale."""

    name, formula, source, scales = "damped", "g m / (1 + |W|)", "this test", quantizers.SCALES

    def factor(self, F, w, alpha, n, mask):
        return mask / (1 + F.abs(w))


@pytest.fixture
def soft():
    rule = quantizers.register(Soft())
    yield rule
    quantizers.unregister("soft")


@pytest.fixture
def damped():
    rule = quantizers.register(Damped())
    yield rule
    quantizers.unregister("damped")


def test_what_goes_with_what():
    assert {"exact", "notebook", "ste", "xnor"} <= set(quantizers.names())
    for scale, names in {"layer": {"exact", "notebook", "ste", "xnor"}, "loss": {"ste"}, None: {"ste"}}.items():
        assert {rule.name for rule in quantizers.rules(scale)} & {"exact", "notebook", "ste", "xnor"} == names
    assert [quantizers.check(scale, None, 1.0).name for scale in quantizers.SCALES] == ["xnor", "xnor", "ste", "ste"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("rows", None, 1.0), "scale must be 'layer', 'channel', 'loss' or None, got 'rows'"),
        (("layer", "soft", 1.0), f"gradient must be one of {', '.join(quantizers.names())} or None, got 'soft'"),
        (("layer", 3, 1.0), "or None, got 3"),
        (("loss", "xnor", 1.0), "scale='loss' goes with gradient='ste', got 'xnor'"),
        ((None, "exact", 1.0), "scale=None goes with gradient='ste', got 'exact': without a scale"),
        (("layer", "ste", 0), "clip must be a number above 0 or None, got 0"),
        (("layer", "ste", 1.0, True), "stochastic=True takes scale=None, got 'layer'"),
        ((None, "ste", 1.0, 1), "stochastic must be True or False, got 1"),
    ],
)
def test_what_does_not_go_together(arguments, message):
    with pytest.raises(ValueError) as error:
        quantizers.check(*arguments)
    assert message in str(error.value)


def test_what_is_no_rule(soft):
    class Other(Soft):
        name = "a rule"

    class Rows(Soft):
        name, scales = "rows", ("rows",)

    class Loss(Soft):
        name, scales = "loss", ("loss",)

    class Mute(Soft):
        name, formula = "mute", None

    class Nameless(quantizers.Rule):
        def factor(self, F, w, alpha, n, mask):
            return mask

    class Idle(quantizers.Rule):
        name, formula, source = "idle", "g", "this test"

    for wrong, error, message in (
        (Mute(), ValueError, "formula and the source of a rule are text"),
        (Nameless(), ValueError, "must be a word, got None"),
        (Idle(), TypeError, "a rule has a method factor.* got Idle without"),
        (Soft, TypeError, "takes a gluon_bnn.quantizers.Rule, got"),
        (Soft(), ValueError, "there is a rule 'soft' already"),
        (Other(), ValueError, "must be a word, got 'a rule'"),
        (Loss(), ValueError, "with through_alpha goes with .* got \\('loss',\\)"),
        (Rows(), ValueError, "got \\('rows',\\)"),
    ):
        with pytest.raises(error, match=message):
            quantizers.register(wrong)
    with pytest.raises(ValueError, match="gradient must be one of"):
        quantizers.unregister("rows")


def test_documentation_has_the_table():
    table = quantizers.table()
    assert all(rule.formula in table and rule.source in table for rule in quantizers.rules("layer"))
    assert table.replace("\n", "\n    ") in nn.BinaryDense.__doc__


@pytest.mark.parametrize(
    "name, scale", [("soft", scale) for scale in Soft.scales] + [("damped", scale) for scale in Damped.scales]
)
@pytest.mark.parametrize("mode", ["imperative", "hybridized", "exported"])
def test_a_rule_from_outside_is_cross_checked(rng, tmp_path, soft, damped, name, scale, mode):
    """With its own formula in NumPy: the operator by itself, and the layer."""
    for dtype in ("float32", "float64"):
        common = dtype, mode, rng, str(tmp_path)
        for errors in (
            sign_scale.sign_scale_errors(scale, name, *common),
            dense.new_layer_errors(*common, scale=scale, gradient=name),
            conv.new_layer_errors(nn.BinaryConv2D, *common, kernel_size=2, scale=scale, gradient=name),
        ):
            assert max(errors) <= gluon_bnn.check.BOUND, errors


@pytest.mark.parametrize("choice", [pytest.param("native", marks=needs_library), "composed"])
def test_a_rule_from_outside_trains(soft, choice):
    net = mx.gluon.nn.HybridSequential()
    with ops.use(choice):
        net.add(
            nn.BinaryDense(16, in_units=784, gradient="soft"),
            nn.BatchNorm(in_channels=16),
            nn.Activation("relu"),
            nn.BinaryDense(10, in_units=16, gradient="soft", scale="channel"),
        )
        measure = loss.SquaredHingeLoss()
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    digits = gluon_bnn.data.load("digits")
    x, labels = mx.nd.array(digits["train_data"][:300]), mx.nd.array(digits["train_label"][:300])
    assert gluon_bnn.check_net(net, x[:20]).ok
    trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", {"learning_rate": 0.01}, kvstore=None)
    losses = []
    for _ in range(30):
        with mx.autograd.record():
            value = measure(net(x), labels)
        value.backward()
        trainer.step(len(x))
        losses.append(value.mean().asscalar())
    assert losses[-1] < 0.7 * losses[0]
    assert "soft" in repr(net) and gluon_bnn.freeze(net, "float", verbose=False)


def test_implementations_are_copied_with_their_layers(rng):
    """Nets are deep-copied, and optimisers pickled: what runs them is then the same object."""
    for each in (ops.native, ops.composed):
        assert copy.deepcopy(each) is pickle.loads(pickle.dumps(each)) is each
    layer = nn.BinaryDense(3, in_units=4)
    layer.initialize()
    x = mx.nd.array(rng.standard_normal((5, 4)))
    assert (copy.deepcopy(layer)(x) == layer(x)).asnumpy().all()


@pytest.mark.parametrize("options", [dict(), dict(scale="channel"), dict(scale="loss"), dict(scale=None, clip=None)])
def test_what_a_layer_tells(rng, options):
    layer = nn.BinaryDense(3, in_units=4, use_bias=False, **options)
    layer.initialize()
    assert (layer.units, layer.scale, layer.clip) == (3, options.get("scale", "layer"), options.get("clip", 1.0))
    assert layer.gradient == layer.rule.name and not layer.stochastic
    signs, weight = layer.signs().asnumpy(), layer.binary_weight().asnumpy()
    assert (signs == np.where(layer.weight.data().asnumpy() < 0, -1, 1)).all()
    assert layer.alpha().shape == ((3,) if layer.scale == "channel" else (1,))
    np.testing.assert_array_equal(weight, layer.alpha().asnumpy().reshape(-1, 1) * signs)
    x = rng.standard_normal((5, 4)).astype("float32")
    np.testing.assert_allclose(layer(mx.nd.array(x)).asnumpy(), x @ weight.T, rtol=1e-5, atol=1e-6)
    with pytest.raises(AttributeError):
        layer.scale = "loss"
