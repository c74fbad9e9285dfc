"""gluon_bnn.data: what get_mnist is given, what is refused, and where it is looked for.

Small sets of random images stand in for MNIST, with the table of its counts and SHA-256 replaced;
a server on 127.0.0.1 stands in for its mirrors. The real MNIST is tested if GLUON_BNN_DATA has it.
"""

import gzip
import hashlib
import http.server
import importlib.util
import os
import pathlib
import re
import shutil
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest

from gluon_bnn import data
from gluon_bnn._compat import mx
from gluon_bnn.data import idx
from gluon_bnn.data import mnist as mnist_files

import programs

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.FILES
DIGITS = pathlib.Path(__file__).resolve().parent.parent / "data" / "digits"
REAL = os.environ.get("GLUON_BNN_DATA", "")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No test sees this machine's settings or data, and none reaches a real mirror."""
    monkeypatch.delenv("GLUON_BNN_DATA", raising=False)
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet_home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(mnist_files, "MIRRORS", ("http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"))


def idx_images(images):
    return struct.pack(">IIII", 2051, *images.shape) + images.tobytes()


def idx_labels(labels):
    return struct.pack(">II", 2049, len(labels)) + labels.tobytes()


def small_set(rng, train=20, test=10):
    """Decompressed contents of four files: a dict from file name to bytes."""
    contents = {}
    for images, labels, count in ((TRAIN_IMAGES, TRAIN_LABELS, train), (TEST_IMAGES, TEST_LABELS, test)):
        contents[images] = idx_images(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        contents[labels] = idx_labels(rng.integers(0, 10, count, dtype=np.uint8))
    return contents


def write(directory, contents):
    directory.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (directory / file).write_bytes(gzip.compress(content, 1))
    return directory


def is_set(loaded, contents):
    """Whether what load returned is exactly what the files hold; get_mnist's labels are int8, one's own int32."""

    def pixels(file):
        images = np.frombuffer(contents[file], np.uint8, offset=16).reshape(-1, 1, 28, 28)
        return images.astype(np.float32) / 255

    def labels(file):
        return np.frombuffer(contents[file], np.uint8, offset=8).astype(
            np.int32 if loaded["train_label"].dtype == np.int32 else np.int8
        )

    expected = {
        "train_data": pixels(TRAIN_IMAGES),
        "train_label": labels(TRAIN_LABELS),
        "test_data": pixels(TEST_IMAGES),
        "test_label": labels(TEST_LABELS),
    }
    return loaded.keys() == expected.keys() and all(
        loaded[key].dtype == value.dtype and np.array_equal(loaded[key], value) for key, value in expected.items()
    )


def snapshot(directory):
    """What is on the disk: names and, where they are files, bytes."""
    return {path.name: path.read_bytes() if path.is_file() else "no file" for path in directory.iterdir()}


@pytest.fixture
def contents(rng):
    return small_set(rng)


@pytest.fixture
def mnist(monkeypatch, contents):
    """A small set that passes for MNIST."""
    counts = {TRAIN_IMAGES: 20, TRAIN_LABELS: 20, TEST_IMAGES: 10, TEST_LABELS: 10}
    monkeypatch.setattr(
        mnist_files,
        "MNIST",
        {file: (counts[file], hashlib.sha256(content).hexdigest()) for file, content in contents.items()},
    )
    return contents


# A directory of one's own


def test_directory(tmp_path, contents):
    write(tmp_path / "own", contents)
    assert data.check(tmp_path / "own") == (20, 10)
    for name in (tmp_path / "own", str(tmp_path / "own")):
        loaded = data.load(name)
        assert is_set(loaded, contents)
    assert loaded["train_label"].dtype == np.int32 and loaded["train_label"].flags.writeable
    assert "classes" not in loaded


def test_one_image_is_enough(tmp_path, rng):
    contents = small_set(rng, 1, 1)
    assert is_set(data.load(write(tmp_path / "own", contents)), contents)


@pytest.mark.parametrize("level", [0, 9])
def test_images_that_cannot_be_compressed(tmp_path, rng, level):
    contents = small_set(rng, 6000, 3)
    assert len(set(contents[TRAIN_IMAGES])) == 256
    directory = write(tmp_path / "own", contents)
    (directory / TRAIN_IMAGES).write_bytes(gzip.compress(contents[TRAIN_IMAGES], level))
    assert data.check(directory) == (6000, 3)


def test_several_chunks(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(idx, "_CHUNK", 1000)
    contents = small_set(rng, 1001, 3)
    assert is_set(data.load(write(tmp_path / "own", contents)), contents)


def test_words_mean_sets_and_paths_mean_directories(tmp_path, contents, monkeypatch):
    write(tmp_path / "digits", contents)
    monkeypatch.chdir(tmp_path)
    assert len(data.load("digits", DIGITS.parent)["test_label"]) == 360
    assert is_set(data.load("./digits"), contents)
    assert is_set(data.load(pathlib.Path("digits")), contents)


@pytest.mark.parametrize("name", ["mnst", "", "no/place", "Digits", "nul\0", pathlib.Path("no")])
def test_unknown_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"'digits', 'mnist' or an existing directory.*none of"):
        data.load(name)


@pytest.mark.parametrize("name", [3, None, b"digits", ["digits"]])
def test_name_of_a_wrong_type(name):
    with pytest.raises(TypeError, match=f"str or a path, got {type(name).__name__}"):
        data.load(name)


def test_a_directory_has_no_root(tmp_path, contents):
    write(tmp_path / "own", contents)
    with pytest.raises(ValueError, match="leave root out"):
        data.load(tmp_path / "own", tmp_path)


def test_padding_and_members(tmp_path, contents):
    """A tape's blocks end in zeros, and compressors that work in parallel write many members."""
    directory, content = write(tmp_path / "own", contents), contents[TRAIN_IMAGES]
    members = [gzip.compress(content[i : i + 100]) for i in range(0, len(content), 100)]
    (directory / TRAIN_IMAGES).write_bytes(b"".join([*members, gzip.compress(b""), bytes(10240)]))
    assert data.check(directory) == (20, 10) and is_set(data.load(directory), contents)


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (33, 30, 3)])
@pytest.mark.parametrize("compressed", [True, False])
def test_any_size_colour_and_256_classes(tmp_path, rng, shape, compressed):
    labels = np.arange(300).astype(np.uint8)
    expected = {}
    for part, name, count in (("train", "train", 300), ("test", "t10k", 10)):
        images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        head = struct.pack(f">{1 + images.ndim}I", 2048 + images.ndim, *images.shape)
        end, pack = (".gz", gzip.compress) if compressed else ("", bytes)
        (tmp_path / f"{name}-images-idx{images.ndim}-ubyte{end}").write_bytes(pack(head + images.tobytes()))
        (tmp_path / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(idx_labels(labels[-count:])))
        expected[part] = images.transpose(0, 3, 1, 2) if images.ndim == 4 else images[:, None]
    loaded = data.load(tmp_path)
    for part, images in expected.items():
        found = loaded[f"{part}_data"]
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, images.astype(np.float32) / 255)
        np.testing.assert_array_equal(loaded[f"{part}_label"], labels[-len(images) :])
    assert loaded["train_label"].max() == 255 and data.check(tmp_path) == (300, 10)
    with pytest.raises(ValueError, match="has IDX files, which have a size"):
        data.load(tmp_path, image_size=28)


