"""Progress of training: in a terminal a bar that fits and always shows validation, elsewhere one line per epoch."""

import re
import sys

import numpy as np
import pytest

from gluon_bnn import nn, train
from gluon_bnn._compat import mx
from gluon_bnn._progress import EpochProgress

import terminals
from paths import script_of

DRIVE = """
import time
from gluon_bnn._progress import EpochProgress
with EpochProgress(60, 0, 3, True) as shown:
    for epoch in range(60):
        shown.begin_epoch(epoch)
        for step in range(3):
            shown.step()
            time.sleep(0.002)
            shown.tell(error="12.34%", loss="0.1234")
        shown.end_epoch(0.1, validation="98.76%", error="12.34%", loss="0.1234")
"""


@pytest.mark.parametrize("columns", [100, 80, 60, 30])
def test_a_bar_fits_the_terminal_and_tells_validation(columns):
    states = terminals.shown([sys.executable, "-c", DRIVE], columns)
    assert max(map(len, states)) <= columns and len(states) > 60
    assert all(state.startswith("epoch ") for state in states)
    later = [state for state in states if not state.startswith("epoch 1/")]
    assert all(re.match(r"epoch \d+/60 validation 98\.76%", state) for state in later)
    if columns >= 60:
        assert states[-1].startswith("epoch 60/60 validation 98.76% error 12.34% loss 0.1234 00:0")
    if columns >= 80:
        assert re.search(r"00:0\d \|█+\|$", states[-1])


def fit(**options):
    x = np.random.default_rng(0).normal(size=(60, 8))
    labels = (x[:, 0] > 0).astype(int)
    net = nn.BinaryDense(2)
    net.initialize()
    trainer, loss = mx.gluon.Trainer(net.collect_params(), "adam"), mx.gluon.loss.SoftmaxCrossEntropyLoss()
    if options.pop("validated", True):
        options["validate"] = x, labels
    return train.fit(net, trainer, loss, train.batches(x, labels, 10), epochs=11, **options)


@pytest.mark.parametrize("validated, middle", [(True, r", validation \S+%"), (False, "")])
def test_a_line_an_epoch_where_output_is_no_terminal(capsys, validated, middle):
    fit(validated=validated)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == "" and len(lines) == 11
    for epoch, line in enumerate(lines, 1):
        expected = rf"epoch {epoch}/11: loss \d\.\d{{4}}, error \S+%{middle}, \d+\.\d s, \d\d:\d\d left"
        assert re.fullmatch(expected, line), line


def test_a_metric_and_a_run_that_is_resumed(capsys, tmp_path):
    options = dict(metric="acc", mode="max", checkpoint=tmp_path / "c", patience=1)
    done = len(fit(**options)["loss"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == done < 11 and re.search(r"metric 0\.\d+, validation 0\.\d+,", lines[-1]), lines
    fit(**{**options, "patience": 20}, resume=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"epoch {done + 1}/11: ") and lines[-1].endswith(" 00:00 left")


def test_nothing_on_demand(capsys):
    fit(progress=False)
    assert capsys.readouterr() == ("", "")


def test_no_output_at_all(monkeypatch):
    """pythonw has no stderr."""
    monkeypatch.setattr(sys, "stderr", None)
    with EpochProgress(2, 0, None, False) as shown:
        shown.begin_epoch(0)
        shown.step()
        shown.end_epoch(0.1, loss="0.1")


@pytest.mark.slow
def test_a_script_in_a_terminal(tmp_path):
    options = ["--hidden", "10", "--epochs", "3", "--save-dir", "run"]
    states = terminals.shown([sys.executable, script_of("train_mnist.py"), *options], 80, cwd=tmp_path)
    bar = [state for state in states if re.match(r"epoch \d/3", state)][-1]
    assert re.match(r"epoch 3/3 validation \S+% error \S+% loss \d\.\d{4} 00:00 \|█+\|$", bar), states
