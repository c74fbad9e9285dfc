"""Frozen convolutional nets: every form gives what the net as trained gives."""

import os

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, ops, runtime
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.graph import engine
from gluon_bnn.reference import conv
from image_nets import SIGNS, RandomNet, agree_on_images, branches, equal_graphs, shortcut

from frozen_blocks import Own
from frozen_nets import FORMS, close, fill, gluon, plus_minus, randomise, sequential

Sign = nn.BinaryActivation


def stack(pad_value=0, sign=Sign):
    """Batch norm before the first max pool and after the second, another after none; for images of 3x11x9."""
    return sequential(
        sign(),
        nn.BinaryConv2D(20, 3, padding=1, in_channels=3, pad_value=pad_value),
        gluon.BatchNorm(in_channels=20),
        gluon.MaxPool2D(2),
        sign(),
        nn.BinaryConv2D(40, (2, 3), padding=(1, 2), in_channels=20, scale="channel", pad_value=pad_value),
        nn.MaxPool2D(2, strides=(1, 2), ceil_mode=True),
        nn.BatchNorm(axis=1, in_channels=40),
        sign(),
        nn.BinaryConv2D(33, 3, (2, 1), (1, 2), (1, 2), in_channels=40, scale=None, pad_value=pad_value, use_bias=False),
        gluon.Flatten(),
        gluon.Dropout(0.5),
        sign(),
        nn.BinaryDense(10, in_units=33 * 3 * 3),
    )


@pytest.mark.parametrize("pad_value, sign", [(0, Sign), (1, Sign), (-1, Sign), (0, SIGNS[1]), (1, SIGNS[1])])
def test_bits_from_layer_to_layer(rng, tmp_path, pad_value, sign):
    net = randomise(stack(pad_value, sign), rng)
    form = "bits" if sign is Sign else "bits01"
    assert agree_on_images(net, rng.standard_normal((5, 3, 11, 9)), tmp_path) == [
        "image 297 -> 11x9x3 float float",
        f"pack 11x9x3 -> 11x9x3 float {form}",
        f"binary_conv2d 11x9x3 -> 11x9x20 {form} {form}",
        f"max_pool 11x9x20 -> 5x4x20 {form} {form}",
        f"binary_conv2d 5x4x20 -> 6x6x40 {form} {form}",
        f"max_pool 6x6x40 -> 5x3x40 {form} {form}",
        f"binary_conv2d 5x3x40 -> 3x3x33 {form} {form}",
        f"flatten 3x3x33 -> 297 {form} {form}",
        f"binary_dense 297 -> 10 {form} float",
    ]


def test_gates_padded_with_a_number_that_they_are_not(rng, tmp_path):
    """-1 among 0 and 1 is no bit: these layers take floats."""
    net = randomise(stack(-1, SIGNS[1]), rng)
    taken = [line.split()[-2] for line in agree_on_images(net, rng.standard_normal((3, 3, 11, 9)), tmp_path)]
    assert taken[-1] == "bits01" and "bits01" not in taken[:-2]


