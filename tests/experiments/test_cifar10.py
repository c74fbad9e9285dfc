"""CIFAR-10 for the scripts, by Gluon's own data set: from files in its format, which are tiny here."""

import json
import os

import numpy as np
import pytest

from common.arguments import find_dataset
from image_sets import cifar10

FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def files(tmp_path, monkeypatch, rng):
    """{name: (labels, images)} of the six files in cifar10/ below tmp_path; where these are whole, Gluon takes them."""
    from gluon_bnn import mx

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLUON_BNN_DATA", raising=False)
    monkeypatch.setattr(mx.base, "data_dir", lambda: str(tmp_path / "mxnets"))
    for module in (mx.gluon.utils, mx.gluon.data.vision.datasets):
        monkeypatch.setattr(module, "check_sha1", lambda path, sha1: os.path.getsize(path) == 12 * 3073)
    (tmp_path / "cifar10").mkdir()
    written = {}
    for name in FILES:
        labels = rng.integers(0, 10, 12, dtype=np.uint8)
        images = rng.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
        (tmp_path / "cifar10" / name).write_bytes(np.hstack([labels[:, None], images.reshape(12, -1)]).tobytes())
        written[name] = labels, images
    return written


@pytest.mark.parametrize("where", ["data_dir", "environment", "mxnet"])
def test_files_are_found_and_read(files, tmp_path, monkeypatch, where):
    if where == "environment":
        monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path))
    if where == "mxnet":
        (tmp_path / "mxnets").mkdir()
        (tmp_path / "cifar10").rename(tmp_path / "mxnets" / "datasets-of")
        (tmp_path / "mxnets" / "datasets").mkdir()
        (tmp_path / "mxnets" / "datasets-of").rename(tmp_path / "mxnets" / "datasets" / "cifar10")
    found = cifar10.load(str(tmp_path) if where == "data_dir" else None)
    assert found["train_data"].shape == (60, 3, 32, 32) and found["train_data"].dtype == np.float32
    labels, images = (np.concatenate(parts) for parts in zip(*(files[name] for name in FILES[:5])))
    assert np.array_equal(np.rint(255 * found["train_data"]), images)
    assert np.array_equal(found["train_label"], labels)
    assert np.array_equal(np.rint(255 * found["test_data"]), files["test_batch.bin"][1])
    assert np.array_equal(found["test_label"], files["test_batch.bin"][0]) and len(found["classes"]) == 10


def test_data_dir_is_taken_at_its_word(files, tmp_path, monkeypatch):
    """A set that is elsewhere is not taken in its place, as for the other sets."""
    monkeypatch.setenv("GLUON_BNN_DATA", str(tmp_path))
    assert find_dataset("cifar10") == tmp_path / "cifar10"
    other = str(tmp_path / "mxnets")
    with pytest.raises(FileNotFoundError, match=f"CIFAR-10 is not here: {other} must have the folder cifar10/ with"):
        find_dataset("cifar10", other)


def test_nothing_is_downloaded(files, tmp_path, monkeypatch):
    """What is missing or damaged is named."""
    from gluon_bnn import mx

    monkeypatch.setattr(mx.gluon.data.vision.datasets, "download", None)  # calling it raises TypeError
    damaged = tmp_path / "cifar10" / "data_batch_3.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="data_batch_3.bin is no file of CIFAR-10: its SHA-1 must be 1dd00a74ab1d17a6"):
        cifar10.load(str(tmp_path))
    damaged.unlink()
    with pytest.raises(FileNotFoundError, match="has no data_batch_3.bin"):
        cifar10.load(str(tmp_path))
    (tmp_path / "cifar10").rename(tmp_path / "other")
    with pytest.raises(
        FileNotFoundError, match="CIFAR-10 is not here: nowhere must have .*CIFAR10.. downloads them to .*mxnets"
    ):
        cifar10.load("nowhere")
    with pytest.raises(FileNotFoundError, match="CIFAR-10 is not here: elsewhere and .*mxnets.* must have"):
        monkeypatch.setenv("GLUON_BNN_DATA", "elsewhere")
        cifar10.find()


def test_a_net_is_trained_on_it(files, tmp_path, capsys):
    import train_mnist

    options = ["--hidden", "5", "--epochs", "1", "--batch-size", "10", "--shift", "1", "--save-dir", "run"]
    train_mnist.main(["--dataset", "cifar10", "--data-dir", str(tmp_path), *options])
    said = capsys.readouterr().out
    assert "cifar10: 50 training, 10 validation, 12 test images\n32x32 pixels in colour, 10 classes" in said
    found = json.loads((tmp_path / "run" / "record.json").read_text())
    assert found["network"] == "3072-5-10" and found["classes"] == list(cifar10.CLASSES)


@pytest.mark.slow
def test_nets_are_timed_on_random_images(tmp_path, monkeypatch, capsys):
    import bench_nets

    monkeypatch.setattr(bench_nets, "ROWS", 4)
    bench_nets.main(["--recipes", "larq", "--rounds", "1", "--save-dir", str(tmp_path)])
    found = json.loads((tmp_path / "bench_nets.json").read_text())["nets"]["larq"]
    assert found["bits"] == 93088 and set(found["us"]) == {"step", "one image", "an image of 100"}
    assert all(us["binary"] > 0 and us["real"] > 0 for us in found["us"].values())
    assert "larq: 28x28-32C3-64C3-64C3-64-10, 93,088 weights of 1 bit" in capsys.readouterr().out


def test_nets_of_real_weights_are_not_timed(capsys):
    import bench_nets

    with pytest.raises(SystemExit):
        bench_nets.main(["--recipes", "full_precision"])
    assert "argument --recipes: invalid choice: 'full_precision'" in capsys.readouterr().err
