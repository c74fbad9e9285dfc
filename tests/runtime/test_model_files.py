"""Model files: saved without a risk, and refused with a clear error wherever one is damaged."""

import errno
import gzip
import io
import json
import os
import shutil
import time
import zipfile

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from gluon_bnn import runtime
from gluon_bnn.runtime.file import crc32

from paths import GOLDEN
from random_nets import random_net


def test_the_line_of_text(rng, tmp_path):
    net = random_net(
        rng,
        ("binary_dense", 12, 5, "float", "bits"),
        ("binary_dense", 5, 2, "bits01", "float"),
        ("activation", 2, 2, "float", "float", "relu"),
        input_shape=(1, 3, 4),
        uint8=False,
    )
    runtime.save(net, tmp_path / "model")
    content = (tmp_path / "model").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    line, checksum = header["__metadata__"]["gluon_bnn"].split("; crc32 ")
    assert line == (
        "format 1; input 1x3x4; binary_dense 12 5 float bits; binary_dense 5 2 bits01 float; "
        "activation 2 2 float float relu"
    )
    assert len(checksum) == 8 and int(checksum, 16)
    assert set(header) == {
        "__metadata__",
        "0.weight_bits",
        "0.alpha",
        "0.bias",
        "1.weight_bits",
        "1.alpha",
        "1.bias",
        "1.sums",
    }


def test_save_never_loses_a_file(rng, tmp_path, monkeypatch):
    net = random_net(rng, ("dense", 6, 2))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"precious")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                runtime.save(net, path)
    net.layers[0].arrays["weight"][0, 0] = np.nan
    with pytest.raises(ValueError, match="layer 0, dense 6 -> 2: weight must be finite"):
        runtime.save(net, path)
    assert path.read_bytes() == b"precious" and os.listdir(tmp_path) == [path.name]
    with pytest.raises(OSError):
        runtime.save(random_net(rng, ("dense", 6, 2)), tmp_path)  # a directory
    with pytest.raises(FileNotFoundError):
        runtime.save(random_net(rng, ("dense", 6, 2)), tmp_path / "nowhere" / "model")
    assert os.listdir(tmp_path) == [path.name]

    os.symlink(path, tmp_path / "link")
    runtime.save(random_net(rng, ("dense", 6, 2)), tmp_path / "link")
    assert os.path.islink(tmp_path / "link") and runtime.load(path).input_shape == (6,)


