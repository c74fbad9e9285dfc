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
from gluon_bnn.graph.graph import FORMS, Graph, Node
from gluon_bnn.graph.kinds import KINDS, activation, arithmetic
from gluon_bnn.native import library

import programs
from paths import GOLDEN, ROOT
from random_nets import SCALE, Net, awkward_nets, chain, dense_over, odd_floats, same, scales

NETS = [name.partition(".")[0] for name in sorted(os.listdir(GOLDEN)) if ".answers" in name and name.startswith("f")]


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
    return model_of(rng, (2, 3, 4), "binary_dense units=33 to=bits", "binary_dense units=5 to=float")


def model_of(rng, shape, *rows, scale=SCALE):
    return runtime.Model(chain(rng, shape, *rows, scale=scale))


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
    square = model_of(rng, (1, 6), "dense units=2")
    assert square(np.zeros((1, 6), np.float32)).shape == (2,)
    assert square(np.zeros((3, 6), np.float32)).shape == (3, 2)
    assert square(np.zeros((1, 1, 6), np.float32)).shape == (1, 2)


def test_the_first_maximum(engine):
    weight = np.array([[1, 2, 2, 0]], np.float32)
    net = runtime.Model(
        Graph((Node("input", (), {"shape": (1,)}), Node("dense", (0,), {"units": 4}, {"weight": weight})))
    )
    assert net.predict(np.array([[1], [-1], [0]], np.float32)).tolist() == [1, 3, 0]


