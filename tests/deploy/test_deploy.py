"""Frozen nets in every form against the net as trained and the reference: equal to the bit over binary inputs."""

import fractions

import numpy as np
import pytest

from gluon_bnn import check, nn, ops, quantizers, runtime
from gluon_bnn._compat import mx
from gluon_bnn.deploy import fold, freeze
from gluon_bnn.deploy.exported import load_exported
from gluon_bnn.graph import engine
from gluon_bnn.native import library
from gluon_bnn.reference import binary, bits, dense

from frozen_nets import FORMS, agree, close, gluon, plus_minus, randomise, sequential
from needs import needs_library
from pairs import IMPLEMENTATIONS, pairs
from random_nets import scales


def mlp(rng, widths, scale="layer", use_bias=True, norm=True, hidden=nn.BinaryActivation, first=True):
    """BinaryDense, BatchNorm, binary activation and so on; with first=True a BinaryActivation before all."""
    net = sequential(*([nn.BinaryActivation()] if first else []))
    for depth, (inputs, units) in enumerate(zip(widths, widths[1:]), 2):
        net.add(nn.BinaryDense(units, in_units=inputs, scale=scale, use_bias=use_bias))
        if norm:
            net.add(gluon.BatchNorm(in_channels=units, epsilon=1e-3, scale=depth % 3 > 0, center=depth % 2 > 0))
        if depth < len(widths):
            net.add(gluon.Dropout(0.5), hidden())
    return randomise(net, rng)


def reference(net, x):
    """The net over x by gluon_bnn.reference, in float32, with the alpha that the layer itself computes.

    Products of binary inputs are the exact integers of the 1-bit product, others FullyConnected's.
    """
    for block in net:
        values = {name: p.data().asnumpy() for name, p in block._reg_params.items()}
        if isinstance(block, nn.BinaryDense):
            alpha = block.alpha().asnumpy()
            dot = integers(x, values["weight"])
            x = alpha * dot.astype(np.float32) + values.get("bias", np.float32(0))
        elif isinstance(block, gluon.BatchNorm):
            gamma = np.ones_like(values["gamma"]) if block._kwargs["fix_gamma"] else values["gamma"]
            x = dense.batch_norm_inference(
                x,
                gamma,
                values["beta"],
                values["running_mean"],
                values["running_var"],
                np.float32(block._kwargs["eps"]),
            )
        elif isinstance(block, nn.BinaryActivation):
            x = binary.sign(x)
        elif isinstance(block, nn.BinarySigmoid):
            x = binary.binary_sigmoid(x)
        else:
            assert isinstance(block, gluon.Dropout)
    assert x.dtype == np.float32
    return x


def integers(x, w):
    """The exact products of x, +-1 or 0 and 1, with the signs of w."""
    dot = bits.xnor_dense(bits.pack_inputs(np.where(x > 0, 1, -1)), bits.pack_weights(w), *w.shape)
    return dot if (np.abs(x) == 1).all() else (dot + binary.sign(w).sum(1).astype(int)) // 2


def runs(net, tmp_path):
    """(name, function of x) of every way to run a frozen net: forms, modes, exports, the runtime."""

    def block(b):
        return lambda x: b(mx.nd.array(x)).asnumpy()

    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        yield f"{form} imperative", block(frozen)
        frozen = freeze(net, form, verbose=False)
        frozen.hybridize(static_alloc=True, static_shape=True)
        yield f"{form} hybridized", block(frozen)
        frozen(mx.nd.ones((1, *frozen.input_shape)))
        frozen.export(str(tmp_path / form))
        yield f"{form} exported", block(load_exported(str(tmp_path / form)))
    runtime.save(frozen, str(tmp_path / "net.safetensors"))
    model = runtime.load(str(tmp_path / "net.safetensors"))
    for isa in library.instruction_sets() if library.available() else ():

        def with_isa(x, isa=isa):
            with library.use(isa):
                return model(x)

        yield f"runtime {isa}", with_isa
    yield "runtime NumPy", lambda x: engine.run(frozen.graph, x)


@pairs(
    implementation=IMPLEMENTATIONS,
    scale=["layer", "channel", None],
    norm=[False, True],
    hidden=[nn.BinaryActivation, pytest.param(nn.BinarySigmoid, marks=pytest.mark.slow)],
)
def test_binary_nets_are_equal_to_the_bit(rng, implementation, tmp_path, scale, norm, hidden):
    """Every form gives the bits of the reference and of the net as trained, of two numbers of layers from 1 to 4."""
    for depth, rows in rng.permutation([(1, 300), (2, 1), (3, 7), (4, 64)])[:2].tolist():
        widths = [*rng.integers(1, 131, depth), 10]
        net = mlp(rng, [int(w) for w in widths], scale, bool(depth % 2), norm, hidden)
        x = rng.standard_normal((rows, widths[0])).astype(np.float32)
        x.flat[:3] = 0.0, -0.0, np.nan
        expected = reference(net, x)
        for name, run in runs(net, tmp_path):
            np.testing.assert_array_equal(run(x), expected, err_msg=f"{name} {widths}")
        for hybridize in (False, True):
            net.hybridize(hybridize)
            np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), expected)


@pytest.mark.parametrize("scale", ["layer", "channel", None])
def test_inputs_of_plus_and_minus_one_need_no_activation(rng, implementation, tmp_path, scale):
    """A first layer from float is exact over integers too. dot = 0 is met: widths are even."""
    net = mlp(rng, [8, 64, 34, 4, 10], scale, use_bias=False, norm=False, first=False)
    x = rng.choice([-1, 1], (300, 8)).astype(np.float32)
    assert (integers(x, net[0].weight.data().asnumpy()) == 0).any()
    expected = net(mx.nd.array(x)).asnumpy()
    np.testing.assert_array_equal(reference(net, x), expected)
    for name, run in runs(net, tmp_path):
        np.testing.assert_array_equal(run(x), expected, err_msg=name)


