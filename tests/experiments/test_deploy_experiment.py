"""experiments/deploy.py as a user runs it, its proof of near ties, and the C program on whole and damaged files."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import gluon_bnn
from gluon_bnn import data, runtime
from gluon_bnn.native import library

import deploy
import programs
from common.near_ties import compare
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


def forms():
    isas = (*library.instruction_sets(), "NumPy")
    return {
        "net as trained",
        "float export",
        *(["packed export"] if library.available() else []),
        *(f"runtime, {like}, {isa}" for like in ("float32", "uint8") for isa in isas),
    }


NET = ["--epochs", "2", "--batch-size", "300", "--hidden", "60", "50", "--dropout", "0.1", "0.2"]


def check_record(done, directory, inputs, activation):
    """The record of a run of deploy.py, with every form of the net."""
    assert done.returncode == 0, done.stderr
    found = json.loads((directory / "record.json").read_text())
    assert set(found["forms"]) - {"classify.c, uint8"} == forms() and found["images"] == 360
    assert found["settings"]["inputs"] == inputs and found["settings"]["activation"] == activation
    assert not found["complaints"]
    assert 0 < found["near_tie_bound"] < 1e-4
    for name, form in found["forms"].items():
        assert name in done.stdout
        assert abs(form["test_error"] - found["forms"]["net as trained"]["test_error"]) < 0.01
        assert form.get("seconds_per_image", {"batch": 1})["batch"] > 0
    assert found["forms"]["runtime, uint8, NumPy"]["bytes"] < found["forms"]["net as trained"]["bytes"] / 10
    return found


@pytest.mark.slow
def test_trains_and_deploys(tmp_path):
    options = ["--inputs", "centered", "--activation", "binary", "--gradient", "ste"]
    done = programs.script("deploy.py", *NET, *options, cwd=tmp_path)
    directory = tmp_path / "runs" / "deploy-digits"
    check_record(done, directory, "centered", "binary")
    assert sorted(os.listdir(directory)) == sorted(
        [
            "train",
            "record.json",
            "net.params",
            "model.safetensors",
            "float-0000.params",
            "float-symbol.json",
            *(["packed-0000.params", "packed-symbol.json"] if library.available() else []),
        ]
    )


@pytest.mark.slow
def test_from_an_earlier_run(tmp_path):
    options = ["--inputs", "signed", "--activation", "sigmoid", "--weights", "stochastic", "--scale", "none"]
    done = programs.script_here("train_mnist.py", *NET, *options, "--save-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = programs.script_here("deploy.py", "--from", "run", "--save-dir", "deployed", cwd=tmp_path)
    found = check_record(done, tmp_path / "deployed", "signed", "sigmoid")
    trained = json.loads((tmp_path / "run" / "record.json").read_text())
    assert found["forms"]["net as trained"]["test_error"] == trained["test_error"]
    assert found["settings"] == trained["settings"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--from", "nowhere"], "--save-dir of an earlier train_mnist.py"),
        (["--from", "x", "--epochs", "3"], "--epochs 3"),
        (["--from", "x", "--dataset", "digits"], "--dataset"),
        (["--from", "", "--dataset", "digits"], "--dataset"),
        (["--from", "real"], "real/checkpoint.safetensors is of --weights real"),
        (["--from", "other"], "best/0.weight"),
        (["--from", "names"], "activation must be one of"),
        (["--from", "damaged"], "--save-dir of an earlier train_mnist.py"),
        (["--images", "3"], "unrecognized arguments: --images 3"),
        (["--lr", "nan"], "above 0"),
        (["--weights", "real"], "only nets with binary or stochastic weights have bits to deploy, got --weights real"),
        (["--weights", "stochastic"], "needs --scale none"),
        (["--dataset", "cifar"], "--dataset must be digits, mnist"),
        (["--data-dir", "nowhere"], "--data-dir must be"),
    ],
)
def test_refuses_before_it_trains(tmp_path, monkeypatch, capsys, arguments, message):
    from safetensors.numpy import save_file

    import train_mnist

    settings = {name: value for name, value in vars(train_mnist.parse_args([])).items() if name != "save_dir"}
    for directory, changed in (("real", {"weights": "real"}), ("other", {}), ("names", {"activation": ["relu"]})):
        (tmp_path / directory).mkdir()
        net = deploy_net(weights=changed.get("weights", "binary")) if directory == "real" else {}
        save_file(
            {"x": np.zeros(1), **net},
            tmp_path / directory / "checkpoint.safetensors",
            {"gluon_bnn": json.dumps({"settings": {**settings, **changed}})},
        )
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "checkpoint.safetensors").write_bytes(b"x" * 100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["deploy.py", *arguments])
    monkeypatch.setattr(train_mnist, "main", None)  # calling it raises TypeError
    with pytest.raises(SystemExit) as left:
        deploy.main()
    assert message in capsys.readouterr().err + str(left.value)
    assert not (tmp_path / "runs").exists()


def deploy_net(**options):
    """The parameters of a net, as a checkpoint holds those of the best epoch."""
    from nets import make

    return {
        f"best/{name}": parameter.data().asnumpy()
        for name, parameter in make(**options)._collect_params_with_prefix().items()
    }


def test_a_net_that_was_just_trained_is_not_what_from_names(tmp_path, monkeypatch):
    """Where the training leaves something else than a checkpoint, --from is not to blame: nobody gave it."""
    import train_mnist

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["deploy.py"])
    monkeypatch.setattr(train_mnist, "main", lambda argv: None)
    with pytest.raises(SystemExit) as left:
        deploy.main()
    assert "checkpoint.safetensors cannot be used" in left.value.code and "--from" not in left.value.code


@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.5, 0.5), (0.0, 0.5)])
@pytest.mark.parametrize("hidden", [(20,), (20, 15)])
def test_hidden_values_are_those_of_the_first_layer(dropout, hidden):
    from gluon_bnn._compat import mx

    from common.cross_check import reference_outputs
    from common.images import Images
    from nets import make

    images = Images("digits", inputs="centered")
    mx.random.seed(3)
    net = make(hidden=hidden, activation="binary", dropout=dropout)
    scaled = dict(input_scale=float(images.scale), input_shift=images.shift.reshape(-1))
    frozen = gluon_bnn.freeze(net, "float", **scaled, verbose=False)
    expected = reference_outputs(net, images.test)[0][0]
    for name, values in deploy.hidden_values(net, frozen, images).items():
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=name)


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


class TestCompare:
    """Four images, two hidden units, three classes; image 1 has a hidden value at 0 and, as outputs, a tie."""

    HIDDEN = np.array([[1, -1], [1e-8, 1], [-1, -1], [1, 1]], float)
    OUTPUTS = np.array([[3, 1, 2], [2, 2 + 1e-8, 0], [0, 1, 5], [1, 0, 0]], float)

    def way(self, like, outputs, name=None):
        outputs = outputs.astype(np.float32)
        return deploy.Backend(name or like, "runtime", like, outputs=outputs, classes=outputs.argmax(axis=1))

    def compare(self, here, hidden=None, binary=True, more=()):
        hidden = self.HIDDEN if hidden is None else hidden
        found = [self.way("as trained", self.OUTPUTS), self.way("float32", here), *more]
        return compare(
            found,
            {"as trained": self.HIDDEN.astype(np.float32), "float32": hidden},
            (self.HIDDEN, self.OUTPUTS),
            binary,
            1e-4,
        )

    def changed(self, array, *at, to):
        array = array.copy()
        array[at] = to
        return array

    def test_near_tie_of_a_hidden_value(self):
        # The other bit gives image 1 other outputs.
        bound, near, differences, complaints = self.compare(
            self.changed(self.OUTPUTS, 1, to=[0, 0, 9]), self.changed(self.HIDDEN, 1, 0, to=-2e-8)
        )
        assert not complaints and near == 1 and 2e-8 < bound < 4e-8
        assert differences["float32"] == {
            "hidden_bits": 1,
            "classes": [{"row": 1, "classes": [0, 2], "near_ties": {"hidden unit 0": 1e-8}}],
        }
        assert differences["as trained"] == {"hidden_bits": 0, "classes": []}

    def test_near_tie_of_two_classes(self):
        bound, near, differences, complaints = self.compare(
            self.changed(self.OUTPUTS, 1, to=[2, 2 + 3e-7, 0]), binary=False
        )
        assert not complaints and near == 1 and bound < 1e-6
        (row,) = differences["float32"]["classes"]
        assert row["row"] == 1 and row["classes"] == [0, 1] and row["near_ties"]["margin"] < 2e-8

    @pytest.mark.parametrize("binary", [True, False])
    def test_another_class_without_a_near_tie(self, binary):
        complaints = self.compare(self.changed(self.OUTPUTS, 3, to=[0, 1, 0]), binary=binary)[3]
        assert any("no near tie" in text if binary else "rounding" in text for text in complaints)

    def test_other_outputs_for_the_same_bits(self):
        complaints = self.compare(self.changed(self.OUTPUTS, 0, 0, to=3.000001))[3]
        assert complaints == ["float32 differs from as trained in rows with the same hidden bits"]

    def test_hidden_values_that_are_wrong(self):
        complaints = self.compare(self.OUTPUTS, self.changed(self.HIDDEN, 0, 0, to=1.001))[3]
        assert len(complaints) == 1 and "rounding" in complaints[0]

    def test_kernels_that_differ(self):
        other = self.way("float32", self.changed(self.OUTPUTS, 0, 0, to=3.000001), name="other")
        in_c = deploy.Backend("in C", "runtime", "float32", classes=np.array([0, 0, 2, 1]))
        assert self.compare(self.OUTPUTS, more=[other, in_c])[3] == [
            f"{name} differs from float32: they must be equal to the bit" for name in ("other", "in C")
        ]


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
    for index in range(60):
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
    assert refusals > 30
