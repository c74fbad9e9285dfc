"""reproduce.py at tiny settings on digits, and what it left for MNIST: records, frozen nets, the README's table."""

import glob
import importlib
import json
import os
import re
import sys

import pytest

import programs
import recipes
from paths import EXPERIMENTS

RESULTS = os.path.join(EXPERIMENTS, "results", "papers")
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
    return programs.script_here("reproduce.py", *arguments, cwd=cwd)


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture
def table():
    import results_table

    return results_table


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Puts a file into a folder that is found by itself, for this test: a package, a name, and the file's lines."""

    def add(package, name, *lines):
        directory = tmp_path / package.__name__
        directory.mkdir(exist_ok=True)
        (directory / f"{name}.py").write_text("\n".join(lines))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(directory)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)

    return add


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
        (["--verify", "--results", "empty"], "no records of binary nets in empty"),
        (["--verify", "--only", "bnn_cifar10"], "no records of binary nets of these recipes and seeds in"),
        (["--verify", "--only", "tfc", "--seed", "77"], "no records of binary nets of these recipes and seeds in"),
        (["--only", "bnn_cifar10"], "bnn_cifar10 needs --seed SEED"),
    ],
)
def test_refuses(tmp_path, arguments, message):
    done = reproduce(*arguments, cwd=tmp_path)
    assert done.returncode != 0 and message in done.stderr + done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize("only", [[], ["--only", "bnn_cifar10", "bwn"]])
def test_recipes_without_seeds_are_listed(tmp_path, only):
    done = reproduce("--list", *only, cwd=tmp_path)
    assert done.returncode == 0 and "bwn, seed 2: recorded" in done.stdout
    assert "bnn_cifar10: by --only bnn_cifar10 --seed SEED" in done.stdout
    given = reproduce("--list", "--only", "bnn_cifar10", "--seed", "3", "--results", "empty", cwd=tmp_path)
    assert given.stdout == "bnn_cifar10, seed 3: to do\n"


@pytest.mark.parametrize("arguments", [["--verify"], ["--only", "lab"]])
@pytest.mark.parametrize("content", ["{}", "[]", "not JSON"])
def test_a_file_that_is_no_record(tmp_path, arguments, content):
    import reproduce as script

    (tmp_path / "other.json").write_text(content)
    with pytest.raises(SystemExit, match="reproduce.py: .*other.json is no record of train_mnist.py: take it out"):
        script.main([*arguments, "--results", str(tmp_path)])


def texts_of(name, found=None):
    """{name: docstring} of a recipe, and of the recipe and the setup from which it takes options."""
    found = {} if found is None else found
    module = importlib.import_module(f"recipes.{name}")
    found[name] = module.__doc__
    for other in vars(module).values():
        other = getattr(other, "__name__", "").removeprefix("recipes.")
        if isinstance(other, str) and (other in recipes.names() or other.startswith("setups.")) and other not in found:
            assert f"{other.replace('.', '/')}.py" in module.__doc__, "a reader is told where to read on"
            texts_of(other, found)
    return found


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_say_all_of_their_methods(name):
    import results_table
    import train_mnist

    args = train_mnist.parse_args(["--recipe", name])
    recipe = recipes.load(name)
    assert args.method == name and recipe.table in results_table.TABLES
    assert recipe.table != "methods" or (args.hidden == [2048] * 3 and args.dataset == "mnist")
    text = importlib.import_module(f"recipes.{name}").__doc__
    assert "Expected test error: " in text.splitlines()[0]
    numbers = sorted(map(int, re.findall("^([0-9]+)[.] ", "\n".join(texts_of(name).values()), re.MULTILINE)))
    assert numbers == list(range(1, 1 + len(numbers))) and numbers, "deviations are numbered through all files"
    published = recipe.published.replace(",", "").split(" ")[0]
    assert published in text, "the figure of the table is explained at the top"


def test_options_given_with_a_recipe_count():
    import train_mnist

    plain, args = (train_mnist.parse_args(["--recipe", "lab2", *more]) for more in ([], ["--lr", "0.1", "--clip", "2"]))
    assert (plain.scale, plain.clip, plain.lr, plain.lr_steps) == ("loss", None, 0.005, [15, 25])
    assert vars(args) == {**vars(plain), "lr": 0.1, "clip": 2.0, "save_dir": args.save_dir} and args.glorot is False
    assert args.save_dir != plain.save_dir