@pytest.mark.parametrize("last", [nn.BinaryActivation, nn.BinarySigmoid])
def test_binary_last_layer(rng, implementation, tmp_path, last):
    net = randomise(
        sequential(
            nn.BinaryActivation(),
            nn.BinaryDense(33, in_units=40),
            gluon.BatchNorm(in_channels=33),
            nn.BinaryActivation(),
            nn.BinaryDense(9, in_units=33),
            last(),
        ),
        rng,
    )
    x = rng.standard_normal((50, 40)).astype(np.float32)
    expected = reference(net, x)
    np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), expected)
    for name, run in runs(net, tmp_path):
        np.testing.assert_array_equal(run(x), expected, err_msg=name)


def test_outputs_that_are_exactly_zero(rng, implementation, tmp_path):
    """Where the number whose sign is taken is 0, for gammas of both signs and betas of 0.0 and -0.0."""
    net = mlp(rng, [6, 48, 5])
    alpha = reference(sequential(nn.BinaryActivation(), net[1]), np.ones((1, 6)))
    x = rng.choice([-1, 1], (64, 6)).astype(np.float32)
    z = reference(sequential(net[0], net[1]), x)
    net[2].running_mean.set_data(mx.nd.array(z[rng.integers(0, 64, 48), np.arange(48)]))
    net[2].beta.set_data(mx.nd.array(rng.choice([0.0, -0.0], 48)))
    assert alpha.shape == (1, 48)
    zeros = reference(sequential(*net[:3]), x) == 0
    assert zeros.any(axis=0).all()
    expected = reference(net, x)
    np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), expected)
    for name, run in runs(net, tmp_path):
        np.testing.assert_array_equal(run(x), expected, err_msg=name)


def first_layer(net, x):
    """float64 (z, S) before the first binary activation, S the sum of magnitudes that z was added up from."""
    weight, bias = (p.data().asnumpy().astype(np.float64) for p in (net[0].weight, net[0].bias))
    signs, alpha = binary.sign(weight), np.abs(weight).mean()
    norm = {n: p.data().asnumpy().astype(np.float64) for n, p in net[1]._reg_params.items()}
    factor = norm["gamma"] / np.sqrt(norm["running_var"] + net[1]._kwargs["eps"])
    z = (alpha * (x.astype(np.float64) @ signs.T) + bias - norm["running_mean"]) * factor + norm["beta"]
    terms = alpha * np.abs(x).sum(1, keepdims=True) + np.abs(bias) + np.abs(norm["running_mean"])
    return z, terms * np.abs(factor) + np.abs(norm["beta"])


@needs_library
@pytest.mark.parametrize("widths", [(50, 64, 10), (784, 300, 33, 10)])
def test_real_inputs_differ_in_near_ties_only(rng, implementation, tmp_path, widths):
    """Hidden bits may differ from those of the net as trained where |z| is below the measured error.

    Each such row is counted and proven: its bits are those of numbers within that error of 0, and all
    that follows from the bits, by the reference, is what the frozen net gives. Rows without one are
    equal to the bit. Some inputs are made to be near ties.
    """
    net = mlp(rng, widths, first=False)
    net[1].gamma.set_data(mx.nd.array(rng.choice([-1, 1], widths[1]) * (0.1 + rng.random(widths[1]))))
    x = rng.standard_normal((300, widths[0])).astype(np.float32)
    near_ties(net, x)
    z, terms = first_layer(net, x)
    array = mx.nd.array(x)
    trained = net[:2](array).asnumpy()
    ours = freeze(sequential(net[0], net[1]), verbose=False)(array).asnumpy()
    bound = max((np.abs(found - z) / terms).max() for found in (trained, ours))
    assert bound < widths[0] * np.finfo(np.float32).eps / 4, "the error is that of rounding"
    different = (trained < 0) != (ours < 0)
    if implementation == "native":  # the layer as trained and the frozen one run on the same kernel
        np.testing.assert_array_equal(trained, ours)
    else:
        assert different.any(), "no near tie was met: the test tests nothing"
    assert (np.abs(z) <= bound * terms)[different].all()
    rest = sequential(*net[2:])
    rows = different.any(axis=1)
    assert rows.mean() < 0.5
    y, expected = freeze(net, verbose=False)(array).asnumpy(), net(array).asnumpy()
    np.testing.assert_array_equal(y[~rows], expected[~rows])
    np.testing.assert_array_equal(y, reference(rest, ours))
    np.testing.assert_array_equal(expected, reference(rest, trained))
    for name, run in runs(net, tmp_path):
        if "float" not in name:
            np.testing.assert_array_equal(run(x), y, err_msg=name)  # our own kernels agree to the bit
    print(
        f"{widths}: {different.sum()} bits of {different.size} differ, in {rows.sum()} of {len(x)} rows; "
        f"{(y.argmax(1) != expected.argmax(1)).sum()} predictions; bound {bound:.2g} of the magnitudes"
    )


def near_ties(net, x):
    """Move the first input of every third row so that z of one unit is as near to 0 as float32 has it."""
    for row in range(0, len(x), 3):
        unit = row % net[0]._units
        z, _ = first_layer(net, x[row : row + 1])
        more = x[row : row + 1].copy()
        more[0, 0] += 1
        slope = first_layer(net, more)[0][0, unit] - z[0, unit]
        x[row, 0] -= z[0, unit] / slope


@needs_library
@pytest.mark.parametrize("inputs", [50, 784, 2048])
def test_error_with_real_inputs(rng, inputs):
    """At most twice that of MXNet's own FullyConnected plus one ulp; predictions differ in near ties only."""
    net = randomise(sequential(nn.BinaryDense(10, in_units=inputs, scale="channel")), rng)
    x = mx.nd.array(rng.standard_normal((300, inputs)))
    frozen = freeze(net, verbose=False)
    arrays = {n: a.astype(np.float64) for n, a in frozen.graph.nodes[1].arrays.items()}
    dot = x.asnumpy().astype(np.float64) @ binary.sign(net[0].weight.data().asnumpy()).T
    y = arrays["alpha"] * dot + arrays["bias"]
    ours, trained = frozen(x).asnumpy(), net(x).asnumpy()
    error, allowed = np.abs(ours - y).max(), np.abs(trained - y).max()
    assert error <= 2 * allowed + np.spacing(np.float32(np.abs(y).max()))
    first, second = np.sort(y)[:, :-3:-1].T
    different = ours.argmax(1) != trained.argmax(1)
    assert (first - second < error + allowed)[different].all()


