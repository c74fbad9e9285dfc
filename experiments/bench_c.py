"""Nets as C headers on 32-bit ARM: bytes of code, constants and buffers, and instructions per image.

    apt-get install gcc-arm-linux-gnueabi qemu-user
    python experiments/bench_c.py

First each header, compiled for this machine, answers for all test images of MNIST, and compiled for ARM for some of
them; they must be the runtime's answers, to the bit. Then it is compiled for Thumb without a unit for floats, with -Os:
sizes are those of its object file, the compiler's own functions for floats not among them. Instructions are counted by
a plugin of QEMU, bench/count_instructions.c: those of a program that classifies 3 images less those of one that
classifies 1, divided by two.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing was written yet")

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

import gluon_bnn
from gluon_bnn import mx, runtime, train, zoo

import nets
from bench import headers
from common import options
from common.arguments import HelpFormatter, add_data_dir, load_dataset, positive
from common.record import writable, write_record

RECORD = "bench_c.json"
TOOLS = {
    "gcc": "gcc",
    headers.THUMB[0]: headers.THUMB[0],
    "qemu-arm": "qemu-user",
    "arm-linux-gnueabi-size": "binutils",
}
PLUGIN = pathlib.Path(__file__).resolve().parent / "bench" / "count_instructions.c"
ZOO = ("mnist", "larq-0", "lenet_xnor-0")
UNTRAINED = "lenet, all binary, not trained"
SECTIONS = {"code": "[.]text", "constants": "[.]rodata", "buffers": "[.](bss|data)"}
CLASSIFY = """\
#include <stdio.h>
#include "net0.h"
int main(void) {
  static uint8_t x[NET0_INPUTS];
  int sum = 0;
  while (fread(x, sizeof x, 1, stdin) == 1) sum += net0_predict(x);
  return sum == -1;
}
"""


def untrained(pixels):
    """The graph of LeNet with 1-bit weights and activations throughout; batch norm has the statistics of images."""
    mx.random.seed(0)
    args = options.parse_args(["--net", "lenet", "--activation", "binary"])
    net = nets.make(**options.net_options(args), shape=nets.IMAGE)
    train.reestimate(net, (pixels[:1000] / np.float32(255)).reshape(-1, *nets.IMAGE))
    return gluon_bnn.freeze(net, input_shape=nets.IMAGE, input_scale=1 / 255, verbose=False).graph


def differences(directory, graph, x, *runner):
    """How many rows have another answer than the runtime's."""
    model = runtime.Model(graph)
    ((largest, scores),) = headers.answers(directory, [graph], [x], *runner)
    expected = model(x)
    other = (scores.view(np.int32) != expected.view(np.int32)).any(axis=1) | (largest != model.predict(x))
    return int(other.sum())


def sizes(directory):
    """{code, constants, buffers: bytes} of the header alone."""
    (directory / "only.c").write_text(
        '#include "net0.h"\nint only(const uint8_t *x);\nint only(const uint8_t *x) { return net0_predict(x); }\n'
    )
    subprocess.run([*headers.THUMB, *headers.STRICT, "-Os", "-c", "only.c"], cwd=directory, check=True)
    listed = subprocess.run(
        ["arm-linux-gnueabi-size", "-A", "only.o"], cwd=directory, check=True, capture_output=True, text=True
    ).stdout
    found = dict.fromkeys(SECTIONS, 0)
    for section, size in re.findall(r"^([.][\w.]+) +(\d+)", listed, re.MULTILINE):
        for name, pattern in SECTIONS.items():
            found[name] += int(size) * bool(re.match(pattern, section))
    return found


def instructions(directory, x):
    """Per image, of 32-bit ARM."""
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", "count.so", PLUGIN], cwd=directory, check=True)
    (directory / "classify.c").write_text(CLASSIFY)
    subprocess.run([*headers.THUMB, "-std=c99", "-Os", "-o", "classify", "classify.c"], cwd=directory, check=True)
    counts = []
    for rows in (1, 3):
        done = subprocess.run(
            ["qemu-arm", "-plugin", "./count.so", "classify"],
            cwd=directory,
            input=x[:rows].tobytes(),
            capture_output=True,
            check=True,
        )
        counts.append(int(done.stderr))
    return (counts[1] - counts[0]) // 2


def measure(name, graph, x, on_arm):
    """What the record has of one net."""
    with tempfile.TemporaryDirectory() as made:
        directory = pathlib.Path(made)
        headers.write(directory, [graph], len(x))
        headers.build(directory, "gcc", *headers.STRICT, "-O2")
        different = {"this machine": differences(directory, graph, x)}
        headers.build(directory, *headers.THUMB, *headers.STRICT, "-Os")
        different["ARM"] = differences(directory, graph, x[:on_arm], "qemu-arm")
        if any(different.values()):
            sys.exit(f"bench_c.py: {name}: answers that are not the runtime's: {different}")
        return {
            "bits": gluon_bnn.summary(graph).weights_1bit,
            "header": (directory / "net0.h").stat().st_size,
            "bytes": sizes(directory),
            "instructions": instructions(directory, x),
        }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    parser.add_argument(
        "--on-arm", type=positive(int), default=100, metavar="IMAGES", help="images that are compared on ARM as well"
    )
    add_data_dir(parser, "mnist/")
    parser.add_argument("--save-dir", default=os.path.join("runs", "bench_c"), help="for the record")
    args = parser.parse_args(argv)
    writable(args.save_dir, RECORD)
    missing = [f"{tool} (apt-get install {package})" for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        sys.exit(f"bench_c.py needs {', '.join(missing)}")
    try:
        pixels = np.rint(255 * load_dataset("mnist", args.data_dir)["test_data"]).astype(np.uint8)
    except (OSError, ValueError) as error:
        sys.exit(f"bench_c.py: {error}")
    x = pixels.reshape(len(pixels), -1)
    graphs = {name: zoo.load(name).graph for name in ZOO}
    graphs[UNTRAINED] = untrained(pixels)
    found = {}
    for name, graph in graphs.items():
        try:
            found[name] = one = measure(name, graph, x, args.on_arm)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            sys.exit(f"bench_c.py: {name}: {error}")
        size = ", ".join(f"{n:,} of {what}" for what, n in one["bytes"].items())
        cost = f"{one['instructions']:,} instructions per image"
        print(f"{name}: {one['bits']:,} bits; bytes: {size}; {cost}", flush=True)
    compiler = subprocess.run([headers.THUMB[0], "--version"], check=True, capture_output=True, text=True).stdout
    path = os.path.join(args.save_dir, RECORD)
    write_record(
        path,
        argv,
        compiler=compiler.splitlines()[0],
        options=" ".join([*headers.THUMB[1:-1], "-Os"]),
        images={"this machine": len(x), "ARM": args.on_arm},
        different_answers=0,
        nets=found,
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