@pytest.mark.parametrize(
    "header, message",
    [
        (struct.pack(">5I", 2052, 20, 28, 28, 4), "4 values per pixel"),
        (struct.pack(">4I", 2052, 20, 28, 28), "ends inside its header"),
        (struct.pack(">4I", 2051, 20, 2**31, 2**31), "allowed are 1 to"),
        (struct.pack(">4I", 2051, 20, 0, 28), "allowed are 1 to"),
    ],
)
def test_headers_of_no_images(tmp_path, contents, header, message):
    directory = write(tmp_path / "own", {**contents, TRAIN_IMAGES: header})
    with pytest.raises(ValueError, match=f"{TRAIN_IMAGES}: .*{message}"):
        data.load(directory)


# Damage. Each function gets the directory of a good set and the contents of its files.


def put(file, content):
    """Damage of the content, in a sound gzip file."""
    return lambda directory, contents: (directory / file).write_bytes(gzip.compress(content(contents)))


def raw(file, change):
    """Damage of the gzip file itself."""
    return lambda directory, contents: (directory / file).write_bytes(change((directory / file).read_bytes()))


def header(file, fields, *values):
    """Other values in the header of a sound file."""
    form = struct.Struct(fields)
    return put(file, lambda contents: form.pack(*values) + contents[file][form.size :])


def flip(blob, at):
    at %= len(blob)
    return blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :]


