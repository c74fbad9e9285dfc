"""`python -m gluon_bnn check`: it holds everything that this package computes, and each of its rows can fail."""

import inspect
import itertools
import json
import os
import signal
import types

import numpy as np
import pytest

from gluon_bnn import check, loss, nn, ops, optimizer
from gluon_bnn._compat import mx
from gluon_bnn.cli import main
from gluon_bnn.native import library
from gluon_bnn.reference import binary, dense
from gluon_bnn.reference import optimizer as reference

from needs import needs_library

if library.available():
    library.load_operators()
# All but those whose outputs hold nothing: their backward pass is part of the rows of hybridized layers.
OPERATORS = [
    name
    for name in mx.operator.get_all_registered_operators()
    if name.startswith("gluon_bnn_") and not name.endswith("data_gradient")
]


def rows(directory, *subjects, choice="native", dtype="float32", mode="imperative"):
    """The rows of some subjects, of all of them by default, as one table."""
    table, generator = check.Table(), np.random.default_rng(0)
    with ops.use(choice):
        for subject in subjects or check.SUBJECTS:
            for errors, row in subject.rows(dtype, mode, generator, str(directory)):
                table.add(errors, **row)
    return table


def failed(table):
    return {row["operator"] for row in table if not row["ok"]}


@pytest.mark.slow
def test_command(monkeypatch, capsys):
    """All of it, but for frozen nets of most scales, which take half of the time; tests/deploy has them."""
    monkeypatch.setattr(check.frozen, "quantizers", types.SimpleNamespace(SCALES=("channel",)))
    assert main(["check", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and len(report["rows"]) >= 206
    assert {row["mode"] for row in report["rows"]} == {"imperative", "hybridized", "exported"}
    assert {"SquaredHingeLoss", "BinaryAdam", "scale_bias"} <= {row["operator"] for row in report["rows"]}


@pytest.mark.parametrize("choice", [pytest.param("native", marks=needs_library), "composed"])
def test_it_can_fail(monkeypatch, tmp_path, choice):
    """Break one rule of the reference: every row of that rule has to fail, and no other."""
    real = binary.sign_scale_backward

    def wrong(g, w, scale="layer", gradient="xnor", *options, **more):
        return real(g, w, scale, gradient, *options, **more) * (1.0001 if gradient == "exact" else 1)

    monkeypatch.setattr(binary, "sign_scale_backward", wrong)
    table = rows(tmp_path, check.sign_scale, check.dense, choice=choice)
    assert not table.ok
    expected = [row for row in table if row["gradient"] == "exact" and row["operator"] != "scale_bias"]
    assert expected and [row for row in table if not row["ok"]] == expected


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("name", OPERATORS)
def test_every_native_operator_is_checked(monkeypatch, tmp_path, name):
    """A row must fail when what the operator gives is off by a thousandth, and no row when it is not."""
    real = getattr(mx.nd, name)

    def wrong(*arguments, **options):
        found = real(*arguments, **options)
        for array in found if isinstance(found, (list, tuple)) else [found]:
            with mx.autograd.pause():
                array[:] = array + 1 if array.dtype == np.int32 else array * 1.001
        return found

    def table():
        """Those of frozen nets first for the operators that they are made of."""
        rng = np.random.default_rng(0)
        of_layers = (subject.rows("float32", "imperative", rng, str(tmp_path)) for subject in check.SUBJECTS)
        of_nets = check.frozen.rows("native", rng, str(tmp_path))
        yield from of_nets if "pack" in name else itertools.chain.from_iterable(of_layers)

    monkeypatch.setattr(mx.nd, name, wrong)
    with ops.use("native"):
        assert any(max(errors) > check.BOUND for errors, _ in table())


def test_there_are_operators():
    """Without them the test above would hold nothing."""
    assert not library.available() or {"gluon_bnn_sign_scale", "gluon_bnn_adam", "gluon_bnn_pack"} <= set(OPERATORS)


@pytest.mark.parametrize("choice", [pytest.param("native", marks=needs_library), "composed"])
def test_every_layer_loss_and_optimiser_is_checked(tmp_path, choice):
    table = rows(tmp_path, choice=choice)
    assert table.ok, table
    checked = " ".join(row["operator"] for row in table)
    for module in nn, loss, optimizer:
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)) and name != "WithLoss":  # which computes nothing itself
                assert name in checked, f"{module.__name__}.{name} has no row"
    for name in ("sign_scale", "scale_bias"):
        assert name in checked


