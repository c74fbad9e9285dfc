"""`load_exported`: what it loads, and its errors for files that are missing, damaged, hostile or of another net."""

import json
import os
import struct
import time

import numpy as np
import pytest

from gluon_bnn import nn, ops
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze
from gluon_bnn.deploy.exported import load_exported
from gluon_bnn.native import library

import programs
from gluon_nets import FORMS, export, sequential
from needs import needs_library

gluon = mx.gluon.nn
ONES = mx.nd.ones((2, 12))


def small(deferred=False):
    """A net of 12 inputs and 10 outputs; with deferred=True its layers learn their inputs from the first batch."""
    first, second = (0, 0) if deferred else (12, 20)
    net = sequential(
        nn.BinaryDense(20, in_units=first),
        gluon.BatchNorm(in_channels=second),
        nn.BinaryActivation(),
        nn.BinaryDense(10, "relu", in_units=second),
    )
    net.initialize(mx.init.Normal(1))
    return net


@pytest.fixture
def exported(rng, tmp_path):
    """(prefix of the files, input, output) of a net in the last of FORMS."""
    frozen = freeze(small(), FORMS[-1], verbose=False)
    x = rng.standard_normal((5, 12)).astype(np.float32)
    y = export(frozen, tmp_path / "net", mx.nd.array(x), epoch=3)
    return str(tmp_path / "net"), x, y


@pytest.mark.slow
def test_in_a_process_of_its_own(rng, tmp_path):
    """The float form needs MXNet alone, which does not run on NumPy 2; the packed form, after it, load_exported."""
    x = rng.standard_normal((5, 12)).astype(np.float32)
    forms = ["packed"] if int(np.__version__.split(".")[0]) > 1 else ["float", "packed"]
    expected = {form: export(freeze(small(), form, verbose=False), tmp_path / form, mx.nd.array(x)) for form in forms}
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, numpy as np
x, forms = np.load("x.npy"), sys.argv[1:]
if "float" in forms:
    np.bool = bool
    import mxnet as mx
    net = mx.gluon.SymbolBlock.imports("float-symbol.json", ["data"], "float-0000.params")
    np.save("float.npy", net(mx.nd.array(x)).asnumpy())
    assert "gluon_bnn" not in sys.modules
