"""`gluon_bnn.summary`: nets as they train, frozen, loaded, and models, counted by hand."""

import json
import math

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import freeze, load_exported, mx, nn, runtime, summaries, summary
from gluon_bnn.graph.graph import Graph, Node
from gluon_bnn.native import library

import programs
from gluon_nets import FORMS, sequential

gluon = mx.gluon.nn


@pytest.fixture
def net():
    """784-100-10 with deferred shapes: the second product is one of bits."""
    made = sequential(
        nn.BinaryDense(100), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(10, scale="channel", use_bias=False)
    )
    made.initialize()
    return made


def types(found):
    return [layer.type for layer in found.layers]


class TestOfBlocks:
    def test_by_hand(self, net):
        found = summary(net, (784,))
        first, norm, sign, last = found.layers
        assert types(found) == ["BinaryDense", "BatchNorm", "BinaryActivation", "BinaryDense"]
        assert [layer.input_bits for layer in found.layers] == [32, 32, 32, 1]
        assert [layer.output_shape for layer in found.layers] == [(100,), (100,), (100,), (10,)]
        # 7 blocks of 16 units, 25 words an input; a scale; the biases
        assert (first.weights_1bit, first.weights_32bit, first.nbytes) == (78400, 100, 7 * 16 * 25 * 4 + 4 + 400)
        assert (norm.weights_1bit, norm.weights_32bit, norm.nbytes) == (0, 400, 1600)
        assert (sign.weights_1bit, sign.weights_32bit, sign.nbytes) == (0, 0, 0)
        assert (last.weights_1bit, last.weights_32bit, last.nbytes) == (1000, 0, 1 * 16 * 4 * 4 + 10 * 4)
        assert found.macs == {"1x1": 1000, "1x8": 0, "1x32": 78400, "32x32": 0}
        assert (found.weights_1bit, found.weights_32bit) == (79400, 500)
        assert found.nbytes == sum(layer.nbytes for layer in found.layers) and found.float32_nbytes == 4 * 79900
        assert found.compression == found.float32_nbytes / found.nbytes
        assert found.binary_share == 1000 / 79400 and found.unknown == []
        assert found.weights_1bit + found.weights_32bit == sum(p.data().size for p in net.collect_params().values())

    def test_nothing_of_the_net_changes(self, net, rng):
        x = mx.nd.array(rng.standard_normal((3, 784)))
        net(x)
        net.hybridize()
        y = net(x).asnumpy()
        before = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
        mx.random.seed(1)
        expected = mx.nd.random.uniform(shape=3).asnumpy()
        mx.random.seed(1)
        assert summary(net, (784,)).nbytes == summary(net, [784]).nbytes
        np.testing.assert_array_equal(mx.nd.random.uniform(shape=3).asnumpy(), expected)
        for name, p in net._collect_params_with_prefix().items():
            np.testing.assert_array_equal(p.data().asnumpy(), before[name])
        assert net._active and net._cached_graph and not net._forward_hooks and not net[0]._forward_hooks
        np.testing.assert_array_equal(net(x).asnumpy(), y)

    @pytest.mark.parametrize("scale", ["layer", "channel", "loss", None])
    def test_scales(self, scale):
        layer = nn.BinaryDense(33, in_units=33, scale=scale)
        layer.initialize()
        found = summary(layer, (33,))
        scales = {"channel": 33, None: 0}.get(scale, 1)
        assert (found.weights_1bit, found.weights_32bit) == (33 * 33, 33)  # LAB's curvature is for training alone
        assert found.nbytes == 4 * (3 * 16 * 2 + scales + 33)

    def test_bits_are_seen_in_the_numbers(self):
        """Whatever operator made them, and wherever they went."""

        class Signs(mx.gluon.HybridBlock):
            def hybrid_forward(self, F, x):
                return F.concat(1 - 2 * (x < 0), 1 - 2 * (x > 0))

        for block, bits in (
            (Signs(), 1),
            (nn.BinarySigmoid(), 1),
            (gluon.Activation("tanh"), 32),
            (gluon.HybridLambda(lambda F, x: F.zeros_like(x)), 32),
        ):
            net = sequential(block, gluon.Dropout(0.5), gluon.Flatten(), nn.BinaryDense(3))
            net.initialize()
            found = summary(net, (2, 20))
            assert found.layers[-1].input_bits == bits
            assert found.binary_share == (bits == 1)

    def test_layers_of_gluon(self):
        net = sequential(
            gluon.Conv2D(8, 3, groups=2, in_channels=4, activation="relu"),
            gluon.Conv2DTranspose(6, 2, strides=2, use_bias=False),
            gluon.LayerNorm(),
            gluon.Dense(5, flatten=False),
        )
        net.initialize()
        found = summary(net, (4, 10, 12))
        assert types(found) == ["Conv2D", "Conv2DTranspose", "LayerNorm", "Dense"]
        assert [layer.output_shape for layer in found.layers] == [(8, 8, 10), (6, 16, 20), (6, 16, 20), (6, 16, 5)]
        assert [layer.macs for layer in found.layers] == [8 * 80 * 2 * 9, 8 * 80 * 6 * 4, 0, 6 * 16 * 20 * 5]
        assert [layer.weights_32bit for layer in found.layers] == [8 * 18 + 8, 8 * 24, 40, 105]
        assert found.compression == 1 and found.binary_share == 0 and found.macs["32x32"] == sum(found.macs.values())

    def test_convolutions_by_hand(self):
        net = sequential(
            nn.BinaryConv2D(20, 5, in_channels=3),
            gluon.MaxPool2D(2),
            nn.BinaryActivation(),
            nn.BinaryConv2D(40, 3, padding=1, in_channels=20, scale="channel", use_bias=False),
            nn.BinaryConv2D(40, 3, groups=4, in_channels=40, scale=None),
            nn.BinaryDense(10),
        )
        net.initialize()
        found = summary(net, (3, 12, 12))
        first, _, _, second, grouped, last = found.layers
        assert types(found)[:4] == ["BinaryConv2D", "MaxPool2D", "BinaryActivation", "BinaryConv2D"]
        assert [layer.output_shape for layer in (first, second, grouped)] == [(20, 8, 8), (40, 4, 4), (40, 2, 2)]
        # Of floats: 75 inputs in 3 words for 2 blocks of 16 units. Of bits: a word for the 20 channels of 9 places.
        assert (first.weights_1bit, first.weights_32bit, first.nbytes) == (1500, 20, 32 * 3 * 4 + 4 + 80)
        assert (second.weights_1bit, second.weights_32bit, second.nbytes) == (7200, 0, 48 * 9 * 4 + 160)
        assert (grouped.weights_1bit, grouped.weights_32bit, grouped.nbytes) == (0, 3600 + 40, 4 * 3640)
        counts = 64 * 20 * 75, 16 * 40 * 180, 4 * 40 * 90, 10 * 160
        assert [layer.macs for layer in (first, second, grouped, last)] == list(counts)
        assert found.macs == {"1x1": counts[1], "1x8": 0, "1x32": counts[0] + counts[3], "32x32": counts[2]}
        volumes = nn.BinaryConv3D(2, 2, in_channels=1)
        volumes.initialize()
        assert [layer.weights_1bit for layer in summary(volumes, (1, 3, 3, 3)).layers] == [0]

    def test_shared_weights_count_once(self):
        first = nn.BinaryDense(20, in_units=20, use_bias=False)
        net = sequential(first, nn.BinaryActivation(), first, nn.BinaryDense(20, in_units=20, params=first.params))
        net.initialize()
        found = summary(net, (20,))
        assert types(found) == ["BinaryDense", "BinaryActivation", "BinaryDense (shared)", "BinaryDense"]
        assert [layer.weights_1bit for layer in found.layers] == [400, 0, 0, 0]
        assert [layer.weights_32bit for layer in found.layers] == [0, 0, 0, 20]  # the bias is its own
        assert [layer.macs for layer in found.layers] == [400, 0, 400, 400]

    def test_real_weights_are_real(self):
        net = sequential(nn.BinaryDense(4, in_units=8))
        net.initialize()
        found = summary(nn.with_real_weights(net), (8,))
        assert found.weights_1bit == 0 and found.macs["32x32"] == 32 and found.compression == 1

    def test_arrays_of_mx_np(self):
        with mx.util.np_shape(True), mx.util.np_array(True):
            net = sequential(gluon.Dense(4, activation="relu"), gluon.Dense(3))
            net.initialize()
            found = summary(net, (8,))
        assert found.macs["32x32"] == 44 and [layer.input_bits for layer in found.layers] == [32, 32]
        json.dumps(found.to_json())

    def test_own_blocks(self):
        class Residual(mx.gluon.HybridBlock):
            def __init__(self):
                super().__init__()
                with self.name_scope():
                    self.dense = nn.BinaryDense(6, in_units=6, activation="relu")
                    self.matrix = self.params.get("matrix", shape=(6, 6))

            def hybrid_forward(self, F, x, matrix):
                return F.dot(self.dense(x) + x, matrix)

        net = Residual()
        net.initialize()
        net.hybridize()
        found = summary(net, (6,))
        assert types(found) == ["BinaryDense", "Residual"]  # an activation belongs to its layer
        assert found.unknown == [net.name] and found.layers[1].macs is None and found.weights_32bit == 6 + 36
        assert net.name in str(found).splitlines()[-1]

    def test_own_blocks_whose_shapes_are_deferred(self, rng):
        """Gluon calls what is in them with symbols then, to find the shapes."""

        class Mixed(mx.gluon.HybridBlock):
            def __init__(self):
                super().__init__()
                with self.name_scope():
                    self.act = nn.BinaryActivation()
                    self.matrix = self.params.get("matrix", shape=(6, 0), allow_deferred_init=True)

            def hybrid_forward(self, F, x, matrix):
                return F.FullyConnected(self.act(x), matrix, num_hidden=6, no_bias=True)

        nets = Mixed(), Mixed()
        for net in nets:
            net.initialize()
        found = summary(nets[0], (9,))
        assert types(found) == ["BinaryActivation", "Mixed"] and found.weights_32bit == 54
        assert gluon_bnn.check_net(nets[1], mx.nd.array(rng.standard_normal((2, 9)))).ok

    def test_several_inputs_and_types(self):
        class Sum(mx.gluon.Block):
            def __init__(self):
                super().__init__()
                self.dense = nn.BinaryDense(3, dtype="float64")

            def forward(self, x, y):
                return self.dense(x + y), x

        net = Sum()
        net.initialize()
        found = summary(net, [(4,), (1,)])
        assert found.macs["1x32"] == 12 and found.to_json()["input_shape"] == [[4], [1]]

    def test_refused(self, net):
        with pytest.raises(ValueError, match="input_shape must be given .* without the batch axis"):
            summary(net)
        for shape in ("784", 7.5, (2.5,), [(1,), 3]):
            with pytest.raises(TypeError, match="input_shape must be a tuple of whole numbers"):
                summary(net, shape)
        for shape in ((0,), (-1, 784)):
            with pytest.raises(ValueError, match="sizes of at least 1, and no batch axis"):
                summary(net, shape)
        summary(net, 784)
        with pytest.raises(
            ValueError, match=r"HybridSequential does not take \(1, 100\), which is input_shape with a ba"
        ):
            summary(net, (100,))
        layer = nn.BinaryDense(3, in_units=4)
        with pytest.raises(ValueError, match=f"{layer.weight.name} has none: call net.initialize"):
            summary(layer, (4,))
        for wrong in (None, nn.BinaryDense, np.ones(3), "model.safetensors"):
            with pytest.raises(TypeError, match="summary takes a mxnet.gluon.Block"):
                summary(wrong, (4,))


