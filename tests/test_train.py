"""Training and its checkpoints: a resumed run ends with the same numbers, and damage is reported."""
import json

import numpy as np
import pytest

from gluon_bnn import nn, optimizer, train  # optimizer: by name, in Trainer
from gluon_bnn._compat import mx

SETTINGS = {"lr": 0.01}


# LAB keeps a curvature for each weight; stochastic signs and dropout draw random numbers inside of the net.
LAYERS = {"xnor": {}, "lab": {"scale": "loss"}, "stochastic": {"scale": None, "stochastic": True}}


def make(seed=0, units=7, kind="xnor"):
    np.random.seed(seed)
    mx.random.seed(seed)
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryDense(units, in_units=12, **LAYERS[kind]), mx.gluon.nn.BatchNorm(in_channels=units),
            mx.gluon.nn.Dropout(0.2), nn.BinaryActivation(),
            nn.BinaryDense(3, in_units=units, **LAYERS[kind]))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    name = "adam" if kind == "xnor" else "binaryadam"
    return net, mx.gluon.Trainer(net.collect_params(), name, kvstore=None)


X = np.random.default_rng(0).standard_normal((60, 12)).astype(np.float32)
LABELS = X[:, :3].argmax(axis=1)


def batches(generator):
    order = generator.permutation(len(X))
    for i in range(0, len(X), 20):
        rows = order[i:i + 20]
        yield mx.nd.array(X[rows]), mx.nd.array(LABELS[rows])


def fit(net, trainer, epochs=6, validate=None, settings=SETTINGS, loss=None, **options):
    loss = loss or mx.gluon.loss.SoftmaxCrossEntropyLoss()
    return train.fit(net, trainer, loss, batches, 3, train.rates(0.01, 0.001, epochs),
                     validate or (lambda net: train.evaluate(net, X, LABELS)), 5, progress=False,
                     settings=settings, **options)


def values(net):
    return [p.data().asnumpy() for p in net.collect_params().values()]


def cut_at(path, epoch, error, kind="xnor"):
    """Train until `error` is raised while validating this epoch."""
    calls = []

    def validate(net):
        calls.append(1)
        if len(calls) == epoch:
            raise error
        return train.evaluate(net, X, LABELS)
    with pytest.raises(type(error)):
        fit(*make(kind=kind), validate=validate, checkpoint=path)


@pytest.mark.parametrize("kind, epoch", [("xnor", 1), ("xnor", 2), ("xnor", 4), ("xnor", 6), ("lab", 1), ("lab", 3),
                                         ("stochastic", 3)])
def test_resume_is_exact(tmp_path, kind, epoch):
    net, trainer = make(kind=kind)
    whole = fit(net, trainer)
    assert whole["loss"][-1] < whole["loss"][0]
    path = str(tmp_path / "c.safetensors")
    cut_at(path, epoch, KeyboardInterrupt(), kind)
    other, trainer = make(seed=99, kind=kind)  # everything must come from the checkpoint
    resumed = fit(other, trainer, checkpoint=path, resume=True)
    for key in ("loss", "error", "validation_error", "best_epoch"):
        assert resumed[key] == whole[key]
    for a, b in zip(values(net), values(other)):
        np.testing.assert_array_equal(a, b)


def test_a_finished_run_resumes_to_its_result(tmp_path):
    path = str(tmp_path / "c.safetensors")
    net, trainer = make()
    done = fit(net, trainer, checkpoint=path)
    other, trainer = make(seed=99)
    assert fit(other, trainer, checkpoint=path, resume=True) == done
    for a, b in zip(values(net), values(other)):
        np.testing.assert_array_equal(a, b)


def test_best_epoch_is_kept():
    errors = iter([0.5, 0.1, 0.3, 0.1])
    net, trainer = make()
    seen = []

    def validate(net):
        seen.append(values(net))
        return next(errors)
    assert fit(net, trainer, epochs=4, validate=validate)["best_epoch"] == 1
    for a, b in zip(values(net), seen[1]):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "metadata", "history", "format"])
def test_damaged_checkpoints(tmp_path, damage):
    from safetensors.numpy import load_file, save_file
    from safetensors import safe_open
    path = tmp_path / "c.safetensors"
    cut_at(str(path), 3, KeyboardInterrupt())
    content = path.read_bytes()
    with safe_open(str(path), framework="numpy") as file:
        meta = json.loads(file.metadata()["gluon_bnn"])
    if damage == "cut":
        path.write_bytes(content[:len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(b"\xff" * 8 + content[8:])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        save_file({"a": np.zeros(3)}, str(path))
    else:
        if damage == "metadata":
            meta = [1, 2]
        elif damage == "history":
            del meta["state"]["history"]["loss"][0]
        else:
            meta["format"] = 99
        save_file(load_file(str(path)), str(path), metadata={"gluon_bnn": json.dumps(meta)})
    net, trainer = make()
    before = values(net)
    with pytest.raises(ValueError, match="c.safetensors"):
        fit(net, trainer, checkpoint=str(path), resume=True)
    for a, b in zip(before, values(net)):
        np.testing.assert_array_equal(a, b)


def test_checkpoints_of_other_runs(tmp_path):
    path = str(tmp_path / "c.safetensors")
    cut_at(path, 3, KeyboardInterrupt())
    with pytest.raises(ValueError, match=r"other settings.*'lr': \(0.01, 0.5\)"):
        fit(*make(), checkpoint=path, resume=True, settings={"lr": 0.5})
    with pytest.raises(ValueError, match="must be float32"):
        fit(*make(units=8), checkpoint=path, resume=True)


def test_unwritable_directory_shows_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        fit(*make(), checkpoint=str(tmp_path / "file" / "c.safetensors"),
            loss=lambda *a: pytest.fail("trained before it could write"))


@pytest.mark.parametrize("writes", [0, 1])
def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch, writes):
    path = tmp_path / "c.safetensors"
    cut_at(str(path), 3, KeyboardInterrupt())
    before, left = path.read_bytes(), iter(range(writes))

    def full(*args):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
    monkeypatch.setattr(train.os, "fsync", full)
    net, trainer = make()
    with pytest.raises(OSError, match="No space.*cannot be written"):
        fit(net, trainer, checkpoint=str(path), resume=True)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_divergence_is_reported():
    with pytest.raises(FloatingPointError, match="diverged"):
        fit(*make(), loss=lambda outputs, labels: outputs.sum(axis=1) * float("nan"))


def test_rates():
    np.testing.assert_allclose(train.rates(1e-2, 1e-4, 3), [1e-2, 1e-3, 1e-4])
    assert train.rates(1e-2, 1e-4, 1) == [1e-2]


def test_predict_needs_rows():
    with pytest.raises(ValueError, match="at least one row"):
        train.predict(make()[0], X[:0])
