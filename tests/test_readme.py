"""The README's figures are those of the committed records."""
import json
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def record(name):
    with open(os.path.join(ROOT, "experiments", "results", name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def test_accuracies():
    for name in ("mnist_relu", "mnist_relu_long", "mnist_binary"):
        line, = (line for line in readme().splitlines() if f"[{name}.json]" in line)
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
    for name, title in (("runtime", "our runtime"), ("MXNet packed", "frozen net in MXNet"),
                        ("ONNX Runtime int8", "ONNX Runtime int8"), ("MXNet float32", "MXNet float32")):
        assert f"| {title} | {microseconds(found['net']['us'][name])} |" in readme()
    for size in found["net"]["bytes"].values():
        assert f"{size:,}" in readme()


def test_deployment():
    relu, binary = (record(name)["forms"] for name in ("deploy_relu", "deploy_binary"))
    for title, form in (("in MXNet, as trained", "net as trained"), ("C program, uint8", "classify.c, uint8"),
                        ("runtime, uint8", "runtime, uint8, avx512vpopcntdq")):
        right = " | ".join(f"{1 - forms[form]['test_error']:.2%}" for forms in (relu, binary))
        assert f"| {title} | {right} | {relu[form]['bytes']:,} |" in readme()
    for name in ("deploy_relu", "deploy_binary"):
        for form in record(name)["differences_from_net_as_trained"].values():
            assert form["classes"] == [], "the README says that no class differs"


def test_notebook_claims():
    ten, many = record("notebook_bnn"), record("notebook_bnn_250_draws")
    assert len(ten["runs"]) >= 10 and len(many["runs"]) == 250
    assert not any(ten["recorded_losses_in_our_band"]["inside"])
    assert many["recorded_losses_in_our_band"]["all_inside"]
    both = record("notebook_bnn_xnor")["runs"][0]
    assert both["largest_difference"]["loss"] < 3e-15 and round(both["train_accuracy"], 2) == 0.51


def test_pictures_and_links_are_there():
    import re
    for target in re.findall(r"\]\(([^)#]+)\)", readme()):
        assert target.startswith("http") or os.path.exists(os.path.join(ROOT, target)), target
