"""experiments/deploy.py as a user runs it, and the C program of deploy_c on whole and damaged files."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from gluon_bnn import data, runtime
from gluon_bnn.native import library
from gluon_bnn.prove import Report, forms, prove

import deploy
import nets
import train_mnist
from common import trained
from common.options import net_options, settings_of
from paths import EXPERIMENTS
from random_nets import SCALE, chain

SANITIZE = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
NUMBERS = (
    "0",
    "1",
    "3",
    "4",
    "16",
    "784",
    "785",
    "65536",
    "999999999",
    "2147483648",
    "4294967296",
    "-1",
    "-4",
    "9223372036854775807",
    "18446744073709551615",
    "9" * 40,
)


NET = ["--epochs", "2", "--batch-size", "300", "--hidden", "60", "50", "--dropout", "0.1", "0.2"]
PACKED = ["packed-0000.params", "packed-symbol.json"] if library.available() else []


def a_run(directory, args, parameters=None, **changed):
    """A directory as train_mnist.py leaves it, of a net that was not trained; its settings."""
    settings = {**settings_of(args), **changed}
    if parameters is None:
        net = nets.make(**net_options(args))._collect_params_with_prefix()
        parameters = {f"best/{name}": parameter.data().asnumpy() for name, parameter in net.items()}
    os.mkdir(directory)
    metadata = {"gluon_bnn": json.dumps({"settings": settings})}
    save_file({"x": np.zeros(1), **parameters}, os.path.join(directory, "checkpoint.safetensors"), metadata)
    return settings


@pytest.mark.slow
def test_trains_and_deploys(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    best = library.instruction_sets()[-1:]
    # The runtime and the net as trained; tests/prove has all others.
    monkeypatch.setattr(library, "instruction_sets", lambda: best)
    monkeypatch.setattr("gluon_bnn.prove.MAKERS", forms.MAKERS[:1])
    monkeypatch.setattr(deploy, "prove", lambda *x, also, **options: prove(*x, also=also[:1], **options))
    assert not deploy.main(["--prove", *NET, "--inputs", "centered", "--activation", "binary", "--gradient", "ste"])
    directory = tmp_path / "runs" / "deploy-digits"
    found = json.loads((directory / "record.json").read_text())
    assert found["images"] == 360 and not found["complaints"]
    assert found["settings"] == json.loads((directory / "train" / "record.json").read_text())["settings"]
    rows = {row["form"]: row for row in found["rows"]}
    names = {"MXNet, as trained", "runtime, NumPy alone", *(f"runtime, {isa}" for isa in best)}
    assert names == set(rows) - {"pixels against floats"}
    assert rows["runtime, NumPy alone"]["bytes"] < rows["MXNet, as trained"]["bytes"] / 7
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)
    files = ["record.json", "net.params", "model.safetensors", "float-0000.params", "float-symbol.json", *PACKED]
    model = runtime.load(directory / "model.safetensors")
    assert model.graph.accuracy == found["right"] and f"{found['right']:.2%} of 360 test images right" in printed
    for name in ("model.h", "model.onnx"):  # needs onnx
        assert (directory / name).exists() != (f"no {name}: " in printed)
    assert {*files, "train", "model.h"} == set(os.listdir(directory)) - {"model.onnx"}
    assert all(name in printed.rpartition("has, after")[2] for name in files)


@pytest.mark.slow
def test_a_net_with_shortcuts_from_an_earlier_run(tmp_path, monkeypatch, capsys):
    """What is proven is the net of the run; the form as trained is tried here, without a process of its own."""
    monkeypatch.chdir(tmp_path)
    options = ["--net", "resnet_small", "--activation", "binary", "--real-ends", "--inputs", "signed"]
    settings = a_run("run", train_mnist.parse_args(options))
    proven = []

    def proving(graph, x, pixels, also, done):
        proven.append((graph, x, also))
        classes = runtime.Model(graph).predict(pixels)
        return Report([], {}, ["it differs"], classes)

    monkeypatch.setattr(deploy, "prove", proving)
    assert deploy.main(["--from", "run", "--save-dir", "deployed"]) is True
    ((graph, x, also),) = proven
    assert "arithmetic" in [node.kind for node in graph.nodes] and "it differs" in capsys.readouterr().out
    assert [form.name for form in also] == ["MXNet, as trained", "MXNet, float", *(["MXNet, packed"] if PACKED else [])]
    found = json.loads((tmp_path / "deployed" / "record.json").read_text())
    assert found["settings"] == settings and found["complaints"] == ["it differs"]
    np.save("x.npy", x[:20].reshape(20, *graph.input_shape))
    monkeypatch.setenv("BEGAN", "0")
    trained.main(*also[0].command[-2:], "x.npy", "y.npy")
    np.testing.assert_allclose(np.load("y.npy"), runtime.Model(graph)(x[:20]), atol=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--from", "nowhere"], "--save-dir of an earlier train_mnist.py"),
        (["--from", "x", "--epochs", "3"], "--epochs 3"),
        (["--from", "x", "--dataset", "digits"], "--dataset"),
        (["--from", "", "--dataset", "digits"], "--dataset"),
        (["--from", "real"], "have bits to deploy, got --weights real in real"),
        (["--from", "other"], "best/0.weight"),
        (["--from", "names"], "activation must be one of"),
        (["--from", "nets"], "net must be one of"),
        (["--from", "sizes"], "image_size must be a height and a width"),
        (["--from", "damaged"], "--save-dir of an earlier train_mnist.py"),
        (["--images", "3"], "unrecognized arguments: --images 3"),
        (["--lr", "nan"], "--lr: must be at least 1e-30"),
        (["--weights", "real"], "only nets with binary or stochastic weights have bits to deploy, got --weights real"),
        (["--weights", "stochastic"], "needs --scale none"),
        (["--dataset", "cifar"], "--dataset must be digits, mnist"),
        (["--data-dir", "nowhere"], "--data-dir must be"),
    ],
)
def test_refuses_before_it_trains(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    parsed = train_mnist.parse_args([])
    a_run("real", parsed, weights="real")
    a_run("other", parsed, parameters={})
    a_run("names", parsed, activation=["relu"])
    a_run("nets", parsed, net="os.path")
    a_run("sizes", parsed, image_size="28")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "checkpoint.safetensors").write_bytes(b"x" * 100)
    monkeypatch.setattr(sys, "argv", ["deploy.py", *arguments])
    monkeypatch.setattr(train_mnist, "main", None)  # calling it raises TypeError
    with pytest.raises(SystemExit) as left:
        deploy.main()
    assert message in capsys.readouterr().err + str(left.value)
    assert not (tmp_path / "runs").exists()


def test_a_net_that_was_just_trained_is_not_what_from_names(tmp_path, monkeypatch):
    """Where the training leaves something else than a checkpoint, --from is not to blame: nobody gave it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["deploy.py"])
    monkeypatch.setattr(train_mnist, "main", lambda argv: None)
    with pytest.raises(SystemExit) as left:
        deploy.main()
    assert "checkpoint.safetensors cannot be used" in left.value.code and "--from" not in left.value.code