@pytest.mark.slow
def test_a_recipe_and_a_net_are_a_file_each(tmp_path, monkeypatch, table, add):
    """Files that were put there are offered by the scripts, planned, trained and in the table; nothing is edited."""
    import nets
    import reproduce
    import train_mnist

    add(
        nets,
        "thin",
        "from gluon_bnn import mx",
        "def make(layers, hidden):",
        "    net = mx.gluon.nn.HybridSequential()",
        "    net.add(layers.dense(hidden[0], 784), layers.activation(), layers.dense(10, hidden[0]))",
        "    return net",
    )
    add(
        recipes,
        "mine",
        "from recipes import Recipe",
        "RECIPE = Recipe(title='Mine', published='0.5', seeds=(3, 4), options=dict(net='thin', hidden=(7,), epochs=2,",
        "    batch_size=300, activation='binary', scale=None, clip=None, glorot=True, optimizer='binaryadam'))",
    )
    assert reproduce.planned(["mine"]) == [("mine", 3), ("mine", 4)] and ("mine", 3) in reproduce.planned()
    monkeypatch.chdir(tmp_path)
    train_mnist.main(["--recipe", "mine", "--seed", "3", "--save-dir", "run"])
    record = read(tmp_path / "run" / "record.json")
    assert (record["method"], record["network"], record["settings"]["net"]) == ("mine", "784-7-10", "thin")
    assert record["cross_check"]["ok"] and record["bits"] == 794 * 7 and record["settings"]["glorot"]
    (row,) = table.table({"mine": [record]}).splitlines()[2:]
    assert row.startswith(f"| Mine | 1, 1 | 2 | 0.5 | {100 * record['test_error']:.2f} |")
    with pytest.raises(SystemExit):
        train_mnist.parse_args(["--recipe", "mine", "--dropout", "0.1", "0.1"])


@pytest.mark.slow
def test_a_net_that_the_reference_does_not_know_is_trained_too(tmp_path, monkeypatch, add, capsys):
    """Its binary layers are checked; the record says that the whole was not. Sizes may be left open."""
    import nets
    import train_mnist

    add(
        nets,
        "own",
        "from gluon_bnn import mx",
        "from gluon_bnn.nn import BinaryDense",
        "def make(layers):",
        "    net = mx.gluon.nn.HybridSequential()",
        "    net.add(BinaryDense(20), mx.gluon.nn.Activation('softsign'), layers.dense(10, 20))",
        "    return net",
    )
    monkeypatch.chdir(tmp_path)
    train_mnist.main(["--net", "own", "--epochs", "1", "--batch-size", "300", "--save-dir", "run"])
    record = read(tmp_path / "run" / "record.json")
    assert record["cross_check"] is None and record["ok"] and record["network"] == "784-20-10"
    assert "the NumPy reference has no Activation(softsign)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train_mnist.parse_args(["--net", "own", "--hidden", "5"])
    assert "--net own does not take --hidden" in capsys.readouterr().err


def test_what_is_planned_is_what_is_recorded(table):
    """From nothing, reproduce.py makes the README's table and no other."""
    import reproduce

    recorded = [(method, record["seed"]) for method, records in table.load_records().items() for record in records]
    assert sorted(reproduce.planned()) == sorted(recorded)


def test_records_are_of_their_recipes(table):
    import train_mnist

    nets = glob.glob(os.path.join(RESULTS, "*.safetensors"))
    for method, records in table.load_records().items():
        for record in records:
            assert set(record) >= FIELDS and not record["commit"].endswith("+")
            args = vars(train_mnist.parse_args(["--recipe", method]))
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
    """With MNIST at hand: frozen nets over signs and over reals classify the test images as their records say;
    `reproduce.py --verify` by itself does so for all of them."""
    from gluon_bnn import data

    if not glob.glob(os.path.join(RESULTS, "*.safetensors")):
        pytest.skip("the frozen nets are not here: a source distribution has their records alone")
    if data.find("mnist") is None:
        pytest.skip("MNIST is not here")
    done = reproduce("--verify", "--only", "xnor", "lab2", cwd=tmp_path)
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
        "settings": {"weights": "stochastic", "activation": "relu"},
    }
    found = [record, {**record, "test_error_real_weights": 0.015}]
    row = table.table({record["method"]: found}).splitlines()[2]
    assert "| 1.25 (re-estimated: 2.00; binary weights: 3.00) | 0.50 | 2 |" in row