class TestDeployed:
    @pytest.mark.parametrize("form", FORMS)
    def test_frozen(self, net, form):
        trained = summary(net, (784,))
        frozen = freeze(net, form, verbose=False)
        found = summary(frozen)
        assert found.macs == trained.macs and found.weights_1bit == trained.weights_1bit
        assert found.nbytes == sum(row.after for row in frozen.rows)
        assert found.input_shape == (784,) and found.layers[0].output_shape == (100,)
        if form == "float":  # signs are held as float32
            assert found.compression == 1
        else:
            assert types(found) == ["PackedDense"] * 2 and [layer.input_bits for layer in found.layers] == [32, 1]

    @pytest.mark.parametrize("form", FORMS)
    def test_frozen_of_images(self, form):
        """A net of images, of which a frozen one does not know the size."""
        net = sequential(
            gluon.Conv2D(4, 3, activation="relu"), gluon.MaxPool2D(), nn.BinaryActivation(), nn.BinaryDense(5)
        )
        net.initialize()
        trained = summary(net, (1, 8, 8))
        with pytest.raises(ValueError, match="input_shape must be given"):
            summary(freeze(net, form, verbose=False))
        found = summary(freeze(net, form, verbose=False), (1, 8, 8))
        assert found.macs == trained.macs == {"1x1": 180, "1x8": 0, "1x32": 0, "32x32": 4 * 36 * 9}
        assert types(found)[0] == "Conv" and found.layers[0].weights_32bit == 4 * 9 + 4
        assert found.layers[-1].input_bits == 1

    def test_model(self, net, tmp_path):
        net(mx.nd.ones((1, 784)))
        frozen = freeze(net, "float", input_shape=(1, 28, 28), input_scale=1 / 255, verbose=False)
        gluon_bnn.save(frozen, tmp_path / "net.safetensors")
        model = runtime.load(tmp_path / "net.safetensors")
        found = summary(model)
        assert types(found) == ["input", "binary_dense", "binary_dense"]
        assert [layer.input_bits for layer in found.layers] == [8, 8, 1]
        assert found.macs == {"1x1": 1000, "1x8": 78400, "1x32": 0, "32x32": 0} and found.weights_1bit == 79400
        assert found.nbytes == sum(node.nbytes for node in model.graph.nodes)
        for same in (summary(model, (784,)), summary(model, (1, 28, 28)), summary(model.graph)):
            assert same.to_json() == found.to_json()
        with pytest.raises(
            ValueError, match=r"input_shape must be \(1, 28, 28\), that of the net, or None; got \(10,\)"
        ):
            summary(model, (10,))

    @pytest.mark.slow
    @pytest.mark.parametrize("form", ["as trained", *FORMS])
    def test_loaded_export(self, net, form, tmp_path):
        net(mx.nd.ones((1, 784)))
        exported = net if form == "as trained" else freeze(net, form, verbose=False)
        exported.hybridize()
        exported(mx.nd.ones((1, 784)))
        exported.export(str(tmp_path / "net"))
        trained, loaded = summary(net, (784,)), load_exported(tmp_path / "net")
        found = summary(loaded)
        assert len(found.layers) == (2 if library.available() else 4)
        assert found.macs == trained.macs and found.weights_1bit == 79400
        within = summary(sequential(gluon.Flatten(), loaded), (1, 28, 28))  # as a part of another net
        assert types(within) == ["Flatten", type(loaded).__name__] and within.unknown == [loaded.name]
        if form == "as trained":
            assert (within.weights_1bit, within.weights_32bit) == (trained.weights_1bit, trained.weights_32bit)

    def test_dense_node(self):
        nodes = (
            Node("input", (), {"shape": (3, 4)}),
            Node("dense", (0,), {"units": 5}, {"weight": np.ones((12, 5), np.float32), "bias": np.ones(5, np.float32)}),
        )
        found = summary(Graph(nodes))
        assert found.macs["32x32"] == 60 and found.weights_32bit == 65 and found.layers[0].product == "32x32"
        with pytest.raises(ValueError, match="kind must be one of"):
            summary(Graph((nodes[0], Node("no kind", (0,)))))

    def test_without_mxnet(self, net, tmp_path):
        net(mx.nd.ones((1, 784)))
        gluon_bnn.save(freeze(net, "float", verbose=False), tmp_path / "net.safetensors")
        code = (
            "import sys; sys.modules['mxnet'] = None\nimport gluon_bnn\n"
            "print(gluon_bnn.summary(gluon_bnn.runtime.load('net.safetensors')).weights_1bit)"
        )
        assert programs.output("-c", code, cwd=tmp_path).strip() == "79400"


