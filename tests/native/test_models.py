"""The models of the C interface: from a path and from bytes, run and asked for classes, by several threads at once."""

import ctypes
import os
import threading

import numpy as np
import pytest

from gluon_bnn.graph import engine
from gluon_bnn.native import bindings, library
from gluon_bnn.runtime import file

from needs import needs_library
from paths import GOLDEN
from random_nets import chain, random_graph, same

pytestmark = needs_library

BAD_ARGUMENT, BAD_FILE, NO_FILE = 1, 3, 4


def load(path):
    """(code, address) of gluon_bnn_load."""
    address = ctypes.c_void_p(1)
    return library.handle().gluon_bnn_load(os.fsencode(path), ctypes.byref(address)), address.value


def predict(model, x):
    classes = np.full(len(x), -1)
    name = "gluon_bnn_predict_u8" if x.dtype == np.uint8 else "gluon_bnn_predict"
    assert getattr(library.handle(), name)(model.address, x.ctypes.data, len(x), classes.ctypes.data) == 0
    return classes


def inputs_of(rng, graph, rows):
    x = rng.standard_normal((rows, graph.inputs)).astype(np.float32)
    x.flat[rng.integers(0, x.size, 3)] = 0.0, -0.0, np.nan
    yield x
    if graph.input_scale is not None:
        yield rng.integers(0, 256, x.shape, np.uint8)


@pytest.mark.parametrize("rows", [1, 3, 300])  # a block has 256
def test_models_compute_what_numpy_does(rng, instruction_set, rows):
    for _ in range(10):
        graph = random_graph(rng, 30)
        model = bindings.Model(file.dumps(graph))
        assert (model.inputs, model.outputs) == (graph.inputs, graph.units)
        assert model.takes_u8 == (graph.input_scale is not None)
        for x in inputs_of(rng, graph, rows):
            expected = engine.run(graph, x)
            assert same(model.run_u8(x) if x.dtype == np.uint8 else model.run(x), expected)
            np.testing.assert_array_equal(predict(model, x), expected.argmax(axis=1))


def test_models_from_a_path(rng):
    for name in sorted(os.listdir(GOLDEN)):
        if name.endswith(".safetensors") and ".answers" not in name:
            path = os.path.join(GOLDEN, name)
            code, address = load(path)
            assert code == 0, library.handle().gluon_bnn_error()
            graph, content = file.read(path)
            model, found = bindings.Model(content), np.empty((5, graph.units), np.float32)
            x = next(inputs_of(rng, graph, 5))
            assert library.handle().gluon_bnn_run(address, x.ctypes.data, 5, found.ctypes.data) == 0
            assert same(found, model.run(x))
            library.handle().gluon_bnn_free(address)


def test_what_cannot_be_loaded(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    for name, expected, word in (
        ("nowhere", NO_FILE, "cannot be read: No such file"),
        ("", NO_FILE, "cannot be read: Is a directory"),
        ("fifo", NO_FILE, "cannot be read"),
        ("empty", BAD_FILE, "empty is not a model that can be loaded: a safetensors file starts with"),
    ):
        assert load(tmp_path / name) == (expected, None)
        assert word in library.handle().gluon_bnn_error().decode()
    with pytest.raises(ValueError, match="starts with the length of its header"):
        bindings.Model(b"")


def test_pixels_need_a_scale(rng):
    graph = next(graph for graph in iter(lambda: random_graph(rng), None) if graph.input_scale is None)
    with pytest.raises(ValueError, match="float32 inputs only"):
        bindings.Model(file.dumps(graph)).run_u8(np.zeros((1, graph.inputs), np.uint8))


def test_first_of_several_largest_outputs_and_nan():
    model = bindings.Model(file.dumps(chain(None, 5, "flatten")))
    rows = [1, 3, 2, 3, 0], [-2, -1, -3, -4, -1], [1, 2, np.nan, 9, np.nan], [np.inf, 1, np.inf, 0, 0]
    np.testing.assert_array_equal(predict(model, np.array(rows, np.float32)), [1, 1, 2, 0])


@pytest.mark.slow
def test_several_threads_run_one_model(rng):
    graph = random_graph(rng, 30)
    model = bindings.Model(file.dumps(graph))
    batches = [next(inputs_of(rng, graph, int(rows))) for rows in rng.integers(1, 300, 8)]
    expected, found = [engine.run(graph, x) for x in batches], {}

    def work(number):
        for _ in range(20):
            found.setdefault(number, []).append(model.run(batches[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, results in found.items():
        assert len(results) == 20 and all(same(y, expected[number]) for y in results)
