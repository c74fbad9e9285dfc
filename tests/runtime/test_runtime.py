"""The runtime without MXNet: models as callables, on the library and on NumPy; what it takes to run them."""

import copy
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file

from gluon_bnn import runtime
from gluon_bnn.graph import engine as numpy_engine
from gluon_bnn.graph import layers
from gluon_bnn.graph.layers import Layer
from gluon_bnn.native import bindings, library

from paths import GOLDEN, ROOT
from random_nets import awkward_nets, dense_over, model_of, odd_floats, random_net, same, scales

NETS = ("format1_binary_dense", "format1_dense", "format1_pack", "format2_binary_dense", "format2_pack")


@pytest.fixture(params=["library", "numpy"])
def engine(request, monkeypatch):
    """Models made in the test run on the library, then on NumPy."""
    if request.param == "numpy":
        monkeypatch.setattr(library, "available", lambda: False)
    elif not library.available():
        pytest.skip(library.problem())
    return request.param


@pytest.fixture
def model(rng):
    return model_of(
        random_net(
            rng,
            ("binary_dense", 24, 33, "float", "bits"),
            ("binary_dense", 33, 5, "bits", "float"),
            input_shape=(2, 3, 4),
        )
    )


def test_one_input_and_batches(rng, engine, model):
    x = odd_floats(rng, 7, 2, 3, 4)
    y = model(x)
    assert y.shape == (7, 5) and y.dtype == np.float32
    assert same(model(x.reshape(7, 24)), y)
    assert same(model(x[3]), y[3]) and same(model(x[3].reshape(24)), y[3])
    assert same(model(x[3:4]), y[3:4])
    assert same(model(np.asfortranarray(x)), y) and same(model(np.repeat(x, 2, axis=0)[::2]), y)
    odd = np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    assert same(model(odd), y) and model._rows(odd, False)[0].flags.aligned
    found = model.predict(x)
    assert found.dtype == np.int64 and (found == y.argmax(axis=1)).all()
    assert type(model.predict(x[0])) is int and model.predict(x[0]) == found[0]
    assert model.input_shape == (2, 3, 4)


def test_a_square_input_is_one_input(rng):
    """(units, inputs) that looks like a batch and like one input is one input."""
    square = model_of(random_net(rng, ("dense", 6, 2), input_shape=(1, 6)))
    assert square(np.zeros((1, 6), np.float32)).shape == (2,)
    assert square(np.zeros((3, 6), np.float32)).shape == (3, 2)
    assert square(np.zeros((1, 1, 6), np.float32)).shape == (1, 2)


def test_the_first_maximum(engine):
    weight = np.array([[1, 2, 2, 0]], np.float32)
    net = runtime.Model([Layer("dense", 1, 4, arrays={"weight": weight})], (1,))
    assert net.predict(np.array([[1], [-1], [0]], np.float32)).tolist() == [1, 3, 0]


@pytest.mark.parametrize(
    "x, error, words",
    [
        ([[1.0] * 24], TypeError, "NumPy array of float32 or uint8, got list"),
        (np.zeros((1, 24), "U3"), TypeError, "float32 or uint8, got <U3$"),
        (np.zeros((1, 24), np.complex64), TypeError, "float32 or uint8, got complex64$"),
        (np.zeros((0, 23), np.float32), ValueError, r"got \(0, 23\)"),
        (np.zeros(0, np.float32), ValueError, r"got \(0,\)"),
        (np.zeros((2, 0), np.float32), ValueError, r"got \(2, 0\)"),
        (np.zeros((0, 0), np.uint8), ValueError, r"\(0, 0\)"),
        (np.zeros((1, 23), np.float32), ValueError, r"\(2, 3, 4\) or \(24,\) .* got \(1, 23\)"),
        (np.zeros((3, 4), np.float32), ValueError, r"got \(3, 4\)"),
        (np.zeros((1, 1, 24), np.float32), ValueError, r"got \(1, 1, 24\)"),
        (np.zeros((), np.float32), ValueError, r"got \(\)"),
        (np.zeros((5, 4, 3, 2), np.float32), ValueError, r"got \(5, 4, 3, 2\)"),
    ],
)
def test_inputs_that_are_refused(model, x, error, words):
    with pytest.raises(error, match=words):
        model(x)
    with pytest.raises(error, match=words):
        model.predict(x)