NETS = {
    "sequences": (
        [
            nn.BinaryConv1D(20, 3, padding=2, in_channels=3, pad_value=-1),
            gluon.MaxPool1D(2),
            gluon.BatchNorm(in_channels=20),
            Sign(),
            gluon.MaxPool1D(3, 2, 1),
            nn.BinaryConv1D(35, 5, 2, 1, in_channels=20),
            Sign(),
            gluon.GlobalMaxPool1D(),
            nn.BinaryDense(4, in_units=35),
        ],
        (3, 30),
        "pack binary_conv2d max_pool max_pool binary_conv2d max_pool flatten binary_dense",
    ),
    "shortcuts": (
        [
            shortcut(4),
            shortcut(4, pad_value=1),
            gluon.MaxPool2D(2, 2, ceil_mode=True),
            Sign(),
            nn.BinaryConv2D(5, 2, in_channels=4),
            gluon.Activation("relu"),
        ],
        (4, 7, 7),
        "sign pack binary_conv2d add pack binary_conv2d add max_pool pack binary_conv2d relu flatten image flatten",
    ),
    "groups": (
        [
            nn.BinaryConv2D(8, 3, padding=1, groups=4, in_channels=4, scale=None, use_bias=False),
            gluon.BatchNorm(in_channels=8),
            Sign(),
            nn.BinaryConv2D(6, 2, padding=1, dilation=2, strides=(1, 2), groups=2, in_channels=8),
            Sign(),
            nn.BinaryDense(3, in_units=48),
        ],
        (4, 4, 4),
        "sign conv2d batch_norm sign conv2d multiply add pack flatten binary_dense",
    ),
    "branches and parts": (
        [
            branches(nn.BinaryConv2D(5, 3, padding=1, in_channels=2), nn.BinaryConv2D(7, 1, in_channels=2)),
            Own(lambda self, F, x: F.concat(F.slice_axis(x, axis=1, begin=1, end=9), F.split(x, 4, axis=1)[3], dim=1)),
            gluon.PReLU(in_channels=11),
            Sign(),
            nn.BinaryConv2D(4, 3, in_channels=11),
            gluon.Flatten(),
            gluon.BatchNorm(in_channels=16),
            Sign(),
            nn.BinaryDense(3, in_units=16, flatten=False),
        ],
        (2, 4, 4),
        "pack binary_conv2d binary_conv2d concat slice slice concat prelu pack binary_conv2d flatten image flatten "
        "batch_norm pack binary_dense",
    ),
    "signs that a row and an image are made of": (
        [
            nn.BinaryConv2D(5, 3, in_channels=2),
            Sign(),
            Own(
                lambda self, F, x: F.concat(self.row(x), F.Flatten(self.image(x)), dim=1),
                row=nn.BinaryDense(4, in_units=20),
                image=nn.BinaryConv2D(3, 2, in_channels=5),
            ),
        ],
        (2, 4, 4),
        "pack binary_conv2d flatten binary_dense binary_conv2d flatten concat",
    ),
    "two batch norms": (
        [
            nn.BinaryConv2D(5, 3, in_channels=2),
            gluon.BatchNorm(in_channels=5),
            gluon.MaxPool2D(2),
            gluon.BatchNorm(in_channels=5),
            Sign(),
            gluon.GlobalMaxPool2D(),
            nn.BinaryConv2D(3, 1, in_channels=5),
        ],
        (2, 6, 6),
        "pack binary_conv2d max_pool batch_norm pack max_pool binary_conv2d flatten",
    ),
    "signs that are also floats": (
        [
            nn.BinaryConv2D(5, 3, in_channels=2),
            Sign(),
            Own(lambda self, F, x: x + self.conv(x), conv=nn.BinaryConv2D(5, 3, padding=1, in_channels=5)),
            gluon.MaxPool2D(2),
            gluon.GlobalMaxPool2D(),
        ],
        (2, 6, 6),
        "pack binary_conv2d sign pack binary_conv2d add max_pool max_pool flatten",
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_nets(rng, tmp_path, name):
    blocks, shape, kinds = NETS[name]
    net = randomise(sequential(Sign(), *blocks), rng)
    found = agree_on_images(net, rng.standard_normal((4, *shape)), tmp_path)
    assert " ".join(line.split()[0] for line in found if not line.startswith("image " + str(np.prod(shape)))) == kinds


def test_real_inputs(rng, tmp_path):
    """A real first convolution, averages, and a binary layer over reals: sums are rounded in another order."""
    net = sequential(
        gluon.Conv2D(12, 3, 2, 1, in_channels=3, activation="relu"),
        gluon.BatchNorm(in_channels=12),
        gluon.AvgPool2D(3, 2, 1, count_include_pad=False),
        nn.BinaryConv2D(5, 2, in_channels=12, activation="tanh"),
        gluon.GlobalAvgPool2D(),
        gluon.Dense(7, in_units=5),
    )
    kinds = [
        line.split()[0]
        for line in agree_on_images(randomise(net, rng), rng.standard_normal((5, 3, 16, 16)), tmp_path, exact=False)
    ]
    assert " ".join(kinds) == "image conv2d relu batch_norm average_pool binary_conv2d tanh average_pool flatten dense"


def test_signs_of_sums_of_reals(rng):
    """They differ between the forms only where a sum is 0 to within rounding, which some here are made to be."""
    layer = nn.BinaryConv2D(8, 3, padding=1, in_channels=5, pad_value=1, scale="channel", use_bias=False)
    net = randomise(sequential(layer, Sign()), rng)
    x = rng.standard_normal((4, 5, 6, 7)).astype(np.float32)
    x[:, 0] = -x[:, 1:].sum(axis=1)  # so that windows inside add up to 0 where all signs are equal
    layer.weight.set_data(mx.nd.concat(mx.nd.ones((4, 5, 3, 3)), layer.weight.data()[4:], dim=0))
    wide, signs = x.astype(np.float64), layer.signs().asnumpy().astype(np.float64)
    alpha, sizes = layer.alpha().asnumpy().reshape(-1, 1, 1), dict(padding=1, pad_value=1)
    sums = alpha * conv.conv(wide, signs, **sizes)
    bound = 45 * np.finfo(np.float32).eps * alpha * conv.conv(np.abs(wide), np.abs(signs), **sizes)
    certain = np.abs(sums) > bound
    assert 0.3 < certain.mean() < 1
    for form in FORMS:
        frozen = freeze(net, form, input_shape=(5, 6, 7), verbose=False)
        for found in (net(mx.nd.array(x)), frozen(mx.nd.array(x)), mx.nd.array(runtime.Model(frozen.graph)(x))):
            same = found.asnumpy().reshape(sums.shape) == np.where(sums < 0, -1, 1)
            assert same[certain].all()


@pytest.mark.parametrize("turn", [*range(2), *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(2, 18))])
def test_random_nets(rng, tmp_path, turn):
    drawn = RandomNet(rng)
    x = rng.standard_normal((3, *drawn.shape))
    agree_on_images(randomise(drawn.net, rng), x, tmp_path, drawn.exact)


@pytest.mark.parametrize("choice", ["native", "composed"])
def test_exports_of_the_trained_net(rng, tmp_path, choice):
    """In which layers are operators, with padding of each kind, made before the numbers of channels are known too."""
    with ops.use(choice):
        net = sequential(
            Sign(),
            nn.BinaryConv1D(6, 3, padding=1, pad_value=1),
            nn.BatchNorm(axis=1),
            gluon.Activation("relu"),
            nn.BinaryConv1D(5, 3, padding=2, scale="channel"),
            Sign(),
            nn.BinaryConv1D(7, 2, padding=1, dilation=2, pad_value=-1, scale=None, use_bias=False),
            Sign(),
            nn.BinaryDense(3),
        )
    x = mx.nd.array(plus_minus(rng, 4, 3, 9))
    net.initialize()
    net.hybridize()
    net(x)
    expected = fill(net, rng)(x).asnumpy()
    net.export(str(tmp_path / "net"))
    loaded = load_exported(tmp_path / "net")
    for form in FORMS:
        frozen = freeze(loaded, form, input_shape=(3, 9), verbose=False)
        close(frozen(x).asnumpy(), expected)
        equal_graphs(frozen.graph, freeze(net, form, input_shape=(3, 9), verbose=False).graph)


@pytest.mark.parametrize(
    "padding, pad_value, scale, shift, integers",
    [
        (1, 0, 2**-7, None, True),
        (0, 1, 2**-7, (-0.5, -1, 0.25), True),
        (1, 0, 2**-7, -0.5, False),  # a 0 outside of the image is no pixel
        (1, -1, 2**-7, None, False),
        (1, 0, -(2**-7), None, False),
    ],
)
@pytest.mark.parametrize("to", ["bits", "floats"])
def test_pixels(rng, padding, pad_value, scale, shift, integers, to):
    """The first layer works on integers where one scale above 0 is all that pixels need. A power of two: sums of floats
    are exact, so that both ways give the same."""
    net = sequential(
        nn.BinaryConv2D(20, 3, padding=padding, in_channels=3, pad_value=pad_value),
        gluon.MaxPool2D(2),
        gluon.BatchNorm(in_channels=20),
        Sign() if to == "bits" else gluon.GlobalMaxPool2D(),
        nn.BinaryDense(5, in_units=20 * (3 + padding) ** 2) if to == "bits" else gluon.Flatten(),
    )
    randomise(net, rng)
    frozen = freeze(net, "float", input_shape=(3, 8, 8), input_scale=scale, input_shift=shift, verbose=False)
    p = rng.integers(0, 256, (6, 3, 8, 8)).astype(np.uint8)
    x = np.float32(scale) * p.astype(np.float32) + np.float32(0 if shift is None else np.reshape(shift, (-1, 1, 1)))
    expected = net(mx.nd.array(x)).asnumpy()
    node = next(node for node in frozen.graph.nodes if node.kind == "binary_conv2d")
    assert ({"threshold_u8", "alpha_u8"} & node.arrays.keys() != set()) == integers
    model = runtime.Model(frozen.graph)
    for taken in (p, x):
        same = close if taken is p and shift else np.testing.assert_array_equal  # bias_u8 has the shift in it, rounded
        same(model(taken), expected)
        np.testing.assert_array_equal(engine.run(frozen.graph, taken.reshape(6, -1)), model(taken))


def test_signs_of_pixels(rng):
    """Thresholds are in the order in which an image lies in memory."""
    net = randomise(sequential(Sign(), nn.BinaryConv2D(5, 3, padding=1, in_channels=3), gluon.Flatten()), rng)
    p, shift = rng.integers(0, 256, (6, 3, 8, 8)).astype(np.uint8), rng.uniform(-1, 0, (3, 8, 8)).astype(np.float32)
    frozen = freeze(net, "float", input_shape=(3, 8, 8), input_scale=1 / 255, input_shift=shift, verbose=False)
    expected = net(mx.nd.array(np.float32(1 / 255) * p.astype(np.float32) + shift)).asnumpy()
    np.testing.assert_array_equal(runtime.Model(frozen.graph)(p), expected)
    np.testing.assert_array_equal(engine.run(frozen.graph, p.reshape(6, -1)), expected)


def test_a_file(rng, tmp_path):
    net = randomise(stack(), rng)
    x = plus_minus(rng, 4, 3, 11, 9)
    path = os.path.join(tmp_path, "net.safetensors")
    frozen = freeze(net, FORMS[-1], input_shape=(3, 11, 9), verbose=False)
    gluon_bnn.save(frozen, path)
    model = runtime.load(path)
    assert model.input_shape == (3, 11, 9)
    equal_graphs(model.graph, frozen.graph)
    np.testing.assert_array_equal(model(x), net(mx.nd.array(x)).asnumpy())


def test_forms_without_an_input_shape(rng):
    """The Gluon forms need none, not for columns of a dense layer after an image of unknown size either."""
    net = randomise(stack(), rng)
    x = mx.nd.array(plus_minus(rng, 4, 3, 11, 9))
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        np.testing.assert_array_equal(frozen(x).asnumpy(), net(x).asnumpy())
        with pytest.raises(ValueError, match=r"needs input_shape in freeze, .* takes any \(channels, height, width\)"):
            frozen.graph


@pytest.mark.parametrize("first", [[Sign(), gluon.MaxPool2D(2)], [nn.BinaryConv2D(6, 5, in_channels=2), Sign()]])
def test_a_dense_layer_over_the_last_axis_of_images(rng, first):
    """Its inputs are no channels: the bits of an image are of no use to it."""
    net = randomise(sequential(*first, nn.BinaryDense(3, in_units=4, flatten=False)), rng)
    x = mx.nd.array(rng.integers(-1, 2, (3, 2, 8, 8)))
    for form in FORMS:
        np.testing.assert_array_equal(freeze(net, form, verbose=False)(x).asnumpy(), net(x).asnumpy())


def test_three_axes_of_space(rng):
    """In the Gluon forms, in floats."""
    net = sequential(
        nn.BinaryConv3D(6, 2, padding=1, in_channels=2, pad_value=1),
        gluon.MaxPool3D(2),
        Sign(),
        nn.BinaryConv3D(3, 2, in_channels=6),
        gluon.GlobalAvgPool3D(),
    )
    x = mx.nd.array(plus_minus(rng, 2, 2, 5, 6, 4))
    expected = randomise(net, rng)(x).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        np.testing.assert_array_equal(frozen(x).asnumpy(), expected)
        assert (
            frozen.rows[0].form
            == "FloatConv(2 -> 6, 2x2x2, padding 1x1x1, pad_value=+1; three axes of space have no 1-bit form)"
        )
        with pytest.raises(ValueError, match="over one and two axes of space.* got binaryconv"):
            freeze(net, form, input_shape=(2, 5, 6, 4), verbose=False)


@pytest.mark.parametrize(
    "block, shape, message",
    [
        (nn.BinaryConv2D(4, 3, in_channels=3), (48,), r"takes images of \(channels, height, width\), but .* has 48"),
        (nn.BinaryConv2D(4, 3, in_channels=3), (3, 16), r"the input before it has \(3, 16\)"),
        (nn.BinaryConv2D(4, 3, in_channels=3), (4, 4, 3), "takes 3 channels, but the input before it has 4"),
        (nn.BinaryConv2D(4, 3, in_channels=3, dilation=2), (3, 4, 8), "at least 5 places along axis 2, got 4"),
        (nn.BinaryConv1D(4, 3, in_channels=3), (3, 4, 4), r"images of \(channels, width\), but"),
        (gluon.MaxPool2D(3), (3, 2, 4), "the window of pool.* at least 3 places along axis 2, got 2"),
        (gluon.MaxPool2D(3, 4, 1, ceil_mode=True), (3, 3, 3), r"does not take pool\d+ \(MaxPool\(.* every window must"),
        (gluon.GlobalAvgPool2D(), (3, 16), r"images of \(channels, height, width\), but .* has \(3, 16\)"),
        (nn.BatchNorm(in_channels=4), (3, 4, 4), r"got batchnorm\d+ \(BatchNorm\(axis=-1"),
        (nn.BinaryDense(5, in_units=4, flatten=False), (3, 4, 4), "of images only with flatten=True.* got binarydense"),
        (gluon.BatchNorm(in_channels=4), (3, 4, 4), "has 4 inputs, but the input before it has 3 outputs"),
        (nn.BinaryConv2D(4, 1, 1, 1, groups=2, in_channels=4, pad_value=1), (4, 4, 4), "groups only with pad_value=0"),
    ],
)  # fmt: skip
def test_what_does_not_fit(rng, block, shape, message):
    net = randomise(sequential(block, nn.BinaryActivation()), rng)
    with pytest.raises(ValueError, match=message):
        freeze(net, "float", input_shape=shape, verbose=False)


def test_layers_that_do_not_fit_together(rng):
    """They are refused without an input_shape as well."""
    for blocks, message in (
        (
            [nn.BinaryConv2D(4, 3, in_channels=3), nn.BinaryConv2D(4, 3, in_channels=5)],
            "takes 5 channels, but .* has 4",
        ),
        (
            [nn.BinaryDense(4, in_units=3), nn.BinaryConv2D(4, 3, in_channels=5)],
            "images of .*, but binarydense.* has 4",
        ),
        ([nn.BinaryConv2D(4, 3, in_channels=3), gluon.BatchNorm(in_channels=3)], "has 3 inputs, but .* has 4 outputs"),
    ):
        with pytest.raises(ValueError, match=message):
            freeze(randomise(sequential(*blocks), rng), "float", verbose=False)


def test_what_became_of_layers(rng, capsys):
    net = randomise(stack(1), rng)
    frozen = freeze(net, FORMS[-1], input_shape=(3, 11, 9))
    text = capsys.readouterr().out
    if FORMS[-1] == "packed":
        for became in (
            "PackImage(3)",
            "PackedConv(3 -> 20, 3x3, padding 1x1, outside plus, bits to bits)",
            "PackedMaxPool",
            "PackedFlatten(297)",
        ):
            assert became in text
        kinds = [layer.product for layer in gluon_bnn.summary(frozen).layers if layer.product]
        assert kinds == ["1x1"] * 4
    convs = [block for block in frozen if "Conv" in type(block).__name__]
    layers = [block for block in net if isinstance(block, nn.BinaryConv2D)]
    assert gluon_bnn.summary(frozen).weights_1bit == sum(layer.weight.data().size for layer in layers) + 10 * 297
    for block, layer in zip(convs, layers):
        assert block.signs().shape == layer.signs().shape
    x = mx.nd.array(plus_minus(rng, 2, 3, 11, 9))
    np.testing.assert_array_equal(frozen[3:](frozen[:3](x)).asnumpy(), net(x).asnumpy())