class TestShown:
    def test_text(self, net):
        text = str(summary(net, (784,)))
        lines = text.splitlines()
        assert lines[0].split() == ["layer", "type", "inputs", "output", "1-bit", "32-bit", "bytes", "MACs"]
        assert lines[5].split() == ["total", "79,400", "500", "13,500", "79,400"]
        assert lines[6] == "13,500 bytes deployed, 319,600 in float32, 23.7 times as many"
        assert lines[7] == "MACs by bits of weights x inputs: 1x1 1,000 (1.3%), 1x32 78,400 (98.7%)"

    def test_fits_100_columns(self):
        net = mx.gluon.nn.HybridSequential(prefix="a_very_long_name_of_a_block_that_holds_all_others_")
        with net.name_scope():
            net.add(nn.BinaryDense(4, flatten=False, prefix="another_name_that_is_longer_than_most_names_"))
        net.initialize()
        text = str(summary(net, (2, 3, 4, 5, 6, 7, 8, 9)))
        assert max(map(len, text.splitlines())) <= 100
        assert "than_most_names" in text  # of a name that is cut, its end tells it from others

    def test_a_share_stays_next_to_its_count(self):
        """Where the line of products breaks, it does so between two of them."""
        layers = [summaries.Layer("a", "a", bits, (1,), macs=10**9, weight_bits=1) for bits in (1, 8, 32)]
        layers.append(summaries.Layer("b", "b", 32, (1,), macs=10**9, weight_bits=32))
        first, second = str(summaries.Summary(tuple(layers), (1,))).splitlines()[-2:]
        assert first.startswith("MACs by bits") and first.endswith("(25.0%),")
        assert second == "1x32 1,000,000,000 (25.0%), 32x32 1,000,000,000 (25.0%)"

    def test_html_is_escaped(self):
        layer = nn.BinaryDense(3, in_units=4, prefix="<b>&_")
        layer.initialize()
        html = summary(layer, (4,))._repr_html_()
        assert html.startswith("<table>") and html.count("<tr>") == 3 and "&lt;b&gt;&amp;" in html and "<b>" not in html
        assert "MACs by bits" in html

    def test_json(self, net):
        found = summary(net, (784,))
        read = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert read["input_shape"] == [784] and len(read["layers"]) == 4 and read["totals"]["macs"]["1x1"] == 1000
        assert read["layers"][0]["output_shape"] == [100] and read["totals"]["binary_share"] == found.binary_share

    def test_without_weights(self):
        net = sequential(nn.BinaryActivation())
        found = summary(net, (3,))
        assert math.isnan(found.compression) and math.isnan(found.binary_share) and str(found).count("\n") == 2
        assert found.to_json()["totals"]["compression"] is None


def test_a_table_of_checks_is_shown_in_jupyter(rng):
    layer = nn.BinaryDense(3, in_units=4)
    layer.initialize()
    table = gluon_bnn.check_net(layer, mx.nd.array(rng.standard_normal((5, 4))))
    html = table._repr_html_()
    assert html.count("<tr>") == 2 and layer.name in html and "ok" in html
    assert str(table).splitlines()[0].split() == [
        *("layer", "type", "gradient", "scale", "forward", "backward", "bound", "ok")
    ]
    assert type(table)()._repr_html_() == ""
