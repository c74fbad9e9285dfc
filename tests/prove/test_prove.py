"""`gluon_bnn.prove`: that all forms of a net answer the same, and that what differs is seen."""

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from gluon_bnn import cli, data, runtime, zoo
from gluon_bnn._compat import mx
from gluon_bnn.graph import bounds, engine
from gluon_bnn.native import library
from gluon_bnn.prove import Report, _compared, classify, forms, inputs_of, prove

from frozen_blocks import before
from frozen_nets import gluon, sequential
from random_nets import SCALE, chain


def test_pixels_of_a_net_without_a_scale(rng):
    with pytest.raises(ValueError, match="pixels must be None for this net, which has no input scale"):
        prove(chain(rng, 8, "dense units=3"), np.zeros((2, 8), np.float32), np.zeros((2, 8), np.uint8))


@pytest.fixture
def mxnet_is_here(monkeypatch):
    """Frozen forms in MXNet run in this process, which has spent the seconds of importing it already."""
    start = subprocess.run

    def run(command, **options):
        if not command[-3].endswith(("float-0000.params", "packed-0000.params")):
            return start(command, **options)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            classify.classify(*classify.load(*command[-4:-2]), *command[-2:])
        return subprocess.CompletedProcess(command, 0, printed.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("BEGAN", "0")


@pytest.mark.slow
def test_all_forms_of_an_exported_net(tmp_path, capsys, mxnet_is_here):
    """A net with convolutions and a shortcut, on digits: MXNet's three, and all others that are there."""
    from gluon_bnn import nn

    net = sequential(
        nn.BinaryConv2D(4, 5, strides=3, in_channels=1, padding=2),
        nn.BatchNorm(1, in_channels=4),
        nn.MaxPool2D(2),
        gluon.Flatten(),
        before(100),
        nn.BinaryActivation(),
        nn.BinaryDense(10, in_units=100),
    )
    net.initialize(mx.init.Xavier())
    images = data.load("digits")["test_data"]
    with mx.autograd.record():
        net(mx.nd.array(images))
    net.hybridize()
    net(mx.nd.array(images))
    net.export(str(tmp_path / "net"))
    options = "--input-shape", "1x28x28", "--input-scale", "1/255", "--dataset", "digits", "--images", "30", "--json"
    assert cli.main(["prove", str(tmp_path / "net"), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["form"] for row in found["rows"]}
    assert {"MXNet, as exported", "MXNet, float", "runtime, NumPy alone"} <= names
    assert {f"runtime, {isa}" for isa in library.instruction_sets()} <= names
    others = {"ONNX Runtime", "C, the header alone", "C, our library", "JavaScript, Node"}
    assert names | set(found["absent"]) >= others
    assert found["images"] == 30 and found["ok"] and not found["complaints"]
    for row in found["rows"]:
        exact = not row["form"].startswith(("MXNet", "ONNX", "pixels"))
        assert row["not_equal"] == 0 or not exact
        assert all(value >= 0 for value in row["seconds_per_image"].values())


@pytest.fixture
def graph(rng):
    return chain(rng, (40,), "binary_dense units=33 to=bits norm", "binary_dense units=5 to=float norm", scale=SCALE)


def compared(graph, x, outputs, exact):
    complaints = []
    form = forms.Form("a form", "float32", (), (), exact=exact)
    found = _compared(form, graph, x, outputs, {"float32": engine.run(graph, x)}, complaints)
    return found, complaints


def test_equal_answers(rng, graph):
    x = rng.standard_normal((20, 40)).astype(np.float32)
    for exact in (True, False):
        assert compared(graph, x, engine.run(graph, x), exact) == ({"not_equal": 0, "near_ties": []}, [])


def test_a_bit_that_differs(rng, graph):
    x = rng.standard_normal((20, 40)).astype(np.float32)
    outputs = engine.run(graph, x)
    outputs[7, 2] = np.nextafter(outputs[7, 2], np.float32(np.inf))
    found, complaints = compared(graph, x, outputs, exact=True)
    assert found["not_equal"] == 1 and "a form differs in 1 rows, the first is 7" in complaints[0]
    found, complaints = compared(graph, x, outputs, exact=False)
    assert found["not_equal"] == 1 and "row" in complaints[0] and "more than rounding explains" in complaints[0]


def test_nan_has_any_sign(rng):
    """As processors give it; a number in its place is another answer."""
    graph = chain(rng, (40,), "dense units=3", "activation function=softsign", scale=None)
    x = rng.standard_normal((20, 40)).astype(np.float32)
    x[4, 7] = np.inf
    outputs = engine.run(graph, x)
    assert np.isnan(outputs[4]).all()
    turned = outputs.copy()
    turned.view(np.int32)[4] ^= -(2**31)
    for exact in (True, False):
        assert compared(graph, x, turned, exact) == ({"not_equal": 0, "near_ties": []}, [])
    turned[4, 1] = 0.5
    found, complaints = compared(graph, x, turned, exact=True)
    assert found["not_equal"] == 1 and len(complaints) == 1 and "the first is 4" in complaints[0]


def test_another_class_is_a_near_tie_where_the_bounds_say_so(rng):
    """Two units with the same weights in another order of inputs: their scores differ by rounding alone."""
    graph = chain(rng, (40,), "dense units=2 plain", scale=None)
    weight = graph.nodes[1].arrays["weight"]
    weight[:, 1] = weight[:, 0]
    for name, array in graph.nodes[1].arrays.items():
        if name == "bias":
            array[:] = 0
    x = rng.standard_normal((20, 40)).astype(np.float32)
    outputs = engine.run(graph, x)
    low, high = bounds.run(graph, x)
    outputs[3] = low[3, 0], high[3, 1]
    assert outputs[3, 0] < outputs[3, 1]
    found, complaints = compared(graph, x, outputs, exact=False)
    assert not complaints and [tie["row"] for tie in found["near_ties"]] == [3]
    assert found["near_ties"][0]["classes"] == [0, 1]
    row = {"form": "a form", "inputs": "float32", "bytes": 1, "seconds_per_image": {}, **found}
    report = Report([row], {}, [], engine.run(graph, x).argmax(axis=1))
    assert "a form, row 3: 1, not 0; a near tie" in str(report) and report.ok
    assert str(report).endswith("the same class, but for 1 near ties.")
    outputs[3, 1] = 2 * high[3, 1] + 1
    found, complaints = compared(graph, x, outputs, exact=False)
    assert len(complaints) == 1 and found == {"not_equal": 1, "near_ties": []}


def test_rows_run_in_batches_and_alone(tmp_path, monkeypatch):
    """Some forms compute these in other ways: answers to both are compared."""
    monkeypatch.setenv("BEGAN", "0")
    np.save(tmp_path / "x.npy", np.arange(50, dtype=np.float32).reshape(50, 1))
    classify.classify(0.0, lambda x: x + (len(x) == 1), tmp_path / "x.npy", tmp_path / "y.npy")
    alone = np.load(tmp_path / "y.npy") - np.load(tmp_path / "x.npy")
    assert alone[:, 0].tolist() == [1, 0] * 10 + [0] * 30


def test_answers_of_another_shape(rng, graph):
    x = rng.standard_normal((20, 40)).astype(np.float32)
    for outputs in (engine.run(graph, x)[:, :4], engine.run(graph, x).astype(np.float64)):
        assert "not float32 (20, 5)" in compared(graph, x, outputs, exact=True)[1][0]


def test_a_form_that_does_not_run(rng, graph, monkeypatch):
    broken = forms.Form("broken", "float32", (), (sys.executable, "-c", "raise SystemExit('it is broken')"))
    monkeypatch.setattr("gluon_bnn.prove.MAKERS", ())
    with pytest.raises(RuntimeError, match="broken does not run: it is broken"):
        prove(graph, np.zeros((3, 40), np.float32), also=[broken])


def test_forms_that_are_not_here_are_named(rng, graph, monkeypatch, tmp_path):
    monkeypatch.setattr(forms.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(forms.shutil, "which", lambda name: None)
    for make, what in zip(forms.MAKERS[1:], ("onnx", "CC", "CC", "Node")):
        with pytest.raises(forms.Absent, match=what):
            make(graph, str(tmp_path))


@pytest.mark.parametrize("name, command", [("gcc -m32  -g", ["gcc", "-m32", "-g"]), (" ", ["cc"]), (None, ["cc"])])
def test_cc_may_have_options(monkeypatch, name, command):
    """Which are given to the compiler as make does."""
    monkeypatch.setattr(forms.shutil, "which", lambda tool: tool if tool in ("gcc", "cc") else None)
    monkeypatch.delenv("CC", raising=False)
    if name is not None:
        monkeypatch.setenv("CC", name)
    assert forms._compiler("a form") == command
    monkeypatch.setenv("CC", "nowhere/cc -O2")
    with pytest.raises(forms.Absent, match="there is no C compiler nowhere/cc; "):
        forms._compiler("a form")


def test_inputs(rng):
    graph, images = zoo.load("mnist").graph, data.load("digits")["test_data"][:5]
    x, pixels = inputs_of(graph, images)
    np.testing.assert_array_equal(pixels, np.rint(255 * images.reshape(5, 784)))
    np.testing.assert_allclose(x, images.reshape(5, 784), atol=1e-6)
    assert inputs_of(chain(rng, (784,), "dense units=2", scale=None), images)[1] is None
    with pytest.raises(ValueError, match="the net takes inputs of .*, the images are 1x5x5"):
        inputs_of(graph, np.zeros((3, 1, 5, 5), np.float32))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "no model file 'nowhere'"),
        (["mnist", "--input-scale", "1/255"], "--input-scale is for an exported net; mnist is a model"),
        (["mnist", "--dataset", "nowhere"], "name must be 'digits', 'mnist' or an existing directory"),
    ],
)
def test_what_is_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match=message):
        cli.main(["prove", *arguments])
    assert not capsys.readouterr().out


def test_a_model_of_other_inputs(rng, tmp_path):
    runtime.save(chain(rng, (40,), "dense units=2", scale=None), tmp_path / "net.safetensors")
    with pytest.raises(SystemExit, match="the net takes inputs of 40, the images are 1x28x28"):
        cli.main(["prove", str(tmp_path / "net.safetensors"), "--dataset", "digits"])


@pytest.mark.slow
def test_the_script(tmp_path, monkeypatch):
    import prove as script

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gluon_bnn.prove.MAKERS", forms.MAKERS[:1])
    monkeypatch.setattr(library, "instruction_sets", tuple)
    assert not script.main(["mnist", "--dataset", "digits", "--save-dir", "out"])
    with open("out/prove.json", encoding="utf-8") as file:
        found = json.load(file)
    assert found["images"] == 360 and found["nets"]["mnist"]["right"] > 0.2  # digits of other hands than MNIST
    assert {row["form"] for row in found["nets"]["mnist"]["rows"]} >= {"runtime, NumPy alone"}
