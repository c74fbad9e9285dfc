"""Model files: saved without a risk, and refused with a clear error wherever one is damaged."""

import contextlib
import errno
import gzip
import io
import json
import os
import re
import shutil
import time
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load as deserialize
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from gluon_bnn import runtime
from gluon_bnn.graph.graph import MOST_NODES, Graph, Node
from gluon_bnn.graph.kinds import KINDS
from gluon_bnn.native import bindings, library
from gluon_bnn.runtime.file import MOST_HEADER, crc32, dumps, loads

from paths import GOLDEN
from random_nets import SCALE, Net, awkward_nets, chain


def net_of(rng):
    return chain(rng, 6, "dense units=2")


def line_of(content):
    """(the line of text, its checksum, the names in the header) of a file's content."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return (*header["__metadata__"]["gluon_bnn"].rsplit("; crc32 ", 1), set(header))


def test_the_line_of_text(rng, tmp_path):
    net = Net(rng, (1, 3, 4))
    net.add("binary_dense", units=5, to="bits01")
    net.add("binary_dense", units=2, to="float")
    net.add("activation", function="relu")
    net.add("concat", 2, 3, 0)
    net.add("slice", begin=0, end=16)
    net.add("image", shape=(2, 4, 2))
    net.add("flatten")
    runtime.save(net.graph(), tmp_path / "model")
    line, checksum, names = line_of((tmp_path / "model").read_bytes())
    assert line == (
        "format 2; input shape=1x3x4; binary_dense 0 units=5 to=bits01; binary_dense 1 units=2 to=float; "
        "activation 2 function=relu; concat 2,3,0; slice 4 begin=0 end=16; image 5 shape=2x4x2; flatten 6"
    )
    assert len(checksum) == 8 and int(checksum, 16)
    arrays = {"1.weight_bits", "1.alpha", "1.bias", "2.weight_bits", "2.alpha", "2.bias", "2.sums"}
    assert names == {"__metadata__", *arrays}


def test_every_attribute_is_written_and_read(rng):
    """What a file says of a graph is all of it, and the same graph gives the same bytes."""
    for graph in awkward_nets(rng):
        content = dumps(graph)
        again = loads(content)
        assert again.values == graph.values and dumps(again) == content
        for before, after in zip(graph.nodes, again.nodes):
            assert (before.kind, before.sources, before.attributes) == (after.kind, after.sources, after.attributes)
            assert list(after.attributes) == list(KINDS[after.kind].attributes)
            assert before.arrays.keys() == after.arrays.keys()
            assert all(np.array_equal(array, after.arrays[name]) for name, array in before.arrays.items())


def test_saving_a_loaded_model(tmp_path):
    """One of format 1 becomes one of format 2 with the same answers."""
    answers = load_file(os.path.join(GOLDEN, "format1_dense.answers.safetensors"))
    runtime.save(runtime.load(os.path.join(GOLDEN, "format1_dense.safetensors")), tmp_path / "model")
    assert line_of((tmp_path / "model").read_bytes())[0].startswith("format 2; input shape=3x4; dense 0 units=48; ")
    assert (runtime.load(tmp_path / "model")(answers["x"]) == answers["y"]).all()


LABELS = ("cat", "dog; crc32 00000000", "label 3 = 'x' \\n", " ", "Füße", "\u2028\U0001f408", "é" * 127 + "x")


def test_labels_and_accuracy(rng, tmp_path):
    """They are kept to the bit; a file without them is what it was."""
    net = chain(rng, 6, "dense units=7")
    before = dumps(net)
    for given in (LABELS, list(LABELS), np.array(LABELS)):
        runtime.save(net, tmp_path / "model", labels=given, accuracy=0.9771)
        model = runtime.load(tmp_path / "model")
        assert model.labels == LABELS and type(model.labels[0]) is str and model.accuracy == 0.9771
        assert line_of((tmp_path / "model").read_bytes())[0] == "\n".join(
            ["format 2; input shape=6; dense 0 units=7", "accuracy 0.9771", *(f"label {label}" for label in LABELS)]
        )
    for accuracy in (0, 1, -0.0, 1.0, 5e-324, 1e-5, 1 - 2**-53, 1 / 3, np.float32(0.1)):
        again = loads(dumps(net.described(accuracy=accuracy)))
        assert again.accuracy == float(accuracy) and type(again.accuracy) is float and again.labels is None
        assert not np.signbit(again.accuracy)
    # What is given goes before what the net has.
    runtime.save(model, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    runtime.save(model, tmp_path / "again", list("abcdefg"), 0.5)
    again = runtime.load(tmp_path / "again")
    assert again.labels == tuple("abcdefg") and again.accuracy == 0.5 and model.labels == LABELS
    with pytest.raises(AttributeError):
        model.labels = list("abcdefg")
    assert dumps(net) == before and loads(before).labels is None and loads(before).accuracy is None


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        ({"labels": ["a"]}, ValueError, "labels must be as many as the net's outputs, 2, got 1"),
        ({"labels": []}, ValueError, "outputs, 2, got 0"),
        ({"labels": "ab"}, TypeError, "labels must be a list of str, got 'ab'"),
        ({"labels": {"a": 0, "b": 1}}, TypeError, "list of str, got {'a': 0"),
        ({"labels": {"a", "b"}}, TypeError, "list of str"),
        ({"labels": [0, 1]}, TypeError, r"list of str, got \[0, 1\]"),
        ({"labels": ["a", b"b"]}, TypeError, "list of str"),
        ({"labels": np.array([["a", "b"]] * 2)}, TypeError, "list of str"),
        ({"labels": ["a", ""]}, ValueError, "1 to 255 bytes in UTF-8, got ''"),
        ({"labels": ["a", "é" * 128]}, ValueError, "1 to 255 bytes in UTF-8, got 'éé"),
        ({"labels": ["a", "b\n"]}, ValueError, r"no control characters, got '\\n' in 'b\\n'"),
        ({"labels": ["a", "\x1b[31m"]}, ValueError, r"no control characters, got '\\x1b'"),
        ({"labels": ["a", "\x9b31m"]}, ValueError, r"no control characters, got '\\x9b'"),
        ({"labels": ["a", "\x7f"]}, ValueError, "no control characters"),
        ({"labels": ["a", "\0"]}, ValueError, "no control characters"),
        ({"labels": ["a", os.fsdecode(b"\xff")]}, ValueError, "no control characters"),
        ({"accuracy": float("nan")}, ValueError, "accuracy must be a share, from 0 to 1, got nan"),
        ({"accuracy": 97.71}, ValueError, "from 0 to 1, got 97.71"),
        ({"accuracy": -1e-9}, ValueError, "from 0 to 1, got -1e-09"),
        ({"accuracy": float("inf")}, ValueError, "from 0 to 1, got inf"),
        ({"accuracy": "0.5"}, TypeError, "accuracy must be a number, got '0.5'"),
        ({"accuracy": True}, TypeError, "accuracy must be a number, got True"),
        ({"accuracy": 0.5j}, TypeError, "accuracy must be a number"),
    ],
)
def test_labels_and_accuracies_that_are_refused(rng, tmp_path, wrong, error, words):
    with pytest.raises(error, match=words):
        runtime.save(net_of(rng), tmp_path / "model", **wrong)
    assert not os.listdir(tmp_path)


DESCRIPTIONS = {
    "no label": "label ",
    "a label too few": "label a",
    "a label too many": "label a\nlabel b\nlabel c",
    "a control character": "label a\nlabel \x07",
    "a control character of two bytes": "label a\nlabel \x85",
    "a carriage return": "label a\r\nlabel b",
    "a long label": f"label a\nlabel {'b' * 256}",
    "a long label of few characters": f"label a\nlabel {chr(0x1F408) * 64}",
    "an empty line": "",
    "an empty line at the end": "label a\nlabel b\n",
    "a word": "labels",
    "a label without a space": "label a\nlabel",
    "two spaces before": "label a\n label b",
    "accuracy last": "label a\nlabel b\naccuracy 0.5",
    "accuracy twice": "accuracy 0.5\naccuracy 0.5",
    "accuracy above 1": "accuracy 1.1",
    "accuracy 2": "accuracy 2.0",
    "accuracy below 0": "accuracy -0.5",
    "accuracy without decimals": "accuracy 0.",
    "accuracy 1": "accuracy 1",
    "accuracy with an exponent": "accuracy 0.1e-1",
    "accuracy of no number": "accuracy nan",
    "accuracy in other digits": "accuracy 0.\u0661",
    "a long accuracy": f"accuracy 0.{'0' * 401}",
    "a space behind": "accuracy 0.5 ",
    "a node": "dense 1 units=2",
}


@pytest.mark.parametrize("case", [None, *DESCRIPTIONS])
@pytest.mark.parametrize(
    "line", ["format 2; input shape=6; dense 0 units=2", "format 1; input 6; dense 6 2 float float"]
)
def test_damaged_labels_and_accuracy(rng, tmp_path, line, case):
    """Refused by both readers, whichever comes first; `None` is a good one."""
    first = 1 if line.startswith("format 2") else 0
    arrays = chain(rng, 6, "dense units=2").nodes[1].arrays
    description = "accuracy 0.5\nlabel a\nlabel b" if case is None else DESCRIPTIONS[case]
    write(tmp_path / "model", {f"{first}.{name}": array for name, array in arrays.items()}, f"{line}\n{description}")
    content = (tmp_path / "model").read_bytes()
    if case is None:
        assert loads(content).labels == ("a", "b") and loads(content).accuracy == 0.5
    else:
        with pytest.raises(ValueError, match="label|accuracy"):
            loads(content)
    if library.available():
        with pytest.raises(ValueError, match="label|accuracy") if case else contextlib.nullcontext():
            bindings.Model(content)


def test_save_never_loses_a_file(rng, tmp_path, monkeypatch):
    net = net_of(rng)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"precious")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                runtime.save(net, path)
    net.nodes[1].arrays["weight"][0, 0] = np.nan
    with pytest.raises(ValueError, match="node 1, dense: weight must be finite"):
        runtime.save(net, path)
    assert path.read_bytes() == b"precious" and os.listdir(tmp_path) == [path.name]
    with pytest.raises(OSError):
        runtime.save(net_of(rng), tmp_path)  # a directory
    with pytest.raises(FileNotFoundError):
        runtime.save(net_of(rng), tmp_path / "nowhere" / "model")
    assert os.listdir(tmp_path) == [path.name]

    os.symlink(path, tmp_path / "link")
    runtime.save(net_of(rng), tmp_path / "link")
    assert os.path.islink(tmp_path / "link") and runtime.load(path).input_shape == (6,)


def test_save_lets_the_nets_own_error_through(tmp_path):
    class Other:
        @property
        def graph(self):
            raise ValueError("layer 3, Conv2D, has no 1-bit form")

    with pytest.raises(ValueError, match="Conv2D"):
        runtime.save(Other(), tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_paths_and_open_files(rng, tmp_path):
    """str, bytes, PathLike, and files that are open for bytes: the same file, the same model, no other file."""
    net = chain(rng, 24, "binary_dense units=33 to=bits", "binary_dense units=5 to=float")
    x, path = rng.standard_normal((3, 24)).astype(np.float32), tmp_path / "model"
    runtime.save(net, path)
    content, y = path.read_bytes(), runtime.load(path)(x)
    for name in (str(path), os.fsencode(path), path):
        path.unlink()
        runtime.save(net, name)
        assert path.read_bytes() == content and os.listdir(tmp_path) == ["model"]
        assert (runtime.load(name)(x) == y).all()
    buffer = io.BytesIO(b"before")
    buffer.seek(0, io.SEEK_END)
    runtime.save(net, buffer)
    assert buffer.getvalue() == b"before" + content
    buffer.seek(len(b"before"))  # it is read from where it stands
    assert (runtime.load(buffer)(x) == y).all() and not buffer.closed
    for open_it in (
        lambda mode: open(path, mode),
        lambda mode: open(path, mode, buffering=0),
        lambda mode: gzip.open(tmp_path / "model.gz", mode),
    ):
        with open_it("wb") as file:
            runtime.save(net, file)
        with open_it("rb") as file:
            assert (runtime.load(file)(x) == y).all() and file.read() == b""
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive, archive.open("model", "w") as file:
        runtime.save(net, file)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive, archive.open("model") as file:
        assert (runtime.load(file)(x) == y).all()

    class Path(os.PathLike):
        """A path that reads and writes as well, as those of py.path do."""

        def __fspath__(self):
            return str(path)

        def read(self):
            raise AssertionError("it is a path")

        write = read

    runtime.save(net, Path())
    assert path.read_bytes() == content and (runtime.load(Path())(x) == y).all()

    class Slow:
        """Gives a byte at a time, as a socket may."""

        def __init__(self):
            self.read = lambda size, file=io.BytesIO(content): file.read(min(size, 1))

    assert (runtime.load(Slow())(x) == y).all()


def test_open_files_that_are_refused(rng, tmp_path):
    net = net_of(rng)
    runtime.save(net, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    for wrong in (7, None, True, ["model"], net):
        for call in (runtime.load, lambda path: runtime.save(net, path)):
            with pytest.raises(TypeError, match=f"os.PathLike, or a file .* got {type(wrong).__name__}"):
                call(wrong)
    for damaged in (
        content[:-1],
        content + b"\0",
        content[:100],
        content[:7],
        b"",
        bytes(100),
        b"x" * 100,
        (1 << 60).to_bytes(8, "little") + content[8:],
        content[:-1] + bytes([content[-1] ^ 1]),
    ):
        with pytest.raises(ValueError, match="the BytesIO is not a model that can be loaded: "):
            runtime.load(io.BytesIO(damaged))
        # A header that claims a terabyte: no more is read, or taken of memory, than there is.
        header = json.dumps(
            {
                "__metadata__": {"gluon_bnn": "format 2; input shape=1; dense 0 units=1; crc32 00000000"},
                "1.weight": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]},
            }
        ).encode()
    huge = len(header).to_bytes(8, "little") + header + bytes(100)
    with pytest.raises(ValueError, match="it must have 1099511"):
        runtime.load(io.BytesIO(huge))
    with open(tmp_path / "cut", "wb") as file:
        file.write(content[:-1])
    with open(tmp_path / "cut", "rb") as file, pytest.raises(ValueError, match="cut is not a model"):
        runtime.load(file)
    with open(tmp_path / "text", "w+") as file:
        with pytest.raises(TypeError, match='open to write bytes, mode "wb"; got text'):
            runtime.save(net, file)
        with pytest.raises(TypeError, match='open to read bytes, mode "rb"'):
            runtime.load(file)
        assert file.read() == ""
    with pytest.raises(TypeError, match="open to write bytes"):
        runtime.save(net, io.StringIO())
    with open(tmp_path / "model", "rb") as file, pytest.raises(OSError):
        runtime.save(net, file)

    class Short:
        name = "short"

        def write(self, data):
            return len(data) - 1

    with pytest.raises(OSError, match=f"short took {len(content) - 1} of {len(content)} bytes"):
        runtime.save(net, Short())
    buffer = io.BytesIO()
    net.nodes[1].arrays["weight"][0, 0] = np.nan
    with pytest.raises(ValueError, match="weight must be finite"):
        runtime.save(net, buffer)
    assert not buffer.getvalue()


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        runtime.load(tmp_path / "nowhere")
    with pytest.raises(OSError, match=tmp_path.name):
        runtime.load(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    began = time.monotonic()
    with pytest.raises(OSError, match="fifo must be a regular file"):
        runtime.load(tmp_path / "fifo")
    with pytest.raises(OSError, match="/dev/zero must be a regular file"):
        runtime.load("/dev/zero")
    assert time.monotonic() - began < 5
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="empty is not a model .* got the end of the file"):
        runtime.load(empty)


def test_a_huge_hole_is_not_read(tmp_path):
    """A terabyte of nothing behind a good file is refused from its size."""
    path = tmp_path / "model"
    shutil.copyfile(os.path.join(GOLDEN, "format1_binary_dense.safetensors"), path)
    size = os.path.getsize(path)
    try:
        os.truncate(path, 1 << 40)
    except OSError:
        pytest.skip("the file system has no such large files")
    with pytest.raises(ValueError, match=f"must have {size} bytes, got {1 << 40}"):
        runtime.load(path)


# Each damage is a function of (tensors, line without its checksum) that returns the line; the checksum is
# made right again afterwards, so that what refuses the file is the check that the case is about.


def change(name, index, value):
    def damage(tensors, line):
        tensors[name] = tensors[name].copy()
        tensors[name][index] = value
        return line

    return damage


def replace(name, function):
    def damage(tensors, line):
        tensors[name] = np.ascontiguousarray(function(tensors[name]))
        return line

    return damage


def drop(*names):
    def damage(tensors, line):
        for name in names:
            del tensors[name]
        return line

    return damage


def add(name, array):
    def damage(tensors, line):
        tensors[name] = array
        return line

    return damage


def edit(old, new):
    def damage(_, line):
        assert old in line
        return line.replace(old, new, 1)

    return damage


ONE = np.ones(1, np.float32)
NAME = "tensors must be named <node>.<array>, nodes 0 to 11; got "
DAMAGES = {
    "later format": (edit("format 2", "format 3"), "format 3, this version .* reads formats 1 and 2: install a later"),
    "format 0": (edit("format 2", "format 0"), 'must start with "format 2; ", got \'format 0'),
    "no format": (edit("format 2; ", ""), 'must start with "format 2; "'),
    "a word behind the format": (edit("format 2; ", "format 2;x; "), 'must start with "format 2; "'),
    "the line of format 1": (edit("format 2", "format 1"), "shape of an input in second place"),
    "no input": (edit("input shape=1x4x10; ", ""), "node 0, binary_dense: the first node, and no other"),
    "input of format 1": (edit("input shape=1x4x10", "input 1x4x10"), 'node 0 must be "input shape=<...>"'),
    "empty axis": (edit("1x4x10", "0x4x10"), r"shape must have .* sizes from 1 on .* got \(0, 4, 10\)"),
    "too many axes": (edit("1x4x10", "1x" * 40 + "40"), 'node 0 must be "input shape'),
    "no axes": (edit("1x4x10", ""), 'node 0 must be "input shape'),
    "axis without a size": (edit("1x4x10", "1xx10"), 'node 0 must be "input shape'),
    "other product": (edit("1x4x10", "1x4x11"), r"node 0, input: shift must be float32 \(44,\), got float32 \(40,\)"),
    "huge product": (edit("1x4x10", "x".join(["9999999999"] * 31)), "at most 1073741824 elements"),
    "no nodes": (lambda tensors, line: "; ".join(line.split("; ")[:2]), "1 to 65535 other nodes"),
    "an input more": (edit("batch_norm 4", "input shape=5"), "node 5, input: the first node, and no other"),
    "unknown kind": (
        edit("dense 6 units", "conv 6 units"),
        "node 7 must be of a kind of input, .* got 'conv 6 units=6",
    ),
    "no kind": (edit("dense 6", " 6"), "node 7 must be of a kind"),
    "unknown form": (edit("to=bits01", "to=bits02"), "node 2, .* to must be one of float, bits, bits01, got 'bits02'"),
    "unknown function": (edit("tanh", "tanhh"), "node 6, activation: function must be one of relu, .* got 'tanhh'"),
    "no word": (edit("tanh", "TANH"), 'node 6 must be "activation <sources> function=<...>", got'),
    "no function": (edit(" function=tanh", ""), 'node 6 must be "activation <sources> function=<...>", got'),
    "function of another": (
        edit("batch_norm 4", "batch_norm 4 function=relu"),
        'node 5 must be "batch_norm <sources>"',
    ),
    "other order": (edit("units=33 to=bits", "to=bits units=33"), 'node 1 must be "binary_dense <sources> units'),
    "no sources": (edit("dense 6 units", "dense units"), 'node 7 must be "dense <sources> units=<...>"'),
    "sources of an input": (edit("input shape", "input 0 shape"), 'node 0 must be "input shape=<...>"'),
    "source with a zero": (edit("dense 6 units", "dense 06 units"), 'node 7 must be "dense'),
    "sources without a number": (edit("concat 7,8", "concat 7,"), 'node 9 must be "concat <sources>"'),
    "long source": (edit("concat 7,8", "concat 7,99999999999"), 'node 9 must be "concat <sources>"'),
    "source ahead": (edit("dense 6 units", "dense 8 units"), "node 7, dense: sources must be .* 0 to 6, got 8"),
    "itself": (edit("dense 6 units", "dense 7 units"), "node 7, dense: sources must be .* 0 to 6, got 7"),
    "too few sources": (edit("concat 7,8", "concat 7"), "node 9, concat: concat takes the values of 2 to 64 nodes"),
    "too many sources": (edit("dense 6 units", "dense 6,6 units"), "node 7, dense: .* the values of 1 nodes, got 2"),
    "64 sources and one": (edit("concat 7,8", "concat 7,8" + ",8" * 63), "2 to 64 nodes, got 65"),
    "space too many": (edit("dense 6 units", "dense 6  units"), 'node 7 must be "dense'),
    "space at the end": (edit("concat 7,8", "concat 7,8 "), 'node 9 must be "concat'),
    "leading zero": (edit("units=6", "units=06"), 'node 7 must be "dense'),
    "size zero": (edit("units=6", "units=0"), "node 7, dense: units must be 1 to 1073741824, got 0"),
    "negative size": (edit("units=6", "units=-6"), 'node 7 must be "dense'),
    "long size": (edit("units=6", "units=10000000000"), 'node 7 must be "dense'),
    "past the limit": (edit("units=6", f"units={2**30 + 1}"), "node 7, dense: units must be 1 to 1073741824"),
    "no bytes": (edit("units=6", "units=１"), 'node 7 must be "dense'),
    "units that do not fit": (edit("units=6", "units=7"), r"node 7, dense: .* must be float32 .*7.*, got .*6"),
    "slice past the end": (
        edit("end=9", "end=12"),
        "node 10, slice: slice must have begin < end <= 11, got begin 2, end 12",
    ),
    "floats for bits": (edit("units=33 to=bits", "units=33 to=float"), "node 2, .* array 'alpha' is missing"),
    "bits for floats": (
        edit("units=5 to=float", "units=5 to=bits"),
        "node 3, binary_dense: array 'threshold' is missing",
    ),
    "an image at last": (edit("; flatten 11", ""), "node 11, image, is the last .* got float 1x7x1"),
    "a node that nobody takes": (edit("concat 7,8", "concat 7,7"), "node 8, activation, must be used by a later node"),
    "missing tensor": (drop("1.alpha"), "node 1, binary_dense: array 'alpha' is missing"),
    "missing weights": (drop("7.weight"), "node 7, dense: array 'weight' is missing: from float 5 it must have weight"),
    "missing sums": (drop("3.sums"), "array 'sums' is missing"),
    "missing slope": (drop("8.slope"), "node 8, activation: array 'slope' is missing"),
    "part of a norm": (drop("1.factor"), "mean, factor, beta must be there together .* got mean, beta"),
    "missing uint8": (drop("1.alpha_u8"), "'alpha_u8' is missing"),
    "scale without shift": (drop("0.shift"), "node 0, input: scale, shift must be there together"),
    "shift without scale": (drop("0.scale"), "node 0, input: scale, shift must be there together"),
    "uint8 without scale": (drop("0.scale", "0.shift"), "node 1, .* 'alpha_u8' is not allowed"),
    "extra tensor": (add("1.threshold", np.zeros(33, np.int32)), "'threshold' is not allowed"),
    "extra tensor of no node": (add("13.bias", ONE), NAME.replace("11", "12") + "'13.bias'"),
    "extra tensor of no sense": (add("bias", ONE), "got 'bias'"),
    "the name of format 1": (add("input.scale", ONE), "got 'input.scale'"),
    "two names for one": (add("01.alpha", ONE), "got '01.alpha'"),
    "uint8 past the first": (add("2.alpha_u8", ONE), "node 2, .* 'alpha_u8' is not allowed"),
    "dtype": (replace("1.alpha", lambda a: a.astype(np.float64)), "tensor '1.alpha' must have a dtype, F32 or I32"),
    "dtype of bits": (replace("2.weight_bits", lambda a: a.view(np.float32)), "weight_bits must be int32"),
    "unsigned bits": (replace("2.weight_bits", lambda a: a.view(np.uint32)), "must have a dtype, F32 or I32"),
    "shape": (replace("7.weight", lambda a: a.T), r"weight must be float32 \(5, 6\), got float32 \(6, 5\)"),
    "shape of bits": (replace("2.weight_bits", lambda a: a.reshape(-1)), "weight_bits must be int32"),
    "scalar": (replace("1.alpha", lambda a: a[0].reshape(())), "alpha must be float32"),
    "many axes": (replace("1.alpha", lambda a: a.reshape(33, *[1] * 8)), "a shape of at most 8 sizes"),
    "nothing": (replace("1.alpha", lambda a: a[:0]), "sizes from 1 on"),
    "shape of the scale": (
        replace("0.scale", lambda a: np.repeat(a, 3)),
        r"scale must be float32 \(40,\), got .* \(3,\)",
    ),
    "shape of the shift": (replace("0.shift", lambda a: a[:1]), r"shift must be float32 \(40,\)"),
    "scale 0": (change("0.scale", 0, 0), "node 0, input: scale must not be 0, got 0.0 at 0"),
    "scale NaN": (change("0.scale", 0, np.nan), "scale must be finite, got nan"),
    "scale below 0 with arrays for uint8": (change("0.scale", 0, -1), "node 1, .* 'alpha_u8' is not allowed"),
    "scales with arrays for uint8": (replace("0.scale", lambda a: np.repeat(a, 40)), "'alpha_u8' is not allowed"),
    "shift inf": (change("0.shift", 3, -np.inf), "shift must be finite, got -inf at 3"),
    "NaN": (change("1.alpha", 2, np.nan), "node 1, binary_dense: alpha must be finite, got nan at 2, 1"),
    "inf in weights": (change("7.weight", (1, 0), np.inf), "weight must be finite, got inf at 6"),
    "NaN in a norm": (change("5.factor", 1, np.nan), "node 5, batch_norm: factor must be finite"),
    "tail bits": (change("1.weight_bits", (0, 1, 3), 1 << 8), "weight_bits must be 0 past input 39"),
    "tail bits, the highest": (change("1.weight_bits", (2, 1, 0), -(2**31)), "weight_bits must be 0 past input 39"),
    "padding units": (change("1.weight_bits", (2, 0, 1), 1), "weight_bits must be 0 past unit 32"),
    "padding units, the last": (change("1.weight_bits", (2, 0, 15), 1), "weight_bits must be 0 past unit 32"),
    "sums": (change("3.sums", 4, 7), "sums must be the sums of the signs, .* for unit 4, got 7, 1 wrong"),
}


def thirteen_nodes(rng):
    """(tensors, line without its checksum) of a good model of thirteen nodes."""
    net = Net(rng, (1, 4, 10), SCALE)
    net.add("binary_dense", units=33, to="bits", norm=True)
    net.add("binary_dense", units=18, to="bits01")
    net.add("binary_dense", units=5, to="float")
    net.add("binary_dense", units=5, to="float")
    net.add("batch_norm")
    net.add("activation", function="tanh")
    dense = net.add("dense", units=6)
    leaky = net.add("activation", 6, function="leaky")
    net.add("concat", dense, leaky)
    net.add("slice", begin=2, end=9)
    net.add("image", shape=(1, 7, 1))
    net.add("flatten")
    content = dumps(net.graph())
    return deserialize(content), line_of(content)[0]


@pytest.fixture
def parts(rng):
    return thirteen_nodes(rng)


def write(path, tensors, line):
    path.write_bytes(serialize(tensors, {"gluon_bnn": f"{line}; crc32 {crc32(line, tensors):08x}"}))


def test_undamaged(tmp_path, parts):
    """What the damages below start from loads."""
    write(tmp_path / "model", *parts)
    assert runtime.load(tmp_path / "model").predict(np.zeros((1, 4, 10), np.uint8)) in range(7)


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_with_a_right_checksum(tmp_path, parts, case):
    damage, words = DAMAGES[case]
    tensors, line = parts
    write(tmp_path / "damaged", tensors, damage(tensors, line))
    with pytest.raises(ValueError, match=f"damaged is not a model that can be loaded: .*(?:{words})"):
        runtime.load(tmp_path / "damaged")


# The same of format 1: what only its line has. Its nodes and arrays are checked as those of format 2.
DAMAGES1 = {
    "no input": (edit("input 1x15x20; ", ""), "shape of an input in second place, .* got 'binary_dense"),
    "empty axis": (edit("1x15x20", "0x15x20"), "shape of an input"),
    "too many axes": (edit("1x15x20", "1x" * 40 + "40"), "shape of an input"),
    "other product": (edit("1x15x20", "1x15x21"), "layer 0, binary_dense 300 -> 65, must have 315 inputs.* got 300"),
    "the line of format 2": (edit("format 1", "format 2"), 'node 0 must be "input shape'),
    "unknown kind": (edit("; dense 300 10", "; conv 300 10"), "layer 8 must be .* got 'conv 300 10"),
    "kind of format 2": (edit("; dense 300 10 float float", "; flatten 300 300 float float"), "layer 8 must be"),
    "unknown form": (edit("bits01", "bits02"), "layer 2 must be .* bits02"),
    "to bits01": (edit("65 float bits", "65 float bits01"), "layer 0 must be .* bits01"),
    "unknown function": (edit("relu", "relue"), "layer 6 must be .* relue"),
    "function of format 2": (edit("relu", "gelu"), "layer 6 must be .* gelu"),
    "no function": (edit(" relu", ""), "layer 6, activation 300 -> 300, must have a function, got None"),
    "function of another": (edit("10 float float", "10 float float relu"), "layer 8, dense .* must have no function"),
    "form of another kind": (
        edit("10 float float", "10 float bits"),
        "layer 8, dense .* from float to float, got float to",
    ),
    "space too many": (edit("dense 300 10", "dense  300 10"), "layer 8 must be"),
    "leading zero": (edit("; dense 300 10", "; dense 0300 10"), "layer 8 must be"),
    "size zero": (edit("; dense 300 10", "; dense 300 0"), "layer 8 must be"),
    "past int64": (edit("; dense 300 10", f"; dense 300 {2**63}"), "layer 8 must be"),
    "past the limit": (
        edit("; dense 300 10", f"; dense 300 {2**30 + 1}"),
        "node 9, dense: units must be 1 to 1073741824",
    ),
    "sizes that do not chain": (
        edit("; dense 300 10", "; dense 299 10"),
        "layer 8, dense 299 -> 10, must have 300 inputs",
    ),
    "units of a norm": (edit("batch_norm 300 300", "batch_norm 300 301"), "as many units as inputs"),
    "floats after bits": (edit("65 64 bits bits", "65 64 float bits"), "layer 1, .* gives bits must be from bits"),
    "bits after floats": (
        edit("; dense 300 10 float", "; binary_dense 300 10 bits"),
        "layer 8, .* gives float must be from",
    ),
    "to bits at last": (
        edit("; dense 300 10 float float", "; binary_dense 300 10 float bits"),
        "node 9, .*'weight_bits'",
    ),
    "missing tensor": (drop("8.weight"), "node 9, dense: array 'weight' is missing"),
    "extra tensor of no layer": (
        add("9.bias", ONE),
        "tensors must be named <node>.<array>, nodes 0 to 9; got '10.bias'",
    ),
    "extra tensor of no sense": (add("bias", ONE), "tensors must be named"),
    "two names for one": (add("00.alpha", ONE), "tensors must be named"),
    "the name of format 2": (add("input.sums", ONE), "tensors must be named"),
    "scale without shift": (
        drop("input.shift"),
        "scale, shift must be given together|scale, shift must be there together",
    ),
    "uint8 without scale": (drop("input.scale", "input.shift"), "node 1, .* 'alpha_u8' is not allowed"),
    "scale 0": (change("input.scale", 0, 0), r"format 1 input.scale must be float32 \(1,\) and above 0, got 0.0"),
    "scale below 0": (change("input.scale", 0, -1), "in format 1 input.scale must be .* above 0, got -1.0"),
    "scale NaN": (change("input.scale", 0, np.nan), "above 0, got nan"),
    "scale inf": (change("input.scale", 0, np.inf), "scale must be finite, got inf"),
    "several scales": (replace("input.scale", lambda a: np.repeat(a, 300)), r"format 1 .* got float32 \(300,\)"),
}


@pytest.mark.parametrize("case", DAMAGES1)
def test_damage_of_format_1(tmp_path, case):
    damage, words = DAMAGES1[case]
    tensors, line = deserialize(golden()), line_of(golden())[0]
    write(tmp_path / "damaged", tensors, damage(tensors, line))
    with pytest.raises(ValueError, match=f"damaged is not a model that can be loaded: .*(?:{words})"):
        runtime.load(tmp_path / "damaged")


def test_nets_that_no_file_can_hold(rng, monkeypatch):
    """The header has room for every net in practice; where it has not, saving says so, not loading."""
    monkeypatch.setattr("gluon_bnn.runtime.file.MOST_HEADER", 400)
    with pytest.raises(ValueError, match="header of a file may have 400 bytes, this net's has [0-9]+:"):
        dumps(chain(rng, 6, "dense units=2", *["activation function=relu"] * 9))
    assert MOST_HEADER == 1 << 24


@pytest.mark.slow
def test_the_most_nodes(tmp_path):
    """65,536 nodes load, each taking the one before; a line of more is refused before a node is made."""
    nodes = [Node("input", (), {"shape": (1,)}), *(Node("flatten", (index,)) for index in range(MOST_NODES - 1))]
    content = dumps(Graph(tuple(nodes)))
    assert len(loads(content).nodes) == MOST_NODES
    longer = with_header(content, lambda header: header.replace(b"; crc32", b"; flatten 65535; crc32"))
    with pytest.raises(ValueError, match="1 to 65535 other nodes and a crc32, .* got 65539 entries"):
        loads(longer)


def golden(name="format1_binary_dense"):
    with open(os.path.join(GOLDEN, f"{name}.safetensors"), "rb") as file:
        return file.read()


def with_header(content, function):
    """The file with its header's text changed, and the header's length with it."""
    length = int.from_bytes(content[:8], "little")
    header = function(content[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def swapped(old, new):
    def function(header):
        assert old in header
        return header.replace(old, new, 1)

    return lambda content: with_header(content, function)


def hole(header):
    """The last tensor begins and ends 4 bytes later."""
    begin, end = max(re.findall(rb"\[(\d+),(\d+)\]", header), key=lambda offsets: int(offsets[1]))
    return header.replace(b"[%s,%s]" % (begin, end), b"[%d,%d]" % (int(begin) + 4, int(end) + 4))


CHECKSUM = "CRC-32 is not that of its content: it was changed"
WRECKS = {
    "one bit of the last tensor": (lambda c: c[:-5] + bytes([c[-5] ^ 1]) + c[-4:], CHECKSUM),
    "one size in the line": (swapped(b"dense 300 10", b"dense 300 11"), CHECKSUM),
    "checksum": (swapped(b"; crc32 ", b"; crc32 0"), "separated by"),
    "checksum in capitals": (swapped(b"; crc32 ", b"; crc32 A"), "separated by"),
    "no checksum": (swapped(b"; crc32 ", b"; "), "separated by"),
    "other metadata": (swapped(b'"gluon_bnn"', b'"gluon_bn"'), 'must have the metadata "gluon_bnn"'),
    "no metadata": (swapped(b'"__metadata__"', b'"__metadat__"'), 'must have the metadata "gluon_bnn"'),
    "metadata that is no text": (swapped(b'"gluon_bnn":"', b'"gluon_bnn":7,"x":"'), "must have the metadata"),
    "a name twice": (swapped(b'"__metadata__"', b'"__metadata__":{},"__metadata__"'), "a name is there twice"),
    "a name of metadata twice": (swapped(b'"gluon_bnn"', b'"gluon_bnn":"x","gluon_bnn"'), "name is there twice"),
    "unknown dtype": (swapped(b'"dtype":"F32"', b'"dtype":"Q32"'), "must have a dtype, F32 or I32"),
    "dtype that NumPy lacks": (
        swapped(b'"0.alpha":{"dtype":"F32","shape":[65]', b'"0.alpha":{"dtype":"BF16","shape":[130]'),
        "must have a dtype, F32 or I32",
    ),
    "offsets beyond": (
        swapped(b'"data_offsets":[0,', b'"data_offsets":[99999999999,'),
        "tensors must follow one another",
    ),
    "no offsets": (swapped(b'"data_offsets"', b'"data_offset"'), "data_offsets"),
    "end beyond int64": (swapped(b'"data_offsets":[0,', b'"data_offsets":[0,9999999999999999'), "must follow one"),
    "a hole": (lambda c: with_header(c, hole) + bytes(4), r"must follow one another, 4 bytes a number: .*got \["),
    "an overlap": (
        swapped(b'"shape":[65],"data_offsets":[260,520', b'"shape":[66],"data_offsets":[256,520'),
        "must follow one",
    ),
    "a fraction": (swapped(b'"shape":[65]', b'"shape":[65.0]'), "must have a dtype"),
    "a truth": (swapped(b'"shape":[300]', b'"shape":[300,true]'), "must have a dtype"),
    "a field more": (swapped(b'"dtype":"F32"', b'"dtype":"F32","x":1'), "and no more; got"),
    "NaN": (swapped(b'"shape":[65]', b'"shape":[NaN]'), "must have a dtype"),
    "half a surrogate": (swapped(b'{"__metadata__":{', b'{"__metadata__":{"a":"\\ud800",'), "metadata must be text"),
    "a number as metadata": (swapped(b'{"__metadata__":{', b'{"__metadata__":{"a":7,'), "metadata must be text"),
    "no object": (lambda c: with_header(c, lambda h: b" " + h), 'it must start with "{"'),
    "a long number": (
        swapped(b'"data_offsets":[0,', b'"data_offsets":[' + b"9" * 100000 + b","),
        "a number has 100000 digits",
    ),
    "deep header": (lambda c: with_header(c, lambda _: b"[" * 200000), "its header cannot be read"),
    "header of no JSON": (lambda c: with_header(c, lambda h: h[1:]), "its header cannot be read"),
    "header of no UTF-8": (lambda c: with_header(c, lambda h: h[:-1] + b"\xff}"), "its header cannot be read"),
    "header that is a list": (lambda c: with_header(c, lambda h: b"[]"), "must start with"),
    "header that is a number": (lambda c: with_header(c, lambda h: b" 7"), "must start with"),
    "header longer than the file": (lambda c: (len(c) - 7).to_bytes(8, "little") + c[8:], "length of its header"),
    "header without end": (lambda c: b"\xff" * 8 + c[8:], "length of its header"),
    "header of nothing": (lambda c: bytes(8), "length of its header"),
    "seven bytes": (lambda c: c[:7], "got the end of the file"),
    "eight bytes": (lambda c: c[:8], "length of its header"),
    "cut in the header": (lambda c: c[:100], "length of its header"),
    "cut behind the header": (lambda c: c[: 8 + int.from_bytes(c[:8], "little")], "bytes, got .* cut off"),
    "one byte short": (lambda c: c[:-1], "bytes, got .* cut off"),
    "one byte more": (lambda c: c + b"\0", "bytes, got .* added"),
    "something else": (lambda c: b"PK\x03\x04" + bytes(100), "starts with the length of its header"),
    "text": (lambda c: b"not a model\n" * 100, "starts with the length of its header"),
}


@pytest.mark.parametrize("case", WRECKS)
def test_wrecks(tmp_path, case):
    wreck, words = WRECKS[case]
    content = wreck(golden())
    assert content != golden()
    (tmp_path / "wreck").write_bytes(content)
    with pytest.raises(ValueError, match=f"wreck is not a model that can be loaded: .*{words}"):
        runtime.load(tmp_path / "wreck")


def test_every_cut_is_refused(tmp_path):
    content = golden("format1_pack")
    for size in range(0, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(ValueError, match="cut is not a model"):
            runtime.load(tmp_path / "cut")
