"""train_mnist.py on images of one's own: any size, colour, 2 to 256 classes, few of them, and what it refuses."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from gluon_bnn import _pictures, runtime

import train_mnist


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_pictures(directory, counts, make):
    for label, (name, count) in enumerate(counts.items()):
        (directory / name).mkdir(parents=True)
        for i in range(count):
            make(label, i).save(directory / name / f"{i}.png")


def write_idx(directory, counts, shape, labels):
    """Plain IDX files of random images; `labels` is a function of their number."""
    rng = np.random.default_rng(0)
    directory.mkdir()
    for part, count in zip(("train", "t10k"), counts):
        images = rng.integers(0, 256, (count, *shape), np.uint8)
        head = struct.pack(f">{1 + images.ndim}I", 2048 + images.ndim, *images.shape)
        (directory / f"{part}-images-idx{images.ndim}-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">2I", 2049, count)
        (directory / f"{part}-labels-idx1-ubyte").write_bytes(head + labels(count).astype(np.uint8).tobytes())


def photograph(label, i):
    """In colour, of a size of its own."""
    rng = np.random.default_rng([label, i])
    pixels = rng.integers(0, 120, (40 + 3 * i, 70 - 2 * i, 3))
    pixels[..., label] += 120
    return Image.fromarray(pixels.astype(np.uint8))


def trained(*options):
    train_mnist.main([*options, "--hidden", "9", "--save-dir", "run"])
    with open("run/record.json") as file:
        return json.load(file), runtime.load("run/model.safetensors")


@pytest.mark.slow
def test_twenty_photographs(tmp_path, capsys):
    """No option is needed; a picture is classified as it was in the test."""
    write_pictures(tmp_path / "photographs", {"Käse": 10, "$x_": 10}, photograph)
    record, model = trained("--dataset", "photographs")
    said = capsys.readouterr().out
    assert "14 training, 2 validation, 4 test images\n28x28 pixels in colour, 2 classes; seed 0" in said
    assert "predict run/model.safetensors PICTURE..." in said
    assert record["classes"] == ["$x_", "Käse"] and record["network"] == "2352-9-2" and record["ok"]
    assert model.labels == ("$x_", "Käse") and model.input_shape == (3, 28, 28)
    assert model.accuracy == 1 - record["test_error"] == 1 and record["epochs"] == 60
    for name in model.labels:
        for path in (tmp_path / "photographs" / name).iterdir():
            assert model.labels[model(_pictures.read(path, model.input_shape)).argmax()] == name
    for picture in ("curves.png", "confusion.png", "filters.png"):
        assert (tmp_path / "run" / picture).stat().st_size > 3000


@pytest.mark.slow
def test_augmented_pictures_of_a_size_of_ones_own(tmp_path):
    write_pictures(tmp_path / "p", {"ブリ": 12, "b": 12, "c" * 200: 12}, photograph)
    options = ["--dataset", "p", "--image-size", "6x9", "--epochs", "2", "--batch-size", "8", "--activation", "binary"]
    record, model = trained(*options, "--inputs", "centered", "--shift", "1", "--warp", "0.1", "--bend", "1")
    assert record["network"] == "162-9-3" and model.input_shape == (3, 6, 9) and record["ok"]
    assert record["settings"]["image_size"] == [6, 9] and record["frozen_differing_predictions"] == 0


@pytest.mark.slow
def test_idx_files_of_256_classes_and_patience(tmp_path):
    write_idx(tmp_path / "own", (512, 10), (5, 7), np.arange)
    record, model = trained("--dataset", "own", "--epochs", "9", "--patience", "1", "--lr", "1e-9", "--scale", "layer")
    assert record["network"] == "35-9-256" and model.input_shape == (1, 5, 7) and record["ok"]
    assert model.labels is None and "classes" not in record
    assert record["stopped_early"] and record["epochs"] == len(record["curve"]["loss"]) < 9
    again, _ = trained(
        "--dataset", "own", "--epochs", "9", "--patience", "1", "--lr", "1e-9", "--scale", "layer", "--resume"
    )
    assert {**again, "seconds": 0} == {**record, "seconds": 0, "argv": again["argv"]}


def test_files_that_are_sorted_by_class(tmp_path):
    """The images for validation are of all classes."""
    from common.images import Images

    write_idx(tmp_path / "own", (60, 9), (4, 4, 3), lambda count: np.arange(count) * 3 // count)
    images = Images("own")
    assert np.bincount(images.train_labels).tolist() == [17, 17, 16] and images.shape == (3, 4, 4)
    assert np.bincount(images.validation_labels).tolist() == [3, 3, 4]


def refused(module, *options):
    with pytest.raises(SystemExit) as left:
        module.main([*options])
    return str(left.value.code)


def test_refused(tmp_path, capsys):
    write_idx(tmp_path / "one", (20, 9), (4, 4), np.zeros)
    assert "one has images of one class only" in refused(train_mnist, "--dataset", "one")
    write_idx(tmp_path / "few", (5, 9), (4, 4), np.arange)
    assert "few must have at least 6 training images, got 5" in refused(train_mnist, "--dataset", "few")
    write_pictures(tmp_path / "p", {"a": 9, "b": 9}, photograph)
    (tmp_path / "p" / "a" / "notes.txt").write_text("no picture")
    assert "notes.txt is no picture" in refused(train_mnist, "--dataset", "p")
    for dataset in ("digits", "one"):
        assert "--image-size is for folders" in refused(train_mnist, "--dataset", dataset, "--image-size", "8")
    for size in ("0", "8x0", "3x4x5", "x", "28.5", ""):
        refused(train_mnist, "--dataset", "p", "--image-size", size)
        assert "argument --image-size: must be like 28 or 28x32" in capsys.readouterr().err
    assert "1 to 4096" in refused(train_mnist, "--dataset", "p", "--image-size", "5000")
    assert [path.name for path in tmp_path.iterdir() if path.name == "runs"] == []


def test_the_notebook_is_about_mnist(tmp_path, monkeypatch):
    import notebook

    write_idx(tmp_path / "own", (20, 9), (4, 4), np.arange)
    monkeypatch.setattr("sys.argv", ["notebook_nn.py", "--dataset", "own"])
    with pytest.raises(SystemExit, match="28 x 28 pixels in 10 classes"):
        notebook.main("", False, 1.0)
