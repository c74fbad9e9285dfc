"""Nets as C headers: whatever compiler takes them, they give the bits of the runtime."""

import errno
import glob
import itertools
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import gluon_bnn
from gluon_bnn import runtime, zoo
from gluon_bnn.data import load
from gluon_bnn.deploy.c import header, program
from gluon_bnn.deploy.c.calls import CALLS
from gluon_bnn.graph.check import check
from gluon_bnn.graph.kinds.activation import FUNCTIONS

from bench import headers
from bench.headers import STRICT, THUMB
from paths import EXPERIMENTS, GOLDEN, ROOT
from random_nets import SCALE, Net, chain, odd_floats, random_graph, same

ARM64 = "aarch64-linux-gnu-gcc"
PACKAGES = {ARM64: "g++-aarch64-linux-gnu", THUMB[0]: "gcc-arm-linux-gnueabi", "clang++": "clang"}
PACKAGES.update({"qemu-arm": "qemu-user", "qemu-aarch64": "qemu-user"})


def clang_for(target):
    """Clang for another machine, with the C library of Debian's cross compiler."""
    return ["clang", f"--target={target}", "-isystem", f"/usr/{target}/include", "-static"]


def needs(*tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}: apt-get install {PACKAGES.get(tool, tool)}")


def rows_of(rng, graph):
    """Inputs of the type that the header takes, extreme ones among them."""
    if graph.input_scale is not None:
        x = rng.integers(0, 256, (4, graph.inputs), np.uint8)
        x[0], x[1] = 0, 255
        return x
    x = odd_floats(rng, 4, graph.inputs)
    x[0, 0], x[1, -1] = np.nan, -np.inf
    return x


def golden_graphs():
    """The golden models: every kind, form, function and padding is in them."""
    names = set(glob.glob(os.path.join(GOLDEN, "*.safetensors"))) - set(glob.glob(os.path.join(GOLDEN, "*.answers.*")))
    return [runtime.load(name).graph for name in sorted(names)]


def are_the_runtimes(directory, graphs, xs, *runner):
    for graph, x, (largest, scores) in zip(graphs, xs, headers.answers(directory, graphs, xs, *runner)):
        model = runtime.Model(graph)
        assert same(scores, model(x)), [node.kind for node in graph.nodes]
        np.testing.assert_array_equal(largest, model.predict(x))


def smooth(rng):
    """(a graph that has all activations, rows of numbers of every size)."""
    net = Net(rng, 40)
    values = [net.add("activation", 0, function=name) for name in FUNCTIONS]
    net.add("concat", *values)
    x = (rng.standard_normal((40, 40)) * 2.0 ** rng.integers(-40, 12, (40, 40))).astype(np.float32)
    x[0, :9] = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-38, 3.4e38, -3.4e38]
    x[1:20] = rng.uniform(-12, 12, (19, 40))
    return net.graph(), x