class TestUint8:
    """Pixels p stand for scale * p + shift."""

    def models(self, frozen):
        for isa in library.instruction_sets() if library.available() else ():

            def with_isa(x, isa=isa):
                with library.use(isa):
                    return runtime.Model(frozen.graph)(x)

            yield with_isa
        yield lambda x: engine.run(frozen.graph, x)

    @pytest.mark.parametrize("shift", [-0.5, 0, "each"])
    def test_bits_are_those_of_the_float_input(self, rng, shift):
        """Everything is equal to the bit where the first layer takes signs."""
        net = mlp(rng, [45, 33, 10])
        shift = rng.standard_normal(45) if shift == "each" else shift
        frozen = freeze(net, FORMS[-1], input_scale=1 / 255, input_shift=shift, verbose=False)
        p = rng.integers(0, 256, (50, 45), np.uint8)
        x = np.float32(1 / 255) * p.astype(np.float32) + np.asarray(shift, np.float32)
        expected = net(mx.nd.array(x)).asnumpy()
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), expected)
        for model in self.models(frozen):
            np.testing.assert_array_equal(model(p), expected)

    def test_first_layer_from_pixels(self, rng):
        net = mlp(rng, [45, 33], first=False, norm=False)
        shift = rng.standard_normal(45)
        frozen = freeze(net, FORMS[-1], input_scale=0.25, input_shift=shift, verbose=False)
        assert frozen.input_scale == 0.25 and frozen.input_shape == (45,)
        p = rng.integers(0, 256, (50, 45), np.uint8)
        x = 0.25 * p + shift.astype(np.float32)
        found = [model(p) for model in self.models(frozen)]
        np.testing.assert_allclose(found[0], net(mx.nd.array(x)).asnumpy(), rtol=1e-5, atol=1e-4)
        assert all(np.array_equal(y, found[0]) for y in found)

    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize(
        "scale, shift", [(-1 / 255, 1), (-1 / 255, "each"), ("each", "each"), (fractions.Fraction(-1, 255), 0)]
    )
    def test_any_scale(self, rng, tmp_path, first, scale, shift):
        """Negative scales and one for each input: the same, to the bit, as the float32 numbers scale * p + shift."""
        net = mlp(rng, [45, 33, 10], first=first)
        scale = scales(rng, 45) if scale == "each" else scale
        shift = rng.standard_normal(45) if shift == "each" else shift
        frozen = freeze(net, FORMS[-1], input_scale=scale, input_shift=shift, verbose=False)
        p = rng.integers(0, 256, (50, 45), np.uint8)
        x = np.asarray(scale, np.float32) * p.astype(np.float32) + np.asarray(shift, np.float32)
        runtime.save(frozen, tmp_path / "model")
        model = runtime.load(tmp_path / "model")
        assert np.array_equal(model.input_scale, frozen.input_scale)
        expected = model(x)
        np.testing.assert_array_equal(model(p), expected)
        for other in self.models(frozen):
            np.testing.assert_array_equal(other(p), expected)
        if first:  # signs are exact in MXNet too
            np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), expected)

    @pytest.mark.parametrize(
        "shape, scale",
        [
            ((3, 5, 3), (3,)),
            ((3, 5, 3), (3, 1, 1)),
            ((3, 5, 3), (1, 5, 1)),
            ((3, 5, 3), (3, 5, 3)),
            ((3, 5, 3), (45,)),
            ((3, 5, 3), (1,)),
            ((5, 9), (5,)),
            ((5, 9), (1, 9)),
            ((45,), (45,)),
            (None, (45,)),
            (None, (1,)),
        ],
    )
    def test_images_and_scales_of_channels(self, rng, tmp_path, shape, scale):
        """input_shape is what the model takes, and a scale or shift is spread over it like channels."""
        net = mlp(rng, [45, 33, 10])
        given = rng.choice([-1, 1], scale) * rng.uniform(0.01, 0.02, scale)
        shift = rng.standard_normal(scale)
        frozen = freeze(
            net, FORMS[-1], input_shape=shape, input_scale=given, input_shift=mx.nd.array(shift), verbose=False
        )
        runtime.save(frozen, tmp_path / "model")
        model = runtime.load(tmp_path / "model")
        images = shape or (45,)
        assert model.input_shape == frozen.input_shape == images
        p = rng.integers(0, 256, (20, *images), np.uint8)

        def spread(a):
            a = a.astype(np.float32)
            return a.reshape(images) if a.shape == (45,) else a.reshape(scale + (1,) * (len(images) - len(scale)))

        x = spread(given) * p.astype(np.float32) + spread(shift)
        expected = net(mx.nd.array(x)).asnumpy()
        for taken in (p, x, p.reshape(20, 45), x.reshape(20, 45)):
            np.testing.assert_array_equal(model(taken), expected)
        np.testing.assert_array_equal(model(p[3]), expected[3])
        np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), expected)

    def test_equal_scales_are_one(self, rng):
        """The first layer then works on the pixels themselves."""
        frozen = freeze(mlp(rng, [45, 10]), "float", input_scale=np.full(45, 0.5), verbose=False)
        assert frozen.input_scale == 0.5 and "threshold_u8" in frozen.graph.nodes[1].arrays

    @pytest.mark.parametrize(
        "wrong, kind, message",
        [
            (dict(input_shift=1), ValueError, "input_shift needs input_scale"),
            (dict(input_scale="1"), TypeError, "input_scale must be a number or an array of numbers, got '1'"),
            (dict(input_scale=True), TypeError, "got True"),
            (dict(input_scale=1j), TypeError, "got 1j"),
            (dict(input_scale=[None]), ValueError, "input_scale must be finite"),
            (dict(input_scale=["1"]), TypeError, r"got \['1'\]"),
            (dict(input_scale=object()), TypeError, "got <object"),
            (dict(input_scale=0), ValueError, "input_scale must be finite in float32 and not 0, got 0.0"),
            (dict(input_scale=-0.0), ValueError, "not 0, got -0.0"),
            (dict(input_scale=1e-50), ValueError, "got 0.0"),
            (dict(input_scale=1e39), ValueError, "got inf"),
            (dict(input_scale=10**400), TypeError, "a number"),
            (dict(input_scale=float("nan")), ValueError, "got nan"),
            (dict(input_scale=[1] * 44 + [0]), ValueError, "not 0, got 0.0"),
            (dict(input_scale=[1] * 44 + [np.inf]), ValueError, "got inf"),
            (dict(input_scale=[1] * 44), ValueError, r"one for each of 45 inputs .* got int64 \(44,\)"),
            (dict(input_scale=np.ones((1, 45))), ValueError, r"got float64 \(1, 45\)"),
            (dict(input_scale=1, input_shift=[1, 2]), ValueError, r"one for each of 45 inputs .* got int64 \(2,\)"),
            (dict(input_scale=1, input_shift="x"), TypeError, "input_shift must be a number .* got 'x'"),
            (dict(input_scale=1, input_shift=[np.inf] + [0] * 44), ValueError, "input_shift must be finite .* got inf"),
            (dict(input_shape=45), TypeError, "input_shape must be a tuple of whole numbers, got 45"),
            (dict(input_shape=(9.0, 5)), TypeError, r"got \(9.0, 5\)"),
            (dict(input_shape="45"), TypeError, "got '45'"),
            (dict(input_shape=(9, 6)), ValueError, r"45 elements, the inputs of .* got \(9, 6\)"),
            (dict(input_shape=(-9, -5)), ValueError, "45 elements"),
            (dict(input_shape=()), ValueError, "45 elements"),
            (
                dict(input_shape=(3, 15), input_scale=[1, 2]),
                ValueError,
                r"\(3, 15\), or .* 3 channels; got int64 \(2,\)",
            ),
            (dict(input_shape=(3, 15), input_scale=[1] * 15), ValueError, "3 channels"),
        ],
    )
    def test_wrong_scale_or_shift(self, rng, wrong, kind, message):
        with pytest.raises(kind, match=message):
            freeze(mlp(rng, [45, 10]), "float", verbose=False, **wrong)


