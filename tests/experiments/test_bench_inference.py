"""experiments/bench_inference.py at tiny settings; what it times is not looked at."""

import argparse
import contextlib
import json

import numpy as np
import pytest

from gluon_bnn import deploy, runtime
from gluon_bnn.native import library

import programs
from needs import needs_library
from paths import EXPERIMENTS

pytestmark = needs_library


def run(*arguments, cwd):
    return programs.script_here("bench_inference.py", *arguments, cwd=cwd)


@pytest.mark.slow
def test_all_of_it(tmp_path):
    shapes = "--shapes", "3x40x33", "--convs", "3x5x8"
    done = run(*shapes, "--width", "64", "--largest", "4", "--rounds", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "runs" / "bench_inference"
    assert (directory / "bench_inference.png").stat().st_size > 5000
    with open(directory / "bench_inference.json", encoding="utf-8") as file:
        found = json.load(file)
    assert list(found["layers"]) == ["3x40x33"]
    ours = {"xnor_dense", "pack + xnor_dense", "operator xnor", "binary_dense", "operator binary", "binary_dense_u8"}
    for layer in found["layers"].values():
        assert ours | {"MXNet float32", "registers alone", "bytes alone", "weights read"} <= set(layer["us"])
        assert layer["of_bytes_alone"]["binary_dense_u8"] > 0
        assert all(value > 0 for value in layer["us"].values())
        assert layer["times_mxnet_float32"]["MXNet float32"] == 1
    assert list(found["convs"]) == ["3x5x8"]
    for conv in found["convs"].values():
        assert {"binary_conv2d", "binary_conv2d, +1 outside", "dense product", "MXNet float32"} <= set(conv["us"])
        assert all(conv[name] > 0 for name in ("of_dense_product", "cost_of_zeros_outside", "times_best_float32"))
        assert set(conv["of_registers"]) == {"binary_conv2d", "binary_conv2d, +1 outside"}
    assert {"runtime, uint8", "MXNet float32"} <= set(found["lenet"]["us"])
    assert found["net"]["sizes"] == [784, 64, 64, 64, 10]
    assert {"runtime", "runtime, uint8", "MXNet packed", "MXNet float32"} <= set(found["net"]["us"])
    assert found["net"]["bytes"]["float32"] == 4 * (785 * 64 + 2 * 65 * 64 + 65 * 10)
    for kernel in ("xnor_dense", "binary_dense"):
        for axis in ("rows", "units", "inputs"):
            assert found["growth"][kernel][axis]["size"] == [1, 2, 4]
            assert len(found["growth"][kernel][axis]["growth"]) == 2
    assert all(set(target) == {"name", "wanted", "found", "reached"} for target in found["targets"])
    assert found["instruction_set"] in library.instruction_sets() and found["roofline"]
    assert set(found["peers"]) <= {"torch", "onnxruntime", "larq-compute-engine"}


@pytest.mark.slow
def test_a_model_from_a_file(tmp_path, monkeypatch):
    from bench import peers, workers
    from bench.peers import mxnet

    class Here(contextlib.nullcontext):
        """A worker in this process, where MXNet has been imported."""

        def __init__(self, benchmark, name, threads, *_):
            super().__init__(self)
            self.peer = peers.worker_of(benchmark, name)(threads)

        def ask(self, method, *arguments):
            return json.loads(json.dumps(getattr(self.peer, method)(*arguments)))

    monkeypatch.setattr(workers, "Worker", Here)
    frozen = deploy.freeze(mxnet.binary_net([20, 30, 10]), verbose=False)
    runtime.save(frozen, tmp_path / "net")
    done = run(
        "--model", "net", "--shapes", "1x1x1", "--convs", "--largest", "1", "--rounds", "1", "--no-peers", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "one image through 20-30-10" in done.stdout and "uint8 " not in done.stdout.split("one image")[1]


def test_a_model_that_is_none_is_refused_before_anything_is_timed(tmp_path):
    (tmp_path / "net").write_bytes(b"x")
    done = programs.script_here("bench_inference.py", "--model", "net", "--no-peers", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("bench_inference.py: --model must be a file of runtime.save")
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


@pytest.mark.slow
def test_ours_and_the_parent_do_without_the_other_libraries():
    """MXNet's threads alone make our kernels slower."""
    for lines in (
        "import bench_inference",
        "from bench.peers.ours import Inference\n"
        "ours = Inference(1)\n"
        "assert 'xnor_dense' in ours.prepare('layer', 2, 3, 4) and ours.time('xnor_dense') > 0\n"
        "assert 'binary_conv2d' in ours.prepare('conv', 1, 3, 4) and ours.time('binary_conv2d') > 0\n"
        "ours.growth(1)",
    ):
        check = "\nimport sys; assert not {'mxnet', 'torch', 'onnxruntime'} & set(sys.modules)"
        programs.output("-c", lines + check, cwd=EXPERIMENTS)


@pytest.mark.slow
def test_a_worker_that_ends_is_heard_of(tmp_path):
    import bench_inference

    worker = bench_inference.Worker("inference", "ours", 1, str(tmp_path))
    with pytest.raises(SystemExit, match="the worker ours ended: (?s:.*)no_such_method"):
        worker.ask("no_such_method")
    with pytest.raises(SystemExit, match="the worker ours does not start"):
        bench_inference.Worker("inference", "ours", 1, str(tmp_path), str(tmp_path / "no-such-python"))


@pytest.mark.parametrize(
    "shape", ["64x1024", "0x1x1", "1x1x1x1", "ax1x1", "-1x1x1", "", "1x1x1048577", "99999999999999999999x1x1"]
)
def test_shapes_are_checked(shape):
    import bench_inference

    with pytest.raises(argparse.ArgumentTypeError, match="ROWSxUNITSxINPUTS"):
        bench_inference.shape(shape)


def test_wrong_results_are_not_timed():
    from bench import inference

    call = inference.Call(lambda: np.array([[1, 2.01]], np.float32))
    inference.check("name", call, np.array([[1, 2]]), 0.1)
    for expected, allowed in ((np.array([[1, 2]]), 1e-5), (np.array([[1, np.nan]]), 0.1), (np.array([1, 2]), 0.1)):
        with pytest.raises(SystemExit, match="name"):
            inference.check("name", call, expected, allowed)


@pytest.mark.slow
def test_rooflines(tmp_path):
    from bench import roofline

    loops = roofline.compile_rooflines(str(tmp_path))
    assert loops.roofline_name().decode() in ("serial", "avx2", "avx512", "avx512vpopcntdq", "neon")
    for loop, least in ((loops.roofline_xnor, 64), (loops.roofline_bytes, 1)):
        counted = [loop(variant, 10, 1) for variant in range(loops.roofline_variants())]
        assert min(counted) >= 10 * 6 * least and loop(0, 30, 2) == 6 * counted[0]
    words = np.random.default_rng(0).integers(0, 2**63, 1001, np.uint64)
    for threads in (1, 2, 3):
        found = loops.roofline_read(words.ctypes.data, len(words), threads)
        assert found == int(words.sum(dtype=np.uint64))


def test_targets_without_peers_are_not_judged():
    import bench_inference

    names = (*bench_inference.ROOFLINES, *bench_inference.OURS, "MXNet float32")
    net = {"runtime": [50e-6], "MXNet packed": [1e-4], "MXNet float32": [2e-4]}
    growth = {"xnor_dense": {"rows": {"growth": [1.5, 2.7]}}}
    layers = {"256x4096x4096": {**dict.fromkeys(names, [1.0]), "xnor_dense": [1.25], "MXNet float32": [5.0]}}
    conv = {
        "of_registers": {"binary_conv2d": 0.8},
        "times_best_int8": None,
        "times_best_float32": 12,
        "times_lce": None,
    }
    convs = {"1x28x64": conv, "64x28x64": {"of_dense_product": 0.8}, "1x2x3": {}}
    size = {"runtime": 1, "float32": 30}
    found = {row["name"]: row for row in bench_inference.targets(layers, convs, None, net, size, growth)}
    assert found["256x4096x4096 xnor_dense, of the roofline"]["reached"] is False
    assert found["256x4096x4096 xnor_dense, of the roofline"]["found"] == 0.8
    assert found["256x4096x4096 xnor_dense, times the best int8"]["reached"] is None
    assert found["256x4096x4096 slowest of ours, times MXNet float32"]["found"] == 4
    assert found["1x28x64 binary_conv2d, of registers alone"]["reached"] is True
    assert found["1x28x64 binary_conv2d, times the best int8"]["reached"] is None
    assert found["64x28x64 binary_conv2d, of the dense product"]["reached"] is False
    assert found["one image, runtime, us"]["reached"] is True
    assert found["one image, runtime, times ONNX Runtime int8"]["reached"] is None
    assert found["largest growth of time on doubling"]["reached"] is False
