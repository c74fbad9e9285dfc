"""The notebook's scripts as a user runs them: the numbers, the printing, what they refuse.

tests/test_experiments.py has both engines side by side for every gradient rule.
"""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import expit

import gluon_bnn

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXPERIMENTS = os.path.join(ROOT, "experiments")


def run(script, *arguments, cwd):
    return subprocess.run([sys.executable, os.path.join(EXPERIMENTS, script), *arguments], cwd=cwd,
                          capture_output=True, text=True)


def record(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture
def shared(monkeypatch):
    """experiments/notebook.py as a module."""
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import notebook
    return notebook


@pytest.fixture
def here(shared, tmp_path, monkeypatch):
    """Runs a script in this process, which saves the imports; tmp_path is the current directory."""
    monkeypatch.chdir(tmp_path)

    def main(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        is_binary = script == "notebook_bnn.py"
        shared.main("A description.", is_binary, 1e2 if is_binary else 1.0)
    return main


def as_the_notebook_writes_it(is_binary, lr, steps):
    """The losses and final outputs of the cell's own lines, on digits, seed 0; no code of ours."""
    data = gluon_bnn.data.load("digits")
    x = data["train_data"].reshape(-1, 784).astype("float64")
    y, n = data["train_label"].astype(int), len(data["train_label"])
    generator = np.random.RandomState(0)
    w1, w2 = generator.randn(784, 100), generator.randn(100, 10)

    def used(w):
        return np.abs(w).mean() * np.sign(w) if is_binary else w

    def update(w, dw):
        rule = 1 / w.size + (abs(w) <= 5) * w * np.abs(w).mean() / w.size if is_binary else 1
        return w - lr * dw * rule
    losses = []
    for _ in range(steps):
        o1 = x @ used(w1)
        o2 = expit(o1)
        o3 = o2 @ used(w2)
        e = np.exp(o3)
        losses.append(np.mean(np.log(e.sum(axis=1)) - o3[np.arange(n), y]))
        d3 = (e / e.sum(axis=1, keepdims=True) - np.eye(10)[y]) / n
        d1 = d3 @ used(w2).T * o2 * (1 - o2)
        w1, w2 = update(w1, x.T @ d1), update(w2, o2.T @ d3)
    return losses, o3, y


@pytest.mark.parametrize("script, is_binary, lr", [("notebook_nn.py", False, 1.0),
                                                   ("notebook_bnn.py", True, 100.0)])
@pytest.mark.parametrize("engine", ["numpy", "gluon"])
def test_each_engine_alone_is_the_notebook(tmp_path, script, is_binary, lr, engine):
    done = run(script, "--engine", engine, "--iterations", "6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    losses, o3, y = as_the_notebook_writes_it(is_binary, lr, 6)
    lines = [line for line in done.stdout.splitlines() if line.startswith("loss at ")]
    assert [line.split(" : ")[0] for line in lines] == [f"loss at {i}" for i in range(6)]
    printed = [float(line.split(" : ")[1]) for line in lines]
    np.testing.assert_allclose(printed, losses, rtol=0, atol=1e-13)  # 4e-15 seen
    assert f"predictions {o3.argmax(axis=1)[:10]}\n" in done.stdout
    assert f"labels      {y[:10]}\n" in done.stdout
    found = record(tmp_path / "runs" / script[:-3] / f"{script[:-3]}.json")
    assert found["runs"][0]["losses"] == [round(v, 6) for v in printed]
    assert found["lr"] == lr and found["engine"] == engine
    accuracy = (o3.argmax(axis=1) == y).mean()
    assert found["runs"][0]["train_accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert "largest_difference" not in found["runs"][0]


def test_near_start_and_beside(tmp_path, here, shared):
    tiny = ["--engine", "numpy", "--iterations", "2", "--images", "200"]
    here("notebook_bnn.py", *tiny, "--gradient", "xnor", "--lr", "1", "--save-dir", "xnor")
    here("notebook_bnn.py", *tiny, "--near-start", "0.9", "--seeds", "2",
         "--beside", "xnor/notebook_bnn.json", "--save-dir", "near")
    found = record(tmp_path / "near" / "notebook_bnn.json")
    assert found["near_start"] == 0.9 and len(found["runs"]) == 2
    # No draw in between was passed over, and none far off was taken.
    picked = [r["seed"] for r in found["runs"]]
    here("notebook_bnn.py", *tiny, "--seeds", str(picked[-1] + 1), "--save-dir", "all")
    starts = [r["losses"][0] for r in record(tmp_path / "all" / "notebook_bnn.json")["runs"]]
    assert picked == [i for i, v in enumerate(starts) if abs(v - shared.RECORDED[0]) <= 0.9]


def test_near_start_gives_up(here, shared, monkeypatch):
    monkeypatch.setattr(shared, "MOST_DRAWS", 5)
    with pytest.raises(SystemExit, match="only 0 of 5 draws start that near to 10.8644"):
        here("notebook_bnn.py", "--images", "10", "--near-start", "1e-9")


def test_band(shared):
    theirs = np.array(shared.RECORDED)
    shifts = (-1.0, 0.5, 2.0)
    found = shared.band([{"losses": list(theirs + shift) + [9.0]} for shift in shifts])
    assert found["all_inside"] and found["runs_above"] == [2] * 32
    assert found["runs_above_on_average"] == 2
    found = shared.band([{"losses": theirs[:3] - [1, 0, 1]}, {"losses": theirs[:3] - 2}])
    assert found["inside"] == [False, True, False] and not found["all_inside"]
    assert found["runs_above"] == [0, 0, 0] and found["runs_above_on_average"] == 0


@pytest.mark.parametrize("script, arguments, message", [
    ("notebook_bnn.py", ["--iterations", "0"], "must be above 0, got 0"),
    ("notebook_nn.py", ["--iterations", "-3"], "must be above 0, got -3"),
    ("notebook_bnn.py", ["--lr", "inf"], "must be above 0, got inf"),
    ("notebook_bnn.py", ["--seeds", "0"], "must be above 0, got 0"),
    ("notebook_bnn.py", ["--seed", "-1"], "must be 0 or above, got -1"),
    ("notebook_nn.py", ["--dataset", "cifar"], "'digits', 'mnist' or an existing directory"),
    ("notebook_bnn.py", ["--gradient", "adam"], "'notebook', 'xnor', 'exact', 'ste'"),
    ("notebook_nn.py", ["--gradient", "xnor"], "unrecognized arguments"),
    ("notebook_bnn.py", ["--beside", "nowhere.json"], "nowhere.json"),
    ("notebook_bnn.py", ["--beside", "empty.json"], "--beside needs a record")])
def test_refuses(tmp_path, here, capsys, script, arguments, message):
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(SystemExit) as stopped:
        here(script, *arguments)
    # argparse prints and exits with 2; sys.exit(message) leaves the printing to the interpreter.
    assert message in capsys.readouterr().err + str(stopped.value)
    assert stopped.value.code != 0 and not (tmp_path / "runs").exists()