@pytest.mark.parametrize("function", ["relu", "sigmoid", "tanh", "softrelu", "softsign"])
def test_nan_stays_nan(rng, implementation, tmp_path, function):
    """In every activation of every form, as in the reference; Gluon's own Activation("relu") makes 0 of it."""
    net = randomise(
        sequential(
            nn.BinaryDense(6, in_units=8, scale=None, use_bias=False, activation=function),
            gluon.Dropout(0.5),
            gluon.Activation("relu"),
            gluon.Dense(5, in_units=6, activation=function),
            nn.BinaryDense(3, function, in_units=5),
        ),
        rng,
    )
    x = plus_minus(rng, 9, 8)
    x[2, 3], x[4, 1], x[6, 0] = np.nan, -np.nan, np.inf
    first = sequential(nn.BinaryDense(6, in_units=8, scale=None, use_bias=False), gluon.Activation("relu"))
    first[0].initialize()
    first[0].weight.set_data(net[0].weight.data())
    x[7] = 0.0  # whose products are 0.0 or -0.0
    expected = dense.relu(x.astype(np.float64) @ binary.sign(net[0].weight.data().asnumpy()).T)
    assert np.isnan(expected).any(axis=1).tolist() == [row in (2, 4) for row in range(9)]
    for name, run in runs(first, tmp_path):
        np.testing.assert_array_equal(run(x), expected, err_msg=name)
    for name, run in runs(net, tmp_path):
        found = np.isnan(run(x))
        assert found[[2, 4]].all() and not found[[0, 1, 3, 5, 7, 8]].any(), name