@pytest.mark.parametrize(
    "x, error, words",
    [
        ([[1.0] * 24], TypeError, "NumPy array of float32 or uint8, got builtins.list$"),
        (type("ndarray", (), {"__module__": "mxnet.numpy"})(), TypeError, "NumPy array .* got mxnet.numpy.ndarray$"),
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
    plain = model_of(rng, 24, "dense units=2", scale=None)
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
    scaled = model_of(rng, (2, 3, 4), "pack to=bits", "binary_dense units=5 to=float", scale=scales(rng, 24))
    for net in (model, scaled):
        for dtype in (np.float32, np.uint8):
            for shape in ((0, 24), (0, 2, 3, 4)):
                y, classes = net(np.empty(shape, dtype)), net.predict(np.empty(shape, dtype), check_finite=True)
                assert y.shape == (0, 5) and y.dtype == np.float32
                assert classes.shape == (0,) and classes.dtype == np.int64


def test_uint8_needs_a_scale(rng):
    model = model_of(rng, 6, "dense units=2", scale=None)
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
        [("binary_dense", dense_over(w, **u8), dict(units=18, to="float"))],
        [
            ("pack", {"threshold_u8": threshold}, dict(to="bits")),
            ("binary_dense", dense_over(w), dict(units=18, to="float")),
        ],
        [("dense", {"weight": np.ascontiguousarray(w.T)}, dict(units=18, bias=False))],
    ):
        net = Net(rng, inputs, scale)
        net.nodes[0].arrays["shift"] = shift
        for kind, arrays, attributes in first:
            net.add(kind, arrays=arrays, **attributes)
        model = runtime.Model(net.graph())
        assert same(model(pixels), model(x))


@pytest.mark.parametrize("kind", ["binary_dense", "dense", "pack", "batch_norm"])
def test_any_scale_in_blocks_of_rows(rng, engine, kind, monkeypatch):
    """A negative scale, or one for each input: the net gets the same float32 numbers, whatever the rows at a time."""
    inputs = 33
    first = {"binary_dense": "binary_dense units=33 to=float", "dense": "dense units=33", "pack": "pack to=bits"}
    rows = (first.get(kind, kind), "binary_dense units=7 to=float norm")
    pixels = rng.integers(0, 256, (20, inputs), np.uint8)
    for scale in (-0.015, scales(rng, inputs)):
        model = model_of(rng, inputs, *rows, scale=scale)
        shift = model.input_shift
        expected = model(np.asarray(scale, np.float32) * pixels.astype(np.float32) + shift)
        assert len(np.unique(expected)) > 10
        for elements in (1, 100, 1 << 20):
            monkeypatch.setattr(numpy_engine, "ELEMENTS", elements)
            assert same(model(pixels), expected) and same(model(pixels[4]), expected[4])


@pytest.mark.slow
def test_memory_of_any_scale_does_not_grow_with_rows(rng, engine, monkeypatch):
    model = model_of(rng, 100, "binary_dense units=2 to=float", scale=scales(rng, 100))
    monkeypatch.setattr(numpy_engine, "ELEMENTS", 20000)
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


@pytest.mark.slow
def test_copies(rng, engine, tmp_path):
    """Of models made from graphs and loaded ones, with each kind of input scale; what the user added goes with them."""
    for graph in list(awkward_nets(rng))[::6]:
        labels = tuple(f"class {unit}" for unit in range(graph.units))
        graph = graph.described(labels, 0.25)
        runtime.save(graph, tmp_path / "model")
        before = Labelled(graph)
        before.names = ["a", "b"]
        for model in (before, runtime.load(tmp_path / "model")):
            x = odd_floats(rng, 3, graph.inputs)
            pixels = rng.integers(0, 256, x.shape, np.uint8)
            for how, other in copies(model):
                assert type(other) is type(model) and other.input_shape == model.input_shape, how
                assert np.array_equal(other.input_scale, model.input_scale)
                assert getattr(other, "names", None) == getattr(model, "names", None)
                assert (other.labels, other.accuracy) == (model.labels, model.accuracy) == (labels, 0.25)
                assert same(other(x), model(x)), how
                assert graph.input_scale is None or same(other(pixels), model(pixels)), how
                assert (other.predict(x) == model.predict(x)).all()
                for one, two in zip(model.graph.nodes, other.graph.nodes):
                    assert all((one.arrays[name] is two.arrays[name]) == (how == "copy") for name in one.arrays), how


def test_what_arrives_is_checked(rng):
    """A pickle whose arrays were changed on the way is refused as a graph is."""
    model = model_of(rng, 6, "dense units=2")
    first, dense = model.graph.nodes
    weight = dense.arrays["weight"]

    def changed(**arrays):
        return Graph((first, Node("dense", (0,), {"units": 2}, {**dense.arrays, **arrays})), model.graph.values)

    for damaged, words in (
        (changed(weight=weight[:3]), "weight must be"),
        (changed(weight=weight * np.nan), "finite"),
        (Graph((Node("input", (), {"shape": (7,)}), dense)), "must be float32"),
        (Graph((Node("input", (), {"shape": (6,)}, {**first.arrays, "scale": np.zeros(1, "f4")}), dense)), "not be 0"),
        (Graph(()), "2 to 65536 nodes"),
    ):
        with pytest.raises(ValueError, match=words):
            runtime.Model.__new__(runtime.Model).__setstate__({"graph": damaged})
    content = pickle.dumps(model)
    assert content.count(weight.tobytes()) == 1
    with pytest.raises(ValueError, match="node 1, dense: weight must be finite"):
        pickle.loads(content.replace(weight.tobytes(), np.full_like(weight, np.nan).tobytes()))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_in_another_process(rng, method):
    """As an argument, and as the object whose method is called."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    rows = ("binary_dense units=33 to=float", "pack to=bits", "binary_dense units=5 to=float")
    model = model_of(rng, 24, *rows)
    x = odd_floats(rng, 7, 24)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert same(pool.apply(model, (x,)), model(x))
        assert (pool.apply(model.predict, (x,)) == model.predict(x)).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_a_call_does_not_copy_the_model(rng, scaled):
    """Its memory is taken when it is made; a call takes what one row needs."""
    if not library.available():
        pytest.skip("NumPy unpacks the weights for every call")
    model = model_of(rng, 1000, "dense units=1000", scale=scales(rng, 1000) if scaled else 0.01)
    x = rng.integers(0, 256, (1, 1000), np.uint8)
    model(x)
    tracemalloc.start()
    try:
        model(x), model(x.astype(np.float32)), model.predict(x)
        assert tracemalloc.get_traced_memory()[1] < 1e5  # of 4 MB
    finally:
        tracemalloc.stop()


def test_summary(rng, capsys):
    net = Net(rng, (2, 3, 4), SCALE)
    net.add("binary_dense", units=33, to="bits")
    net.add("binary_dense", units=24, to="float")
    net.add("arithmetic", 0, 2, function="add")
    net.add("image", shape=(3, 4, 2))
    net.add("activation", function="leaky")
    net.add("flatten")
    net.add("concat", 6, 0, 2)
    model = runtime.Model(net.graph())
    model.summary()
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "node kind takes shape form bytes",
        "0 input 2x3x4 float32 or uint8 100",
        "1 binary_dense 0 24 -> 33 float -> bits 720",
        "2 binary_dense 1 33 -> 24 bits -> float 448",
        "3 add 0, 2 24 -> 24 float -> float 0",
        "4 image 3 24 -> 3x4x2 float -> float 0",
        "5 leaky 4 3x4x2 -> 3x4x2 float -> float 4",
        "6 flatten 5 3x4x2 -> 24 float -> float 0",
        "7 concat 6, 0, 2 24 -> 72 float -> float 0",
        "total 24 -> 72 1272",
    ]
    assert repr(model) == "Model(24 -> 72, 8 nodes)"


@pytest.mark.slow
def test_eight_threads(rng, engine):
    """Eight threads that share a model, each with rows of its own, get what one gets."""
    model = model_of(
        rng,
        97,
        "binary_dense units=129 to=bits norm",
        "binary_dense units=65 to=bits01",
        "binary_dense units=10 to=float",
        "activation function=tanh",
    )
    batches = [odd_floats(rng, 1 + i % 3, 97) for i in range(8)]
    pixels = [rng.integers(0, 256, batch.shape, np.uint8) for batch in batches]
    expected = [(model(x), model(p)) for x, p in zip(batches, pixels)]
    start, wrong = threading.Barrier(8), []

    def work(i):
        start.wait()
        for _ in range(50):
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
    assert ("y_uint8" in answers) == (model.input_scale is not None)
    for x, y in (("x", "y"), ("pixels", "y_uint8")):
        if x in answers:
            assert len(np.unique(answers[y], axis=0)) > 25  # of 30: they tell apart
            assert same(model(answers[x]), answers[y])


def golden_nodes(version):
    """(node, the forms that it takes, the form that it gives, the arrays that it may have) of a format's files."""
    for name in NETS:
        if name.startswith(f"format{version}"):
            graph = runtime.load(os.path.join(GOLDEN, f"{name}.safetensors")).graph
            for index, node in enumerate(graph.nodes):
                taken = graph.taken(index)
                must, may = KINDS[node.kind].arrays(node, taken)
                yield node, {value.form for value in taken}, graph.values[index].form, {*must, *may}


@pytest.mark.parametrize("version", [1, 2])
def test_golden_files_have_it_all(version):
    found = list(golden_nodes(version))

    def pairs_of(kind):
        return {(form, gives) for node, forms, gives, _ in found for form in forms if node.kind == kind}

    pairs = pairs_of("binary_dense")
    if version == 1:  # which says of what a layer gives only whether it is bits
        pairs = {(form, gives) for form, to in pairs for gives in FORMS if (gives == "float") == (to == "float")}
    assert pairs == {(form, gives) for form in FORMS for gives in FORMS}
    assert all(set(node.arrays) <= arrays for node, _, _, arrays in found)
    functions = {node.attributes["function"] for node, *_ in found if node.kind == "activation"}
    if version == 1:
        assert functions == {"relu", "sigmoid", "tanh", "softrelu", "softsign", "sign", "binary_sigmoid"}
        return
    assert {node.kind for node, *_ in found} == set(KINDS)
    assert pairs_of("binary_conv2d") == pairs and pairs_of("max_pool") == {(form, form) for form in FORMS}
    words = {(node.kind, name, word) for node, *_ in found for name, word in node.attributes.items()}
    for kind in ("binary_conv2d", "max_pool", "average_pool"):
        for name, allowed in KINDS[kind].attributes.items():
            assert not isinstance(allowed, tuple) or words >= {(kind, name, word) for word in allowed}
    assert functions == set(activation.FUNCTIONS)
    operations = {(node.attributes["function"], len(node.sources)) for node, *_ in found if node.kind == "arithmetic"}
    assert operations >= {(name, 1) for name in arithmetic.FUNCTIONS} and {count for _, count in operations} == {1, 2}
    names = {name for node, *_ in found for name in node.arrays}
    assert names == {name for *_, arrays in found for name in arrays}


def test_round_trip(rng, tmp_path, engine):
    for index, graph in enumerate(awkward_nets(rng)):
        path = tmp_path / f"{index}.safetensors"
        runtime.save(graph, path)
        before, after = runtime.Model(graph), runtime.load(path)
        assert after.input_shape == graph.input_shape
        assert np.array_equal(after.input_scale, graph.input_scale)
        x = odd_floats(rng, 3, graph.inputs)
        buffer = io.BytesIO()
        runtime.save(after, buffer)
        assert buffer.getvalue() == path.read_bytes()
        path.write_bytes(b"")  # what was loaded does not need the file
        assert same(after(x), before(x))
        if graph.input_scale is not None:
            pixels = rng.integers(0, 256, x.shape, np.uint8)
            assert same(after(pixels), before(pixels))
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
    "gluon_bnn._compat", "gluon_bnn._files", "gluon_bnn.graph", "gluon_bnn.native", "gluon_bnn.native.bindings",
    "gluon_bnn.native.library", "gluon_bnn.runtime", "gluon_bnn.runtime.file", "gluon_bnn.runtime.format1",
    "gluon_bnn.runtime.model"} | {name for name in loaded if name.startswith("gluon_bnn.graph.")}, loaded
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
    if "pixels" in answers:
        assert (model(answers["pixels"]) == answers["y_uint8"]).all()
    runtime.save(model, name)
    assert "format1" in name or open(name, "rb").read() == open(path + ".safetensors", "rb").read()
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
    programs.output(
        "setup.py", "--quiet", "bdist_wheel", "--dist-dir", tmp_path, cwd=copy, CC="/nonexistent", CXX="/nonexistent"
    )
    programs.output("-m", "pip", "install", "--no-deps", "--no-index", "--target", installed, *tmp_path.glob("*.whl"))
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
