"""What all commands of `python -m gluon_bnn` have in common, and the small ones."""

import json
import os
import re

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import cli, runtime, zoo
from gluon_bnn.cli import doctor
from gluon_bnn.native import library

from paths import GOLDEN
from programs import output, run
from random_nets import chain


def ended(capsys, *arguments):
    """(exit code, what was printed, on stderr) of a command that ends the process."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return (end.value.code, *capsys.readouterr())


def test_version_and_help_are_quick():
    """Neither NumPy nor MXNet is imported for them."""
    code = "import sys; sys.modules.update(mxnet=None, numpy=None); from gluon_bnn.cli import main; main(sys.argv[1:])"
    assert output("-c", code, "--version") == f"gluon_bnn {gluon_bnn.__version__}\n"
    for command in ([], *([name] for name in cli.COMMANDS)):
        assert output("-c", code, *command, "--help").startswith(
            f"usage: {' '.join(['python -m gluon_bnn', *command])}"
        )


def test_help_lists_the_commands(capsys):
    code, text, _ = ended(capsys, "--help")
    assert code == 0 and "|".join(cli.COMMANDS) in text and "Exit codes: 0" in text
    for name in cli.COMMANDS:
        assert re.search(rf"^    {name} +\w", text, re.MULTILINE)
    assert ended(capsys)[0] == ended(capsys, "no-such")[0] == 2


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_its_help(capsys, name):
    code, text, _ = ended(capsys, name, "--help")
    assert code == 0 and f"usage: python -m gluon_bnn {name} [-h]" in text
    assert ("--json" in text) == (name != "launch")


def test_lines_of_errors():
    assert cli.line_of(ValueError("a\n  b\x1b[31m\udcff é")) == "a b\\x1b[31m\\udcff é"
    assert cli.line_of(FileNotFoundError(2, "is not there", "a\nb")) == "a b: is not there"
    assert cli.line_of(MemoryError()) == "MemoryError"


def test_too_little_memory(monkeypatch):
    def run(args):
        raise MemoryError

    monkeypatch.setattr(doctor, "run", run)
    assert cli.main(["doctor"]) == "there is not enough memory for this"


def test_summary(rng, tmp_path, capsys):
    path = str(tmp_path / "model")
    net = chain(rng, 40, "binary_dense units=3 to=float")
    runtime.save(net, path, labels=["a" * 30, "b" * 30, "c" * 30], accuracy=0.5)
    assert cli.main(["summary", path]) == 0
    found = gluon_bnn.summary(net)
    text = f"{found}\ntest accuracy 50.00%\n3 classes: {'a' * 30}, {'b' * 30}, ...\n"
    assert capsys.readouterr().out == text
    assert cli.main(["summary", path, "--json"]) == 0
    labels = ["a" * 30, "b" * 30, "c" * 30]
    assert json.loads(capsys.readouterr().out) == {**found.to_json(), "accuracy": 0.5, "labels": labels}
    runtime.save(net, path)
    assert cli.main(["summary", path]) == 0 and capsys.readouterr().out == f"{found}\n"
    runtime.save(net, path, labels=["a\u202eb", "c", "d"])  # what turns the text of a terminal round
    assert cli.main(["summary", path]) == 0 and capsys.readouterr().out.endswith("3 classes: a\\u202eb, c, d\n")
    assert "there is no model file 'nothing'" in ended(capsys, "summary", "nothing")[0]


def test_zoo(capsys):
    """One line per net, with what `info` says."""
    assert cli.main(["zoo"]) == 0
    heads, *lines = capsys.readouterr().out.splitlines()
    assert " ".join(heads.split()) == "name accuracy bits bytes input data set record"
    record = "experiments/results/mnist_relu.json"
    assert " ".join(lines[0].split()) == f"mnist 97.52% 79,400 18,972 1x28x28 MNIST {record}"
    assert [line.split()[0] for line in lines] == list(zoo.names())
    assert cli.main(["zoo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [zoo.info(name) for name in zoo.names()]


class TestConvert:
    def test_a_model(self, rng, tmp_path, capsys):
        """Format 1 becomes format 2; labels and accuracy are kept; the zoo's names are known."""
        out = str(tmp_path / "out.safetensors")
        assert cli.main(["convert", os.path.join(GOLDEN, "format1_dense.safetensors"), out]) == 0
        with open(out, "rb") as file:
            content = file.read()
        assert b"format 2; " in content and capsys.readouterr().out == f"{out}: {len(content):,} bytes\n"
        labels = os.path.join(GOLDEN, "format2_labels.safetensors")
        assert cli.main(["convert", labels, out, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"file": out, "bytes": os.path.getsize(labels)}
        with open(labels, "rb") as before, open(out, "rb") as after:
            assert before.read() == after.read()
        assert cli.main(["convert", "mnist", out]) == 0 and runtime.load(out).labels == tuple("0123456789")

    def test_onnx(self, tmp_path, capsys):
        """In both forms; the commands that read models say that they read neither."""
        onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'gluon_bnn[onnx]'")
        out = str(tmp_path / "net.onnx")
        for options, domains in (([], {""}), (["--qonnx"], {"", "qonnx.custom_op.general"})):
            assert cli.main(["convert", "mnist", out, *options]) == 0
            assert capsys.readouterr().out == f"{out}: {os.path.getsize(out):,} bytes\n"
            model = onnx.load(out)
            assert {node.domain for node in model.graph.node} == domains
            found = {entry.key: entry.value for entry in model.metadata_props}
            assert json.loads(found["labels"]) == list("0123456789") and found["accuracy"] == "0.9752"
        for command in (["summary", out], ["predict", out, "x.png"], ["convert", out, str(tmp_path / "a.safetensors")]):
            assert "net.onnx is an ONNX model, for ONNX Runtime: give the model or" in ended(capsys, *command)[0]
        header = str(tmp_path / "net.h")
        assert "net.h is a header, for C: give the model or the net" in ended(capsys, "convert", header, out)[0]

    def test_forms_of_ones_own(self, tmp_path, capsys, monkeypatch):
        """The command knows the suffixes of forms.WRITERS, and no others."""
        from gluon_bnn.deploy import forms

        out = tmp_path / "net.txt"
        assert "must end in .safetensors or .onnx or .h" in ended(capsys, "convert", "mnist", str(out))[0]
        monkeypatch.setitem(forms.WRITERS, ".txt", lambda graph, path, inputs: out.write_text(f"{graph.accuracy}"))
        assert cli.main(["convert", "mnist", str(out)]) == 0 and out.read_text() == "0.9752"

    def test_what_cannot_be_converted(self, rng, tmp_path, capsys):
        out = str(tmp_path / "out.safetensors")
        with open(out, "w") as file:
            file.write("old")
        (tmp_path / "wrong").write_bytes(b"x" * 100)
        (tmp_path / "net-symbol.json").write_text("{}")
        wrong, net = str(tmp_path / "wrong"), str(tmp_path / "net")
        for arguments, words in (
            (["nothing", out], "there is no model file 'nothing'"),
            ([wrong, out], "wrong is not a model that can be loaded"),
            (["mnist", str(tmp_path)], "must end in .safetensors or .onnx"),
            (["mnist", out, "--qonnx"], "--qonnx is for a file whose name ends in .onnx, got"),
            (["mnist", str(tmp_path / "nowhere" / "a.safetensors")], "No such file or directory"),
            (["mnist", out, "--input-scale", "1/255"], "--input-scale is for an exported net"),
            ([net, out], "net-symbol.json must be a graph that MXNet exported"),
        ):
            code, printed, _ = ended(capsys, "convert", *arguments)
            assert words in code and "\n" not in code and not printed
        for scale in ("x", "1/0", "1/", "1/2/3"):
            assert ended(capsys, "convert", net, out, "--input-scale", scale)[0] == 2
        assert ended(capsys, "convert", net, out, "--input-shape", "1x")[0] == 2
        with open(out) as file:
            assert file.read() == "old"

    def test_an_exported_net(self, rng, tmp_path, capsys):
        """By its prefix and by its files, of any epoch, as `freeze` makes it; no other command takes it."""
        from gluon_bnn import freeze, mx, nn

        net = mx.gluon.nn.HybridSequential()
        net.add(nn.BinaryDense(33, in_units=24), nn.BinaryActivation(), nn.BinaryDense(3, in_units=33))
        net.initialize()
        net.hybridize()
        net(mx.nd.zeros((1, 24)))
        prefix, out = str(tmp_path / "n[e]t"), str(tmp_path / "out.safetensors")
        net.export(prefix, epoch=12)
        frozen = freeze(net, "float", input_shape=(1, 4, 6), input_scale=1 / 255, input_shift=-0.5, verbose=False)
        runtime.save(frozen, tmp_path / "expected")
        options = ["--input-shape", "1x4x6", "--input-scale", "1/255", "--input-shift", "-0.5"]
        for name in (prefix, prefix + "-symbol.json", prefix + "-0012.params"):
            assert cli.main(["convert", name, out, *options]) == 0
            with open(out, "rb") as file:
                assert file.read() == (tmp_path / "expected").read_bytes()
        for form in ("packed", "float") if library.available() else ("float",):  # what was frozen before
            frozen = freeze(net, form, verbose=False)
            frozen.hybridize()
            frozen(mx.nd.zeros((1, 24)))
            frozen.export(str(tmp_path / form))
            assert cli.main(["convert", str(tmp_path / form), out, *options]) == 0
            x = rng.integers(0, 256, (5, 24), np.uint8)
            np.testing.assert_array_equal(runtime.load(out)(x), runtime.load(tmp_path / "expected")(x))
        capsys.readouterr()
        net.export(prefix, epoch=3)
        assert "has the epochs 3, 12: name one, as" in ended(capsys, "convert", prefix, out)[0]
        assert cli.main(["convert", prefix + "-0012.params", out, *options]) == 0
        with open(out, "rb") as file:
            assert file.read() == (tmp_path / "expected").read_bytes()
        huge = [prefix + "-0012.params", out, *options[:2], "--input-scale", "1e999999999"]  # as an int: a gigabyte
        assert "input_scale must be finite in float32" in ended(capsys, "convert", *huge)[0]
        for command in (["summary", prefix], ["predict", prefix + "-symbol.json", "a.png"]):
            assert f"is an exported net: `python -m gluon_bnn convert {command[1]} OUT" in ended(capsys, *command)[0]


@pytest.mark.parametrize("command", [["-m", "gluon_bnn", "launch"], ["-m", "gluon_bnn.launch"]])
def test_launch(tmp_path, command):
    """Options behind the command are the command's; its exit code is the job's."""
    job = ["sh", "-c", "echo $DMLC_ROLE $0; test $DMLC_ROLE != worker || exit 3", "--json"]
    for dashes in ([], ["--"]):
        done = run(*command, "-n", "2", *dashes, *job, cwd=tmp_path)
        assert sorted(done.stdout.split("\n")) == sorted(
            ["", "scheduler --json", "server --json", "worker --json", "worker --json"]
        )
        assert done.returncode == 3 and not done.stderr