class TestStructure:
    def test_nested_with_everything(self, rng, implementation, tmp_path):
        net = randomise(
            sequential(
                gluon.Flatten(),
                sequential(gluon.BatchNorm(in_channels=24), gluon.Activation("tanh")),
                gluon.Dense(40, in_units=24, activation="softsign"),
                gluon.Dropout(0.1),
                nn.BinarySigmoid(),
                sequential(
                    sequential(
                        nn.BinaryDense(33, in_units=40),
                        gluon.Flatten(),
                        gluon.Dropout(0.2),
                        gluon.BatchNorm(in_channels=33),
                    ),
                    nn.BinaryActivation(),
                    gluon.Flatten(),
                    gluon.Dropout(0.3),
                ),
                nn.BinaryDense(17, in_units=33, activation="relu"),
                gluon.BatchNorm(in_channels=17),
                gluon.Dense(5, in_units=17, use_bias=False),
                gluon.Activation("softrelu"),
                gluon.Activation("sigmoid"),
            ),
            rng,
        )
        assert agree(net, rng.standard_normal((9, 2, 3, 4)).astype(np.float32), tmp_path) == [
            "batch_norm 24 -> 24 float float",
            "tanh 24 -> 24 float float",
            "dense 24 -> 40 float float",
            "softsign 40 -> 40 float float",
            "pack 40 -> 40 float bits01",
            "binary_dense 40 -> 33 bits01 bits",
            "binary_dense 33 -> 17 bits float",
            "relu 17 -> 17 float float",
            "batch_norm 17 -> 17 float float",
            "dense 17 -> 5 float float",
            "softrelu 5 -> 5 float float",
            "sigmoid 5 -> 5 float float",
        ]

    def test_sequential_that_is_not_hybrid(self, rng, tmp_path):
        net = gluon.Sequential()
        net.add(nn.BinaryActivation(), nn.BinaryDense(5, in_units=3))
        assert agree(randomise(net, rng), plus_minus(rng, 4, 3), tmp_path) == [
            "pack 3 -> 3 float bits",
            "binary_dense 3 -> 5 bits float",
        ]

    @pytest.mark.parametrize("axis, folds", [(-1, True), (1, False), (2, False)])
    def test_last_axis(self, rng, implementation, tmp_path, axis, folds):
        """flatten=False: (rows, T, units); batch norm is folded only over the units. T = units here."""
        net = randomise(
            sequential(
                nn.BinaryDense(6, in_units=40, flatten=False),
                gluon.BatchNorm(axis, in_channels=6),
                nn.BinaryActivation(),
                nn.BinaryDense(7, in_units=6, flatten=False),
                nn.BinarySigmoid(),
                nn.BinaryDense(3, in_units=7, flatten=False),
            ),
            rng,
        )
        x = plus_minus(rng, 9, 6, 40)
        if folds:
            assert agree(net, x, tmp_path) == [
                "binary_dense 40 -> 6 float bits",
                "binary_dense 6 -> 7 bits bits01",
                "binary_dense 7 -> 3 bits01 float",
            ]
            return
        for form in FORMS:
            frozen = freeze(net, form, verbose=False)
            np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), net(mx.nd.array(x)).asnumpy())
        with pytest.raises(ValueError, match=rf"over the units .* got batchnorm\d+ \(BatchNorm\(axis={axis}"):
            frozen.graph

    def test_axis_1_that_is_certainly_the_units(self, rng, implementation, tmp_path):
        """Gluon's default axis is 1. It is that of the units after or before a layer that flattens."""
        for blocks in (
            [
                gluon.Flatten(),
                gluon.BatchNorm(in_channels=6),
                nn.BinaryActivation(),
                nn.BinaryDense(3, flatten=False, in_units=6),
            ],
            [
                gluon.BatchNorm(in_channels=6),
                gluon.Activation("tanh"),
                nn.BinaryActivation(),
                nn.BinaryDense(3, in_units=6),
            ],
            [
                gluon.BatchNorm(in_channels=6),
                gluon.Activation("tanh"),
                gluon.Flatten(),
                nn.BinaryActivation(),
                nn.BinaryDense(3, flatten=False, in_units=6),
            ],
            [
                nn.BinaryActivation(),
                nn.BinaryDense(6, in_units=6),
                nn.BinaryActivation(),
                nn.BinaryDense(6, flatten=False, in_units=6),
                gluon.BatchNorm(in_channels=6),
            ],
        ):
            agree(
                randomise(sequential(*blocks), rng),
                rng.standard_normal((9, 6)).astype(np.float32),
                tmp_path,
                exact=False,
            )

    @pytest.mark.parametrize("before", [0, 1, 2])
    def test_axis_1_that_may_be_steps(self, rng, tmp_path, before):
        """(rows, 6 steps, 6 features) and (rows, 6 features) look the same: input_shape says which it is."""
        dense = [nn.BinaryDense(6, flatten=False, in_units=6) for _ in range(3)]
        net = randomise(sequential(*dense[:before], gluon.BatchNorm(in_channels=6), *dense[before:]), rng)
        for form in FORMS:
            frozen = freeze(net, form, verbose=False)
            with pytest.raises(ValueError, match=r"axis=1 only where .* got batchnorm\d+ \(BatchNorm\(axis=1"):
                runtime.save(frozen, tmp_path / "model")
            with pytest.raises(ValueError, match="axis=1 only where"):
                freeze(net, form, input_scale=1, verbose=False)
        assert not (tmp_path / "model").exists()
        frozen = freeze(net, FORMS[-1], input_shape=(6,), verbose=False)
        x = plus_minus(rng, 9, 6)
        close(engine.run(frozen.graph, x), net(mx.nd.array(x)).asnumpy())
        with pytest.raises(ValueError, match="axis=1 only where"):
            freeze(net, FORMS[-1], input_shape=(6, 6), verbose=False)

    def test_flattening_after_the_last_axis(self, rng, implementation, tmp_path):
        """(rows, T, units) flattened to T * units cannot pass as bits of units."""
        net = randomise(
            sequential(
                nn.BinaryDense(6, in_units=40, flatten=False),
                gluon.BatchNorm(-1, in_channels=6),
                nn.BinaryActivation(),
                nn.BinaryDense(3, in_units=30),
                gluon.BatchNorm(-1, in_channels=3),
            ),
            rng,
        )
        x = plus_minus(rng, 9, 5, 40)
        for form in FORMS:
            frozen = freeze(net, form, verbose=False)
            np.testing.assert_array_equal(frozen(mx.nd.array(x)).asnumpy(), net(mx.nd.array(x)).asnumpy())
        with pytest.raises(ValueError, match="takes 30 inputs, but .* before it has 6"):
            frozen.graph

    def test_flatten_between_signs_and_a_layer(self, rng, tmp_path):
        net = randomise(
            sequential(
                nn.BinaryActivation(),
                gluon.Flatten(),
                nn.BinaryDense(5, in_units=12, flatten=False),
                nn.BinaryActivation(),
                nn.BinaryActivation(),
                nn.BinarySigmoid(),
                gluon.Flatten(),
            ),
            rng,
        )
        assert agree(net, plus_minus(rng, 4, 3, 4), tmp_path) == [
            "pack 12 -> 12 float bits",
            "binary_dense 12 -> 5 bits float",
            "sign 5 -> 5 float float",
            "sign 5 -> 5 float float",
            "binary_sigmoid 5 -> 5 float float",
        ]

    @pytest.mark.parametrize("following", [gluon.Dense(5, in_units=12), gluon.BatchNorm(in_channels=12)])
    def test_binary_activation_before_another_layer(self, rng, tmp_path, following):
        net = randomise(sequential(nn.BinaryDense(12, in_units=7), nn.BinarySigmoid(), following), rng)
        assert agree(net, plus_minus(rng, 4, 7), tmp_path)[:2] == [
            "binary_dense 7 -> 12 float float",
            "binary_sigmoid 12 -> 12 float float",
        ]

    def test_batch_norm_of_an_activation_is_not_folded(self, rng, tmp_path):
        net = randomise(
            sequential(nn.BinaryDense(12, in_units=7, activation="relu"), gluon.BatchNorm(in_channels=12)), rng
        )
        assert agree(net, plus_minus(rng, 4, 7), tmp_path) == [
            "binary_dense 7 -> 12 float float",
            "relu 12 -> 12 float float",
            "batch_norm 12 -> 12 float float",
        ]

    def test_images_before_batch_norm_of_channels(self, rng):
        """A net that works on more than rows is frozen, but has no layers for the runtime."""
        with ops.use("composed"):  # on MXNet's own product, as the float form is
            net = randomise(sequential(gluon.BatchNorm(in_channels=2), nn.BinaryDense(5, in_units=24)), rng)
        x = mx.nd.array(rng.standard_normal((4, 2, 3, 4)))
        frozen = freeze(net, "float", verbose=False)
        np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())
        with pytest.raises(ValueError, match="has 24 inputs, but the input before it has 2 outputs"):
            frozen.graph

    def test_subclasses_that_change_nothing_are_known(self, rng, tmp_path):
        class Named(gluon.HybridSequential):
            pass

        class Mine(nn.BinaryDense):
            pass

        net = Named()
        net.add(Mine(3, in_units=4))
        assert agree(randomise(net, rng), plus_minus(rng, 5, 4), tmp_path) == ["binary_dense 4 -> 3 float float"]

    def test_shared_layers(self, rng, tmp_path):
        shared = nn.BinaryDense(6, in_units=6)
        net = sequential(shared, nn.BinaryActivation(), shared, gluon.BatchNorm(in_channels=6))
        randomise(net, rng)
        assert len(agree(net, plus_minus(rng, 5, 6), tmp_path)) == 2

    def test_batch_norm_without_scale_and_center(self, rng, implementation, tmp_path):
        """gamma is 1 whatever is stored, NaN too; beta is what MXNet adds."""
        net = mlp(rng, [30, 20, 10])
        net[2]._kwargs["fix_gamma"] = True
        net[2].gamma.set_data(mx.nd.array(np.full(20, np.nan)))
        freeze(net, "float", verbose=False)  # before the net has run, which sets gamma to 1
        agree(net, rng.standard_normal((50, 30)).astype(np.float32), tmp_path)

    @pytest.mark.parametrize("form", FORMS)
    def test_slices(self, rng, form):
        """A slice from the start has the inputs of the whole net; another one has inputs of its own."""
        net = sequential(
            gluon.Dropout(0.1),
            *mlp(rng, [12, 20, 10], first=False),
            gluon.Dropout(0.2),
            gluon.Dense(4, in_units=10, activation="relu"),
        )
        net[-1].initialize()
        frozen = freeze(net, form, input_shape=(3, 4), input_scale=-0.5, input_shift=2, verbose=False)
        x = mx.nd.array(rng.standard_normal((5, 12)))
        for k in range(len(frozen) + 1):
            head, tail = frozen[:k], frozen[k:]
            np.testing.assert_array_equal(tail(head(x)).asnumpy(), frozen(x).asnumpy())
            assert head.form == tail.form == form
            inputs = [(part.input_scale, part.input_shift is not None, part._input_shape) for part in (head, tail)]
            given, none = (-0.5, True, (3, 4)), (None, False, None)
            assert inputs == [given if k else none, none if k else given]
            assert [row.layer for row in head.rows + tail.rows if row.blocks] == [
                row.layer for row in frozen.rows if row.blocks
            ] or k == len(frozen) - 1  # a layer and its relu
            assert sum(row.after for row in head.rows + tail.rows) == sum(row.after for row in frozen.rows)
        assert list(map(vars, frozen[:].rows)) == list(map(vars, frozen.rows))
        last = frozen[:-1].rows[-1]
        assert (last.layer, last.form) == (net[-1].name, "Dense")
        part = frozen[:-2]  # up to the binary layer of 10 units
        assert part.input_shape == (3, 4) and [row.form for row in part.rows[:1]] == ["dropped"]
        model = runtime.Model(part.graph)
        whole = runtime.Model(frozen.graph)
        p = rng.integers(0, 256, (5, 3, 4), np.uint8)
        rest = runtime.Model(frozen[-2:].graph)
        assert part.graph.units == 10
        np.testing.assert_array_equal(rest(model(p)), whole(p))
        assert frozen[0] is list(frozen._children.values())[0] and frozen[-1] is frozen[len(frozen) - 1]

    def test_slice_of_a_packed_net_that_ends_in_bits(self, rng):
        if "packed" not in FORMS:
            pytest.skip("there is no packed form")
        frozen = freeze(mlp(rng, [12, 20, 10], first=False), verbose=False)
        with pytest.raises(ValueError, match="is the last and must give a row of floats, got bits 20"):
            frozen[:1].graph


