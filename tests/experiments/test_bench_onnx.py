"""experiments/bench_onnx.py at tiny settings; what it times is not looked at."""

import json
import os

import numpy as np
import pytest

from gluon_bnn import runtime
from gluon_bnn.graph import engine

import programs
from paths import EXPERIMENTS
from random_nets import SCALE, Net, chain

onnxruntime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'gluon_bnn[onnx]'")
PAPERS = os.path.join(EXPERIMENTS, "results", "papers")


def test_all_of_it(tmp_path):
    model = os.path.join(PAPERS, "larq-0.safetensors")
    few = ["--images", "20", "--calibration", "3", "--batches", "2", "--threads", "1", "--rounds", "2"]
    done = programs.script("bench_onnx.py", "--models", model, "--dataset", "digits", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "runs" / "bench_onnx" / "bench_onnx.json", encoding="utf-8") as file:
        found = json.load(file)
    assert found["onnxruntime"] == onnxruntime.__version__ and found["rounds"] == 2 and found["images"] == 20
    assert list(found["nets"]) == ["larq-0"]
    for name, net in found["nets"].items():
        same = ["ours", "float32", "int8 QDQ", "int8 QOperator"]
        assert list(net["accuracy"]) == same and net["different_answers"] == 0
        assert net["accuracy"]["ours"] == net["accuracy"]["float32"]
        assert net["bytes"]["bound"] < net["bytes"]["ours"] < net["bytes"]["int8 QOperator"] < net["bytes"]["float32"]
        assert list(net["us"]["batch 2, 1 thread"]) == [*same, "int8 QDQ with ReLU", "int8 QOperator with ReLU"]
        assert all(us > 0 for us in net["us"]["batch 2, 1 thread"].values())
        assert set(net["times_int8"]["batch 2, 1 thread"]) == {"same answers", "with ReLU"}
        assert f"{name}: {net['bytes']['ours']:,} bytes" in done.stdout


def test_the_table_of_a_record():
    from common import tables

    us = {"ours": 30.0, "float32": 99.0, "int8 QDQ": 50.0, "int8 QOperator": 45.0, "int8 QDQ with ReLU": 40.0}
    net = {"bytes": {"ours": 1000, "float32": 25100, "bound": 800}, "us": {"batch 1, 1 thread": us}}
    record = {"processor": "P", "date": "D", "onnxruntime": "1", "nets": {"a": net}}
    assert tables.onnx(record).splitlines()[-1] == "| a | 1,000 | 25.1 | 1.25 | 30.0 | 45.0 |"


def test_the_float32_net(rng):
    """Its answers are the graph's, to within rounding, where no sign is at a tie."""
    pytest.importorskip("onnx", reason="needs onnx: pip install 'gluon_bnn[onnx]'")
    from bench import float_onnx

    net = Net(rng, (2, 9, 8))
    net.add("image", shape=(9, 8, 2))
    window = dict(strides=(1, 1), dilation=(1, 1))
    net.add("conv2d", channels=6, kernel=(3, 2), padding=(1, 0), groups=2, **window)
    net.add("max_pool", kernel=(2, 2), strides=(2, 2), padding=(0, 0), rounding="ceil")
    net.add("batch_norm")
    net.add("pack", to="bits")
    net.add("binary_conv2d", channels=5, kernel=(2, 2), padding=(0, 0), pad="zero", to="bits", **window)
    net.add("flatten")
    net.add("binary_dense", units=9, to="float", norm=True)
    net.add("activation", function="relu")
    net.add("binary_dense", units=7, to="float", norm=True)
    net.add("dense", units=3)
    for graph in (net.graph(), chain(rng, (2, 3, 3), "pack to=bits", "binary_dense units=3 to=float")):
        x = rng.standard_normal((30, *graph.input_shape)).astype(np.float32)
        session = onnxruntime.InferenceSession(float_onnx.model(graph).SerializeToString())
        found, expected = session.run(None, {"x": x})[0], engine.run(graph, x.reshape(30, -1))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    with pytest.raises(ValueError, match="no float32 net of a model with the kind slice"):
        float_onnx.model(chain(rng, 9, "slice begin=1 end=4"))


@pytest.mark.parametrize(
    "layers, scale, message",
    [
        (["binary_dense units=3 to=float"], None, "--models must be nets that take pixels"),
        (["slice begin=1 end=4"], SCALE, "there is no float32 net of a model with the kind slice"),
    ],
)
def test_models_that_it_does_not_take(rng, tmp_path, monkeypatch, layers, scale, message):
    import bench_onnx

    monkeypatch.chdir(tmp_path)
    runtime.save(chain(rng, 784, *layers, scale=scale), "net.safetensors")
    with pytest.raises(SystemExit, match=message):
        bench_onnx.main(["--models", "net.safetensors", "--dataset", "digits"])
    with pytest.raises(SystemExit, match="takes 784 inputs, and an image of --dataset has 3072 pixels"):
        bench_onnx.load("net.safetensors", (3, 32, 32))