@pytest.mark.slow
def test_in_a_path_with_spaces(tmp_path, rng):
    """deploy.py, the library and the model in such places: every form runs, the C program too."""
    if not library.available() or not shutil.which(os.environ.get("CC", "cc")) or not shutil.which("make"):
        pytest.skip("needs the native library, make and a C compiler")
    checkout = tmp_path / "a check (out)"
    native = checkout / "gluon_bnn" / "native"
    shutil.copytree(
        os.path.dirname(os.path.dirname(library.path())),
        checkout / "gluon_bnn",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(
        os.path.join(EXPERIMENTS, "deploy_c"), checkout / "deploy_c", ignore=shutil.ignore_patterns("classify")
    )
    built = subprocess.run(
        [
            "make",
            "-C",
            "deploy_c",
            f"LIB={native / os.path.basename(library.path())}",
            f"OUT={checkout / 'the program'}",
        ],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    saved(rng, checkout / "the model", NETS[-1])
    digits = [gzip.decompress((data.find("digits") / name).read_bytes()) for name in data.FILES[2:]]
    for name, content in zip(("images", "labels"), digits):
        (checkout / name).write_bytes(content)
    done = subprocess.run(
        [checkout / "the program", "the model", "images", "labels"], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 0 and " of 360 right" in done.stdout, done.stderr
    installed = subprocess.run(
        ["make", "-C", "deploy_c", f"PYTHON={sys.executable}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )
    assert installed.returncode == 0 and (checkout / "deploy_c" / "classify").exists(), installed.stderr


def make(target, flags):
    return subprocess.run(
        [
            "make",
            "-s",
            "-B",
            "-C",
            os.path.join(EXPERIMENTS, "deploy_c"),
            f"OUT={target}",
            f"LIB={library.path()}",
            f"CFLAGS={flags} -Werror -pedantic",
        ],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    """classify.c on the digits, a function of its arguments, under sanitizers where the compiler has them."""
    if not library.available():
        pytest.skip(library.problem())
    if not shutil.which(os.environ.get("CC", "cc")) or not shutil.which("make"):
        pytest.skip("no make, or no cc or compiler named in CC")
    scratch = tmp_path_factory.mktemp("classify")
    files = []
    for name in data.FILES[2:]:
        files.append(str(scratch / name[:-3]))
        with open(files[-1], "wb") as file:
            file.write(gzip.decompress((data.find("digits") / name).read_bytes()))
    program = scratch / "classify"
    built = make(program, "-O2")
    assert built.returncode == 0 and not built.stderr, built.stderr
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}

    def run(*arguments, images=files[0], labels=files[1]):
        return subprocess.run(
            [program, *arguments, images, labels], capture_output=True, text=True, env=environment, timeout=60
        )

    sanitized = scratch / "sanitized"
    if (
        make(sanitized, SANITIZE).returncode == 0
        and subprocess.run([sanitized], capture_output=True, env=environment).returncode == 2
    ):
        program = sanitized
    return run


@pytest.fixture(scope="module")
def pixels():
    digits = data.load("digits")
    return np.rint(255 * digits["test_data"].reshape(-1, 784)).astype(np.uint8), digits["test_label"].astype(int)


NETS = (
    ("binary_dense units=100 to=bits norm", "binary_dense units=33 to=bits01", "binary_dense units=10 to=float norm"),
    ("pack to=bits01", "binary_dense units=10 to=float", "activation function=gelu", "activation function=tanh"),
    ("dense units=20 plain", "batch_norm", "activation function=softsign", "dense units=7"),
    ("image shape=28x28x1", "pack to=bits", "binary_dense units=3 to=float", "flatten", "dense units=10"),
    ("binary_dense units=10 to=float",),
)


def saved(rng, path, rows, shape=(1, 28, 28), scale=SCALE):
    """The graph of a chain with random arrays, which is then in the file at `path`."""
    graph = chain(rng, shape, *rows, scale=scale)
    runtime.save(graph, path)
    return graph


@pytest.mark.parametrize("rows", NETS)
def test_c_program_predicts_what_the_runtime_does(rng, tmp_path, classify, pixels, rows):
    graph = saved(rng, tmp_path / "model", rows)
    done = classify("-p", tmp_path / "model")
    assert done.returncode == 0 and not done.stderr, done.stderr
    *classes, last = done.stdout.splitlines()
    expected = runtime.Model(graph).predict(pixels[0])
    assert len(set(expected)) > 1
    assert np.array_equal([int(text) for text in classes], expected)
    right = int((expected == pixels[1]).sum())
    assert last == f"{right} of 360 right ({right / 3.6:.2f}%)"
    assert classify(tmp_path / "model").stdout.splitlines() == [last]


def test_c_program_says_what_is_wrong(rng, tmp_path, classify):
    def complaint(model=tmp_path / "model", **files):
        done = classify(model, **files)
        assert done.returncode == 1 and not done.stdout and "classify: " in done.stderr
        return done.stderr

    saved(rng, tmp_path / "model", NETS[-1])
    saved(rng, tmp_path / "no_scale", NETS[-1], scale=None)
    saved(rng, tmp_path / "narrow", NETS[-1], shape=(783,))
    content = (tmp_path / "model").read_bytes()
    (tmp_path / "later").write_bytes(content.replace(b"format 2;", b"format 3;"))
    (tmp_path / "other").write_bytes(content.replace(b"gluon_bnn", b"other_bnn"))
    (tmp_path / "bare").write_bytes(content.replace(b'"1.alpha"', b'"1.Alpha"'))
    (tmp_path / "changed").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (tmp_path / "few").write_bytes(b"\0\0\x08\x03\0\0\0\x02" + b"\0\0\0\x1c" * 2 + bytes(783))
    (tmp_path / "empty").write_bytes(b"")
    usage = classify("-q", tmp_path / "model")
    assert usage.returncode == 2 and usage.stderr.startswith("usage: classify [-p] MODEL")
    assert "nowhere cannot be read" in complaint("nowhere") and "cannot be read" in complaint(tmp_path)
    assert "takes no uint8 inputs: give input_scale" in complaint(tmp_path / "no_scale")
    assert "images of 783 pixels" in complaint(tmp_path / "narrow")
    assert "a later version may read it" in complaint(tmp_path / "later")
    assert "no runtime.save has written it" in complaint(tmp_path / "other")
    for name in ("bare", "changed"):
        assert f"{name} is not a model that can be loaded: its CRC-32" in complaint(tmp_path / name)
    assert "starts with the length of its header" in complaint(tmp_path / "empty")
    assert "few is damaged or cut off" in complaint(images=tmp_path / "few")
    assert "is empty" in complaint(labels=tmp_path / "empty")
    assert "gunzip it first" in complaint(labels=data.find("digits") / data.FILES[3])


def damaged(content, rng):
    """The file with something wrong: cut, a bit flipped, or a number or word of its header replaced."""
    what = rng.integers(4)
    if what == 0:
        return content[: rng.integers(len(content))]
    length = int.from_bytes(content[:8], "little")
    if what == 1:
        content = bytearray(content)
        content[rng.integers(length + 8)] ^= 1 << rng.integers(8)
        return bytes(content)
    header = content[8 : 8 + length].decode()
    for _ in range(rng.integers(1, 3)):
        places = list(re.finditer("[0-9]+" if what == 2 else "[a-z_0-9]+", header))
        place = places[rng.integers(len(places))]
        new = (NUMBERS if what == 2 else [other[0] for other in places])[rng.integers(16)]
        header = header[: place.start()] + new + header[place.end() :]
    return len(header).to_bytes(8, "little") + header.encode() + content[8 + length :]


@pytest.mark.slow
def test_c_program_refuses_the_damaged_files_that_the_runtime_refuses(rng, tmp_path, classify):
    refusals = 0
    for index in range(40):
        saved(rng, tmp_path / "model", NETS[index % len(NETS)])
        (tmp_path / "model").write_bytes(damaged((tmp_path / "model").read_bytes(), rng))
        try:
            runtime.load(tmp_path / "model")
            refused = False
        except ValueError:
            refused = True
        done = classify(tmp_path / "model")
        if done.returncode != refused or refused != done.stderr.startswith("classify: "):
            shutil.copy(tmp_path / "model", tmp_path / "kept")
            pytest.fail(f"{tmp_path / 'kept'} ends with {done.returncode}: {done.stderr}")
        refusals += refused
    assert refusals > 20