class TestFrozenAgain:
    @pytest.mark.parametrize("form", FORMS)
    def test_a_frozen_net_is_refused(self, rng, form):
        """By itself, in a container, as a slice and block by block: else its input scale would be lost."""
        frozen = freeze(mlp(rng, [12, 20, 10]), form, input_scale=0.5, verbose=False)
        for net in (frozen, sequential(frozen), sequential(gluon.Flatten(), sequential(frozen)), frozen[:2]):
            for again in ("float", FORMS[-1]):
                with pytest.raises(ValueError, match=rf"but frozen\d+_? is frozen already \(form='{form}'\): freeze"):
                    freeze(net, again, verbose=False)
        with pytest.raises(ValueError, match="is a layer of a frozen net: freeze the net that it was made from"):
            freeze(sequential(*frozen), form, verbose=False)


class TestFrozen:
    @pytest.mark.parametrize("form", FORMS)
    def test_is_a_copy(self, rng, form):
        """Training on changes nothing, and freezing changes neither the net nor MXNet's random numbers."""
        net = sequential(*mlp(rng, [12, 20, 10]), gluon.Dense(4, in_units=10))
        net[-1].initialize()
        x = mx.nd.array(rng.standard_normal((5, 12)))
        before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
        mx.random.seed(3)
        expected = mx.nd.random.uniform(shape=4).asnumpy()
        mx.random.seed(3)
        frozen = freeze(net, form, verbose=False)
        np.testing.assert_array_equal(mx.nd.random.uniform(shape=4).asnumpy(), expected)
        for name, p in net.collect_params().items():
            np.testing.assert_array_equal(p.data().asnumpy(), before[name])
        y = frozen(x).asnumpy()
        for p in net.collect_params().values():
            p.set_data(p.data() + 1)
        np.testing.assert_array_equal(frozen(x).asnumpy(), y)

    @pytest.mark.parametrize("form", FORMS)
    def test_save_and_load_parameters(self, rng, tmp_path, form):
        """`layers` are of the parameters as they are now."""
        first, second = (freeze(mlp(rng, [12, 20, 10], norm=False), form, verbose=False) for _ in range(2))
        x = rng.standard_normal((5, 12)).astype(np.float32)
        first.save_parameters(str(tmp_path / "p"))
        assert not np.array_equal(first(mx.nd.array(x)).asnumpy(), second(mx.nd.array(x)).asnumpy())
        second.load_parameters(str(tmp_path / "p"))
        y = first(mx.nd.array(x)).asnumpy()
        np.testing.assert_array_equal(second(mx.nd.array(x)).asnumpy(), y)
        np.testing.assert_array_equal(engine.run(second.graph, x), y)
        other = freeze(mlp(rng, [12, 100, 10], norm=False), form, verbose=False)
        with pytest.raises(AssertionError, match="shape incompatible"):
            other.load_parameters(str(tmp_path / "p"))

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("hybridize", [False, True])
    def test_training_mode_changes_nothing(self, rng, form, hybridize):
        """Batch norm keeps to its running averages, dropout is gone, and there is no gradient."""
        net = sequential(*mlp(rng, [12, 20, 10]), gluon.Activation("relu"), gluon.BatchNorm(in_channels=10))
        net[-1].initialize()
        frozen = freeze(net, form, verbose=False)
        frozen.hybridize(hybridize)
        x = mx.nd.array(rng.standard_normal((5, 12)))
        y = frozen(x).asnumpy()
        assert all(p.grad_req == "null" for p in frozen.collect_params().values())
        x.attach_grad()
        with mx.autograd.record():
            found = frozen(x)
        np.testing.assert_array_equal(found.asnumpy(), y)
        if form == "packed":
            with pytest.raises(mx.base.MXNetError, match="a frozen net is for inference"):
                found.backward()
                x.grad.wait_to_read()
        np.testing.assert_array_equal(frozen(x).asnumpy(), y)

    @needs_library
    def test_summary(self, rng, capsys):
        net = sequential(*mlp(rng, [100, 64, 10]), gluon.Dropout(0.5))
        frozen = freeze(net)
        printed = capsys.readouterr().out
        frozen.summary()
        assert capsys.readouterr().out == printed
        rows = [line.split("  ") for line in printed.splitlines()]
        rows = [[cell.strip() for cell in row if cell.strip()] for row in rows]
        assert rows[0] == ["layer", "became", "bytes before", "bytes after"]
        names = [block.name for block in net]
        assert rows[1:] == [
            [names[0], "Pack(100)", "0", "0"],
            [names[1], "PackedDense(100 -> 64, bits to bits)", "25,856", "1,280"],
            [names[2], f"folded into {names[1]}", "1,024", "0"],
            [names[3], "dropped", "0", "0"],
            [names[4], f"folded into {names[1]}", "0", "0"],
            [names[5], "PackedDense(64 -> 10, bits to float, batch norm)", "2,600", "328"],
            [names[6], f"folded into {names[5]}", "160", "0"],
            [names[7], "dropped", "0", "0"],
            ["total", "29,640", "1,608"],
        ]
        frozen.summary(mx.nd.ones((2, 100)))
        assert "PackedDense-" in capsys.readouterr().out
        freeze(net, "float", verbose=False)
        assert not capsys.readouterr().out

    @pytest.mark.parametrize("form", FORMS)
    def test_values_are_not_drawn_again(self, rng, form, recwarn):
        frozen, x = freeze(mlp(rng, [12, 10, 4]), form, verbose=False), mx.nd.ones((2, 12))
        y = frozen(x).asnumpy()
        frozen.initialize(mx.init.Zero())
        for options in ({"force_reinit": True}, {"init": mx.init.Zero(), "force_reinit": True}):
            with pytest.raises(ValueError, match="a frozen net has the values of the net .* got force_reinit=True"):
                frozen.initialize(**options)
        np.testing.assert_array_equal(frozen(x).asnumpy(), y)

    def test_cast(self, rng):
        frozen = freeze(mlp(rng, [12, 10]), "float", verbose=False)
        frozen.cast("float32")
        with pytest.raises(ValueError, match="computes in float32, got 'float16'"):
            frozen.cast("float16")

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("hybridize", [False, True])
    @pytest.mark.parametrize("first", [False, True])
    def test_wrong_inputs(self, rng, form, hybridize, first):
        frozen = freeze(mlp(rng, [40, 20, 10], first=first), form, verbose=False)
        for shape in ((5, 33), (5, 2, 33), (5, 65)):
            frozen.hybridize(hybridize)
            with pytest.raises(mx.base.MXNetError):
                frozen(mx.nd.ones(shape)).wait_to_read()
        with pytest.raises(mx.base.MXNetError):
            frozen(mx.nd.ones((5, 40), dtype="float64")).wait_to_read()