def instead(file, make):
    """Something that is no file where a file was."""

    def damage(directory, contents):
        (directory / file).unlink()
        make(directory / file)

    return damage


def swap(one, other):
    def damage(directory, contents):
        (directory / one).rename(directory / "aside")
        (directory / other).rename(directory / one)
        (directory / "aside").rename(directory / other)

    return damage


NOT_GZIP = "not a whole gzip file"
PADDING = "holds far more than its content needs"
DAMAGE = {  # kind: (the file to be named, what is done, the message)
    "empty file": (TRAIN_IMAGES, raw(TRAIN_IMAGES, lambda b: b""), "ends inside its header"),
    "empty content": (TRAIN_IMAGES, put(TRAIN_IMAGES, lambda c: b""), "ends inside its header"),
    "half a header": (TEST_IMAGES, put(TEST_IMAGES, lambda c: c[TEST_IMAGES][:10]), "after 10 bytes"),
    "not compressed": (TEST_LABELS, raw(TEST_LABELS, gzip.decompress), NOT_GZIP),
    "a web page": (TRAIN_LABELS, raw(TRAIN_LABELS, lambda b: b"<html>not found</html>"), NOT_GZIP),
    "half of it": (TRAIN_IMAGES, raw(TRAIN_IMAGES, lambda b: b[: len(b) // 2]), NOT_GZIP),
    "last byte lost": (TEST_LABELS, raw(TEST_LABELS, lambda b: b[:-1]), NOT_GZIP),
    "no trailer": (TRAIN_IMAGES, raw(TRAIN_IMAGES, lambda b: b[:-8]), NOT_GZIP),
    "checksum altered": (TRAIN_IMAGES, raw(TRAIN_IMAGES, lambda b: flip(b, -8)), NOT_GZIP),
    "length altered": (TEST_IMAGES, raw(TEST_IMAGES, lambda b: flip(b, -4)), NOT_GZIP),
    "method altered": (TEST_IMAGES, raw(TEST_IMAGES, lambda b: flip(b, 2)), NOT_GZIP),
    "a bit flipped": (TRAIN_IMAGES, raw(TRAIN_IMAGES, lambda b: flip(b, len(b) // 2)), NOT_GZIP),
    "no deflate stream": (TRAIN_LABELS, raw(TRAIN_LABELS, lambda b: b[:10] + b"\xff" * 9 + b[19:]), NOT_GZIP),
    "garbage after it": (TEST_IMAGES, raw(TEST_IMAGES, lambda b: b + b"garbage"), NOT_GZIP),
    "a second member": (TEST_LABELS, raw(TEST_LABELS, lambda b: b + gzip.compress(b"\1")), "more than the 10"),
    "padding without end": (TRAIN_LABELS, raw(TRAIN_LABELS, lambda b: b + bytes(3 << 20)), PADDING),
    "padding without end after images": (TEST_IMAGES, raw(TEST_IMAGES, lambda b: b + bytes(3 << 20)), PADDING),
    "members without content after it": (
        TEST_LABELS,
        raw(TEST_LABELS, lambda b: b + 70000 * gzip.compress(b"")),
        PADDING,
    ),
    "members without content before it": (
        TEST_IMAGES,
        raw(TEST_IMAGES, lambda b: 70000 * gzip.compress(b"") + b),
        PADDING,
    ),
    "a name without end": (
        TRAIN_IMAGES,
        raw(TRAIN_IMAGES, lambda b: b[:3] + b"\x08" + b[4:10] + (2 << 20) * b"a" + b"\0" + b[10:]),
        PADDING,
    ),
    "empty blocks": (TRAIN_LABELS, raw(TRAIN_LABELS, lambda b: b[:10] + 300000 * b"\0\0\0\xff\xff" + b[10:]), PADDING),
    "zeros without end": (
        TRAIN_LABELS,
        put(TRAIN_LABELS, lambda c: c[TRAIN_LABELS] + bytes(1 << 24)),
        "more than the 20 labels",
    ),
    "labels as images": (TEST_IMAGES, put(TEST_IMAGES, lambda c: c[TEST_LABELS]), "starts with 2049"),
    "images as labels": (
        TRAIN_LABELS,
        put(TRAIN_LABELS, lambda c: c[TRAIN_IMAGES]),
        "starts with 2051; a file of labels starts with 2049",
    ),
    "swapped": (TRAIN_IMAGES, swap(TRAIN_IMAGES, TRAIN_LABELS), "starts with 2049"),
    "another magic number": (TRAIN_IMAGES, header(TRAIN_IMAGES, ">I", 2053), "starts with 2053"),
    "little endian": (TRAIN_IMAGES, header(TRAIN_IMAGES, "<IIII", 2051, 20, 28, 28), "starts with 50855936"),
    "27 rows": (TRAIN_IMAGES, header(TRAIN_IMAGES, ">IIII", 2051, 20, 27, 28), "27 x 28"),
    "another shape": (TEST_IMAGES, header(TEST_IMAGES, ">IIII", 2051, 10, 14, 56), "14 x 56"),
    "one image too few": (
        TEST_IMAGES,
        put(TEST_IMAGES, lambda c: c[TEST_IMAGES][:-784]),
        "announces 10 images but holds only 9",
    ),
    "half an image lost": (TEST_IMAGES, put(TEST_IMAGES, lambda c: c[TEST_IMAGES][:-392]), "holds only 9"),
    "one image too many": (
        TEST_IMAGES,
        put(TEST_IMAGES, lambda c: c[TEST_IMAGES] + bytes(784)),
        "more than the 10 images",
    ),
    "one label too few": (TEST_LABELS, put(TEST_LABELS, lambda c: c[TEST_LABELS][:-1]), "holds only 9"),
    "one label too many": (TEST_LABELS, put(TEST_LABELS, lambda c: c[TEST_LABELS] + b"\0"), "more than the 10"),
    "no items": (TRAIN_LABELS, put(TRAIN_LABELS, lambda c: struct.pack(">II", 2049, 0)), "announces 0"),
    "4 billion images": (TRAIN_IMAGES, header(TRAIN_IMAGES, ">II", 2051, 2**32 - 1), "allowed are 1 to"),
    "label 10": (TRAIN_LABELS, put(TRAIN_LABELS, lambda c: c[TRAIN_LABELS][:-1] + b"\x0a"), "label 10"),
    "label 200": (TEST_LABELS, put(TEST_LABELS, lambda c: c[TEST_LABELS][:-1] + b"\xc8"), "label 200"),
    "labels of another set": (TRAIN_LABELS, put(TRAIN_LABELS, lambda c: c[TEST_LABELS]), "20 images in .* 10 labels"),
    "images of another set": (TEST_IMAGES, put(TEST_IMAGES, lambda c: c[TRAIN_IMAGES]), "20 images in .* 10 labels"),
    "a directory": (TEST_LABELS, instead(TEST_LABELS, os.mkdir), "not a regular file"),
    "a dangling link": (
        TRAIN_IMAGES,
        instead(TRAIN_IMAGES, lambda path: path.symlink_to("nowhere")),
        "not a regular file",
    ),
    "a pipe": (TRAIN_IMAGES, instead(TRAIN_IMAGES, lambda path: os.mkfifo(path)), "not a regular file"),
}


# Where images may have any size.
OF_A_DIRECTORY = {
    "27 rows": "more than the 20 images",
    "another shape": "28 x 28 pixels in grey .* 14 x 56 pixels in grey",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", ["directory", "digits", "mnist"])
def test_damage_is_named_and_left_alone(name, kind, tmp_path, mnist, monkeypatch):
    if name == "directory" and kind.startswith("label "):
        pytest.skip("which is no damage there")
    file, damage, message = DAMAGE[kind]
    directory = write(tmp_path / name, mnist)
    damage(directory, mnist)
    before = snapshot(directory)
    monkeypatch.setattr(mnist_files, "get_mnist", lambda directory: pytest.fail("get_mnist saw the file"))
    with pytest.raises(ValueError) as caught:
        data.load(directory) if name == "directory" else data.load(name, tmp_path)
    assert str(directory) in str(caught.value) and file in str(caught.value)
    if name != "mnist":  # where other, stricter checks may come first
        assert re.search(OF_A_DIRECTORY.get(kind, message) if name == "directory" else message, str(caught.value))
    assert snapshot(directory) == before


@pytest.mark.parametrize("file", data.FILES)
@pytest.mark.parametrize("name", ["directory", "digits"])
def test_missing_file(name, file, tmp_path, contents):
    directory = write(tmp_path / name, contents)
    (directory / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} lacks {file}: put"):
        data.load(directory) if name == "directory" else data.load(name, tmp_path)


def test_largest_count(tmp_path, contents, monkeypatch):
    directory = write(tmp_path / "own", contents)
    monkeypatch.setattr(idx, "LARGEST_COUNT", 20)
    assert data.check(directory) == (20, 10)
    monkeypatch.setattr(idx, "LARGEST_COUNT", 19)
    with pytest.raises(ValueError, match="announces 20 images; allowed are 1 to 19"):
        data.check(directory)


def test_a_bomb_is_not_unpacked(tmp_path, contents):
    contents[TRAIN_IMAGES] += bytes(1 << 26)
    directory = write(tmp_path / "own", contents)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the 20 images"):
            data.check(directory)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


# What only MNIST must have


def test_mnist(tmp_path, mnist):
    write(tmp_path / "mnist", mnist)
    assert is_set(data.load("mnist", tmp_path), mnist)


@pytest.mark.parametrize("file", data.FILES)
def test_mnist_with_one_byte_altered(file, tmp_path, mnist):
    altered = dict(mnist)
    altered[file] = mnist[file][:-1] + bytes([(mnist[file][-1] + 1) % 10])
    directory = write(tmp_path / "mnist", altered)
    assert is_set(data.load(directory), altered)  # as a directory it is a sound set
    before = snapshot(directory)
    with pytest.raises(ValueError, match=f"{file}: is well formed but not MNIST.*SHA-256"):
        data.load("mnist", tmp_path)
    assert snapshot(directory) == before


def test_mnist_with_other_counts(tmp_path, mnist, rng):
    write(tmp_path / "mnist", small_set(rng, 21, 10))
    with pytest.raises(ValueError, match=f"{TRAIN_IMAGES}: announces 21 images; MNIST has 20"):
        data.load("mnist", tmp_path)


def test_mnist_with_training_and_test_swapped(tmp_path, mnist):
    directory = write(tmp_path / "mnist", mnist)
    swap(TRAIN_IMAGES, TEST_IMAGES)(directory, mnist)
    swap(TRAIN_LABELS, TEST_LABELS)(directory, mnist)
    assert data.check(directory) == (10, 20)
    with pytest.raises(ValueError, match=f"{TRAIN_IMAGES}: announces 10 images; MNIST has 20"):
        data.load("mnist", tmp_path)


# Where sets are looked for


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout without data, which the package then believes itself to be in."""
    package = tmp_path / "checkout" / "gluon_bnn"
    package.mkdir(parents=True)
    (package.parent / "setup.py").touch()
    monkeypatch.setattr(data, "_PACKAGE", package)
    return package.parent


@pytest.mark.parametrize("name", data.SETS)
def test_roots_in_order(name, tmp_path, checkout, monkeypatch, rng):
    monkeypatch.setattr(data, "check", lambda directory, name: None)
    monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path / "variable"))
    roots = [
        tmp_path / "argument",
        tmp_path / "variable",
        checkout / "data",
        checkout / "gluon_bnn" / "_data",
        tmp_path / "mxnet_home" / "datasets",
    ]
    sets = [write(root / name, small_set(rng)) for root in roots]
    for directory in sets:
        assert data.find(name, tmp_path / "argument") == directory
        expected = {file: gzip.decompress(blob) for file, blob in snapshot(directory).items()}
        assert is_set(data.load(name, tmp_path / "argument"), expected)
        shutil.rmtree(directory)
    assert data.find(name, tmp_path / "argument") is None


def test_data_is_the_checkouts_only_beside_setup_py(checkout, contents):
    directory = write(checkout / "data" / "digits", contents)
    assert data.find("digits") == directory
    (checkout / "setup.py").unlink()
    assert data.find("digits") is None


def test_relative_root_and_empty_variable(tmp_path, checkout, contents, monkeypatch):
    directory = write(tmp_path / "here" / "digits", contents)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUON_BNN_DATA", "")  # not the current directory
    assert data.find("digits") is None
    assert data.find("digits", "here") == directory
    assert data.find("here/digits") == directory


def test_digits_nowhere(tmp_path, checkout):
    with pytest.raises(FileNotFoundError) as caught:
        data.load("digits", tmp_path / "no")
    for root in (tmp_path / "no", checkout / "data", tmp_path / "mxnet_home" / "datasets"):
        assert str(root / "digits") in str(caught.value)


@pytest.mark.parametrize("name", data.SETS)
def test_part_of_a_set_is_not_passed_over(name, tmp_path, checkout, mnist, monkeypatch):
    monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path / "variable"))
    directory = write(checkout / "data" / name, {TRAIN_LABELS: mnist[TRAIN_LABELS]})
    write(tmp_path / "mxnet_home" / "datasets" / name, mnist)
    assert data.find(name) == directory
    with pytest.raises(FileNotFoundError, match=f"{name} lacks {TRAIN_IMAGES}, {TEST_IMAGES}, "):
        data.load(name)
    assert not (tmp_path / "variable").exists()


# Downloads


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`: a dict from path to body, or to (body, announced length)."""

    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        body, length = body if isinstance(body, tuple) else (body, len(body))
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """Two mirrors, /first/ and /second/, that serve what a test puts into `server.files`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.files, server.asked = {}, []
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(mnist_files, "MIRRORS", (f"{url}/first/", f"{url}/second/"))
        monkeypatch.setattr(mnist_files, "TIMEOUT", 5)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def serve(server, mirror, contents):
    for file, content in contents.items():
        server.files[f"/{mirror}/{file}"] = gzip.compress(content)


@pytest.mark.parametrize("given", ["argument", "variable", "neither"])
def test_download_goes_to(given, tmp_path, checkout, mnist, server, monkeypatch, capfd):
    serve(server, "first", mnist)
    home = tmp_path / "mxnet_home" / "datasets"
    if given != "neither":
        monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path / "variable"))
        home = tmp_path / given
    root = home if given == "argument" else None
    assert data.find("mnist", root) is None
    assert is_set(data.load("mnist", root), mnist)
    assert data.find("mnist", root) == home / "mnist"
    assert set(snapshot(home / "mnist")) == set(data.FILES)
    assert server.asked == [f"/first/{file}" for file in data.FILES]
    assert capfd.readouterr().err == ""  # a progress bar is for terminals
    assert is_set(data.load("mnist", root), mnist)
    assert len(server.asked) == 4  # nothing more was asked for


def test_download_of_what_is_missing(tmp_path, checkout, mnist, server):
    serve(server, "first", mnist)
    directory = write(tmp_path / "mnist", {TEST_LABELS: mnist[TEST_LABELS]})
    kept = (directory / TEST_LABELS).stat()
    assert is_set(data.load("mnist", tmp_path), mnist)
    assert server.asked == [f"/first/{file}" for file in data.FILES if file != TEST_LABELS]
    assert (directory / TEST_LABELS).stat().st_ino == kept.st_ino


def chunked(blob):
    """Without a length: the end of the connection is the end of the file."""
    return blob, None


BAD_MIRRORS = {
    "not there": lambda blob: None,
    "truncated": lambda blob: (blob[: len(blob) // 2], len(blob)),
    "truncated, no length": lambda blob: chunked(blob[: len(blob) // 2]),
    "empty": lambda blob: b"",
    "a web page": lambda blob: b"<html>please log in</html>",
    "altered": lambda blob: gzip.compress(flip(gzip.decompress(blob), -1)),
    "another file": lambda blob: gzip.compress(idx_labels(np.zeros(3, np.uint8))),
    "too long": lambda blob: chunked(blob + bytes(1 << 20)),
}


@pytest.mark.parametrize("kind", BAD_MIRRORS)
def test_second_mirror_when_the_first_is_bad(kind, tmp_path, checkout, mnist, server, monkeypatch):
    monkeypatch.setattr(mnist_files, "LARGEST_DOWNLOAD", 1 << 19)
    serve(server, "second", mnist)
    good = server.files[f"/second/{TRAIN_IMAGES}"]
    server.files[f"/first/{TRAIN_IMAGES}"] = BAD_MIRRORS[kind](good)
    assert is_set(data.load("mnist", tmp_path), mnist)
    assert server.asked[:2] == [f"/first/{TRAIN_IMAGES}", f"/second/{TRAIN_IMAGES}"]
    assert set(snapshot(tmp_path / "mnist")) == set(data.FILES)


@pytest.mark.parametrize("kind", BAD_MIRRORS)
def test_no_mirror_has_it_right(kind, tmp_path, checkout, mnist, server, monkeypatch):
    monkeypatch.setattr(mnist_files, "LARGEST_DOWNLOAD", 1 << 19)
    serve(server, "first", mnist)
    serve(server, "second", mnist)
    for path in server.files:
        if path.endswith(TEST_IMAGES):
            server.files[path] = BAD_MIRRORS[kind](server.files[path])
    with pytest.raises(OSError) as caught:
        data.load("mnist", tmp_path)
    for said in (*data.FILES, str(tmp_path / "mnist"), *(m + TEST_IMAGES for m in mnist_files.MIRRORS)):
        assert said in str(caught.value)
    # What was right is kept for the next time; of what was wrong nothing is.
    assert set(snapshot(tmp_path / "mnist")) == {TRAIN_IMAGES, TRAIN_LABELS}


def test_no_network(tmp_path, checkout, mnist):
    with pytest.raises(OSError) as caught:
        data.load("mnist", tmp_path / "new")
    for said in (*data.FILES, str(tmp_path / "new" / "mnist"), *mnist_files.MIRRORS, "by hand"):
        assert said in str(caught.value)
    assert snapshot(tmp_path / "new" / "mnist") == {}


def test_damage_is_not_downloaded_over(tmp_path, checkout, mnist, server):
    serve(server, "first", mnist)
    directory = write(tmp_path / "mnist", mnist)
    (directory / TEST_LABELS).write_bytes(b"")
    with pytest.raises(ValueError, match=TEST_LABELS):
        data.load("mnist", tmp_path)
    assert server.asked == [] and (directory / TEST_LABELS).read_bytes() == b""


def test_what_a_killed_download_left_is_removed(tmp_path, checkout, mnist, server):
    serve(server, "first", mnist)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / f"{TRAIN_IMAGES}.part-0123abcd").write_bytes(b"half")
    assert is_set(data.load("mnist", tmp_path), mnist)
    assert set(snapshot(tmp_path / "mnist")) == set(data.FILES)


def test_several_downloads_at_once(tmp_path, checkout, mnist, server, monkeypatch):
    monkeypatch.setattr(mnist_files, "TIMEOUT", 60)  # a busy machine is no broken mirror
    serve(server, "first", mnist)
    right = []

    def work():
        right.append(is_set(data.load("mnist", tmp_path), mnist))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 4
    assert set(snapshot(tmp_path / "mnist")) == set(data.FILES)


# How get_mnist is made to read them


def test_current_directory_is_neither_read_nor_changed(tmp_path, contents, rng, monkeypatch):
    here = write(tmp_path / "here", small_set(rng))
    before = snapshot(here)
    write(tmp_path / "own", contents)
    monkeypatch.chdir(here)
    assert is_set(data.load("../own"), contents)
    assert os.getcwd() == str(here) and snapshot(here) == before


def test_get_mnist_itself_is_called(tmp_path, contents, monkeypatch):
    write(tmp_path / "own" / "digits", contents)
    result = {}
    monkeypatch.setattr(mx.test_utils, "get_mnist", lambda: result)
    assert data.load("digits", tmp_path / "own") is result


def test_download_is_restored_when_get_mnist_fails(tmp_path, contents, monkeypatch):
    write(tmp_path / "own" / "digits", contents)
    download = mx.test_utils.download

    def fail():
        assert mx.test_utils.download is not download
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mx.test_utils, "get_mnist", fail)
        with pytest.raises(KeyboardInterrupt):
            data.load("digits", tmp_path / "own")
    assert mx.test_utils.download is download
    assert is_set(data.load("digits", tmp_path / "own"), contents)
    assert mx.test_utils.download is download


def test_other_downloads_go_their_way(tmp_path, contents, monkeypatch):
    """While a thread loads, other threads and other files reach MXNet's own download."""
    write(tmp_path / "own" / "digits", contents)
    asked, answers = [], []
    monkeypatch.setattr(mx.test_utils, "download", lambda *args, **kw: asked.append((args, kw)))

    def get_mnist():
        answers.append(mx.test_utils.download(f"http://somewhere/{TRAIN_LABELS}"))
        mx.test_utils.download("http://somewhere/else.gz", dirname="x")
        other = threading.Thread(target=lambda: mx.test_utils.download(f"http://other/{TRAIN_LABELS}"))
        other.start()
        other.join()

    monkeypatch.setattr(mx.test_utils, "get_mnist", get_mnist)
    data.load("digits", tmp_path / "own")
    assert answers == [str(tmp_path / "own" / "digits" / TRAIN_LABELS)]
    assert asked == [(("http://somewhere/else.gz",), {"dirname": "x"}), ((f"http://other/{TRAIN_LABELS}",), {})]


def test_threads_load_their_own_sets(tmp_path, rng, monkeypatch):
    sets = {
        write(tmp_path / str(i) / "digits", contents).parent: contents
        for i, contents in enumerate(small_set(rng, 200) for _ in range(4))
    }
    download, real, right = mx.test_utils.download, mx.test_utils.get_mnist, []
    start, alone = threading.Barrier(len(sets)), threading.Lock()

    def get_mnist():
        # One at a time: overlapping loads would restore each other's download.
        assert alone.acquire(blocking=False)
        time.sleep(0.005)
        alone.release()
        return real()

    monkeypatch.setattr(mx.test_utils, "get_mnist", get_mnist)

    def work(directory, contents):
        start.wait()
        for _ in range(10):
            right.append(is_set(data.load("digits", directory), contents))

    threads = [threading.Thread(target=work, args=item) for item in sets.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 40
    assert mx.test_utils.download is download


def test_import_needs_no_mxnet():
    code = "import sys, gluon_bnn.data; assert 'mxnet' not in sys.modules"
    programs.output("-c", code, cwd=DIGITS.parent.parent)


# The embedded digits


def test_digits():
    digits = data.load("digits")
    assert digits["train_data"].shape == (1437, 1, 28, 28)
    assert digits["test_data"].shape == (360, 1, 28, 28)
    assert digits["train_data"].dtype == np.float32
    for part in ("train_data", "test_data"):
        assert digits[part].min() == 0 and digits[part].max() == 1
    classes = [np.bincount(digits[part], minlength=10) for part in ("train_label", "test_label")]
    assert (sum(classes) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]).all()
    assert (np.abs(classes[1] - sum(classes) / 5) < 1).all()  # stratified
    # Shuffled: neighbours share their class about as often as chance has it, one time in ten.
    assert np.mean(np.diff(digits["train_label"]) == 0) < 0.15
    images = np.concatenate([digits["train_data"], digits["test_data"]])
    assert len(np.unique(images.reshape(1797, -1), axis=0)) == 1797  # none in both parts


def test_digits_can_be_told_apart():
    """Labels fit images: the nearest training image nearly always has the right class."""
    digits = data.load("digits")
    train, test = (digits[part].reshape(-1, 784) for part in ("train_data", "test_data"))
    distance = (train**2).sum(1) - 2 * test @ train.T
    assert np.mean(digits["train_label"][distance.argmin(1)] == digits["test_label"]) > 0.95


def test_digits_files_are_those_of_the_readme():
    readme = (DIGITS / "README.md").read_text(encoding="utf-8")
    for file in data.FILES:
        content = gzip.decompress((DIGITS / file).read_bytes())
        assert f"| `{file}` | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |" in readme
    assert sum(path.stat().st_size for path in DIGITS.iterdir()) < 400_000


def test_mnist_table_is_that_of_the_readme():
    readme = (DIGITS.parent / "README.md").read_text(encoding="utf-8")
    for file, (count, digest) in mnist_files.MNIST.items():
        size = 16 + 784 * count if "images" in file else 8 + count
        assert f"| `{file[:-3]}` | {size} | `{digest}` |" in readme


def test_digits_can_be_made_again():
    pytest.importorskip("sklearn", reason="only the script that made the files needs scikit-learn")
    spec = importlib.util.spec_from_file_location("make_digits", DIGITS / "make_digits.py")
    make_digits = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_digits)
    made = make_digits.build()
    assert made.keys() == set(data.FILES)
    for file, content in made.items():
        assert gzip.decompress((DIGITS / file).read_bytes()) == content


# The real MNIST


@pytest.fixture
def real():
    directory = pathlib.Path(REAL, "mnist")
    if not REAL or not directory.is_dir():
        pytest.skip("GLUON_BNN_DATA names no directory with mnist/")
    return directory.absolute()


@pytest.mark.slow
def test_real_mnist(real):
    mnist = data.load("mnist", real.parent)
    assert mnist["train_data"].shape == (60000, 1, 28, 28)
    assert mnist["test_data"].shape == (10000, 1, 28, 28)
    assert mnist["train_label"][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist["test_label"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_real_mnist_with_two_labels_exchanged(real, tmp_path):
    directory = tmp_path / "mnist"
    directory.mkdir()
    for file in data.FILES:
        (directory / file).symlink_to(real / file)
    assert data.check(directory, "mnist") == (60000, 10000)
    content = bytearray(gzip.decompress((real / TEST_LABELS).read_bytes()))
    content[8], content[9] = content[9], content[8]
    (directory / TEST_LABELS).unlink()
    (directory / TEST_LABELS).write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=f"{TEST_LABELS}: is well formed but not MNIST"):
        data.check(directory, "mnist")
