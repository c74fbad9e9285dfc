"""The experiment scripts at tiny settings, as a user runs them."""

import argparse
import json
import os
import sys

import numpy as np
import pytest

import nets
import programs
from common.arguments import HelpFormatter
from pairs import pairs

TINY = ["--epochs", "2", "--batch-size", "300"]


def record(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("script", ["notebook_nn.py", "notebook_bnn.py"])
def test_notebook(tmp_path, script):
    done = programs.script_here(script, "--iterations", "3", "--seed", "2147483647", "--seeds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "loss at 2 : " in done.stdout and "predictions [" in done.stdout
    name = script[:-3]
    found = record(tmp_path / "runs" / name / f"{name}.json")
    assert len(found["runs"]) == 2 and len(found["runs"][0]["losses"]) == 3
    for seed in found["runs"]:  # 1e-14 and 1e-15 seen over 100 steps
        assert seed["largest_difference"]["loss"] < 1e-12
        assert seed["largest_difference"]["weights"] < 1e-12
    assert (tmp_path / "runs" / name / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize("gradient", ["xnor", "exact", "ste"])
def test_notebook_rules_agree(tmp_path, gradient):
    done = programs.script_here(
        "notebook_bnn.py", "--iterations", "3", "--gradient", gradient, "--lr", "1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = record(tmp_path / "runs" / "notebook_bnn" / "notebook_bnn.json")
    assert found["runs"][0]["largest_difference"]["weights"] < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("activation, scale", [("relu", "channel"), ("binary", "layer"), ("binary_sigmoid", "none")])
def test_train_mnist(tmp_path, activation, scale):
    done = programs.script_here(
        "train_mnist.py",
        *TINY,
        "--activation",
        activation,
        "--scale",
        scale,
        "--shift",
        "1",
        "--seed",
        "2147483647",
        *(["--reestimate", "500"] if activation == "binary" else []),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "runs").iterdir()
    assert directory.name.startswith(f"digits-{activation}-")
    found = record(directory / "record.json")
    assert found["bits"] == 79400 and found["cross_check"]["ok"]
    assert found["settings"].get("reestimate") == (500 if activation == "binary" else None)
    assert found["export_same_predictions"] == 360
    assert ("test_error_real_weights_own_averages" in found) == (scale == "none")
    for picture in ("curves.png", "confusion.png", "filters.png"):
        assert (directory / picture).stat().st_size > 5000


@pairs(net=nets.names(), weights=nets.WEIGHTS, images=[(*nets.IMAGE, nets.CLASSES), (3, 32, 36, 2)])
def test_nets_take_images_and_give_classes(net, weights, images):
    from gluon_bnn import mx

    *shape, classes = images
    made = nets.make(net, weights=weights, scale=None, activation="binary", shape=tuple(shape), classes=classes)
    assert made(mx.nd.zeros((3, *shape))).shape == (3, classes)


@pytest.mark.parametrize(
    "net, real_ends, bits",
    [
        ("larq", False, 93088),  # as its documentation says
        ("lenet", False, 25 * (32 + 32 * 64) + 1024 * 512 + 5120),
        ("lenet_xnor", True, 25 * 20 * 50 + 800 * 500),
        ("lenet_bmxnet", True, 25 * 64 * 64 + 1024 * 1000),
    ],
)
def test_bits_of_the_papers_nets(net, real_ends, bits):
    from common.report import bits_of

    assert bits_of(nets.make(net, real_ends=real_ends)) == bits


def test_bits_of_nets_for_cifar10():
    from common.report import bits_of

    assert bits_of(nets.make("vgg", shape=(3, 32, 32))) == 14022016
    convolutions = 64 * (3 + 4 * 64) + 128 * (64 + 3 * 128) + 256 * (128 + 3 * 256) + 512 * (256 + 3 * 512)
    assert bits_of(nets.make("resnet", shape=(3, 32, 32), real_ends=True)) == 9 * (convolutions - 64 * 3)


@pytest.mark.parametrize("net", ["larq", "lenet", "lenet_xnor", "lenet_bmxnet"])
@pytest.mark.parametrize("real_ends", [False, True])
def test_nets_of_convolutions_are_what_the_reference_computes(rng, net, real_ends):
    """Value by value, after one step of training, in which batch norm sees images."""
    from gluon_bnn import mx

    from common.cross_check import cross_check

    activation = "relu" if net == "lenet" else "binary"
    made = nets.make(net, activation=activation, real_ends=real_ends)
    x = rng.normal(size=(8, 1, 28, 28)).astype(np.float32)
    with mx.autograd.record():
        y = made(mx.nd.array(x))
    y.backward()
    found = cross_check(made, x, made(mx.nd.array(x)).asnumpy())
    assert found["ok"] and found["rows"] == 8, found
    assert found["differing_predictions"] <= found["rows_with_differing_hidden_bits"] <= 3
    wrong = made(mx.nd.array(x)).asnumpy() + 0.01
    assert not cross_check(made, x, wrong)["ok"]


def test_the_reference_computes_few_images_of_large_nets(rng, monkeypatch):
    from common import cross_check

    net = nets.make("larq")
    monkeypatch.setattr(cross_check, "PRODUCTS", 7 * 3_000_000)  # a pass takes 2,829,376
    x = rng.normal(size=(20, 1, 28, 28)).astype(np.float32)
    assert cross_check.cross_check(net, x, np.zeros((20, 10), np.float32))["rows"] == 7


@pytest.mark.slow
def test_a_recipe_of_a_net_of_convolutions(tmp_path, monkeypatch):
    import train_mnist

    monkeypatch.setattr("common.cross_check.PRODUCTS", 10**7)  # 3 images
    options = ["--dataset", "digits", "--epochs", "1", "--reestimate", "300", "--watch-test"]
    train_mnist.main(["--recipe", "larq", *options, "--save-dir", str(tmp_path)])
    found = record(tmp_path / "record.json")
    assert (found["bits"], found["network"]) == (93088, "28x28-32C3-64C3-64C3-64-10")
    assert found["cross_check"]["ok"] and found["frozen_differing_predictions"] == 0
    assert found["test_error_best_epoch"] == found["test_error_as_trained"] == found["test_error"]
    assert found["curve"]["test_error"] == [round(found["test_error"], 6)]
    assert found["settings"]["reestimate"] == 300
    assert (tmp_path / "filters.png").stat().st_size > 1000
    assert (tmp_path / "model.safetensors").stat().st_size < 20000


def test_nets_say_what_images_they_do_not_take():
    with pytest.raises(ValueError, match="the net lenet does not take images of 3x4x5: "):
        nets.make("lenet", shape=(3, 4, 5))


def test_binary_inputs_are_the_signs_of_pixels(rng):
    from gluon_bnn import mx

    net = nets.make(binary_inputs=True, hidden=(8,))
    x = rng.normal(size=(5, 1, 28, 28)).astype(np.float32)
    x[:, :, :3] = np.array([0.0, -0.0, np.nan], np.float32)[:, None]
    signs = np.where(x < 0, -1, 1).astype(np.float32)
    assert np.array_equal(net(mx.nd.array(x)).asnumpy(), net(mx.nd.array(signs)).asnumpy())
    assert np.array_equal(net(mx.nd.array(x)).asnumpy(), net(mx.nd.array(7 * signs)).asnumpy())


@pytest.mark.slow
def test_stochastic_nets_are_validated_with_real_weights(tmp_path):
    done = programs.script_here(
        "train_mnist.py", *TINY, "--weights", "stochastic", "--scale", "none", "--save-dir", ".", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    from safetensors.numpy import load_file

    from gluon_bnn import nn, train
    from gluon_bnn.train.checkpoint import set_values

    from common.images import Images
    from nets import make

    images, net = Images("digits"), make(scale=None, weights="stochastic")
    saved = load_file(tmp_path / "checkpoint.safetensors")
    set_values(net, {name[5:]: value for name, value in saved.items() if name.startswith("best/")})
    real, binary = (
        train.evaluate(n, images.validation, images.validation_labels) for n in (nn.with_real_weights(net), net)
    )
    assert record(tmp_path / "record.json")["val_error"] == real != binary


def test_real_weights_errors():
    """The error with re-estimated averages against NumPy's with the mean and variance of all training images."""
    from gluon_bnn._compat import mx

    from common.images import Images
    from common.report import real_weights_errors
    from nets import make

    mx.random.seed(7)
    images, net = Images("digits"), make(hidden=(50,), scale=None)
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    found = real_weights_errors(net, images)
    for name, parameter in net.collect_params().items():
        assert np.array_equal(parameter.data().asnumpy(), before[name]), name
    train, test = (x.reshape(len(x), -1) for x in (images.train, images.test))
    for block in (net[0], net[3]):
        weight = block.weight.data().asnumpy()
        train, test = train @ weight.T, test @ weight.T
        mean, deviation = train.mean(axis=0), np.sqrt(train.var(axis=0) + 1e-5)
        train, test = np.maximum((train - mean) / deviation, 0), (test - mean) / deviation
        test = np.maximum(test, 0) if block is net[0] else test
    expected = (test.argmax(axis=1) != images.test_labels).mean()
    # At most 0.009 apart over 20 seeds; the error with the averages as they were is 0.067 off with this seed.
    assert abs(found["test_error_real_weights_own_averages"] - expected) < 0.02, (found, expected)
    assert abs(found["test_error_real_weights"] - expected) > 0.05


def leaves(capsys, monkeypatch, script, *arguments, module=None):
    """What a script says on stderr when it leaves with an error, run in this process."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    main = __import__(module or script[:-3]).main
    options = {"notebook_bnn.py": ("", True, 100.0), "notebook_nn.py": ("", False, 1.0)}.get(script, ())
    with pytest.raises(SystemExit) as left:
        main(*options)
    said = capsys.readouterr().err + (left.value.code if isinstance(left.value.code, str) else "")
    assert left.value.code not in (0, None)
    return said


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--dataset", "cifar"],
            "digits, mnist, cifar10 or an existing directory with IDX files or folders of pictures, got 'cifar'",
        ),
        (["--dataset", "", "--data-dir", "."], "--dataset must be digits, mnist"),
        (["--dataset", ".", "--data-dir", "."], "leave --data-dir out"),
        (["--data-dir", "nowhere"], "--data-dir must be a directory that holds digits/"),
        (
            ["--dataset", "cifar10", "--data-dir", "nowhere"],
            "CIFAR-10 is not here: nowhere must have the folder cifar10",
        ),
        (["--data-dir", "."], "--data-dir must be a directory that holds digits/"),
        (["--data-dir", "", "--dataset", "mnist"], "--data-dir must be a directory that holds mnist/"),
        (["--batch-size", "5000"], "at most the 1198"),
        (["--batch-size", "9" * 30], "at most the 1198"),
        (["--scale", "none", "--gradient", "xnor"], "--scale none goes with --gradient ste, got xnor"),
        (
            ["--scale", "loss", "--optimizer", "binaryadam", "--gradient", "exact"],
            "goes with --gradient ste, got exact",
        ),
        (["--weights", "stochastic"], "--weights stochastic needs --scale none"),
        (
            ["--weights", "stochastic", "--scale", "none", "--reestimate", "9"],
            "--reestimate makes statistics of binary",
        ),
        (["--weights", "stochastic", "--scale", "layer"], "--weights stochastic needs --scale none"),
        (["--epochs", "0"], "above 0"),
        (["--epochs", "9" * 20], "at most 1000000"),
        (["--epochs", "1e3"], "whole number"),
        (["--hidden", "9" * 20], "at most 65536"),
        (["--dropout", "0.5", "1"], "below 1"),
        (["--bend", "1e300"], "at most 28"),
        (["--lr", "nan"], "--lr: must be at least 1e-30 and at most 1e+30, got nan"),
        (["--lr", "1e300"], "at most 1e+30"),  # beyond float32, of which MXNet would complain in the first step
        (["--lr", "1e-320"], "at least 1e-30"),
        (["--weight-decay", "1e300"], "--weight-decay: must be"),
        (["--lr", "inf"], "--lr"),
        (["--clip", "inf"], "--clip"),
        (["--warp", "-1"], "--warp"),
        (["--recipe", "bwnn"], "--recipe: invalid choice: 'bwnn'"),
        (["--recipe", "bnn", "--gradient", "xnor"], "--scale none goes with --gradient ste, got xnor"),
        (["--net", "cnn"], "--net: invalid choice: 'cnn'"),
        (["--binary-inputs"], "--binary-inputs needs --inputs signed"),
        (["--net", "larq", "--hidden", "5"], "--net larq does not take --hidden"),
    ],
)
def test_train_mnist_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in leaves(capsys, monkeypatch, "train_mnist.py", *arguments)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "nothing is made where nothing is done"


def test_help_shows_defaults():
    """Those that are 0 too, and lists as they are typed."""
    parser = argparse.ArgumentParser(formatter_class=HelpFormatter)
    for name, default in (("zero", 0), ("list", [1, 64]), ("nothing", None), ("flag", False)):
        parser.add_argument(f"--{name}", default=default, help="given")
    said = [line.split("given")[1] for line in parser.format_help().splitlines() if "given" in line]
    assert said == [" (default: 0)", " (default: 1 64)", "", ""]


@pytest.mark.parametrize(
    "script", ["notebook_bnn.py", "notebook_nn.py", "deploy.py", "fuzz_runtime.py", "reproduce.py", "train_mnist.py"]
)
def test_seeds(monkeypatch, capsys, script):
    for seed in ("99999999999999999999", "2147483648", "-1", "1e3", "nan", ""):
        said = leaves(capsys, monkeypatch, script, "--seed", seed, module="notebook" if "notebook" in script else None)
        assert "--seed: must be at least 0 and at most 2147483647, got" in said or "--seed: invalid whole" in said, seed


# A script, what it does first of all that takes time, and its options.
WORK = [
    ("notebook_bnn.py", "notebook", "run", "--save-dir", []),
    ("notebook_nn.py", "notebook", "run", "--save-dir", []),
    ("bench_training.py", "bench_training", "Worker", "--save-dir", []),
    ("bench_inference.py", "bench_inference", "start_workers", "--save-dir", []),
    ("fuzz_runtime.py", "fuzz_runtime", "fuzz", "--save-dir", []),
    ("reproduce.py", "reproduce", "run", "--save-dir", ["--results", "results"]),
    ("reproduce.py", "reproduce", "run", "--results", ["--save-dir", "runs"]),
    ("bench_nets.py", "bench_nets", "measure", "--save-dir", []),
    ("bench_c.py", "bench_c", "load_dataset", "--save-dir", []),
    ("bench_onnx.py", "bench_onnx", "load_dataset", "--save-dir", []),
    ("deploy.py", "train_mnist", "main", "--save-dir", []),
    ("train_mnist.py", "train_mnist", "train", "--save-dir", []),
]


DIRECTORIES = [
    ("file/below/it", "Not a directory"),
    ("file", "Not a directory"),
    ("/proc/nothing", "No such file"),
    ("new/" + "x" * 300, "too long"),
    ("taken", "is a directory there"),
    ("\udcff", "names in UTF-8 only"),
]


@pytest.mark.parametrize(
    "script, module, work, option, others, directory, why",
    # All scripts ask one function: each with two directories, and each directory with four scripts.
    [(*of, *DIRECTORIES[(2 * place + more) % 6]) for place, of in enumerate(WORK) for more in (0, 1)],
)
def test_an_unwritable_directory_is_noticed_before_the_work(
    tmp_path, monkeypatch, capsys, script, module, work, option, others, directory, why
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    records = {"notebook": script[:-3] + ".json", "train_mnist": "record.json", "reproduce": "curves.png"}
    (tmp_path / "taken" / records.get(module, f"{module}.json")).mkdir(parents=True)
    if option == "--save-dir" and script == "reproduce.py" and directory == "taken":
        pytest.skip("what goes there is in directories of its own")
    monkeypatch.setattr(f"{module}.{work}", None)  # calling it raises TypeError
    before = sorted(tmp_path.rglob("*"))
    said = leaves(
        capsys,
        monkeypatch,
        script,
        option,
        directory,
        *others,
        module="notebook" if module == "notebook" else script[:-3],
    )
    line = said.splitlines()[-1]
    assert line.startswith(f"{script}: {option} {directory} cannot be written: ") and why in line
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name not in ("runs", "results")] == before


def test_the_table_of_results_is_written_where_it_can_be(tmp_path, monkeypatch, capsys):
    import results_table

    (tmp_path / "file").touch()
    monkeypatch.setattr(results_table, "RESULTS", str(tmp_path / "file" / "papers"))
    monkeypatch.setattr(results_table, "update", None)
    said = leaves(capsys, monkeypatch, "results_table.py")
    assert "papers cannot be written: Not a directory" in said


def test_a_directory_is_made_and_left_as_it_was(tmp_path, monkeypatch):
    from common import record

    monkeypatch.chdir(tmp_path)
    record.writable("a/b", "x")
    record.writable("a/b", "x")
    assert sorted(map(str, tmp_path.rglob("*"))) == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--images", "1438"], "--images must be at most the 1437 training images, got 1438"),
        (["--seeds", "9" * 20], "--seeds: must be above 0 and at most 1000000"),
        (["--dataset", "cifar"], "--dataset must be"),
        (["--data-dir", "nowhere"], "--data-dir must be"),
        (["--beside", "nowhere"], "nowhere"),
        (["--beside", "list"], "--beside needs a record"),
        (["--beside", "words"], "--beside needs a record"),
    ],
)
def test_notebook_refuses(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("[" * 100000)
    (tmp_path / "words").write_text('{"runs": [{"losses": ["a"]}], "gradient": "ste", "lr": "b"}')
    assert message in leaves(capsys, monkeypatch, "notebook_bnn.py", *arguments, module="notebook")


@pytest.mark.parametrize("net", ["nothing", "empty"])
def test_prove_says_what_a_net_is(tmp_path, monkeypatch, capsys, net):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    said = leaves(capsys, monkeypatch, "prove.py", net, "--dataset", "digits")
    assert "NET must be the --save-dir of a run of train_mnist.py, with its model.safetensors, a model file" in said
    assert said.endswith(f"got {net!r}")


def test_help(tmp_path):
    scripts = [
        "train_mnist.py",
        "notebook_nn.py",
        "notebook_bnn.py",
        "bench_training.py",
        "bench_inference.py",
        "deploy.py",
        "prove.py",
        "draw_rules.py",
        "execute_tutorial.py",
        "bench_nets.py",
        "bench_c.py",
        "bench_onnx.py",
        "reproduce.py",
        "fuzz_runtime.py",
        "results_table.py",
        "bench/serve.py",
        "notebook.py",
    ]
    for script in scripts:
        done = programs.script_here(script, "--help", cwd=tmp_path)
        assert done.returncode == 0 and not done.stderr, script
        if script == "notebook.py":
            assert len(done.stdout) > 50  # no script: it says what it is
        else:
            assert done.stdout.startswith(f"usage: {os.path.basename(script)}")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "required: benchmark, name, threads"),
        (["nothing", "mxnet", "1"], "invalid choice"),
        (["inference", "nobody", "1"], "invalid choice"),
        (["training", "ours", "1"], "ours takes no part in training"),
        (["inference", "mxnet", "0"], "above 0"),
        (["inference", "mxnet", "x"], "invalid whole number"),
    ],
)
def test_workers_refuse(monkeypatch, capsys, arguments, message):
    from bench import serve

    monkeypatch.setattr(sys, "argv", ["serve.py", *arguments])
    with pytest.raises(SystemExit):
        serve.main()
    assert message in capsys.readouterr().err