def test_save_lets_the_nets_own_error_through(tmp_path):
    class Other:
        @property
        def layers(self):
            raise ValueError("layer 3, Conv2D, has no 1-bit form")

    with pytest.raises(ValueError, match="Conv2D"):
        runtime.save(Other(), tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_paths_and_open_files(rng, tmp_path):
    """str, bytes, PathLike, and files that are open for bytes: the same file, the same model, no other file."""
    net = random_net(rng, ("binary_dense", 24, 33, "float", "bits"), ("binary_dense", 33, 5, "bits", "float"))
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
    net = random_net(rng, ("dense", 6, 2))
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
    huge = with_header(golden(), lambda h: h.replace(b'"data_offsets":[0,', b'"data_offsets":[0,1099511627776,'))
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
    net.layers[0].arrays["weight"][0, 0] = np.nan
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
DAMAGES = {
    "later format": (edit("format 1", "format 3"), "format 3, this version .* reads formats 1 and 2: install a later"),
    "format 0": (edit("format 1", "format 0"), 'must start with "format 1;", got \'format 0'),
    "no format": (edit("format 1; ", ""), 'must start with "format 1;"'),
    "no input": (edit("input 1x4x10; ", ""), "shape of an input in second place, .* got 'binary_dense"),
    "empty axis": (edit("1x4x10", "0x4x10"), "shape of an input"),
    "too many axes": (edit("1x4x10", "1x" * 40 + "40"), "shape of an input"),
    "other product": (edit("1x4x10", "1x4x11"), r"40 elements, .* got \(1, 4, 11\)"),
    "no layers": (lambda tensors, line: "; ".join(line.split("; ")[:2]), "at least one layer"),
    "unknown kind": (edit("dense 5 6", "conv 5 6"), "layer 6 must be .* got 'conv 5 6"),
    "unknown form": (edit("bits01", "bits02"), "layer 2 must be .* bits02"),
    "unknown function": (edit("tanh", "gelu"), "layer 5 must be .* gelu"),
    "no function": (edit(" tanh", ""), "layer 5: function must be one of relu"),
    "function of another": (edit("5 6 float float", "5 6 float float relu"), "layer 6: dense must have no func"),
    "form of another kind": (
        edit("dense 5 6 float float", "dense 5 6 float bits"),
        "layer 6: dense must be from float to float, got float to bits",
    ),
    "space too many": (edit("dense 5 6", "dense  5 6"), "layer 6 must be"),
    "leading zero": (edit("dense 5 6", "dense 05 6"), "layer 6 must be"),
    "size zero": (edit("dense 5 6", "dense 0 6"), "layer 6 must be"),
    "negative size": (edit("dense 5 6", "dense -5 6"), "layer 6 must be"),
    "past int64": (edit("dense 5 6", f"dense {2**63} 6"), "layer 6 must be"),
    "past the limit": (edit("dense 5 6", f"dense 5 {2**30 + 1}"), "layer 6: units must be 1 to 1073741824"),
    "sizes that do not chain": (edit("dense 5 6", "dense 4 6"), "layer 6, dense 4 -> 6, must have 5 inputs, .*got 4"),
    "units of a norm": (edit("batch_norm 5 5", "batch_norm 5 6"), "as many units as inputs"),
    "form that does not chain": (
        edit("binary_dense 33 18 bits bits", "binary_dense 33 18 float bits"),
        "layer 1, .* 33 -> 18, must be from bits or bits01, since layer 0",
    ),
    "float after float": (edit("dense 5 6 float", "binary_dense 5 6 bits"), "layer 6, .* must be from float"),
    "from bits at first": (
        edit("binary_dense 40 33 float bits", "binary_dense 40 33 bits bits"),
        "layer 0, .* must be from float: it is the first",
    ),
    "to bits at last": (
        edit("dense 5 6 float float", "binary_dense 5 6 float bits"),
        "layer 6, .* must be to float: it is the last",
    ),
    "missing tensor": (drop("0.alpha"), "layer 0, .*: array 'alpha' is missing"),
    "missing weights": (drop("6.weight"), "layer 6, dense 5 -> 6: array 'weight' is missing"),
    "missing sums": (drop("2.sums"), "array 'sums' is missing"),
    "part of a norm": (drop("0.factor"), "mean, factor, beta must be there together .* got mean, beta"),
    "missing uint8": (drop("0.alpha_u8"), "'alpha_u8' is missing"),
    "scale without shift": (drop("input.shift"), "input_scale and input_shift must be given together"),
    "shift without scale": (drop("input.scale"), "input_scale and input_shift must be given together"),
    "uint8 without scale": (drop("input.scale", "input.shift"), "layer 0, .* 'alpha_u8' is not allowed"),
    "extra tensor": (add("0.threshold", np.zeros(33, np.int32)), "'threshold' is not allowed"),
    "extra tensor of no layer": (add("7.bias", ONE), "layers 0 to 6, .* got '7.bias'"),
    "extra tensor of no sense": (add("bias", ONE), "got 'bias'"),
    "two names for one": (add("00.alpha", ONE), "got '00.alpha'"),
    "uint8 past the first": (add("1.alpha_u8", ONE), "layer 1, .* 'alpha_u8' is not allowed"),
    "dtype": (replace("0.alpha", lambda a: a.astype(np.float64)), r"alpha must be float32 \(33,\), got float64"),
    "dtype of bits": (replace("1.weight_bits", lambda a: a.view(np.float32)), "weight_bits must be int32"),
    "unsigned bits": (replace("1.weight_bits", lambda a: a.view(np.uint32)), "weight_bits must be int32"),
    "shape": (replace("6.weight", lambda a: a.T), r"weight must be float32 \(5, 6\), got float32 \(6, 5\)"),
    "shape of bits": (replace("1.weight_bits", lambda a: a.reshape(-1)), "weight_bits must be int32"),
    "scalar": (replace("0.alpha", lambda a: a[0].reshape(())), "alpha must be float32"),
    "dtype of the scale": (
        replace("input.scale", lambda a: a.astype(np.float64)),
        r"input.scale must be float32 \(1,\) .* got float64",
    ),
    "shape of the scale": (replace("input.scale", lambda a: a[:0]), r"input.scale must be float32 \(1,\) .* got"),
    "shape of the shift": (replace("input.shift", lambda a: a[:1]), r"input_shift must be float32 \(40,\)"),
    "scale 0": (change("input.scale", 0, 0), r"format 1 input.scale must be float32 \(1,\) and above 0, got 0.0"),
    "scale below 0": (change("input.scale", 0, -1), "in format 1 input.scale must be .* above 0, got -1.0"),
    "scale NaN": (change("input.scale", 0, np.nan), "above 0, got nan"),
    "scale inf": (change("input.scale", 0, np.inf), "finite in float32 and not 0, got inf"),
    "several scales": (replace("input.scale", lambda a: np.repeat(a, 40)), r"format 1 .* got float32 \(40,\)"),
    "scale below 0 with an array for uint8": (
        lambda tensors, line: change("input.scale", 0, -1)(tensors, line.replace("format 1", "format 2")),
        "layer 0, .* 'alpha_u8' is not allowed",
    ),
    "shift inf": (change("input.shift", 3, -np.inf), "input_shift must be finite, got -inf at 3"),
    "NaN": (change("0.alpha", 2, np.nan), "layer 0, binary_dense 40 -> 33: alpha must be finite, got nan at 2, 1"),
    "inf in weights": (change("6.weight", (1, 0), np.inf), "weight must be finite, got inf at 6"),
    "NaN in a norm": (change("4.factor", 1, np.nan), "layer 4, batch_norm 5 -> 5: factor must be finite"),
    "tail bits": (change("0.weight_bits", (0, 1, 3), 1 << 8), "weight_bits must be 0 past input 39"),
    "tail bits, the highest": (change("0.weight_bits", (2, 1, 0), -(2**31)), "weight_bits must be 0 past input 39"),
    "padding units": (change("0.weight_bits", (2, 0, 1), 1), "weight_bits must be 0 past unit 32"),
    "padding units, the last": (change("0.weight_bits", (2, 0, 15), 1), "weight_bits must be 0 past unit 32"),
    "sums": (change("2.sums", 4, 7), "sums must be the sums of the signs, .* for unit 4, got 7, 1 such"),
}


@pytest.fixture
def parts(rng, tmp_path):
    """(tensors, line without its checksum) of a good model of seven layers."""
    net = random_net(
        rng,
        ("binary_dense", 40, 33, "float", "bits", None, True),
        ("binary_dense", 33, 18, "bits", "bits"),
        ("binary_dense", 18, 5, "bits01", "float"),
        ("binary_dense", 5, 5),
        ("batch_norm", 5),
        ("activation", 5, 5, "float", "float", "tanh"),
        ("dense", 5, 6),
        input_shape=(1, 4, 10),
    )
    runtime.save(net, tmp_path / "good")
    with safe_open(tmp_path / "good", "numpy") as file:
        line = file.metadata()["gluon_bnn"].rpartition("; ")[0]
    return load_file(tmp_path / "good"), line


def write(path, tensors, line):
    path.write_bytes(serialize(tensors, {"gluon_bnn": f"{line}; crc32 {crc32(line, tensors):08x}"}))


def test_undamaged(tmp_path, parts):
    """What the damages below start from loads."""
    write(tmp_path / "model", *parts)
    assert runtime.load(tmp_path / "model").predict(np.zeros((1, 4, 10), np.uint8)) in range(6)


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_with_a_right_checksum(tmp_path, parts, case):
    damage, words = DAMAGES[case]
    tensors, line = parts
    write(tmp_path / "damaged", tensors, damage(tensors, line))
    with pytest.raises(ValueError, match=f"damaged is not a model that can be loaded: .*{words}"):
        runtime.load(tmp_path / "damaged")


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
    "unknown dtype": (swapped(b'"dtype":"F32"', b'"dtype":"Q32"'), "safetensors refuses it"),
    "dtype that NumPy lacks": (
        swapped(b'"0.alpha":{"dtype":"F32","shape":[65]', b'"0.alpha":{"dtype":"BF16","shape":[130]'),
        "safetensors refuses it",
    ),
    "offsets beyond": (swapped(b'"data_offsets":[0,', b'"data_offsets":[99999999999,'), "safetensors refuses it"),
    "no offsets": (swapped(b'"data_offsets"', b'"data_offset"'), "data_offsets"),
    "end beyond int64": (swapped(b'"data_offsets":[0,', b'"data_offsets":[0,9999999999999999'), "bytes, got"),
    "a long number": (
        swapped(b'"data_offsets":[0,', b'"data_offsets":[' + b"9" * 100000 + b","),
        "a number has 100000 digits",
    ),
    "deep header": (lambda c: with_header(c, lambda _: b"[" * 200000), "its header cannot be read"),
    "header of no JSON": (lambda c: with_header(c, lambda h: h[1:]), "its header cannot be read"),
    "header of no UTF-8": (lambda c: with_header(c, lambda h: h[:-1] + b"\xff}"), "its header cannot be read"),
    "header that is a list": (lambda c: with_header(c, lambda h: b"[]"), "its header is not one"),
    "header that is a number": (lambda c: with_header(c, lambda h: b" 7"), "its header is not one"),
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
