"""reproduce.py at tiny settings on digits, and what it left for MNIST: records, frozen nets, the README's table."""

import glob
import json
import os

import pytest

import programs
from paths import EXPERIMENTS

RESULTS = os.path.join(EXPERIMENTS, "results", "papers")
RECIPES = sorted(os.path.basename(path)[:-4] for path in glob.glob(os.path.join(EXPERIMENTS, "recipes", "*.txt")))
TINY = ["--dataset", "digits", "--epochs", "2", "--hidden", "40", "33", "--lr-steps", "1"]
FIELDS = {
    "method",
    "network",
    "seed",
    "commit",
    "epochs",
    "best_epoch",
    "val_error",
    "test_error",
    "curve",
    "argv",
    "versions",
    "processor",
    "seconds",
}


def reproduce(*arguments, cwd):
    return programs.script("reproduce.py", *arguments, cwd=cwd)


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import results_table

    return results_table


@pytest.mark.slow
def test_run_skip_verify(tmp_path):
    only = ["--results", str(tmp_path), "--save-dir", str(tmp_path / "runs"), "--only", "full_precision", "lab2"]
    done = reproduce(*only, *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("full_precision", "lab2"):
        record = read(tmp_path / f"{name}-0.json")
        assert set(record) >= FIELDS
        assert (record["method"], record["network"], record["seed"]) == (name, "784-40-33-10", 0)
        assert len(record["curve"]["val_error"]) == 2 and record["cross_check"]["ok"]
        assert not any(os.path.dirname(a) and os.path.isabs(a.lstrip("@")) for a in record["argv"])
    assert not (tmp_path / "full_precision-0.safetensors").exists()
    assert (tmp_path / "curves.png").stat().st_size > 5000

    again = reproduce(*only, *TINY, cwd=tmp_path)
    assert again.returncode == 0 and again.stdout.count(": recorded") == 2 and "epoch" not in again.stderr

    verified = reproduce(*only, "--verify", cwd=tmp_path)
    assert verified.returncode == 0 and "1 nets classified, 0 differ" in verified.stdout, verified.stdout
    record["test_error"] += 1 / 360
    (tmp_path / "lab2-0.json").write_text(json.dumps(record))
    verified = reproduce(*only, "--verify", cwd=tmp_path)
    assert verified.returncode == 1 and "NOT as recorded" in verified.stdout
    (tmp_path / "lab2-0.safetensors").write_bytes((tmp_path / "lab2-0.safetensors").read_bytes()[:-1])
    verified = reproduce(*only, "--verify", cwd=tmp_path)
    assert verified.returncode == 1 and "Traceback" not in verified.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--only", "bwnn"], "takes recipes"),
        (["--epochs", "1"], "--results DIR"),
        (["--seed", "-1"], "at least 0"),
        (["--data-dir", "nowhere"], "--data-dir must be an existing directory"),
        (["--verify", "--results", "empty"], "no records"),
    ],
)
def test_refuses(tmp_path, arguments, message):
    done = reproduce(*arguments, cwd=tmp_path)
    assert done.returncode != 0 and message in done.stderr + done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_commands(name, monkeypatch):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    import train_mnist

    args = train_mnist.parse_args([f"@{os.path.join(EXPERIMENTS, 'recipes', name + '.txt')}"])
    assert args.method == name and args.hidden == [2048] * 3 and args.dataset == "mnist"
    with open(os.path.join(EXPERIMENTS, "recipes", f"{name}.txt"), encoding="utf-8") as file:
        top = file.readline() + file.readline()
    assert "xpected test error" in top


def test_every_planned_run_has_a_recipe(table):
    import reproduce

    assert {name for name, _ in reproduce.PLAN} <= set(RECIPES) & set(table.METHODS)


def test_what_is_planned_is_what_is_recorded(table):
    """From nothing, reproduce.py makes the README's table and no other."""
    import reproduce

    recorded = [(method, record["seed"]) for method, records in table.load_records().items() for record in records]
    assert sorted(reproduce.PLAN) == sorted(recorded)


def test_records_are_of_their_recipes(table):
    import train_mnist

    nets = glob.glob(os.path.join(RESULTS, "*.safetensors"))
    for method, records in table.load_records().items():
        for record in records:
            assert set(record) >= FIELDS and not record["commit"].endswith("+")
            args = vars(train_mnist.parse_args([f"@{os.path.join(EXPERIMENTS, 'recipes', method + '.txt')}"]))
            settings = record["settings"]
            assert {k: settings[k] for k in settings if k != "seed"} == {k: args[k] for k in settings if k != "seed"}
            assert settings["seed"] == record["seed"] and len(record["curve"]["val_error"]) == record["epochs"]
            assert min(record["curve"]["val_error"]) == record["val_error"]
            net = os.path.join(RESULTS, f"{method}-{record['seed']}.safetensors")
            if nets:  # a source distribution has the records alone
                assert (net in nets) == (settings["weights"] != "real")


def test_readme_is_up_to_date(table):
    with open(table.README, encoding="utf-8") as file:
        text = file.read()
    assert table.readme_with(text, table.load_records()) == text


@pytest.mark.slow
def test_recorded_errors(tmp_path):
    """With MNIST at hand: every frozen net classifies the test images as its record says."""
    from gluon_bnn import data

    if not glob.glob(os.path.join(RESULTS, "*.safetensors")):
        pytest.skip("the frozen nets are not here: a source distribution has their records alone")
    if data.find("mnist") is None:
        pytest.skip("MNIST is not here")
    done = reproduce("--verify", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stochastic_nets_count_with_their_real_weights(table):
    record = {
        "method": "binaryconnect_stochastic",
        "seed": 0,
        "epochs": 5,
        "best_epoch": 4,
        "test_error": 0.03,
        "test_error_real_weights": 0.01,
        "test_error_real_weights_own_averages": 0.02,
    }
    found = [record, {**record, "test_error_real_weights": 0.015}]
    row = table.table({record["method"]: found}).splitlines()[2]
    assert "| 1.25 (with averages of their own: 2.00; binary weights: 3.00) | 0.50 | 2 |" in row