INTEGERS = ("int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", ">u2", ">i8")


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool", "float16", "float64", ">f4", "object"])
def test_advice_for_other_types(rng, model, dtype):
    """What a message says makes the array that was meant: pixels stay pixels where the net has an input scale."""
    pixels = rng.integers(0, 2 if dtype == "bool" else 128, (3, 24), np.uint8)
    with pytest.raises(TypeError, match=f"must be float32 or uint8, got {np.dtype(dtype)}: (.*)") as found:
        model(pixels.astype(dtype))
    for_pixels, for_numbers = "x.astype(np.uint8)", "x.astype(np.float32) is for the numbers that pixels stand for"
    message = str(found.value)
    assert message.index(for_pixels) < message.index(for_numbers)
    assert same(model(pixels.astype(dtype).astype(np.uint8)), model(pixels))
    plain = model_of(random_net(rng, ("dense", 24, 2), uint8=False))
    with pytest.raises(TypeError, match=r"x.astype\(np.float32\) makes it so$"):
        plain.predict(pixels.astype(dtype))


@pytest.mark.parametrize(
    "dtype, low, high",
    [("int64", -3, 7), ("int64", 0, 256), ("uint16", 5, 65535), ("int8", -128, 127), ("uint64", 0, 2**64 - 1)],
)
def test_integers_that_are_no_pixels(model, dtype, low, high):
    x = np.zeros((2, 24), dtype)
    x[0, 0], x[1, 1] = low, high
    with pytest.raises(
        TypeError,
        match=f"got {dtype} from {x.min()} to {high}, and pixels are whole numbers from 0 to "
        r"255; x.astype\(np.float32\) is for",
    ) as found:
        model(x)
    assert "np.uint8" not in str(found.value)


def test_no_rows(rng, engine, model):
    """An empty batch has the outputs of no rows, of the same types as any other."""
    scaled = random_net(
        rng,
        ("pack", 24, 24, "float", "bits"),
        ("binary_dense", 24, 5, "bits", "float"),
        scale=scales(rng, 24),
        input_shape=(2, 3, 4),
    )
    for net in (model, model_of(scaled)):
        for dtype in (np.float32, np.uint8):
            for shape in ((0, 24), (0, 2, 3, 4)):
                y, classes = net(np.empty(shape, dtype)), net.predict(np.empty(shape, dtype), check_finite=True)
                assert y.shape == (0, 5) and y.dtype == np.float32
                assert classes.shape == (0,) and classes.dtype == np.int64


def test_uint8_needs_a_scale(rng):
    model = model_of(random_net(rng, ("dense", 6, 2), uint8=False))
    with pytest.raises(ValueError, match="give input_scale to freeze; got uint8"):
        model(np.zeros((1, 6), np.uint8))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_check_finite(model, bad):
    x = np.zeros((3, 24), np.float32)
    model(x, check_finite=True), model.predict(x.astype(np.uint8), check_finite=True)
    x[1, 2] = bad
    model(x), model.predict(x)
    for call in (model, model.predict):
        with pytest.raises(ValueError, match="must be finite, got 1 numbers that are not"):
            call(x, check_finite=True)


def test_uint8_stands_for_floats(rng, engine):
    """Where nothing is rounded, x = scale * pixel + shift through either entry is the same to the bit."""
    inputs = 33
    w = odd_floats(rng, 18, inputs)
    signs = np.where(w < 0, -1, 1)
    scale, shift = 0.5, rng.integers(-100, 1, inputs).astype(np.float32)
    pixels = rng.integers(0, 256, (20, inputs), np.uint8)
    x = scale * pixels.astype(np.float32) + shift
    u8 = {"alpha_u8": np.full(18, scale, np.float32), "bias_u8": (signs @ shift).astype(np.float32)}
    threshold = np.ceil(-shift / scale).astype(np.int32)
    for first in (
        [dense_over(inputs, w, **u8)],
        [
            Layer("pack", inputs, inputs, "float", "bits", None, {"threshold_u8": threshold}),
            dense_over(inputs, w, "bits"),
        ],
        [Layer("dense", inputs, 18, arrays={"weight": np.ascontiguousarray(w.T)})],
    ):
        model = runtime.Model(first, (inputs,), scale, shift)
        assert same(model(pixels), model(x))