class TestRefused:
    def test_wrong_form(self, rng):
        with pytest.raises(ValueError, match="one of packed, float, got 'onnx'"):
            freeze(mlp(rng, [3, 2]), "onnx")

    def test_wrong_net(self):
        class Odd(gluon.Sequential):
            def forward(self, x):
                return -super().forward(x)

        for net in (Odd(), gluon.Lambda("relu"), None, nn.BinaryDense):
            with pytest.raises(TypeError, match=f"HybridBlock, or .* got {type(net).__name__}"):
                freeze(net)

    def test_nothing_binary(self):
        for net, what in (
            (sequential(gluon.Dense(3, in_units=2), gluon.Activation("relu")), "Activation, Dense"),
            (gluon.Dense(3, in_units=2), "Dense"),
            (sequential(), "an empty net"),
        ):
            net.initialize()
            with pytest.raises(
                ValueError, match=f"a binary layer, BinaryActivation or BinarySigmoid in it; got {what}"
            ):
                freeze(net, "float")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize(
        "block, name",
        [
            (1, "weight"),
            (1, "bias"),
            (2, "gamma"),
            (2, "beta"),
            (2, "running_mean"),
            (2, "running_var"),
            (3, "weight"),
            (4, "alpha"),
        ],
    )
    def test_parameters_that_are_not_finite(self, rng, block, name, value):
        net = randomise(
            sequential(
                nn.BinaryActivation(),
                nn.BinaryDense(4, in_units=3),
                gluon.BatchNorm(in_channels=4),
                gluon.Dense(4, in_units=4),
                gluon.PReLU(),
            ),
            rng,
        )
        parameter = net[block]._reg_params[name]
        wrong = parameter.data().asnumpy()
        wrong.flat[-2:] = value
        parameter.set_data(mx.nd.array(wrong))
        with pytest.raises(
            ValueError,
            match=f"finite parameters, {parameter.name} has {min(2, wrong.size)} of {wrong.size} that are not",
        ):
            freeze(net, "float")

    def test_statistics_that_give_no_number(self, rng):
        net = mlp(rng, [3, 4, 2])
        net[2].running_var.set_data(mx.nd.array([1, 1, -5, 1]))
        with pytest.raises(ValueError, match=f"{net[2].name}: gamma .* must be finite, .* for unit 2"):
            freeze(net, "float")

    @needs_library
    def test_outputs_that_overflow(self, rng):
        net = mlp(rng, [3, 4, 2])
        net[2].gamma.set_data(mx.nd.array([1, 1, 1, 1e37]))
        net[2].running_mean.set_data(mx.nd.array([0, 0, 0, 1000]))
        with pytest.raises(ValueError, match=f"{net[1].name}: the output of unit 3 must be finite"):
            freeze(net)

    def test_no_values(self, rng):
        net = sequential(nn.BinaryDense(4))
        with pytest.raises(ValueError, match="weight has none: call net.initialize"):
            freeze(net, "float")
        net.initialize()
        with pytest.raises(ValueError, match="weight has none: call the net once on a batch"):
            freeze(net, "float")
        net(mx.nd.ones((2, 3)))
        assert freeze(net, "float", verbose=False).input_shape == (3,)
        for block in (gluon.BatchNorm(), gluon.Dense(4), gluon.PReLU()):
            net = sequential(nn.BinaryActivation(), block)
            with pytest.raises(ValueError, match="has none: call net.initialize"):
                freeze(net, "float")

    def test_float64(self, rng):
        net = mlp(rng, [3, 2])
        net.cast("float64")
        with pytest.raises(ValueError, match=r"weight is float64: net.cast\('float32'\) first"):
            freeze(net, "float")

    @pytest.mark.parametrize(
        "blocks, message",
        [
            ([nn.BinaryDense(4, in_units=3), nn.BinaryDense(2, in_units=5)], "5 inputs, but .* has 4 outputs"),
            ([nn.BinaryDense(4, in_units=3), nn.BinaryActivation(), gluon.Dense(2, in_units=5)], "has 5 inputs"),
            ([gluon.Dense(4, in_units=3), gluon.BatchNorm(in_channels=5), nn.BinaryActivation()], "has 5 inputs"),
            ([gluon.Dense(4, in_units=3), gluon.Flatten(), nn.BinaryDense(2, in_units=8)], "has 8 inputs"),
            ([nn.BinaryDense(4, in_units=3, flatten=False), nn.BinaryDense(2, in_units=6)], "has 6 inputs"),
        ],
    )
    def test_layers_that_do_not_fit(self, blocks, message):
        net = sequential(*blocks)
        net.initialize()
        with pytest.raises(ValueError, match=message):
            freeze(net, "float")

    def test_block_that_is_not_hybrid(self):
        net = gluon.Sequential()
        net.add(nn.BinaryDense(4, in_units=3), gluon.Lambda("relu"))
        net.initialize()
        with pytest.raises(TypeError, match="a frozen net is a HybridBlock, .* a Lambda"):
            freeze(net, "float")

    def test_packed_without_the_library(self, rng, monkeypatch):
        net = mlp(rng, [3, 2])
        monkeypatch.setattr(library, "available", lambda: False)
        monkeypatch.setattr(library, "problem", lambda: "the native library was not built; do this")
        with pytest.raises(OSError, match="the native library was not built; do this; form='float' runs"):
            freeze(net)
        freeze(net, "float", verbose=False)


