"""gluon_bnn.data.load over folders of pictures: what becomes of them, which are for the test, and what is refused."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from gluon_bnn import _pictures, data
from gluon_bnn.data import folders
from gluon_bnn.data.folders import interleaved


def write(directory, classes, make=None):
    """Folders with so many pictures each, every one of a grey of its own; {class: number}."""
    make = make or (lambda i: Image.new("L", (9, 5), i + 1))
    for name, count in classes.items():
        (directory / name).mkdir(parents=True)
        for i in range(count):
            make(i).save(directory / name / f"{i:03}.png")
    return directory


def greys(images):
    """Which pictures of `write` these are."""
    return [round(255 * float(image.max())) for image in images]


def test_twenty_photographs(tmp_path):
    """Each class is in both parts, no picture in both; a picture more moves few; the order is mixed."""
    found = data.load(write(tmp_path / "a", {"cat": 10, "dog": 10}))
    assert found.keys() == {"train_data", "train_label", "test_data", "test_label", "classes"}
    assert found["classes"] == ["cat", "dog"] and found["train_data"].shape == (16, 1, 5, 9)
    assert np.bincount(found["train_label"]).tolist() == [8, 8] and np.bincount(found["test_label"]).tolist() == [2, 2]
    assert np.bincount(found["train_label"][-4:], minlength=2).tolist() == [2, 2]
    for label in (0, 1):
        parts = [set(greys(found[f"{part}_data"][found[f"{part}_label"] == label])) for part in ("train", "test")]
        assert parts[0] | parts[1] == set(range(1, 11)) and not parts[0] & parts[1]
    assert found["train_data"].dtype == np.float32 and found["train_label"].dtype == np.int32
    again = data.load(write(tmp_path / "b", {"dog": 10, "cat": 10}))
    for name, value in found.items():
        np.testing.assert_array_equal(again[name], value)
    more = data.load(write(tmp_path / "c", {"cat": 11, "dog": 10}))
    moved = set(greys(more["test_data"][more["test_label"] == 0])) ^ set(greys(found["test_data"][:2]))
    assert len(moved) <= 4 and greys(more["test_data"][more["test_label"] == 1])
    # Which pictures are for the test does not change from version to version.
    assert sorted(greys(found["test_data"][found["test_label"] == 0])) == [1, 9]


def test_two_pictures_a_class_are_enough(tmp_path):
    found = data.load(write(tmp_path, {"a": 2, "b": 2, "c": 3}))
    assert sorted(found["train_label"]) == [0, 1, 2, 2] and sorted(found["test_label"]) == [0, 1, 2]


def test_given_parts(tmp_path):
    write(tmp_path / "train", {"a": 3, "b": 1, "c": 2})
    write(tmp_path / "test", {"c": 1})
    found = data.load(tmp_path)
    assert sorted(found["train_label"]) == [0, 0, 0, 1, 2, 2] and found["test_label"].tolist() == [2]
    assert found["classes"] == ["a", "b", "c"]


def test_what_systems_put_there_is_left_out(tmp_path):
    write(tmp_path, {"a": 2, "b": 2})
    for folder in (tmp_path, tmp_path / "a"):
        (folder / ".hidden").mkdir()
        (folder / "__MACOSX").mkdir()
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png"):
            (folder / name).write_bytes(b"no picture")
    (tmp_path / "README.txt").write_text("what this is")
    assert len(data.load(tmp_path)["train_data"]) == 2


def test_names_are_composed(tmp_path):
    found = data.load(write(tmp_path, {unicodedata.normalize("NFD", "Käse"): 2, "ブリ": 2, "$x$": 2}))
    assert found["classes"] == ["$x$", "Käse", "ブリ"]


def test_sizes(tmp_path):
    sizes = iter([(9, 5)] * 4 + [(9, 5)] * 3 + [(5, 9)] + [(65, 65)] * 4)
    for name, shape in (("own", (5, 9)), ("mixed", (28, 28)), ("large", (28, 28))):
        write(tmp_path / name, {"a": 2, "b": 2}, lambda i: Image.new("L", next(sizes)))
        assert data.load(tmp_path / name)["train_data"].shape == (2, 1, *shape)
        assert data.load(tmp_path / name, image_size=3)["train_data"].shape == (2, 1, 3, 3)
        assert data.load(tmp_path / name, image_size=(3, 4))["train_data"].shape == (2, 1, 3, 4)
    for size in (0, -1, (3,), (3, 4, 5), 5000, 2.5, "28"):
        with pytest.raises(ValueError, match="image_size must be"):
            data.load(tmp_path / "own", image_size=size)
    with pytest.raises(ValueError, match="image_size is for folders"):
        data.load("digits", image_size=28)


def test_one_coloured_picture_makes_all_of_them_coloured(tmp_path, rng):
    write(tmp_path, {"a": 2, "b": 2}, lambda i: Image.fromarray(rng.integers(0, 256, (9, 5), np.uint8)).convert("RGB"))
    grey = data.load(tmp_path)["train_data"]
    assert grey.shape == (2, 1, 9, 5)
    Image.new("RGB", (5, 9), (9, 9, 8)).save(tmp_path / "b" / "000.png")
    assert data.load(tmp_path)["train_data"].shape == (2, 3, 9, 5)


def test_pixels_are_those_that_a_picture_to_classify_has(tmp_path, rng):
    write(tmp_path, {"a": 2, "b": 2}, lambda i: Image.fromarray(rng.integers(0, 256, (90, 50, 3), np.uint8)))
    found = data.load(tmp_path)
    pixels = [_pictures.read(path, (3, 28, 28)) for path in tmp_path.glob("*/*.png")]
    rows = np.concatenate([found["train_data"], found["test_data"]])
    assert {(p.astype(np.float32) / 255).tobytes() for p in pixels} == {row.tobytes() for row in rows}


def test_256_classes_and_no_more(tmp_path):
    write(tmp_path, {f"{i}": 2 for i in range(256)}, lambda i: Image.new("L", (1, 1), i))
    assert data.load(tmp_path)["train_label"].max() == 255
    write(tmp_path, {"one more": 2})
    with pytest.raises(ValueError, match="257 class folder"):
        data.load(tmp_path)


def no_picture(path, content=b"no picture"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


REFUSED = {
    "no folders": (lambda d: Image.new("L", (2, 2)).save(d / "x.png"), "has no folders of pictures"),
    "one class": (lambda d: write(d, {"a": 5}), r"1 class folder\(s\), 'a'; allowed are 2 to 256"),
    "an empty class": (lambda d: [write(d, {"a": 2, "b": 2}), (d / "empty").mkdir()], "empty has no pictures"),
    "hidden files only": (lambda d: [write(d, {"a": 2, "b": 2}), no_picture(d / "c" / ".x.png")], "c has no pictures"),
    "one picture": (lambda d: write(d, {"a": 2, "b": 1}), "b has one picture only"),
    "nested": (lambda d: [write(d, {"a": 2, "b": 2}), write(d / "b", {"deep": 1})], "b is a class's .* 'deep' in it"),
    "two names in one": (lambda d: write(d, {"Cat": 2, "cat": 2}), "differ in case .* 'Cat' and 'cat'"),
    "accents": (
        lambda d: write(d, {unicodedata.normalize(form, "é"): 2 for form in ("NFC", "NFD")}),
        "accents' encoding",
    ),
    "a line in a name": (lambda d: write(d, {"a\nb": 2, "c": 2}), r"'a\\nb', a name that cannot be shown"),
    "text": (lambda d: [write(d, {"a": 2, "b": 2}), no_picture(d / "b" / "notes.txt")], "notes.txt is no picture"),
    "an empty picture": (lambda d: [write(d, {"a": 2, "b": 2}), no_picture(d / "b" / "x.png", b"")], "x.png is empty"),
    "a loose picture": (
        lambda d: [write(d, {"a": 2, "b": 2}), Image.new("L", (2, 2)).save(d / "x.JPG")],
        "x.JPG lies in no class's folder",
    ),
    "a third part": (lambda d: [write(d / p, {"a": 2, "b": 2}) for p in ("train", "test", "val")], "train/, test/ and"),
    "another class in test": (
        lambda d: [write(d / "train", {"a": 2, "b": 2}), write(d / "test", {"A": 1})],
        "no class 'A' in .*train, which has 'a', 'b'",
    ),
    "train alone": (lambda d: write(d / "train", {"a": 2, "b": 2}), "DIRECTORY/train/CLASS"),
    "a dangling link": (
        lambda d: [write(d, {"a": 2, "b": 2}), os.symlink("nowhere", d / "a" / "x.png")],
        "no such picture.*x.png",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path, kind):
    make, message = REFUSED[kind]
    make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        data.load(tmp_path)


def test_too_many_for_memory(tmp_path, monkeypatch):
    write(tmp_path, {"a": 2, "b": 2})
    monkeypatch.setattr(folders, "LARGEST_CONTENT", 4 * 3 * 5 * 9)
    assert len(data.load(tmp_path)["train_data"]) == 2
    monkeypatch.setattr(folders, "LARGEST_CONTENT", 4 * 3 * 5 * 9 - 1)
    with pytest.raises(ValueError, match="4 pictures, which are too many .* at most 3 fit"):
        data.load(tmp_path)


def test_every_stretch_has_all_classes(rng):
    labels = rng.permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    order = interleaved(labels)
    assert sorted(order) == list(range(100))
    for begin in range(0, 90, 10):
        assert np.abs(np.bincount(labels[order][begin : begin + 10], minlength=3) - [6, 3, 1]).max() <= 1
    assert all((np.diff(order[labels[order] == label]) > 0).all() for label in range(3))
