"""Nets as C headers: compiled by each compiler that is here, they give the bits of the engine."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

import gluon_bnn
import random_nets
from gluon_bnn import runtime
from gluon_bnn.deploy import c
from gluon_bnn.deploy.c import header
from gluon_bnn.graph.check import check
from gluon_bnn.graph.graph import Graph, Node

from paths import GOLDEN
from random_nets import SCALE, Net, chain, dense_over, odd_floats, random_graph, same

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
HAVE = [name for name in ("gcc", "clang") if shutil.which(name)]


@pytest.fixture
def without_exp(monkeypatch):
    """Random graphs have the activations of C headers only."""
    functions = {name: of for name, of in random_nets.FUNCTIONS.items() if name not in EXP}
    monkeypatch.setattr(random_nets, "FUNCTIONS", functions)


EXP = ("elu", "gelu", "sigmoid", "tanh", "softrelu", "swish")


def tool(name, package=None):
    if not shutil.which(name):
        pytest.skip(f"needs {name}: apt-get install {package or name}")
    return name


def rows_of(rng, graph, count):
    """Inputs of the type that the header takes, extreme ones among them."""
    if graph.input_scale is not None:
        x = rng.integers(0, 256, (count, graph.inputs), np.uint8)
        x[0], x[1] = 0, 255
        return x
    x = odd_floats(rng, count, graph.inputs)
    x[0, 0], x[1, -1] = np.nan, -np.inf
    return x


def write_program(directory, graphs):
    """A header of each graph, and a program that reads their rows in this order and writes classes and scores."""
    lines = ["#include <stdio.h>"]
    main = ["int main(void) {"]
    for index, graph in enumerate(graphs):
        gluon_bnn.save(graph, directory / f"net{index}.h")
        of = "uint8_t" if graph.input_scale is not None else "float"
        lines.append(f'#include "net{index}.h"')
        main.append(
            f"  {{ static {of} x[NET{index}_INPUTS]; static float y[NET{index}_OUTPUTS]; int largest, row;\n"
            f"    for (row = 0; row < ROWS && fread(x, sizeof x, 1, stdin) == 1; ++row) {{\n"
            f"      net{index}_scores(x, y); largest = net{index}_predict(x);\n"
            f"      fwrite(&largest, sizeof largest, 1, stdout); fwrite(y, sizeof y, 1, stdout); }} }}"
        )
    (directory / "main.c").write_text("\n".join([*lines, *main, "  return 0;", "}", ""]))


def build(directory, *command, rows):
    done = subprocess.run(
        [*command, f"-DROWS={rows}", "-o", "main", "main.c"], cwd=directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def check_program(directory, graphs, xs, *runner):
    """What the program in the directory answers is what the engine answers, to the bit."""
    stdin = b"".join(x.tobytes() for x in xs)
    done = subprocess.run([*runner, directory / "main"], input=stdin, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    begin = 0
    for index, (graph, x) in enumerate(zip(graphs, xs)):
        row = np.dtype([("largest", "<i4"), ("y", "<f4", (graph.units,))])
        found = np.frombuffer(done.stdout, row, len(x), begin)
        begin += row.itemsize * len(x)
        model = runtime.Model(graph)
        assert same(found["y"], model(x)), (index, [node.kind for node in graph.nodes])
        np.testing.assert_array_equal(found["largest"], model.predict(x))
    assert begin == len(done.stdout)


def golden_graphs():
    """The golden models that a header can be made of."""
    graphs = [runtime.load(path).graph for path in sorted(GOLDEN_MODELS)]
    return [graph for graph in graphs if not any(node.attributes.get("function") in EXP for node in graph.nodes)]


GOLDEN_MODELS = [
    os.path.join(GOLDEN, name)
    for name in os.listdir(GOLDEN)
    if name.endswith(".safetensors") and not name.endswith(".answers.safetensors")
]


def test_random_graphs(rng, tmp_path, without_exp):
    graphs = [random_graph(rng) for _ in range(int(os.environ.get("N", 40)))] + golden_graphs()
    xs = [rows_of(rng, graph, 4) for graph in graphs]
    write_program(tmp_path, graphs)
    build(tmp_path, tool("gcc"), *STRICT, "-ffreestanding", "-fsanitize=address,undefined", "-O1", rows=4)
    check_program(tmp_path, graphs, xs)
