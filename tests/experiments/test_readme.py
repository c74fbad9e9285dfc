"""What the READMEs say: figures are those of the committed records, the first program does what is shown."""

import glob
import json
import os
import re
import subprocess
import sys

import pytest

from paths import ROOT

READMES = "", "data", "experiments", "gluon_bnn"


def record(name):
    with open(os.path.join(ROOT, "experiments", "results", name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def readme(room=""):
    with open(os.path.join(ROOT, room, "README.md"), encoding="utf-8") as file:
        return file.read()


def test_length():
    assert len(readme().splitlines()) <= 150


def test_errors():
    def mean(method, seeds, name="test_error"):
        return sum(record(f"papers/{method}-{seed}")[name] for seed in seeds) / len(seeds)

    for title, error in (
        ("784-100-10, the notebook's", record("mnist_relu")["test_error"]),
        ("784-2048-2048-2048-10, real weights", mean("full_precision", [0])),
        ("the same, BWN (XNOR-Net's binary weights)", mean("bwn", range(3))),
        ("the same, BNN", mean("bnn", range(3))),
        ("the same, BNN, our recipe", mean("bnn_best", range(3))),
    ):
        (line,) = (line for line in readme().splitlines() if line.startswith(f"| {title} |"))
        assert line.split(" | ")[2].rstrip(" |") == f"{100 * error:.2f}", line


def test_times():
    found = record("bench_inference_avx512vpopcntdq")
    us = found["net"]["us"]
    said = (
        f"takes {us['runtime']:.1f} us with our runtime, {us['ONNX Runtime int8']:.0f} with ONNX Runtime in int8, "
        f"{us['MXNet float32']:,.0f} in MXNet (AMD EPYC with AVX-512, {found['threads']} threads; {found['date']})"
    )
    assert said in " ".join(readme().split())
    assert found["processor"].startswith("AMD EPYC") and min(us, key=us.get) == "runtime"


def test_no_class_differs():
    """The README says so of every form of all nets."""
    for name, net in record("prove")["nets"].items():
        assert all(row["near_ties"] == [] for row in net["rows"]) and net["complaints"] == [], name


@pytest.mark.slow
def test_first_program(tmp_path):
    """It prints what is shown: all sizes exactly; errors are a little different from processor to processor."""
    program = re.search("```python\n(import.*?)```", readme(), re.DOTALL)[1]
    shown = re.search("```text\n(.*?)```", readme(), re.DOTALL)[1].splitlines()
    assert len(program.splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-u", "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    epochs, printed = done.stdout.splitlines()[:29], done.stdout.splitlines()[29:]
    assert all(line.startswith("epoch ") for line in epochs)

    def without_figures(line):
        return re.sub(r"[\d.]+", "0", line) if line.startswith("epoch ") or "wrong" in line else line

    assert list(map(without_figures, printed)) == list(map(without_figures, shown))
    assert int(printed[-1].split()[0]) <= 20


def test_records_are_of_commits():
    """Not of a checkout whose files nobody has."""
    records = glob.glob(os.path.join(ROOT, "experiments", "results", "**", "*.json"), recursive=True)
    assert len(records) > 20
    for path in records:
        with open(path, encoding="utf-8") as file:
            assert re.fullmatch("[0-9a-f]{40}", json.load(file)["commit"]), path


def test_notebook_claims():
    ten, many = record("notebook_bnn"), record("notebook_bnn_250_draws")
    assert len(ten["runs"]) == 10 and len(many["runs"]) == 250
    # "above those of our ten seeds, at every step"; "inside the band at all 32 steps, above N% of the draws"
    assert ten["recorded_losses_in_our_band"]["runs_above"] == [0] * 32
    band = many["recorded_losses_in_our_band"]
    assert band["all_inside"] and len(band["inside"]) == 32
    shares = [1 - band["runs_above"][i] / 250 for i in (0, -1)]
    text = " ".join(readme("experiments").split())
    assert f"above {shares[0]:.0%} of the draws at the start and {shares[1]:.0%} at the end" in text
    right = [round(100 * run["train_accuracy"]) for run in ten["runs"]]
    assert f"get {min(right)} to {max(right)}% of the training set right" in text
    # "from the same weights, NumPy and Gluon stay within 3e-15 of each other in the loss": with the notebook's gradient
    both, xnor = record("notebook_bnn_both"), record("notebook_bnn_xnor")
    assert (both["engine"], both["gradient"], both["images"], both["iterations"]) == ("both", "notebook", 60000, 40)
    for found in (both, xnor):
        assert found["runs"][0]["largest_difference"]["loss"] < 3e-15
    assert xnor["gradient"] == "xnor" and f"one seed gets to {xnor['runs'][0]['train_accuracy']:.0%}" in text


@pytest.mark.parametrize("room", READMES)
def test_pictures_and_links_are_there(room):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", readme(room)):
        assert target.startswith("http") or os.path.exists(os.path.join(ROOT, room, target)), target


@pytest.mark.parametrize("room", READMES)
def test_sections_that_links_name_are_there(room):
    for target, section in re.findall(r"\]\(([^)#]*)#([^)]*)\)", readme(room)):
        heads = re.findall("^#+ (.*)$", readme(os.path.join(room, os.path.dirname(target))), re.MULTILINE)
        names = [re.sub("[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads]
        assert section in names, (section, names)