@pytest.mark.parametrize("kind", ["binary_dense", "dense", "pack", "batch_norm"])
def test_any_scale_in_blocks_of_rows(rng, engine, kind, monkeypatch):
    """A negative scale, or one for each input: the net gets the same float32 numbers, whatever the rows at a time."""
    inputs = 33
    last = ("binary_dense", inputs, 7, "bits" if kind == "pack" else "float", "float", None, True)
    first = ((kind, inputs, inputs, "float", "bits" if kind == "pack" else "float"), last)
    pixels = rng.integers(0, 256, (20, inputs), np.uint8)
    for scale in (-0.015, scales(rng, inputs)):
        model = model_of(random_net(rng, *first, scale=scale))
        shift = model.input_shift
        expected = model(np.asarray(scale, np.float32) * pixels.astype(np.float32) + shift)
        assert len(np.unique(expected)) > 10
        for elements in (1, 100, 1 << 20):
            for module in (numpy_engine, bindings):
                monkeypatch.setattr(module, "ELEMENTS", elements)
            assert same(model(pixels), expected) and same(model(pixels[4]), expected[4])


def test_memory_of_any_scale_does_not_grow_with_rows(rng, engine, monkeypatch):
    model = model_of(random_net(rng, ("binary_dense", 100, 2), scale=scales(rng, 100)))
    for module in (numpy_engine, bindings):
        monkeypatch.setattr(module, "ELEMENTS", 20000)
    pixels = np.zeros((20000, 100), np.uint8)  # 8 MB as float32
    tracemalloc.start()
    try:
        model(pixels)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def copies(model):
    """(how, copy) of a model."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", pickle.loads(pickle.dumps(model, protocol))
    yield "copy", copy.copy(model)
    yield "deepcopy", copy.deepcopy(model)
    yield "deepcopy of what holds it", copy.deepcopy({"a": [model]})["a"][0]


class Labelled(runtime.Model):
    """A model that knows the names of its classes."""


def test_copies(rng, engine, tmp_path):
    """Of models made from layers and loaded ones, with each kind of input scale; what the user added goes with them."""
    for index, net in enumerate(awkward_nets(rng)):
        if index % 4 == 0:
            runtime.save(net, tmp_path / "model")
            before = Labelled(net.layers, net.input_shape, net.input_scale, net.input_shift)
            before.labels = ["a", "b"]
            for model in (before, runtime.load(tmp_path / "model")):
                x = odd_floats(rng, 3, model._inputs)
                pixels = rng.integers(0, 256, x.shape, np.uint8)
                for how, other in copies(model):
                    assert type(other) is type(model) and other.input_shape == model.input_shape, how
                    assert np.array_equal(other.input_scale, model.input_scale)
                    assert getattr(other, "labels", None) == getattr(model, "labels", None)
                    assert same(other(x), model(x)) and same(other(pixels), model(pixels)), how
                    assert (other.predict(x) == model.predict(x)).all()
                    arrays = zip(model.layers[0].arrays.values(), other.layers[0].arrays.values())
                    assert all((a is b) == (how == "copy") for a, b in arrays), how


def test_what_arrives_is_checked(rng):
    """A pickle whose arrays were changed on the way is refused as a list of layers is."""
    model = model_of(random_net(rng, ("dense", 6, 2)))
    weight = model.layers[0].arrays["weight"]
    state = model.__getstate__()
    for damaged, words in (
        ({"input_shape": (7,)}, "input_shape must have"),
        ({"input_scale": 0.0}, "not 0"),
        ({"layers": [Layer("dense", 6, 2, arrays={"weight": weight[:3]})]}, "weight must be"),
        ({"layers": [Layer("dense", 6, 2, arrays={"weight": weight * np.nan})]}, "finite"),
        ({"layers": []}, "at least one layer"),
    ):
        with pytest.raises(ValueError, match=words):
            runtime.Model.__new__(runtime.Model).__setstate__({**state, **damaged})
    content = pickle.dumps(model)
    assert content.count(weight.tobytes()) == 1
    with pytest.raises(ValueError, match="layer 0, dense 6 -> 2: weight must be finite"):
        pickle.loads(content.replace(weight.tobytes(), np.full_like(weight, np.nan).tobytes()))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_in_another_process(rng, method):
    """As an argument, and as the object whose method is called."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    model = model_of(
        random_net(
            rng, ("binary_dense", 24, 33), ("pack", 33, 33, "float", "bits"), ("binary_dense", 33, 5, "bits", "float")
        )
    )
    x = odd_floats(rng, 7, 24)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert same(pool.apply(model, (x,)), model(x))
        assert (pool.apply(model.predict, (x,)) == model.predict(x)).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_a_call_does_not_copy_the_model(rng, scaled):
    """Its memory is taken when it is made; a call takes what one row needs."""
    if not library.available():
        pytest.skip("NumPy unpacks the weights for every call")
    model = model_of(random_net(rng, ("dense", 1000, 1000), scale=scales(rng, 1000) if scaled else 0.01))
    x = rng.integers(0, 256, (1, 1000), np.uint8)
    model(x)
    tracemalloc.start()
    try:
        model(x), model(x.astype(np.float32)), model.predict(x)
        assert tracemalloc.get_traced_memory()[1] < 1e5  # of 4 MB
    finally:
        tracemalloc.stop()