from gluon_bnn.deploy.exported import load_exported, mx
np.save("packed.npy", load_exported("packed")(mx.nd.array(x)).asnumpy())
"""
    programs.output("-c", code, *forms, cwd=tmp_path)
    for form in forms:
        np.testing.assert_array_equal(np.load(tmp_path / f"{form}.npy"), expected[form], err_msg=form)


def test_epoch_and_no_warning(exported, recwarn):
    prefix, x, y = exported
    net = load_exported(prefix, 3)
    np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), y)
    net.hybridize()
    np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), y)
    assert not [w for w in recwarn if "Cannot decide type" in str(w.message)]


def test_an_epoch_that_is_no_number(exported):
    with pytest.raises(TypeError, match="epoch must be a whole number, got '3'"):
        load_exported(exported[0], "3")


def test_input_of_another_name(rng, tmp_path):
    x = mx.sym.var("pixels")
    symbol = mx.sym.FullyConnected(x, mx.sym.var("w"), no_bias=True, num_hidden=2)
    mx.model.save_checkpoint(str(tmp_path / "net"), 0, symbol, {"w": mx.nd.ones((2, 3))}, {})
    assert load_exported(str(tmp_path / "net"))(mx.nd.ones((1, 3))).asnumpy().tolist() == [[3, 3]]


@needs_library
def test_without_the_library(exported, monkeypatch):
    monkeypatch.setattr(library, "available", lambda: False)
    monkeypatch.setattr(library, "problem", lambda: "the native library was not built; do this")
    with pytest.raises(
        OSError,
        match="net-symbol.json holds operators .*gluon_bnn_packed_dense.* was "
        "not built; do this. A net frozen with form='float'",
    ):
        load_exported(exported[0], 3)


def test_missing_files(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="other-symbol.json"):
        load_exported(str(tmp_path / "other"))
    with pytest.raises(FileNotFoundError, match="net-0000.params is not there"):
        load_exported(exported[0])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[1, 2]",
        b"{}",
        b'{"nodes": 3}',
        b'{"nodes": [{}]}',
        b"\xff",
        b'{"nodes": []}',
        b'{"nodes": [{"op": "null"}]}',
        "half",
    ],
)
def test_damaged_graph(exported, content):
    prefix = exported[0]
    with open(f"{prefix}-symbol.json", "rb+") as file:
        whole = file.read()
        file.seek(0)
        file.truncate()
        file.write(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(ValueError, match="net-symbol.json must (be|hold) a graph that MXNet exported: "):
        load_exported(prefix, 3)


def test_graph_with_an_unknown_operator(exported):
    prefix = exported[0]
    with open(f"{prefix}-symbol.json", encoding="utf-8") as file:
        graph = json.load(file)
    graph["nodes"][-1]["op"] = "gluon_bnn_of_the_future"
    with open(f"{prefix}-symbol.json", "w", encoding="utf-8") as file:
        json.dump(graph, file)
    with pytest.raises((ValueError, OSError), match="gluon_bnn_of_the_future"):
        load_exported(prefix, 3)


@pytest.mark.parametrize("length", [0, 7, 30, 200, -1])
def test_damaged_parameters(exported, length):
    prefix = exported[0]
    with open(f"{prefix}-0003.params", "rb+") as file:
        whole = file.read()
        file.truncate(length if length >= 0 else len(whole) - 1)
    with pytest.raises(ValueError, match="net-0003.params must hold parameters that MXNet exported: "):
        load_exported(prefix, 3)


def test_parameters_of_another_net(exported):
    prefix = exported[0]
    mx.nd.save(f"{prefix}-0003.params", {"arg:other": mx.nd.ones(3)})
    with pytest.raises(ValueError, match="parameters of .* got arrays that are not in it: other"):
        load_exported(prefix, 3)
    mx.nd.save(f"{prefix}-0003.params", [mx.nd.ones(3)])
    with pytest.raises(ValueError, match="net-0003.params must hold .* 1 arrays must have a name each"):
        load_exported(prefix, 3)


def test_net_without_parameters(tmp_path):
    frozen = freeze(sequential(nn.BinaryActivation()), FORMS[-1], verbose=False)
    export(frozen, tmp_path / "net", mx.nd.ones((1, 2)))
    assert load_exported(str(tmp_path / "net"))(mx.nd.array([[-2, 3]])).asnumpy().tolist() == [[-1, 1]]
    with pytest.raises(ValueError, match=r"needs input_shape in freeze, .* got FloatSign\(-1, 1\)"):
        frozen.graph


NETS = {
    "packed": lambda: freeze(small(), "packed", verbose=False),
    "float": lambda: freeze(small(), "float", verbose=False),
    "trained": small,
    "dropout first": lambda: sequential(gluon.Dropout(0.2), small()),
    "deferred": lambda: small(deferred=True),
}


def changed(name, value):
    """A parameter with another shape, one more axis, another kind of number, another precision; or none at all."""
    yield "shape", mx.nd.zeros([size + 2 for size in value.shape], dtype=value.dtype)
    yield "axes", value.expand_dims(0)
    yield "int", value.astype("uint8")
    yield "half", value.astype("float16")
    yield "lacks", None


@needs_library
@pytest.mark.parametrize("choice", ["native", "composed"])
@pytest.mark.parametrize("kind", NETS)
def test_each_array_must_fit(tmp_path, kind, choice):
    """An array that is missing, or has another shape or type, is named together with its file."""
    with ops.use(choice):
        y = export(NETS[kind](), tmp_path / "net", ONES)
    assert (load_exported(tmp_path / "net")(ONES).asnumpy() == y).all()
    path = str(tmp_path / "net-0000.params")
    values = mx.nd.load(path)
    for name in values:
        for what, other in changed(name, values[name]):
            if kind == "deferred" and choice == "composed" and what == "shape":
                continue  # nothing in that graph says how wide the rows are
            mx.nd.save(path, {n: v for n, v in {**values, name: other}.items() if v is not None})
            with pytest.raises(ValueError, match=f"net-0000.params must hold the parameters of .*{name[4:]}"):
                load_exported(tmp_path / "net")
    mx.nd.save(path, values)
    load_exported(tmp_path / "net")


def test_steps_of_an_unknown_number(tmp_path):
    """Batch norm over steps in a net whose sizes are open: its arrays are as long as there are steps, and may be so."""
    net = sequential(gluon.Dense(5, flatten=False), gluon.BatchNorm(axis=1), gluon.Dense(2, flatten=False))
    net.initialize()
    x = mx.nd.ones((2, 7, 12))
    y = export(net, tmp_path / "net", x)
    np.testing.assert_array_equal(load_exported(str(tmp_path / "net"))(x).asnumpy(), y)


def test_images_of_an_unknown_size(tmp_path):
    net = sequential(gluon.Conv2D(3, 3), gluon.BatchNorm(), gluon.Flatten(), nn.BinaryDense(2))
    net.initialize()
    x = mx.nd.ones((2, 1, 6, 6))
    y = export(net, tmp_path / "net", x)
    np.testing.assert_array_equal(load_exported(str(tmp_path / "net"))(x).asnumpy(), y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_net_that_was_cast_after_its_first_call(tmp_path, dtype):
    """Its graph has the types from before, and loads all the same."""
    with ops.use("composed"):
        net = small()
    net.hybridize()
    net(mx.nd.ones((1, 12)))
    net.cast(dtype)
    net.hybridize()
    y = net(mx.nd.ones((1, 12), dtype=dtype))
    net.export(str(tmp_path / "net"))
    found = load_exported(str(tmp_path / "net"))(mx.nd.ones((1, 12), dtype=dtype))
    assert found.dtype == y.dtype and (found == y).asnumpy().all()


def test_prefix_as_bytes_and_path(tmp_path):
    y = export(freeze(small(), "float", verbose=False), tmp_path / "net", ONES, epoch=12)
    for prefix in (tmp_path / "net", os.fsencode(tmp_path / "net")):
        np.testing.assert_array_equal(load_exported(prefix, np.int64(12))(ONES).asnumpy(), y)
    with pytest.raises(FileNotFoundError, match="net-0000.params is not there"):
        load_exported(tmp_path / "net")
    with pytest.raises(TypeError):
        load_exported(tmp_path / "net", 12.0)


def edited(function):
    """A change of the bytes of a graph, from a change of its JSON."""

    def damage(content):
        graph = json.loads(content)
        function(graph)
        return json.dumps(graph).encode()

    return damage


def node(graph, op="null", place=1):
    return [node for node in graph["nodes"] if node["op"] == op][place]


def nested(depth):
    """A graph inside of a graph, and so on."""
    return {"nodes": [{"op": "null", "name": "n", "subgraphs": [nested(depth - 1)] if depth else []}]}


NO_GROUPS = {"kernel": "(1,)", "num_filter": "20", "num_group": "0", "no_bias": "True"}  # MXNet divides by 0
NO_PARTS = {"sections": "-1", "indices": "()"}  # MXNet ends the process
GRAPHS = {
    "deep": (lambda c: b'{"nodes": ' + b"[" * 100000, "too many objects in objects"),
    "deep objects": (lambda c: b'{"a":' * 100000, "too many objects in objects"),
    "a long number": (
        lambda c: c.replace(b'"heads": [[', b'"heads": [[' + b"9" * 100000, 1),
        "a number has 10000. digits",
    ),
    "twice": (lambda c: c.replace(b'"nodes"', b'"nodes": [], "nodes"', 1), "a name is there twice"),
    "storage": (edited(lambda g: node(g)["attrs"].update(__storage_type__="1")), "storage type of .* must be 0, .*'1'"),
    "storage 9": (edited(lambda g: node(g)["attrs"].update(__storage_type__="9")), "storage type of .* got '9'"),
    "storage x": (edited(lambda g: node(g)["attrs"].update(__storage_type__="x")), "storage type of .* got 'x'"),
    "storage of an operator": (
        edited(lambda g: node(g, "FullyConnected", 0)["attrs"].update(__storage_type__="1")),
        "storage type of .*fullyconnected.* must be 0",
    ),
    "shape": (edited(lambda g: node(g)["attrs"].update(__shape__="x")), "shape of .* must be like .* got 'x'"),
    "dtype": (edited(lambda g: node(g)["attrs"].update(__dtype__="x")), "'x'"),
    "attribute": (edited(lambda g: node(g, "FullyConnected", 0)["attrs"].update(num_hidden="-x")), "num_hidden"),
    "operator": (edited(lambda g: node(g, "FullyConnected", 0).update(op="FulyConnected")), "FulyConnected"),
    "reserved": (edited(lambda g: node(g).update(name="self")), "a variable cannot have the name 'self'"),
    "no name": (edited(lambda g: node(g).pop("name")), "must have an op and a name"),
    "no op": (edited(lambda g: node(g).update(op=None)), "must have an op and a name"),
    "no node": (edited(lambda g: g["nodes"].append(7)), "must have an op and a name"),
    "no subgraphs": (edited(lambda g: node(g).update(subgraphs=7)), "subgraphs of .* must be a list"),
    "subgraph": (edited(lambda g: node(g).update(subgraphs=[{"nodes": [{"op": 5}]}])), "must have an op and a name"),
    "deep subgraphs": (edited(lambda g: node(g).update(subgraphs=[nested(40)])), "at most 32 graphs inside of one"),
    "address": (
        edited(lambda g: node(g, "FullyConnected", 0).update(op="_Native", attrs={"info": "0x10"})),
        "_Native, the operator of .*, cannot be in a file",
    ),
    "address inside": (
        edited(lambda g: node(g).update(subgraphs=[{"nodes": [{"op": "_NDArray", "name": "n"}]}])),
        "_NDArray, the operator of 'n'",
    ),
    "output": (edited(lambda g: g["heads"][0].__setitem__(1, 4294967295)), "must have an output 4294967295, and has 1"),
    "another node's output": (
        edited(lambda g: node(g, "broadcast_mul", 0)["inputs"][0].__setitem__(1, 1)),
        "must have an output 1, and has 1",
    ),
    "groups": (
        edited(lambda g: node(g, "FullyConnected", 0).update(op="Convolution", attrs=NO_GROUPS)),
        "num_group of .* must be at least 1, got 0",
    ),
    "no parts": (
        edited(
            lambda g: node(g, "FullyConnected", 0).update(op="_split_v2", attrs={"sections": "-1", "indices": "()"})
        ),
        "must split into sections or at indices, got neither",
    ),
    "head": (edited(lambda g: g["heads"][0].__setitem__(0, 99999)), ""),
    "later input": (edited(lambda g: node(g, "FullyConnected", 0)["inputs"][0].__setitem__(0, 9999)), ""),
    "version": (edited(lambda g: g.update(attrs={"mxnet_version": ["int", "x"]})), ""),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_hostile_graphs(tmp_path, case):
    export(freeze(small(), "float", verbose=False), tmp_path / "net", ONES)
    damage, words = GRAPHS[case]
    path = tmp_path / "net-symbol.json"
    content = damage(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"net-symbol.json must be a graph that MXNet exported: .*{words}"):
        load_exported(tmp_path / "net")


def test_hostile_loop(tmp_path):
    """Attributes within the body of a loop are looked at too."""
    w = mx.sym.var("w")
    symbol, _ = mx.sym.contrib.foreach(
        lambda x, _: (mx.sym.GroupNorm(x, w, w, num_groups=0), []), mx.sym.var("data"), []
    )
    mx.model.save_checkpoint(str(tmp_path / "net"), 0, symbol, {"w": mx.nd.ones((2,))}, {})
    with pytest.raises(ValueError, match="num_groups of .* must be at least 1, got 0"):
        load_exported(tmp_path / "net")


FREEZES = {
    "a value less": (
        lambda g: node(g, "gluon_bnn_batch_norm", 0)["inputs"].pop(),
        "gluon_bnn_batch_norm does not take 5 values, as .*batchnorm.* gives it",
    ),
    "a constant of no shape": (
        lambda g: node(g, "_ones", 0)["attrs"].update(shape="None"),
        "what depends on parameters alone, where MXNet fails: ",
    ),
}


@needs_library
@pytest.mark.parametrize("case", FREEZES)
def test_hostile_graphs_that_load(tmp_path, case):
    """What MXNet finds only when it runs them, freeze finds first."""
    damage, words = FREEZES[case]
    native(tmp_path)
    path = tmp_path / "net-symbol.json"
    path.write_bytes(edited(damage)(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        freeze(load_exported(tmp_path / "net"), verbose=False)


@needs_library
def test_batch_norm_that_always_trains(tmp_path):
    """By the number that stands for inference in the graph: it stays, as MXNet runs it."""
    native(tmp_path)
    path = tmp_path / "net-symbol.json"
    change = edited(lambda g: node(g, "gluon_bnn_batch_norm", 0)["attrs"].update(inference="7"))
    path.write_bytes(change(path.read_bytes()))
    net, x = load_exported(tmp_path / "net"), mx.nd.random.normal(shape=(5, 12))
    np.testing.assert_array_equal(freeze(net, "packed", verbose=False)(x).asnumpy(), net(x).asnumpy())


def native(tmp_path):
    """Exports a net that trains on our operators."""
    net = sequential(nn.BinaryDense(20, in_units=12), nn.BatchNorm(in_channels=20), nn.BinaryDense(10, in_units=20))
    net.initialize(mx.init.Normal(1))
    export(net, tmp_path / "net", ONES)


@needs_library
def test_library_operators_in_a_subgraph_need_the_library(tmp_path, monkeypatch):
    """The body of a loop is a graph of its own inside of the graph."""
    layer = nn.BinaryActivation()

    class Loop(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.contrib.foreach(lambda row, state: (layer(row), state), x, [])[0]

    net = Loop()
    net.register_child(layer)
    y = export(net, tmp_path / "net", ONES)
    np.testing.assert_array_equal(load_exported(tmp_path / "net")(ONES).asnumpy(), y)
    monkeypatch.setattr(library, "available", lambda: False)
    with pytest.raises(OSError, match="holds operators of the native library .gluon_bnn_sign"):
        load_exported(tmp_path / "net")


def array(version=0xF993FAC9, storage=0, shape=(2,), number=0, data=bytes(8)):
    """The bytes of an array in a file of parameters."""
    return struct.pack(f"<Iii{len(shape)}q3i", version, storage, len(shape), *shape, 1, 0, number) + data


def values(*arrays, count=None, names=("arg:w",), magic=0x112):
    named = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    return (
        struct.pack("<3Q", magic, 0, len(arrays) if count is None else count)
        + b"".join(arrays)
        + struct.pack("<Q", len(names))
        + named
    )


VALUES = {
    "magic": (values(array(), magic=0x113), "must start with the number 0x112, got 0x113"),
    "old version": (values(array(version=0xF993FAC8)), "array 0 must be one of MXNet 1.x"),
    "sparse": (values(array(storage=1)), "stored densely"),
    "no axes": (values(array(shape=())), "with 1 to 32 axes"),
    "huge": (values(array(shape=(1 << 40,))), "cut off"),
    "product past int64": (values(array(shape=(1 << 62, 1 << 62))), "cut off"),
    "negative": (values(array(shape=(-2,))), "no empty axis"),
    "empty": (values(array(shape=(0,))), "no empty axis"),
    "type": (values(array(number=77)), r"must have a type of .* got type 77"),
    "many arrays": (values(array(), count=1 << 60), "cut off|array 1"),
    "no names": (values(array(), names=()), "1 arrays must have a name each, .* got 0 names"),
    "many names": (values(array(), names=("arg:w", "arg:x")), "1 arrays must have a name each"),
    "a long name": (values(array())[:-13] + struct.pack("<Q", 1 << 60) + b"arg:w", "cut off"),
    "name of no UTF-8": (values(array())[:-1] + b"\xff", "utf-8"),
    "one name for two": (values(array(), array(), names=("arg:w", "aux:w")), "'w' is there twice"),
    "more": (values(array()) + b"\0", "got 1 names and 1 more bytes"),
}


@pytest.mark.parametrize("case", VALUES)
def test_hostile_values(tmp_path, case):
    symbol = mx.sym.broadcast_mul(mx.sym.var("data"), mx.sym.var("w"))
    symbol.save(str(tmp_path / "net-symbol.json"))
    path = tmp_path / "net-0000.params"
    path.write_bytes(values(array()))
    assert load_exported(tmp_path / "net")(mx.nd.ones((1, 2))).asnumpy().tolist() == [[0, 0]]
    content, words = VALUES[case]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"net-0000.params must hold parameters that MXNet exported: .*({words})"):
        load_exported(tmp_path / "net")


@pytest.mark.parametrize("name", ["net-symbol.json", "net-0000.params"])
def test_files_that_are_none(tmp_path, name):
    """A FIFO, a device and a directory are refused, not read; of a terabyte of nothing the size is enough."""
    export(freeze(small(), "float", verbose=False), tmp_path / "net", ONES)
    path, began = tmp_path / name, time.monotonic()
    content = path.read_bytes()
    os.truncate(path, 1 << 40)
    with pytest.raises(ValueError, match=f"{name} must .* (bytes|more bytes)"):
        load_exported(tmp_path / "net")
    for make in (os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)):
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        with pytest.raises(OSError, match=name):
            load_exported(tmp_path / "net")
    path.unlink()
    path.write_bytes(content)
    load_exported(tmp_path / "net")
    assert time.monotonic() - began < 30
