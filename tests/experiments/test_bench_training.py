"""experiments/bench_training.py at tiny settings; what it times is not looked at."""

import json
import sys

import pytest

from gluon_bnn.native import library

import bench_training
import programs
from bench import workers
from needs import needs_library
from paths import EXPERIMENTS

# serve.py with batches of few rows and fewer steps.
SMALL = f"""
import dataclasses, runpy, sys
sys.path.insert(0, {EXPERIMENTS!r})
from bench import training
net_of, training.IN_A_ROW = training.net_of, 1
training.net_of = lambda name: dataclasses.replace(net_of(name), batch=20, images=100)
runpy.run_path({workers.SERVE!r}, run_name="__main__")
"""
COMMON = {"plain Dense", "BWN", "BNN"}
MORE = {"BWN, alpha a unit", "BWN, exact gradient", "LAB", "BWN, composed of MXNet's operators"}


@pytest.mark.slow
@needs_library
def test_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    monkeypatch.setattr(workers, "SERVE", str(tmp_path / "serve.py"))
    (tmp_path / "serve.py").write_text(SMALL)
    options = ["--widths", "16", "8", "--nets", "lenet", "--rounds", "1", "--burst", "0.01", "--no-torch"]
    done = programs.script_here("bench_training.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "runs" / "bench_training" / "bench_training.json", encoding="utf-8") as file:
        found = json.load(file)
    assert found["rounds"] == 1 and found["threads"] == 1  # the first of OpenMP's list
    assert found["instruction_set"] in library.instruction_sets()
    assert list(found["nets"]) == ["16", "8", "lenet"] and found["nets"]["16"]["net"] == "784-16-16-16-10"
    lenet = found["nets"].pop("lenet")
    assert lenet["batch"] == 100 and set(lenet["step"]) == {"plain Conv2D", "BWN", "BNN"}
    assert lenet["ratio"]["plain Conv2D"]["plain Conv2D"] == 1
    for name in ("BWN", "BNN"):  # what the record says of convolutions holds of native ones
        for operator in ("gluon_bnn_binary_conv", "gluon_bnn_max_pool", "_backward_gluon_bnn_binary_conv"):
            assert lenet["profile"][name][operator]["calls"] == 2
    for width, net in found["nets"].items():
        assert set(net["step"]) == (COMMON if width == "16" else COMMON | MORE)
        assert all(value > 0 for value in net["step"].values()) and list(net["first_loss"]) == ["mxnet"]
        assert net["ratio"]["plain Dense"]["plain Dense"] == 1 and net["ratio"]["torch.compile"] is None
        for name, operator in (
            ("plain Dense", "FullyConnected"),
            ("BWN", "gluon_bnn_binary_dense"),
            ("BNN", "gluon_bnn_binary_dense"),  # the signs before a layer are part of it
        ):
            assert net["profile"][name][operator]["calls"] == 4
            assert f"\n{name}: MXNet's operators" in done.stdout  # the costliest follow


class Answers:
    """A worker that has its answers ready."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def ask(self, *_):
        return self.answers.pop(0)


def test_losses_that_differ_end_it():
    workers = {"mxnet": Answers(1.0, 1.0), "torch": Answers(1.0 + 1e-6, 1.0 + 1e-5)}
    assert bench_training.check_losses(workers, 8) == {"mxnet": 1.0, "torch": 1.0 + 1e-6}
    with pytest.raises(SystemExit, match="first losses of equal nets must agree within 2e-06, relative, got"):
        bench_training.check_losses(workers, 8)


def test_rounds_are_interleaved_and_the_first_does_not_count():
    workers = {
        "mxnet": Answers(["a", "b"], 9, 9, 1.0, 4.0, 1.0, 3.0, 2.0, 2.0),
        "torch": Answers(["c"], 9, 2.0, 1.0, 2.0),
    }
    times = bench_training.measure(workers, 3, 8, False)
    assert times == {"a": [1.0, 1.0, 2.0], "b": [4.0, 3.0, 2.0], "c": [2.0, 1.0, 2.0]}
    assert bench_training.ratios(times, "c") == {"a": 1.0, "b": 2.0, "c": 1.0}
    assert bench_training.ratios(times, "d") is None


@pytest.mark.parametrize(
    "text, threads",
    [
        ("3", 3),
        ("4,2", 4),
        (" 4 , 2", 4),
        ("1,", 1),
        ("", None),
        ("abc", None),
        ("0", None),
        ("-2", None),
        ("2.5", None),
        ("99999999999999999999", None),
    ],
)
def test_threads_wanted(monkeypatch, text, threads):
    from gluon_bnn import _compat

    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert _compat.threads_wanted() == (threads or _compat.physical_cores())
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert _compat.threads_wanted() == _compat.physical_cores()


@pytest.mark.slow
def test_a_worker_that_ends_is_heard_of(tmp_path):
    worker = bench_training.Worker("training", "mxnet", 1, str(tmp_path))
    with pytest.raises(SystemExit, match="the worker mxnet ended: (?s:.*)no_such_method"):
        worker.ask("no_such_method")


def test_a_peer_is_a_file(tmp_path, monkeypatch):
    """One that lacks what it needs takes no part, and neither does one without a class for the benchmark."""
    from bench import peers

    for name, needs in (("here", ""), ("absent", "NEEDS = ('no_such_package',)")):
        (tmp_path / f"{name}.py").write_text(f"{needs}\nclass Training: pass")
        monkeypatch.delitem(sys.modules, f"bench.peers.{name}", raising=False)
    monkeypatch.setattr(peers, "__path__", [*peers.__path__, str(tmp_path)])
    assert peers.names()[0] == "ours" and {"here", "absent", "mxnet", "torch"} <= set(peers.names())
    assert {"here", "mxnet"} <= set(peers.present("training")) and "here" not in peers.present("inference")
    for name in peers.names():
        assert any(peers.worker_of(benchmark, name) for benchmark in peers.BENCHMARKS), name
    assert "absent" not in peers.present("training") and "ours" not in peers.present("training")


def test_the_parent_does_without_the_libraries():
    lines = "import bench_training, sys; assert not {'mxnet', 'torch'} & set(sys.modules)"
    programs.output("-c", lines, cwd=EXPERIMENTS)