def test_summary(rng, model, capsys):
    model.summary()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].split() == ["layer", "inputs", "->", "units", "form", "bytes"]
    assert lines[1].split() == ["binary_dense", "24", "->", "33", "float", "->", "bits", "720"]
    assert lines[3].split()[:4] == ["total", "24", "->", "5"] and lines[3].endswith(
        str(sum(layer.nbytes for layer in model.layers))
    )
    assert repr(model) == "Model(24 -> 5, 2 layers)"


def test_eight_threads(rng, engine):
    """Eight threads that share a model, each with rows of its own, get what one gets."""
    model = model_of(
        random_net(
            rng,
            ("binary_dense", 97, 129, "float", "bits", None, True),
            ("binary_dense", 129, 65, "bits", "bits"),
            ("binary_dense", 65, 10, "bits01", "float"),
            ("activation", 10, 10, "float", "float", "tanh"),
        )
    )
    batches = [odd_floats(rng, 1 + i % 3, 97) for i in range(8)]
    pixels = [rng.integers(0, 256, batch.shape, np.uint8) for batch in batches]
    expected = [(model(x), model(p)) for x, p in zip(batches, pixels)]
    start, wrong = threading.Barrier(8), []

    def work(i):
        start.wait()
        for _ in range(100):
            if not (same(model(batches[i]), expected[i][0]) and same(model(pixels[i]), expected[i][1])):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", NETS)
def test_golden_files(name, engine):
    model = runtime.load(os.path.join(GOLDEN, f"{name}.safetensors"))
    answers = load_file(os.path.join(GOLDEN, f"{name}.answers.safetensors"))
    assert all(len(np.unique(answers[y], axis=0)) > 25 for y in ("y", "y_uint8"))  # of 30: they tell apart
    assert same(model(answers["x"]), answers["y"])
    assert same(model(answers["pixels"]), answers["y_uint8"])


def test_golden_files_have_it_all():
    models = [runtime.load(os.path.join(GOLDEN, f"{name}.safetensors")) for name in NETS]
    found = [layer for model in models for layer in model.layers]
    forms = {(kind, *form) for kind, forms in layers.FORMS.items() for form in forms}
    assert {(layer.kind, layer.source, layer.target) for layer in found} == forms
    assert {layer.function for layer in found} == {None, *layers.FUNCTIONS}
    assert {name for layer in found for name in layer.arrays} == {
        "weight_bits",
        "weight",
        "alpha",
        "bias",
        *layers.NORM,
        "threshold",
        "sums",
        "alpha_u8",
        "bias_u8",
        "threshold_u8",
    }
    assert {model.layers[0].kind for model in models} == {"binary_dense", "pack", "dense"}


