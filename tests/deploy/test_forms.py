"""`gluon_bnn.save`: the form of a file is that of its suffix."""

import os

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import nn, runtime
from gluon_bnn.deploy import forms, freeze

from frozen_blocks import before
from frozen_nets import gluon, plus_minus, randomise, sequential
from paths import GOLDEN
from programs import output


@pytest.fixture
def frozen(rng):
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), before(8), nn.BinaryDense(3, in_units=8)), rng)
    return freeze(net, "float", input_scale=0.5, verbose=False)


def test_runtime(rng, frozen, tmp_path):
    """The file is that of runtime.save, for any kind of path and case."""
    x = plus_minus(rng, 5, 8)
    runtime.save(frozen, tmp_path / "expected")
    for path in (tmp_path / "a.safetensors", str(tmp_path / "b.SafeTensors"), os.fsencode(tmp_path / "c.safetensors")):
        gluon_bnn.save(frozen, path)
        with open(path, "rb") as file:
            assert file.read() == (tmp_path / "expected").read_bytes()
        np.testing.assert_array_equal(runtime.load(path)(x), runtime.Model(frozen.graph)(x))


def test_labels_and_accuracy(frozen, tmp_path):
    """Of a frozen net, and of a model, which keeps its own where none are given."""
    path, other = tmp_path / "net.safetensors", tmp_path / "other.safetensors"
    gluon_bnn.save(frozen, path, ["a", "b", "c"], accuracy=0.5)
    gluon_bnn.save(runtime.load(path), other, accuracy=0.25)
    model = runtime.load(other)
    assert model.labels == ("a", "b", "c") and model.accuracy == 0.25
    gluon_bnn.save(frozen, other)
    assert runtime.load(other).labels is None and runtime.load(other).accuracy is None
    with pytest.raises(ValueError, match="as many as the net's outputs, 3, got 1"):
        gluon_bnn.save(frozen, path, labels=["a"])


def test_a_model_is_saved_without_mxnet(tmp_path):
    """gluon_bnn.save imports nothing of Gluon."""
    program = """if True:
        import sys
        sys.modules["mxnet"] = None
        import gluon_bnn
        gluon_bnn.save(gluon_bnn.runtime.load(sys.argv[1]), sys.argv[2], accuracy=1)
        """
    output("-c", program, os.path.join(GOLDEN, "format1_dense.safetensors"), tmp_path / "net.safetensors")
    assert runtime.load(tmp_path / "net.safetensors").accuracy == 1


@pytest.mark.parametrize("name", ["net", "net.onnx.bak", "net.params", "net.safetensors.bak", ".safetensors", ""])
def test_other_suffixes(frozen, tmp_path, name):
    path = f"{tmp_path}/{name}"
    with pytest.raises(ValueError, match=rf"must end in \.safetensors or \.onnx or \.h.*, got '{path}'"):
        gluon_bnn.save(frozen, path)
    assert not os.listdir(tmp_path)


def test_open_files(frozen, tmp_path):
    """They have no suffix; `runtime.save` takes them."""
    with (
        open(tmp_path / "net.onnx", "wb") as file,
        pytest.raises(TypeError, match="suffix says the form; got Buffered"),
    ):
        gluon_bnn.save(frozen, file)


def test_what_the_runtime_does_not_have(rng, tmp_path):
    """Nothing is written, and a file that is there stays."""
    (tmp_path / "net.safetensors").write_bytes(b"old")
    net = randomise(sequential(nn.BinaryDense(8, in_units=8), gluon.HybridLambda("softmax")), rng)
    with pytest.raises(ValueError, match=r"the runtime takes .*; got hybridlambda\d+ \(softmax[()]"):
        gluon_bnn.save(freeze(net, "float", verbose=False), tmp_path / "net.safetensors")
    assert (tmp_path / "net.safetensors").read_bytes() == b"old"


def test_no_path(frozen):
    for path in (None, 3):
        with pytest.raises(TypeError):
            gluon_bnn.save(frozen, path)


def test_a_form_of_ones_own(frozen, tmp_path, monkeypatch):
    """One line of a list."""

    def text(graph, path, inputs):
        path.write_text(" ".join(node.kind for node in graph.nodes))

    monkeypatch.setitem(forms.WRITERS, ".txt", text)
    gluon_bnn.save(frozen, tmp_path / "net.txt")
    assert (tmp_path / "net.txt").read_text().startswith("input binary_dense pack binary_dense arithmetic")


@pytest.mark.parametrize("save", [gluon_bnn.save, runtime.save])
def test_what_is_not_frozen(tmp_path, save):
    for net, name in ((sequential(nn.BinaryDense(3, in_units=8)), "HybridSequential"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"what gluon_bnn.freeze returns; got {name}$"):
            save(net, tmp_path / "net.safetensors")
    assert not os.listdir(tmp_path)
