"""The trained nets: what is said of them is true."""

import json
import os

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import data, zoo

from paths import ROOT


def pixels(name, part):
    """(uint8 images, labels) of a data set."""
    found = data.load(name)
    return np.rint(found[f"{part}_data"] * 255).astype(np.uint8), found[f"{part}_label"].astype(int)


def test_the_net_of_the_package():
    """79,400 weights of one bit in 19 KB; all that `info` says is what the model and its record say."""
    info, model = zoo.info("mnist"), zoo.load("mnist")
    assert zoo.names()[0] == "mnist" and info["bits"] == 79400 and info["bytes"] < 19500
    assert info["bytes"] == os.path.getsize(info["file"])
    assert model.labels == tuple(info["labels"]) == tuple("0123456789") and model.accuracy == info["accuracy"]
    assert model.input_shape == tuple(info["input"]["shape"]) == (1, 28, 28) and model.input_scale is not None
    json.dumps(info)
    record = os.path.join(ROOT, info["record"])
    if os.path.exists(record):
        with open(record, encoding="utf-8") as file:
            found = json.load(file)
        assert found["bits"] == info["bits"] and round(1 - found["test_error"], 6) == info["accuracy"]


@pytest.mark.slow
def test_its_answers():
    """On MNIST's 10,000 test images its accuracy is what it says; on the digits, which it was not made for, too."""
    model = zoo.load("mnist")
    images, labels = pixels("digits", "test")
    assert np.count_nonzero(model.predict(images) == labels) == 89
    assert correct(model) == round(model.accuracy * 10000) == 9752


def correct(model):
    """How many of MNIST's test images get the right class; the test ends here where MNIST is not at hand."""
    if data.find("mnist") is None:
        pytest.skip("MNIST is not here")
    images, labels = pixels("mnist", "test")
    return np.count_nonzero(model.predict(images.reshape(len(images), -1)) == labels)


def test_nets_of_the_checkout():
    """Each that lies there with its record has labels, accuracy and bits."""
    for name in zoo.names()[1:]:
        info, model = zoo.info(name), zoo.load(name)
        with open(os.path.join(ROOT, info["record"]), encoding="utf-8") as file:
            record = json.load(file)
        assert info["bits"] == record["bits"] and model.labels == tuple("0123456789")
        assert model.accuracy == info["accuracy"] == round(1 - record["test_error"], 6)


def test_only_what_is_there(tmp_path, monkeypatch):
    """An installed package has no checkout around it; a record that is damaged is named."""
    monkeypatch.setattr(zoo, "_PAPERS", tmp_path)
    assert zoo.names() == ("mnist",)
    for wrong in ("bnn-0", "", "../zoo/mnist", None):
        with pytest.raises(ValueError, match="the nets of the zoo are mnist; got"):
            zoo.load(wrong)
    gluon_bnn.save(zoo.load("mnist"), tmp_path / "a.safetensors")
    assert zoo.names() == ("mnist",)  # it has no record
    net = zoo.load("mnist").graph
    gluon_bnn.runtime.save(gluon_bnn.graph.graph.Graph(net.nodes), tmp_path / "a.safetensors")
    for content in ("", "[]", "{}", '{"test_error": "x"}', '{"test_error": 7}'):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(ValueError, match=r"a\.json is no record"):
            zoo.load("a")
    (tmp_path / "a.json").write_text('{"test_error": 0.25}')
    assert zoo.load("a").accuracy == 0.75