def test_round_trip(rng, tmp_path, engine):
    for index, net in enumerate(awkward_nets(rng)):
        path = tmp_path / f"{index}.safetensors"
        runtime.save(net, path)
        before, after = model_of(net), runtime.load(path)
        assert after.input_shape == net.input_shape
        assert np.array_equal(after.input_scale, np.float32(net.input_scale))
        x = odd_floats(rng, 3, before._inputs)
        pixels = rng.integers(0, 256, x.shape, np.uint8)
        buffer = io.BytesIO()
        runtime.save(net, buffer)
        assert buffer.getvalue() == path.read_bytes()
        plain = np.ndim(net.input_scale) == 0 and net.input_scale > 0
        assert f"format {1 if plain else 2};".encode() in buffer.getvalue()
        path.write_bytes(b"")  # what was loaded does not need the file
        assert same(after(x), before(x)) and same(after(pixels), before(pixels))
    assert len(os.listdir(tmp_path)) == index + 1


IMPORT = """
import sys
import gluon_bnn
assert "numpy" not in sys.modules
import numpy
before = set(sys.modules)
import gluon_bnn.runtime
loaded = set(sys.modules) - before
assert {name for name in loaded if name.startswith("gluon_bnn.")} == {
    "gluon_bnn._compat", "gluon_bnn._files", "gluon_bnn.graph", "gluon_bnn.graph.engine", "gluon_bnn.graph.layers",
    "gluon_bnn.native", "gluon_bnn.native.bindings", "gluon_bnn.native.library", "gluon_bnn.runtime",
    "gluon_bnn.runtime.file", "gluon_bnn.runtime.model"}, loaded
others = {name.partition(".")[0] for name in loaded} - {"gluon_bnn", "numpy"}
assert others <= getattr(sys, "stdlib_module_names", others), others
assert not others & {"mxnet", "scipy", "tqdm", "safetensors"}, others
"""


def test_import_loads_little(tmp_path):
    """NumPy apart, what makes the import quick is that it needs nothing else, and little of our own."""
    done = subprocess.run([sys.executable, "-c", IMPORT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


BARE = """
import os, sys
sys.path[:0] = {paths!r}
from gluon_bnn import runtime
from gluon_bnn.native import library
from safetensors.numpy import load_file
assert library.available() is {library}, library.problem()
for name in {names!r}:
    path = os.path.join({golden!r}, name)
    answers = load_file(path + ".answers.safetensors")
    model = runtime.load(path + ".safetensors")
    assert (model(answers["x"]) == answers["y"]).all()
    assert (model(answers["pixels"]) == answers["y_uint8"]).all()
    runtime.save(type("Frozen", (), vars(model)), name)
    assert open(name, "rb").read() == open(path + ".safetensors", "rb").read()
for module in ("mxnet", "scipy", "tqdm"):
    try:
        __import__(module)
    except ImportError:
        continue
    raise AssertionError(module + " is there after all")
"""


@pytest.mark.slow
def test_wheel_with_numpy_and_safetensors_alone(tmp_path):
    """`pip install --no-deps` of the wheel, beside NumPy and safetensors and nothing else; on NumPy, then
    with the library of this installation put where a compiler would have put it."""
    if not os.path.isfile(os.path.join(ROOT, "setup.py")):
        pytest.skip("no checkout to build from")
    for package in ("setuptools", "wheel"):
        pytest.importorskip(package, reason="building without isolation needs it")
    ignore = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "*.so", "runs", "results", "__pycache__", "mnist"
    )
    copy, installed, others = (tmp_path / name for name in ("copy", "installed", "others"))
    shutil.copytree(ROOT, copy, ignore=ignore)
    for arguments in (
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, copy],
        ["install", "--no-deps", "--no-index", "--target", installed],
    ):
        if "--target" in arguments:
            arguments += tmp_path.glob("*.whl")
        done = subprocess.run(
            [sys.executable, "-m", "pip", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "CC": "/nonexistent", "CXX": "/nonexistent"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
    others.mkdir()
    import safetensors

    for module in (np, safetensors):
        directory = os.path.dirname(module.__file__)
        for name in (directory, directory + ".libs"):
            if os.path.isdir(name):
                os.symlink(name, others / os.path.basename(name))

    def run(has_library):
        code = BARE.format(paths=[str(installed), str(others)], library=has_library, names=NETS, golden=GOLDEN)
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    run(False)
    if library.available():
        shutil.copy(library.path(), installed / "gluon_bnn" / "native")
        run(True)