@pytest.mark.parametrize(
    "module, function, operators",
    [
        (dense, "squared_hinge", {"SquaredHingeLoss"}),
        (dense, "squared_hinge_backward", {"SquaredHingeLoss"}),
        (dense, "sigmoid_backward", {"BinarySigmoid()"}),
        (dense, "batch_norm_backward", {"BatchNorm, training", "BatchNorm(axis=1), training"}),
        (dense, "batch_norm_inference", {"BatchNorm, inference", "BatchNorm(axis=1), inference"}),
        (reference, "learning_rate_scale", {"BinaryAdam"}),
        (reference, "curvature", {"BinaryAdam"}),
    ],
)
@pytest.mark.parametrize("mode", check.MODES)
def test_each_subject_can_fail(monkeypatch, tmp_path, module, function, operators, mode):
    """Break a function of the reference by a part in a thousand: what it stands for has to fail, and nothing else."""
    if mode != "imperative" and operators == {"BinaryAdam"}:
        pytest.skip("an optimiser is part of no graph")
    real = getattr(module, function)

    def wrong(*arguments, **options):
        found = real(*arguments, **options)
        return {key: 1.001 * value for key, value in found.items()} if isinstance(found, dict) else 1.001 * found

    monkeypatch.setattr(module, function, wrong)
    subjects = check.activations, check.batch_norm, check.loss, check.optimizer
    assert failed(rows(tmp_path, *subjects, choice="composed", mode=mode)) == operators


@pytest.mark.parametrize("change", [{"beta1": 0.9001}, {"wd": 0.001}, {"clip_gradient": 0.2}])
def test_the_optimiser_rows_hold_its_options(monkeypatch, tmp_path, change):
    real = optimizer.BinaryAdam
    monkeypatch.setattr(check.optimizer, "BinaryAdam", lambda **options: real(**{**options, **change}))
    assert failed(rows(tmp_path, check.optimizer, choice="composed")) == {"BinaryAdam"}


def test_the_optimiser_rows_hold_the_weights_within_1(monkeypatch, tmp_path):
    class Plain(optimizer.BinaryAdam):
        def _binary(self, index):
            return None

    monkeypatch.setattr(check.optimizer, "BinaryAdam", Plain)
    monkeypatch.setattr(check.optimizer, "OPTIONS", ({},))
    assert not any(row["ok"] for row in rows(tmp_path, check.optimizer, choice="composed"))


def test_a_convolution_of_images_that_are_zero_but_for_an_edge():
    """Some weights of a kernel then meet zeros only, and have a gradient of 0 but for rounding."""
    net, images = nn.BinaryConv2D(16, 3, padding=1, in_channels=16), np.zeros((3, 16, 24, 24), np.float32)
    net.initialize()
    images[..., 0, :] = np.random.default_rng(1).standard_normal(images[..., 0, :].shape)
    table = check.check_net(net, mx.nd.array(images))
    assert table.ok, table


def test_ctrl_c_is_not_lost(monkeypatch, capsys):
    """It may come while an array is freed, where Python itself would print it and go on."""

    class Interrupts:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            sum(range(1000))

    class Subject:
        def rows(*_):
            Interrupts()
            yield (0, 0), {}
            print("went on")

    monkeypatch.setattr(check, "SUBJECTS", [Subject])
    assert main(["check"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")
