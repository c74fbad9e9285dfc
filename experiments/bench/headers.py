"""Nets as C headers in one program: it is written, compiled, and answers for rows of each. For bench_c.py and tests."""

import subprocess

import numpy as np

import gluon_bnn

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffreestanding"]
# Thumb as 32-bit microcontrollers have it, without a unit for floats.
THUMB = ["arm-linux-gnueabi-gcc", "-mthumb", "-march=armv7-a", "-mfloat-abi=soft", "-static"]


def write(directory, graphs, rows):
    """A header of each graph, net0.h and so on, and main.c, which reads `rows` rows for each from stdin and writes the
    index of the largest score, int32, and the scores of each row."""
    lines, calls = ["#include <stdio.h>"], []
    for index, graph in enumerate(graphs):
        gluon_bnn.save(graph, directory / f"net{index}.h")
        lines.append(f'#include "net{index}.h"')
        of = "float" if graph.input_scale is None else "uint8_t"
        calls.append(f"""\
  {{
    static {of} x[NET{index}_INPUTS];
    static float scores[NET{index}_OUTPUTS];
    int row;
    for (row = 0; row < {rows} && fread(x, sizeof x, 1, stdin) == 1; ++row) {{
      const int32_t largest = net{index}_predict(x);
      net{index}_scores(x, scores);
      fwrite(&largest, sizeof largest, 1, stdout);
      fwrite(scores, sizeof scores, 1, stdout);
    }}
  }}""")
    text = "\n".join([*lines, "int main(void) {", *calls, "  return 0;", "}", ""])
    (directory / "main.c").write_text(text)


def build(directory, *command):
    """The program `main` of the directory; RuntimeError with what the compiler says, warnings too."""
    done = subprocess.run([*command, "-o", "main", "main.c"], cwd=directory, capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RuntimeError(f"{' '.join(command)} main.c: {done.stderr[-3000:] or done.returncode}")


def answers(directory, graphs, xs, *runner):
    """[(largest, scores)] of what the program says to the rows of each graph; RuntimeError where it does not."""
    stdin = b"".join(x.tobytes() for x in xs)
    done = subprocess.run([*runner, directory / "main"], input=stdin, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"the program ended with {done.returncode}: {done.stderr.decode()[-3000:]}")
    found, begin = [], 0
    rows_of = [np.dtype([("largest", "<i4"), ("scores", "<f4", (graph.units,))]) for graph in graphs]
    expected = sum(row.itemsize * len(x) for row, x in zip(rows_of, xs))
    if len(done.stdout) != expected:
        raise RuntimeError(f"the program wrote {len(done.stdout)} bytes of answers, not {expected}")
    for row, x in zip(rows_of, xs):
        rows = np.frombuffer(done.stdout, row, len(x), begin)
        found.append((rows["largest"], rows["scores"]))
        begin += rows.nbytes
    return found