def test_random_graphs(rng, tmp_path):
    """Under the sanitizers, and as strict as C99 gets."""
    needs("gcc")
    graphs = [random_graph(rng) for _ in range(12)] + golden_graphs()
    xs = [rows_of(rng, graph) for graph in graphs]
    headers.write(tmp_path, graphs, rows=4)
    headers.build(tmp_path, "gcc", *STRICT, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    are_the_runtimes(tmp_path, graphs, xs)


def test_activations(rng, tmp_path):
    needs("gcc")
    graph, x = smooth(rng)
    headers.write(tmp_path, [graph], rows=len(x))
    headers.build(tmp_path, "gcc", *STRICT, "-O2")
    are_the_runtimes(tmp_path, [graph], [x])


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, runner",
    [
        (["clang", *STRICT, "-O2"], []),
        (["clang", "-O2", "-march=native", "-ffp-contract=fast"], []),
        (["clang", "-O2", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-honor-nans"], []),
        (["gcc", "-O2", "-march=native", "-ffp-contract=fast"], []),
        (["g++", "-x", "c++", "-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror"], []),
        (["clang++", "-x", "c++", "-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror"], []),
        ([ARM64, "-O2", "-static"], ["qemu-aarch64"]),  # which fuses products with sums, unless it is told not to
        ([*clang_for("aarch64-linux-gnu"), "-O2"], ["qemu-aarch64"]),
        ([*clang_for("arm-linux-gnueabi"), *THUMB[1:], *STRICT, "-Os"], ["qemu-arm"]),
        ([*THUMB, *STRICT, "-Os"], ["qemu-arm"]),
        ([THUMB[0], "-mthumb", "-march=armv5te", "-static", "-Os"], ["qemu-arm"]),
        ([THUMB[0], "-mthumb", "-march=armv7-a+vfpv4", "-mfloat-abi=softfp", "-static", "-O2"], ["qemu-arm"]),
    ],
)
def test_compilers(rng, tmp_path, command, runner):
    """Other machines, and options that invite a compiler to fuse products with sums."""
    targets = [option.partition("=")[2] for option in command if option.startswith("--target=")]
    needs(command[0], *runner, *(f"{target}-gcc" for target in targets))
    functions, x = smooth(rng)
    graphs = [functions, *(random_graph(rng, images=index % 2) for index in range(2)), golden_graphs()[1]]
    headers.write(tmp_path, graphs, rows=4)
    headers.build(tmp_path, *command)
    xs = [x[:4], *(rows_of(rng, graph) for graph in graphs[1:])]
    are_the_runtimes(tmp_path, graphs, xs, *runner)


@pytest.mark.slow
@pytest.mark.parametrize("name, rows, on_arm", [("mnist", 2000, 60), ("larq-0", 300, 10), ("lenet_xnor-0", 60, 3)])
def test_images(tmp_path, name, rows, on_arm):
    """MNIST's test images through trained nets, here and on ARM without a unit for floats; experiments/bench_c.py does
    it for all 10,000 of each net."""
    needs("gcc")
    try:
        images = load("mnist")["test_data"]
        graph = zoo.load(name).graph
    except (OSError, ValueError) as error:
        pytest.skip(str(error))
    x = np.rint(255 * images).astype(np.uint8).reshape(len(images), -1)[:rows]
    headers.write(tmp_path, [graph], rows=len(x))
    headers.build(tmp_path, "gcc", *STRICT, "-O2")
    are_the_runtimes(tmp_path, [graph], [x])
    needs(THUMB[0], "qemu-arm")
    headers.build(tmp_path, *THUMB, *STRICT, "-Os")
    are_the_runtimes(tmp_path, [graph], [x[:on_arm]], "qemu-arm")


def test_classify_alone(rng, tmp_path):
    """experiments/deploy_c without the library: from a model's file to the classes of IDX files, in a path with
    spaces."""
    needs("make", "gcc")
    place = tmp_path / "a place (of its own)"
    shutil.copytree(os.path.join(EXPERIMENTS, "deploy_c"), place, ignore=shutil.ignore_patterns("classify", "net.h"))
    runtime.save(chain(rng, (28, 28), "binary_dense units=10 to=float", scale=SCALE), place / "the model")
    model = runtime.load(place / "the model")
    images, labels = rng.integers(0, 256, (50, 28, 28), np.uint8), rng.integers(0, 10, 50).astype(np.uint8)
    (place / "images").write_bytes(b"\0\0\x08\x03\0\0\0\x32" + b"\0\0\0\x1c" * 2 + images.tobytes())
    (place / "labels").write_bytes(b"\0\0\x08\x01\0\0\0\x32" + labels.tobytes())
    make = ["make", "-C", place, "alone", "CC=gcc", f"PYTHON={sys.executable}"]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    built = subprocess.run([*make, "MODEL=the model"], capture_output=True, text=True, env=environment)
    assert built.returncode == 0 and not built.stderr, built.stderr

    def run(*arguments):
        return subprocess.run([place / "classify_alone", *arguments], cwd=place, capture_output=True, text=True)

    right = int((model.predict(images) == labels).sum())
    assert run("images", "labels").stdout == f"{right} of 50 right ({2 * right:.2f}%)\n"
    assert run("images").returncode == 2
    (place / "cut").write_bytes((place / "images").read_bytes()[:-1])
    (place / "wide").write_bytes(b"\0\0\x08\x03\0\0\0\x32" + b"\0\0\0\x1d" * 2 + images.tobytes())
    for files, message in (
        (("nowhere", "labels"), "nowhere must be an IDX file"),
        (("labels", "labels"), "labels must be an IDX file of bytes with 3 axes"),
        (("wide", "labels"), "must have images of 784 pixels"),
        (("cut", "labels"), "the files end at image 49 of 50"),
    ):
        done = run(*files)
        assert done.returncode == 1 and message in done.stderr and not done.stdout
    without = subprocess.run(make, capture_output=True, text=True, env=environment)
    assert without.returncode and "give MODEL=" in without.stderr
    runtime.save(chain(rng, 784, "binary_dense units=10 to=float"), place / "the model")
    floats = subprocess.run([*make, "MODEL=the model"], capture_output=True, text=True, env=environment)
    assert floats.returncode and "incompatible pointer" in floats.stderr


def scores_are_inputs(inputs):
    net = Net(None, inputs)
    net.add("arithmetic", function="multiply", arrays={"operand": np.ones(1, np.float32)})
    return net.graph()


def test_largest(tmp_path):
    """As NumPy's argmax: the first NaN, else the first of the largest, where -0.0 is 0.0."""
    needs("gcc")
    numbers = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]
    x = np.array(list(itertools.product(numbers, repeat=3)), np.float32)
    headers.write(tmp_path, [scores_are_inputs(3), scores_are_inputs(1)], rows=len(x))
    headers.build(tmp_path, "gcc", *STRICT)
    (of3, _), (of1, _) = headers.answers(tmp_path, [scores_are_inputs(3), scores_are_inputs(1)], [x, x[:, :1]])
    np.testing.assert_array_equal(of3, x.argmax(axis=1))
    assert not of1.any()


LABELS = [
    '"',
    "\\",
    "??/",
    '*/ int x = "',
    "net_predict NET_INPUTS LABELS",
    "Füße 7\u2028",
    "\U0001f602",
    "%s\\n",
    "a" * 255,
]


def test_labels(rng, tmp_path):
    """Whatever they are, they come out as they went in, and nothing else of the file changes."""
    needs("gcc")
    graph = check(chain(rng, 4, f"binary_dense units={len(LABELS)} to=float").described(LABELS))
    header.save(graph, tmp_path / "net.h")
    (tmp_path / "main.c").write_text("""\
#include <stdio.h>
#include "net.h"
int main(void) {
  int i;
  for (i = 0; i < NET_OUTPUTS; ++i) puts(net_label(i));
  return net_label(-1) != NULL || net_label(NET_OUTPUTS) != NULL;
}
""")
    headers.build(tmp_path, "gcc", *STRICT, "-trigraphs")
    said = subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout
    assert said.decode().split("\n") == [*LABELS, ""]
    assert (tmp_path / "net.h").read_bytes().isascii()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_nothing_is_used(tmp_path, rng, compiler):
    """A header whose functions nobody calls, and one that is compiled by itself or included twice, gives no warning."""
    needs(compiler)
    graph = chain(rng, 4, "binary_dense units=2 to=float").described(["a", "b"])
    gluon_bnn.save(graph, tmp_path / "int.h")  # a keyword of C is as good as any other prefix
    (tmp_path / "main.c").write_text('#include "int.h"\n#include "int.h"\nint main(void) { return 0; }\n')
    headers.build(tmp_path, compiler, *STRICT, "-Wunused")
    headers.build(tmp_path, compiler, *STRICT, "-O2", "-Wconversion")


@pytest.mark.parametrize(
    "options, message",
    [
        (["-ffast-math"], "change the scores"),
        (["-ffinite-math-only"], "change the scores"),
        (["-fno-signed-zeros"], "change the scores"),
        (["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math"], "change the scores"),
        (["-fsingle-precision-constant"], "change the scores"),
        (["-fsingle-precision-constant", "-U__GCC_IEC_559"], "net_needsNoSinglePrecisionConstant"),
        (["-m32", "-mfpmath=387"], "floats are not rounded"),
        (["-m32", "-mfpmath=387", "-std=c99", "-fexcess-precision=fast"], "change the scores"),
    ],
)
def test_options_that_change_scores(tmp_path, rng, options, message):
    needs("gcc")
    gluon_bnn.save(chain(rng, 4, "binary_dense units=2 to=float", "activation function=tanh"), tmp_path / "net.h")
    command = ["gcc", *options, "-ffreestanding", "-fsyntax-only", "-x", "c", tmp_path / "net.h"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and message in done.stderr


def test_golden(tmp_path):
    """The text of a header changes on purpose only, and the one that is kept answers as the model did when it was made;
    `python tests/golden/make_golden.py` writes it."""
    needs("gcc")
    names = [path[:-2] for path in os.listdir(GOLDEN) if path.endswith(".h")]
    assert len(names) == 2, names
    for name in names:
        graph = runtime.load(os.path.join(GOLDEN, f"{name}.safetensors")).graph
        with open(os.path.join(GOLDEN, f"{name}.h"), encoding="ascii") as file:
            assert header.text_of(graph, name).replace(gluon_bnn.__version__, "VERSION") == file.read()
        answers = load_file(os.path.join(GOLDEN, f"{name}.answers.safetensors"))
        x, y = (answers[key] for key in (("x", "y") if graph.input_scale is None else ("pixels", "y_uint8")))
        headers.write(tmp_path, [graph], rows=len(x))
        text = (tmp_path / "main.c").read_text().replace("net0", name).replace("NET0", name.upper())
        (tmp_path / "main.c").write_text(text)
        shutil.copy(os.path.join(GOLDEN, f"{name}.h"), tmp_path)
        headers.build(tmp_path, "gcc", *STRICT)
        ((_, scores),) = headers.answers(tmp_path, [graph], [x])
        assert same(scores, y)


def test_integers_alone(rng):
    """From pixels to the last layer there is no float, in no buffer and in no function."""
    same_size = "kernel=3x3 strides=1x1 padding=1x1 dilation=1x1 pad=zero to=bits"
    halves = "max_pool kernel=2x2 strides=2x2 padding=0x0 rounding=floor"
    convs = [f"binary_conv2d channels=5 {same_size}", halves, f"binary_conv2d channels=4 {same_size}", "flatten"]
    graph = chain(rng, (1, 6, 5), "image shape=6x5x1", *convs, "binary_dense units=3 to=float norm", scale=SCALE)
    used = program.Program(graph)
    assert [size for of, size in used.buffers.sizes.values() if of == "float"] == [3]  # the scores
    assert not used.used & {"input", "pack", "float_dots", "window"}


def test_buffers_are_used_again(rng):
    """A chain of layers needs two buffers, one where elements are changed in place; a shortcut keeps a third."""

    deep = chain(rng, 50, *["dense units=50"] * 6, "dense units=1")
    assert program.Program(deep).buffers.nbytes == 4 * 100
    flat = chain(rng, 50, "dense units=50", *["activation function=relu", "batch_norm"] * 3)
    assert program.Program(flat).buffers.nbytes == 4 * 50
    net = Net(rng, 50)
    first = net.add("dense", units=50)
    net.add("dense", units=50)
    net.add("dense", units=50)
    net.add("arithmetic", first, len(net.nodes) - 1, function="add")
    assert program.Program(net.graph()).buffers.nbytes == 4 * 150


@pytest.mark.parametrize(
    "name, like",
    [
        ("my-net.h", "my_net.h"),
        ("7.h", "net.h"),
        ("2nd net.h", "nd_net.h"),
        ("_net.h", "net.h"),
        ("a__b.h", "a_b.h"),
        ("Füße.h", "F_e.h"),
        ("net.v2.h", "net_v2.h"),
        ("x" * 41 + ".h", "x" * 40 + ".h"),
        ('a"; int main.h', "a_int_main.h"),
        ("net\n.h", "net.h"),
        ("stdint.h", "net_stdint.h"),
        ("Math.h", "net_Math.h"),
        ("features.h", "net_features.h"),
        ("gluon_bnn.h", "net_gluon_bnn.h"),
    ],
)
def test_names(rng, tmp_path, name, like):
    """What cannot be the prefix of names in C is refused, with one that can be; what is proposed is taken."""
    graph = chain(rng, 4, "binary_dense units=2 to=float")
    with pytest.raises(ValueError, match=re.escape(like)):
        gluon_bnn.save(graph, tmp_path / name)
    assert not os.listdir(tmp_path)
    gluon_bnn.save(graph, os.fsencode(tmp_path / like))
    assert f"int {like[:-2]}_predict(const float *x)" in (tmp_path / like).read_text()


@pytest.mark.parametrize("name", ["NET", "my_NET", "x_net", "net_net", "LABELS", "int", "uint8", "x"])
def test_prefixes(rng, tmp_path, name):
    """Any allowed stem is put before each name once, words of the template and of C among them."""
    needs("gcc")
    graph = chain(rng, 4, "binary_dense units=2 to=float", scale=SCALE).described(["a", "b"])
    gluon_bnn.save(graph, tmp_path / f"{name}.h")
    calls = f"{name}_label({name}_predict(x))[0] + {name.upper()}_INPUTS"
    (tmp_path / "main.c").write_text(f"""\
#include "{name}.h"
int main(void) {{
  const uint8_t x[4] = {{0}};
  return {calls} == 0;
}}
""")
    headers.build(tmp_path, "gcc", *STRICT)


def test_names_of_several_headers(rng, tmp_path):
    """In one source file none is that of another header's array or function, as of the windows of node 2."""
    needs("gcc")
    window = "kernel=3x3 strides=1x1 padding=1x1 dilation=1x1 pad=zero to=bits"
    rows = "image shape=4x4x1", f"binary_conv2d channels=2 {window}", "flatten", "binary_dense units=2 to=float"
    graph = chain(rng, (1, 4, 4), *rows, scale=SCALE)
    names = "net", "net_2", "net_pixel", "net_window", "net_2_weight", "net_uint32s"
    for name in names:
        gluon_bnn.save(graph, tmp_path / f"{name}.h")
    lines = *(f'#include "{name}.h"' for name in names), "int main(void) { return 0; }", ""
    (tmp_path / "main.c").write_text("\n".join(lines))
    headers.build(tmp_path, "gcc", *STRICT)


def test_names_that_differ_in_case(rng, tmp_path):
    """Their macros would be the same, and the scores of one net longer than the other's NET_OUTPUTS."""
    needs("gcc")
    for name, units in (("net", 5), ("Net", 2)):
        gluon_bnn.save(chain(rng, 4, f"binary_dense units={units} to=float"), tmp_path / f"{name}.h")
    (tmp_path / "main.c").write_text('#include "net.h"\n#include "Net.h"\n')
    done = subprocess.run(["gcc", "-fsyntax-only", "main.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "upper and lower case" in done.stderr


def test_an_old_file_is_kept(rng, tmp_path, monkeypatch):
    """Where the net is refused, and where the disk is full."""
    graph = chain(rng, 4, "dense units=3")
    (tmp_path / "net.h").write_text("old")
    with monkeypatch.context() as changed:
        changed.setattr(header, "MOST_BYTES", 10)
        with pytest.raises(ValueError, match="at most 10 bytes of arrays"):
            gluon_bnn.save(graph, tmp_path / "net.h")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        gluon_bnn.save(graph, tmp_path / "net.h")
    assert os.listdir(tmp_path) == ["net.h"] and (tmp_path / "net.h").read_text() == "old"


def test_a_kind_that_headers_do_not_have(rng, monkeypatch):
    monkeypatch.delitem(CALLS, "dense")
    with pytest.raises(ValueError, match="node 1, dense: a C header has input, .*, and no dense"):
        header.text_of(chain(rng, 4, "dense units=3"), "net")


def test_what_is_too_large(rng, monkeypatch):
    """Nodes, arrays, buffers and windows beyond what a compiler takes."""
    graph = chain(rng, 40, "dense units=30", "dense units=2")
    for name, size, message in (
        ("MOST_NODES", 2, "2 nodes, got 3"),
        ("MOST_BYTES", 5000, "5000 bytes of arrays, .* got 5168: write a .safetensors file"),
        ("MOST_BUFFERS", 100, "100 bytes of buffers, got 128"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(header, name, size)
            with pytest.raises(ValueError, match=message):
                header.text_of(graph, "net")
    net = Net(rng, (1, 1, 1))
    net.add("image", shape=(1, 1, 1))
    net.add("conv2d", channels=1, groups=1, kernel=(1, 1), strides=(1 << 29, 1), padding=(1 << 29, 0), dilation=(1, 1))
    net.add("flatten")
    with pytest.raises(ValueError, match="node 2, conv2d: a padded image has at most .* places"):
        header.text_of(net.graph(), "net")