@pytest.mark.slow
@needs_library
def test_check_finds_a_wrong_threshold(rng, monkeypatch, tmp_path):
    """`python -m gluon_bnn check` covers the frozen forms, and its rows can fail."""
    real = fold.thresholds

    def wrong(*arguments):
        threshold, falls = real(*arguments)
        return np.where(np.abs(threshold) < 2, threshold + 2, threshold), falls

    monkeypatch.setattr(fold, "thresholds", wrong)
    monkeypatch.setattr(quantizers, "SCALES", ("channel",))
    table = check.Table()
    with ops.use("native"):
        for errors, row in check.frozen.rows("native", rng, str(tmp_path)):
            table.add(errors, **row)
    assert {row["mode"] for row in table} == set(check.MODES)
    for row in table:
        assert row["ok"] == (row["operator"] in ("net as trained", "frozen float")), row
    assert {"NumPy", *library.instruction_sets()} == {r["ops"] for r in table if r["operator"] == "runtime"}


@needs_library
@pytest.mark.parametrize("function", ["relu", "softsign", "sigmoid", "tanh", "softrelu"])
def test_the_runtime_and_mxnet_beyond_an_activation(rng, function):
    """To the bit, but after the functions that both approximate: 1.4 units seen over 20 seeds."""
    net = randomise(
        sequential(
            nn.BinaryActivation(), nn.BinaryDense(33, in_units=70, activation=function), nn.BinaryDense(10, in_units=33)
        ),
        rng,
    )
    frozen = freeze(net, "packed", verbose=False)
    x = rng.standard_normal((50, 70)).astype(np.float32)
    in_mxnet, model = frozen(mx.nd.array(x)).asnumpy(), runtime.Model(frozen.graph)
    hidden, weight, bias = (a.asnumpy() for a in (net[:2](mx.nd.array(x)), net[2].weight.data(), net[2].bias.data()))
    magnitude = np.abs(hidden).sum(axis=1, keepdims=True) * np.abs(weight).mean() + np.abs(bias)
    bound = 0 if function in ("relu", "softsign") else 6 * np.finfo(np.float32).eps * magnitude
    assert (np.abs(model(x) - in_mxnet) <= bound).all()
