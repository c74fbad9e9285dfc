"""The README's figures are those of the committed records."""

import glob
import json
import os
import re

from paths import ROOT


def record(name):
    with open(os.path.join(ROOT, "experiments", "results", name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def test_accuracies():
    for name in ("mnist_relu", "mnist_relu_long", "mnist_binary"):
        (line,) = (line for line in readme().splitlines() if f"[{name}.json]" in line)
        assert f"| {1 - record(name)['test_error']:.2%} |" in line


def test_step_times():
    nets = record("bench_training")["nets"]
    for name in nets["1024"]["step"]:
        cells = []
        for width in ("1024", "2048"):
            step, ratio = nets[width]["step"], nets[width]["ratio"]
            times = [f"{ratio[peer][name]:.2f}" for peer in ("PyTorch eager", "torch.compile")] if name in step else []
            cells += [f"{step[name]:.1f}", *times] if times else ["", "", ""]
        assert f"| {name} | {' | '.join(cells)} |" in readme()


def microseconds(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def test_inference_times():
    found = record("bench_inference")
    layers = found["layers"].values()
    rows = [name for name in found["layers"]["1x1024x1024"]["us"] if name != "weights read"]
    for name in rows:
        cells = " | ".join(microseconds(layer["us"][name]) for layer in layers)
        assert f"| {name} | {cells} |" in readme()
    for name, title in (
        ("runtime", "our runtime"),
        ("MXNet packed", "frozen net in MXNet"),
        ("ONNX Runtime int8", "ONNX Runtime int8"),
        ("MXNet float32", "MXNet float32"),
    ):
        assert f"| {title} | {microseconds(found['net']['us'][name])} |" in readme()
    for size in found["net"]["bytes"].values():
        assert f"{size:,}" in readme()


def test_deployment():
    relu, binary = (record(name)["forms"] for name in ("deploy_relu", "deploy_binary"))
    for title, form in (
        ("in MXNet, as trained", "net as trained"),
        ("C program, uint8", "classify.c, uint8"),
        ("runtime, uint8", "runtime, uint8, avx512vpopcntdq"),
    ):
        right = " | ".join(f"{1 - forms[form]['test_error']:.2%}" for forms in (relu, binary))
        assert f"| {title} | {right} | {relu[form]['bytes']:,} |" in readme()
    for name in ("deploy_relu", "deploy_binary"):
        for form in record(name)["differences_from_net_as_trained"].values():
            assert form["classes"] == [], "the README says that no class differs"


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
    assert f"above\n{shares[0]:.0%} of the draws at the start and {shares[1]:.0%} at the end" in readme()
    right = [round(100 * run["train_accuracy"]) for run in ten["runs"]]
    assert f"get {min(right)} to {max(right)}% of the training set\nright" in readme()
    # "from the same weights, NumPy and Gluon stay within 3e-15 of each other in the loss": with the notebook's gradient
    both, xnor = record("notebook_bnn_both"), record("notebook_bnn_xnor")
    assert (both["engine"], both["gradient"], both["images"], both["iterations"]) == ("both", "notebook", 60000, 40)
    for found in (both, xnor):
        assert found["runs"][0]["largest_difference"]["loss"] < 3e-15
    assert xnor["gradient"] == "xnor" and f"one seed gets to {xnor['runs'][0]['train_accuracy']:.0%}" in readme()


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", readme()):
        assert target.startswith("http") or os.path.exists(os.path.join(ROOT, target)), target
