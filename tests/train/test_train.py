"""Training and its checkpoints: a resumed run ends with the same numbers, and damage is reported."""

import ast
import copy
import json
import os
import pathlib
import random
import re
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import gluon_bnn.train.checkpoint
from gluon_bnn import _files, nn, train
from gluon_bnn._compat import mx

from tiny_runs import LABELS, SETTINGS, X, cut_at, fit, make, values


@pytest.mark.parametrize(
    "kind, epoch", [("xnor", 1), ("xnor", 2), ("xnor", 4), ("xnor", 6), ("lab", 1), ("lab", 3), ("stochastic", 3)]
)
def test_resume_is_exact(tmp_path, kind, epoch):
    net, trainer = make(kind=kind)
    whole = fit(net, trainer)
    assert whole["loss"][-1] < whole["loss"][0]
    path = str(tmp_path / "c.safetensors")
    cut_at(path, epoch, KeyboardInterrupt(), make(kind=kind))
    other, trainer = make(seed=99, kind=kind)  # everything must come from the checkpoint
    resumed = fit(other, trainer, checkpoint=path, resume=True)
    for key in ("loss", "error", "validation_error", "best_epoch"):
        assert resumed[key] == whole[key]
    for a, b in zip(values(net), values(other)):
        np.testing.assert_array_equal(a, b)


def test_names_of_layers_may_change_their_order(tmp_path):
    """Gluon counts all layers of a process, and a Trainer sorts their names: dense10 comes before dense9."""

    def make(first=9, seed=0):
        np.random.seed(seed)
        mx.random.seed(seed)
        net = mx.gluon.nn.HybridSequential()
        for index in range(first, first + 2):
            net.add(nn.BinaryDense(12, in_units=12, prefix=f"dense{index}_", gradient="ste"))
        net.initialize(mx.init.Xavier())
        return net, mx.gluon.Trainer(net.collect_params(), "adam", kvstore=None)

    net, trainer = make()
    whole = fit(net, trainer)
    path = str(tmp_path / "c.safetensors")
    cut_at(path, 3, KeyboardInterrupt(), make())
    other, trainer = make(first=10, seed=99)
    assert fit(other, trainer, checkpoint=path, resume=True)["loss"] == whole["loss"]
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


def metadata_of(path):
    with safe_open(str(path), framework="numpy") as file:
        return json.loads(file.metadata()["gluon_bnn"])


def rewrite(path, metadata, tensors=None):
    """Write a checkpoint with other content, whose digest is right."""
    tensors = load_file(str(path)) if tensors is None else tensors
    if isinstance(metadata, dict):
        metadata = {name: value for name, value in metadata.items() if name != "digest"}
        metadata["digest"] = gluon_bnn.train.checkpoint._digest(metadata, tensors)
    save_file(tensors, str(path), {"gluon_bnn": json.dumps(metadata)})


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "other", "metadata", "history", "format", "one bit", "digits"]
)
def test_damaged_checkpoints(tmp_path, damage):
    path = tmp_path / "c.safetensors"
    cut_at(str(path), 3, KeyboardInterrupt())
    content = path.read_bytes()
    meta = metadata_of(path)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(b"\xff" * 8 + content[8:])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "one bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "digits":
        path.write_bytes(content.replace(b'num_update\\": 6', b'num_update\\": 7'))
        assert path.read_bytes() != content
    elif damage == "other":
        save_file({"a": np.zeros(3)}, str(path))
    else:
        if damage == "metadata":
            meta = [1, 2]
        elif damage == "history":
            del meta["state"]["history"]["loss"][0]
        else:
            meta["format"] = 99
        rewrite(path, meta)
    net, trainer = make()
    before = values(net)
    with pytest.raises(ValueError, match="c.safetensors"):
        fit(net, trainer, checkpoint=str(path), resume=True)
    for a, b in zip(before, values(net)):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(FileExistsError, match="c.safetensors"):
        fit(net, trainer, checkpoint=str(path))
    fit(net, trainer, checkpoint=str(path), overwrite=True)


ODD = [
    None,
    0,
    -1,
    1,
    2,
    1e308,
    float("nan"),
    float("inf"),
    "x",
    "1",
    "\u00b2",
    "1e3",
    [],
    [1],
    {},
    {"a": 1},
    True,
    2**63,
    10**400,
    0.5,
    [None],
    ["x"] * 3,
    [[]],
    {"0": {}},
    {"1": -1},
    {"1": True},
    "\ud800",
]


def places(value, path=()):
    """The paths of all that is in a JSON value."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield path + (key,)
            yield from places(value[key], path + (key,))


@pytest.mark.slow
def test_odd_metadata(tmp_path):
    """Whatever the JSON holds, with a digest that is right: a ValueError with the path, or a run that goes on."""
    path, generator = tmp_path / "c.safetensors", random.Random(1)
    cut_at(str(path), 3, KeyboardInterrupt())
    right, tensors = metadata_of(path), load_file(str(path))
    net, trainer = make()
    names = ["loss", "error", "validation_error", "seconds"]
    file = gluon_bnn.train.checkpoint.Checkpoint(path, net, trainer, {"settings": SETTINGS, "seed": 5, "mode": "min"})
    before, refused = values(net), 0
    changes = [(path, value) for path in places(right) for value in ODD] + [((), value) for value in ODD]
    for where, value in generator.sample(changes, 300):
        metadata = copy.deepcopy(right)
        if where:
            inner = metadata
            for key in where[:-1]:
                inner = inner[key]
            if generator.random() < 0.2:
                del inner[where[-1]]
            else:
                inner[where[-1]] = value
        rewrite(path, metadata if where else value, tensors)
        try:
            history, _ = file.load(names)
            assert all(isinstance(number, float) for column in history.values() for number in column)
            gluon_bnn.train.checkpoint.set_values(net, dict(zip(net._collect_params_with_prefix(), before)))
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
            for a, b in zip(before, values(net)):
                np.testing.assert_array_equal(a, b)
        try:
            file.check_finished()
        except FileExistsError as error:
            assert str(path) in str(error)
    assert 210 < refused < 300


NESTED = ['{"format": 3, "settings": ' + "[" * depth + "]" * depth + "}" for depth in range(10, 1010, 50)]


@pytest.mark.parametrize(
    "text", [*NESTED, "[" * 100000, '{"format": 3, "state": ' + '{"a": ' * 100000, "1" * 10000, "", "\0"]
)
def test_metadata_that_is_hardly_json(tmp_path, text):
    path = tmp_path / "c.safetensors"
    save_file({"a": np.zeros(3)}, str(path), {"gluon_bnn": text})
    with pytest.raises(ValueError, match="c.safetensors"):
        fit(*make(), checkpoint=path, resume=True)


def test_checkpoints_that_are_no_regular_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ValueError, match="is not a regular file"):
            fit(*make(), checkpoint=path, resume=True)
        with pytest.raises(FileExistsError, match="is not a regular file"):
            fit(*make(), checkpoint=path)
        with pytest.raises(OSError, match="regular file"):
            fit(*make(), checkpoint=path, overwrite=True)


def test_checkpoints_of_other_runs(tmp_path):
    path = str(tmp_path / "c.safetensors")
    cut_at(path, 3, KeyboardInterrupt())
    with pytest.raises(ValueError, match=r"differs in settings: saved {'lr': 0.01}, now {'lr': 0.5}"):
        fit(*make(), checkpoint=path, resume=True, settings={"lr": 0.5})
    with pytest.raises(ValueError, match=r"differs in settings: saved {'lr': 0.01}, now \['lr'\]"):
        fit(*make(), checkpoint=path, resume=True, settings=["lr"])
    with pytest.raises(ValueError, match="differs in mode: saved min, now max"):
        fit(*make(), checkpoint=path, resume=True, mode="max")
    with pytest.raises(ValueError, match="history of loss, error.* this run one of loss, metric"):
        fit(*make(), checkpoint=path, resume=True, metric="acc", mode="min")
    with pytest.raises(ValueError, match="must be float32"):
        fit(*make(units=8), checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="other net or optimiser"):
        fit(*make(kind="lab"), checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="has 2 epochs, more than the 1 epochs"):
        fit(*make(), epochs=1, checkpoint=path, resume=True)


def test_an_unfinished_run_is_not_overwritten(tmp_path):
    path = tmp_path / "c.safetensors"
    cut_at(path, 3, KeyboardInterrupt())
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="not finished: 2 of 6 epochs.*c.safetensors"):
        fit(*make(), checkpoint=path)
    assert path.read_bytes() == before
    done = fit(*make(), checkpoint=path, overwrite=True)
    again = fit(*make(), checkpoint=path)  # it is finished
    assert again["loss"] == done["loss"]


def test_a_checkpoint_may_be_a_link(tmp_path):
    (tmp_path / "link").symlink_to("target")
    fit(*make(), epochs=1, checkpoint=tmp_path / "link")
    fit(*make(), epochs=2, checkpoint=tmp_path / "link", resume=True)
    assert (tmp_path / "link").is_symlink() and sorted(os.listdir(tmp_path)) == ["link", "target"]


def test_what_is_no_checkpoint_is_not_overwritten(tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_text("years of work")
    with pytest.raises(FileExistsError, match="thesis.txt"):
        fit(*make(), checkpoint=path)
    assert path.read_text() == "years of work" and os.listdir(tmp_path) == ["thesis.txt"]


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume.*mistyped"):
        fit(*make(), checkpoint=tmp_path / "mistyped" / "c.safetensors", resume=True)
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="resume needs a checkpoint"):
        fit(*make(), resume=True)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_two_runs_cannot_have_one_checkpoint(tmp_path, options):
    path = tmp_path / "c.safetensors"
    cut_at(path, 3, KeyboardInterrupt())
    before = path.read_bytes()
    with _files.lock(path), pytest.raises(BlockingIOError, match=f"process {os.getpid()} .*c.safetensors"):
        fit(*make(), checkpoint=path, **options)
    assert path.read_bytes() == before

    def second(net):
        with pytest.raises(BlockingIOError):
            fit(*make(), checkpoint=path, **options)
        return 0.5

    fit(*make(), checkpoint=path, resume=True, validate=second)
    assert os.listdir(tmp_path) == [path.name]


def test_unwritable_directory_shows_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError):
        fit(
            *make(),
            checkpoint=str(tmp_path / "file" / "c.safetensors"),
            loss=lambda *a: pytest.fail("trained before it could write"),
        )


@pytest.mark.parametrize("writes", [0, 1])
def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch, writes):
    path = tmp_path / "c.safetensors"
    cut_at(str(path), 3, KeyboardInterrupt())
    before, left = path.read_bytes(), iter(range(writes))

    def full(*args):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    net, trainer = make()
    with pytest.raises(OSError, match="No space.*cannot be written"):
        fit(net, trainer, checkpoint=str(path), resume=True)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_divergence_is_reported():
    with pytest.raises(FloatingPointError, match="diverged"):
        fit(*make(), loss=lambda outputs, labels: outputs.sum(axis=1) * float("nan"))


def perfect(classes=10):
    """A net, inputs, and labels that are the class of its largest output."""
    mx.random.seed(0)
    net = nn.BinaryDense(classes, in_units=12)
    net.initialize()
    return net, train.predict(net, X).argmax(axis=1)


def fit_on(net, labels, loss=None, epochs=1, validate=lambda net: 0.5, outputs=None, **options):
    """Three steps an epoch on X and these labels."""
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0}, kvstore=None)
    return train.fit(
        net,
        trainer,
        loss or mx.gluon.loss.SoftmaxCrossEntropyLoss(),
        lambda _: [
            (mx.nd.array(X[i : i + 20]), mx.nd.array(labels[i : i + 20], dtype=labels.dtype)) for i in range(0, 60, 20)
        ],
        3,
        [0.0] * epochs,
        validate,
        0,
        progress=False,
        **options,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_labels_of_classes(shape, dtype):
    net, labels = perfect()
    labels = labels.astype(dtype).reshape(shape)
    assert train.evaluate(net, X, labels) == 0
    assert train.evaluate(net, X, mx.nd.array(labels, dtype=dtype)) == 0
    assert fit_on(net, labels)["error"] == [0]
    labels[:6] = (labels[:6] + 1) % 10
    assert train.evaluate(net, X, labels) == fit_on(net, labels)["error"][0] == 0.1


def one_hot(labels):
    return np.eye(10, dtype=np.float32)[labels]


WRONG_LABELS = {
    "one for all": lambda y: y[:1],
    "too few": lambda y: y[:59],
    "a row of them": lambda y: y[None],
    "one-hot": one_hot,
    "two columns": lambda y: np.stack([y, y], 1),
    "3 axes": lambda y: y[:, None, None],
    "fractions": lambda y: y + 0.5,
    "negative": lambda y: y - 10,
    "beyond": lambda y: y + 1 + 9 * (y == 0),
    "NaN": lambda y: np.where(np.arange(60) == 59, np.nan, y),
    "infinite": lambda y: y + np.inf,
    "a number": lambda y: np.float32(3),
    "names": lambda y: y.astype(str),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_labels_of_no_class_are_refused(name):
    net, labels = perfect()
    wrong = WRONG_LABELS[name](labels)
    with pytest.raises(ValueError, match="label"):
        train.evaluate(net, X, wrong)
    if name in ("a number", "names") or len(wrong) < 20:
        return
    if name == "too few":
        wrong = wrong[:50]  # the last batch has 20 rows and 10 labels
    loss = lambda outputs, labels: outputs.sum(axis=1)  # takes anything
    with pytest.raises(ValueError, match="labels.* give metric="):
        fit_on(net, wrong.astype(np.float32), loss)


@pytest.mark.parametrize("shape", [(60, 1), (60,), (60, 2, 3), (1, 60)])
def test_outputs_of_no_classes_are_refused(shape):
    class Net(mx.gluon.nn.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.zeros(tuple(len(x) if size == 60 else size for size in shape))

    with pytest.raises(ValueError, match="outputs.* give metric="):
        train.evaluate(Net(), X, np.zeros(60))


def test_a_net_of_one_output_needs_a_metric():
    net = mx.gluon.nn.Dense(1, in_units=12)
    net.initialize(mx.init.Xavier())
    labels = (X[:, 0] > 0).astype(np.float32)
    loss = mx.gluon.loss.SigmoidBCELoss()
    with pytest.raises(ValueError, match="at least 2 classes"):
        fit_on(net, labels, loss)

    def accuracy(labels, outputs):
        return ((outputs[:, 0] > 0) == labels).mean()

    found = fit_on(net, labels, loss, metric=accuracy, mode="max")
    expected = train.evaluate(net, X, labels, metric=accuracy)
    assert 0 < expected < 1 and found["metric"] == [pytest.approx(expected, rel=1e-12)]
    assert set(found) == {"loss", "metric", "validation_metric", "seconds", "best_epoch"}


@pytest.mark.parametrize(
    "name, given",
    [
        ("acc", "acc"),
        ("acc", mx.metric.Accuracy()),
        ("top 2", mx.metric.TopKAccuracy(2)),
        ("mine", lambda labels, outputs: (outputs.argmax(1) == labels).mean()),
    ],
)
def test_metrics(name, given):
    net, labels = perfect()
    labels[:6] = (labels[:6] + 1) % 10
    value = train.evaluate(net, X, labels, batch_size=7, metric=given)
    assert isinstance(value, float) and (value >= 0.9 if name == "top 2" else value == 0.9)
    assert train.evaluate(net, X, labels, metric=given) == value  # it does not add up
    found = fit_on(net, labels, epochs=2, metric=given, mode="max")["metric"]
    np.testing.assert_allclose(found, value, rtol=1e-12)


def test_a_metric_of_regression_and_sequences():
    targets = X[:, :4]
    net = mx.gluon.nn.Dense(4, in_units=12)
    net.initialize()
    expected = ((train.predict(net, X) - targets) ** 2).mean()
    assert train.evaluate(net, X, targets, metric="mse") == pytest.approx(expected, rel=1e-6)
    found = fit_on(net, targets, mx.gluon.loss.L2Loss(), metric="mse", mode="min")
    assert found["metric"][0] == pytest.approx(expected, rel=1e-6)
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.HybridLambda(lambda F, x: F.reshape(x, (-1, 4, 3))))
    assert train.evaluate(net, X, np.zeros((60, 4)), metric=lambda y, z: (z.argmax(2) != y).mean()) == pytest.approx(
        (X.reshape(60, 4, 3).argmax(2) != 0).mean()
    )


@pytest.mark.parametrize(
    "metric, message",
    [
        ("nonsense", "no metric of the name 'nonsense'"),
        (5, "metric must be.*got 5"),
        (mx.metric.Accuracy, "metric must be"),
        (["acc", "mse"], "metric must be"),
        (mx.metric.CompositeEvalMetric(["acc", "ce"]), "metric must give one number"),
        (lambda y, z: None, "one number, got None"),
        (lambda y, z: y, "one number"),
        (lambda y, z: (1, 2), "one number"),
    ],
)
def test_metrics_that_are_none(metric, message):
    net, labels = perfect()
    with pytest.raises(ValueError, match=message):
        train.evaluate(net, X, labels, metric=metric)
    with pytest.raises(ValueError, match=message):
        fit_on(net, labels, metric=metric, mode="min")


def array(number):
    return mx.nd.array([number])


@pytest.mark.parametrize(
    "mode, metric, kind, numbers, best",
    [
        (None, None, float, [0.5, 0.1, 0.3, 0.1], 1),
        ("min", "acc", np.float32, [0.5, 0.1, 0.3, 0.1], 1),
        ("max", "acc", array, [0.5, 0.1, 0.7, 0.7], 2),
        ("max", None, float, [0.5, 0.1, 0.3, 0.1], 0),
        ("min", "acc", array, [float("nan"), 3, 2, float("nan")], 2),
        ("max", "acc", np.float32, [-5, float("nan"), -3, -4], 2),
        ("min", "acc", float, [float("nan")] * 4, 0),
        ("min", None, np.float32, [float("inf"), 2, 1, 3], 2),
    ],
)
def test_the_best_epoch(tmp_path, mode, metric, kind, numbers, best):
    left, seen = iter(numbers), []
    net, trainer = make()

    def validate(net):
        seen.append(values(net))
        return kind(next(left))

    found = fit(net, trainer, epochs=4, validate=validate, metric=metric, mode=mode)
    assert found["best_epoch"] == best
    for a, b in zip(values(net), seen[best]):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_best_epoch_of_a_resumed_run(tmp_path):
    numbers = [float("nan"), 0.3, 0.7, 0.2, 0.5, 0.7]
    net, trainer = make()
    left = iter(numbers)
    whole = fit(net, trainer, validate=lambda net: next(left), metric="acc", mode="max")
    for epochs in range(1, 6):
        left, path = iter(numbers[:epochs]), tmp_path / str(epochs)
        with pytest.raises(StopIteration):
            fit(*make(), validate=lambda net: next(left), metric="acc", mode="max", checkpoint=path)
        left = iter(numbers[epochs:])
        other, trainer = make(seed=99)
        resumed = fit(
            other, trainer, validate=lambda net: next(left), metric="acc", mode="max", checkpoint=path, resume=True
        )
        assert resumed["best_epoch"] == whole["best_epoch"] == 2 and resumed["metric"] == whole["metric"]
        for a, b in zip(values(net), values(other)):
            np.testing.assert_array_equal(a, b)


def test_the_direction_of_a_metric_must_be_known():
    with pytest.raises(ValueError, match='mode must be "min" or "max".*got nothing'):
        fit(*make(), metric="acc")
    with pytest.raises(ValueError, match='mode must be "min" or "max".*got \'best\''):
        fit(*make(), mode="best")


@pytest.mark.parametrize("value", [None, "0.5", [0.1, 0.2], mx.nd.zeros(2)])
def test_validate_must_give_a_number(value):
    with pytest.raises(ValueError, match="validate must give one number"):
        fit(*make(), validate=lambda net: value)


def test_labels_in_an_array_that_is_used_again():
    """An iterator may write each batch into the same arrays; what is counted are the labels of each step."""
    net, labels = perfect()
    x, y = mx.nd.zeros((20, 12)), mx.nd.zeros(20)

    def batches(_):
        for i in range(0, 60, 20):
            x[:], y[:] = X[i : i + 20], labels[i : i + 20]
            yield x, y

    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0}, kvstore=None)
    assert train.fit(
        net, trainer, mx.gluon.loss.SoftmaxCrossEntropyLoss(), batches, 3, [0.0], lambda net: 0.5, 0, progress=False
    )["error"] == [0]


PAIR = mx.nd.array(X[:20]), mx.nd.array(LABELS[:20])


@pytest.mark.parametrize(
    "found, message",
    [
        (mx.io.NDArrayIter(X, LABELS, 20), r"got a DataBatch; .*batch.data\[0\]"),
        ([PAIR[0][:2]], "got a NDArray"),
        ([X[:20]], "got a ndarray"),
        ([(X[:20], PAIR[1])], r"got a tuple of \(ndarray, NDArray\)"),
        ([(*PAIR, PAIR[1])], r"tuple of \(NDArray, NDArray, NDArray\)"),
        ([], "batches gave none for this epoch"),
    ],
)
def test_batches_that_are_none(found, message):
    net, trainer = make()
    with pytest.raises(ValueError, match=message):
        train.fit(
            net,
            trainer,
            mx.gluon.loss.SoftmaxCrossEntropyLoss(),
            lambda _: found,
            1,
            [0.1],
            lambda net: 0.5,
            0,
            progress=False,
        )


def test_an_exhausted_generator():
    net, trainer = make()
    used_up = (PAIR for _ in range(3))
    with pytest.raises(ValueError, match="new iterable each time"):
        train.fit(
            net,
            trainer,
            mx.gluon.loss.SoftmaxCrossEntropyLoss(),
            lambda _: used_up,
            1,
            [0.1] * 2,
            lambda net: 0.5,
            0,
            progress=False,
        )


def test_a_net_of_several_outputs_is_refused():
    net = mx.gluon.nn.HybridLambda(lambda F, x: (x, x))
    with pytest.raises(ValueError, match="one NDArray, got a (tuple|list)"):
        train.evaluate(net, X, LABELS)
    _, trainer = make()
    with pytest.raises(ValueError, match="one NDArray, got a (tuple|list)"):
        fit(net, trainer)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(epochs=1.5), "epochs must be a whole number of at least 0, got 1.5"),
        (dict(epochs=-1), "epochs must be .* got -1"),
        (dict(epochs=None, learning_rates=0.1), "learning_rates must be a list of finite numbers .* got 0.1"),
        (dict(epochs=None, learning_rates=[0.1, float("nan")]), "learning_rates must be"),
        (dict(epochs=None, learning_rates=[-0.1]), "learning_rates must be"),
        (dict(epochs=None, learning_rates=["fast"]), "learning_rates must be"),
        (dict(epochs=None, learning_rates=(rate for rate in [0.1])), "learning_rates must be"),
        (dict(batches=[PAIR]), "batches must be a function .* got a list; .* lambda generator"),
        (dict(batches=iter([PAIR])), "batches must be a function"),
        (dict(loss=lambda outputs, labels: None), "loss must give an NDArray, .* got a NoneType"),
        (dict(seed=-1), "seed must be a whole number of at least 0, got -1"),
        (dict(seed=0.5), "seed must be"),
        (dict(patience=1), "patience is about the numbers of validate: it needs validate, got none"),
        (dict(patience="1", validate=(X, LABELS)), "patience must be .* got '1'"),
        (dict(checkpoint=""), "checkpoint must be the path of a file"),
        (dict(watch={"clipped": 0.5}), "watch must be a dict of functions"),
        (dict(watch=[len]), "watch must be a dict of functions"),
    ],
)
def test_wrong_options(options, message):
    net, trainer = make()
    before = values(net)
    given = dict(loss=mx.gluon.loss.SoftmaxCrossEntropyLoss(), batches=lambda generator: [PAIR], epochs=1)
    with pytest.raises(ValueError, match=message):
        train.fit(net, trainer, progress=False, **{**given, **options})
    for a, b in zip(values(net), before):
        np.testing.assert_array_equal(a, b)


def test_a_net_of_open_shapes_needs_a_batch():
    net = nn.BinaryDense(2)
    net.initialize()
    trainer = mx.gluon.Trainer(net.collect_params(), "adam", kvstore=None)
    with pytest.raises(ValueError, match="at least one batch, got none"):
        train.fit(net, trainer, mx.gluon.loss.SoftmaxCrossEntropyLoss(), lambda generator: [], epochs=1)


def test_a_loss_of_one_number_is_refused():
    with pytest.raises(ValueError, match=r"one number for each of the 20 rows, got \(1,\)"):
        fit(*make(), loss=lambda outputs, labels: outputs.mean())


@pytest.mark.parametrize("device", [mx.cpu(0), mx.cpu(1)])
def test_evaluate_where_the_net_is(device):
    net = nn.BinaryDense(3, in_units=12)
    net.initialize(ctx=device)
    assert 0 <= train.evaluate(net, X, LABELS) <= 1


@pytest.mark.parametrize(
    "module",
    ["metric", "loss", "_files", "_pictures", "_progress"]
    + [f"train/{name}" for name in ("arrays", "fit", "checkpoint", "workers", "seeding")]
    + [f"data/{name}" for name in ("__init__", "idx", "mnist", "folders")],
)
def test_messages_name_no_option_of_a_script(module):
    """Options belong to scripts; the library's own words are its arguments."""
    tree = ast.parse((pathlib.Path(train.__file__).parent.parent / f"{module}.py").read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert texts and not [text for text in texts if re.search("--[a-z]", text)]


def test_rates():
    np.testing.assert_allclose(train.rates(1e-2, 1e-4, 3), [1e-2, 1e-3, 1e-4])
    assert train.rates(1e-2, 1e-4, 1) == [1e-2]
    assert train.rates(1e-2, 0, 3) == [1e-2, 0, 0]
    for start, end in ((0, 1e-2), (1e-2, -1), (float("nan"), 1), (1, float("inf"))):
        with pytest.raises(ValueError, match="start must be a finite number above 0"):
            train.rates(start, end, 3)
    net, trainer = make()
    fit(net, trainer, epochs=3)  # at these rates from 0.01 on
    assert trainer.learning_rate == pytest.approx(0.001)


def test_predict_needs_rows():
    with pytest.raises(ValueError, match="at least one row"):
        train.predict(make()[0], X[:0])


@pytest.mark.parametrize("size", [0, -1, 2.5, "9"])
def test_sizes_of_batches(size):
    for call in (train.predict, lambda net, x, size: train.evaluate(net, x, LABELS, size)):
        with pytest.raises(ValueError, match="batch_size must be a whole number from 1 to"):
            call(make()[0], X, size)


def test_what_numpy_makes_an_array_of():
    net = make()[0]
    np.testing.assert_array_equal(train.predict(net, X.tolist()), train.predict(net, X))
    assert train.evaluate(net, X.tolist(), LABELS.tolist()) == train.evaluate(net, X, LABELS)
    for wrong in (["a", "b"], 3.0):
        with pytest.raises(ValueError, match="an array of numbers is needed"):
            train.predict(net, wrong)
        with pytest.raises(ValueError, match="an array of numbers is needed"):
            train.evaluate(net, wrong, [0, 1])


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(validate=(X, LABELS[:-1])), "one label is needed for each of the 60 rows, got labels"),
        (dict(validate=(X[:0], LABELS[:0])), "at least one row is needed, got"),
        (dict(validate=(X, LABELS + 9)), "labels that are whole numbers from 0 to 2, got 1[01]"),
        (dict(validate=(X, LABELS - 0.5)), "labels that are whole numbers from 0 to 2, got"),
        (dict(validate=(X, LABELS[:, None, None])), r"labels \(60,\) or \(60, 1\), .* got \(60, 1, 1\)"),
        (dict(loss="hinge"), r"loss must be a function of \(outputs, labels\), got 'hinge'"),
        (dict(trainer="adam"), "trainer must be a gluon.Trainer over the net's parameters, got 'adam'"),
        (dict(steps=-1), "steps must be a whole number from 0 to"),
    ],
)
def test_fit_refuses_before_the_first_step(wrong, message):
    def batches(generator):
        raise AssertionError("work has begun")

    net, trainer = make()
    options = dict(trainer=trainer, loss=mx.gluon.loss.SoftmaxCrossEntropyLoss(), batches=batches, epochs=1)
    with pytest.raises(ValueError, match=message):
        train.fit(net, **{**options, **wrong})


# Arrays, early stopping, and what goes without saying


def deferred_net(units=7):
    net = mx.gluon.nn.HybridSequential()
    net.add(nn.BinaryDense(units), nn.BatchNorm(), nn.BinaryActivation(), nn.BinaryDense(3))
    net.initialize(mx.init.Xavier())
    return net, mx.gluon.Trainer(net.collect_params(), "adam", kvstore=None)


def fit_arrays(net, trainer, x=X, labels=LABELS, size=20, **options):
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    return train.fit(net, trainer, loss, train.batches(x, labels, size), **{"progress": False, **options})


def test_arrays_in_three_lines():
    """Float64 rows, integer labels, a net of open shapes, the Trainer's own rate; without validation the last epoch."""
    mx.random.seed(1)
    net, trainer = deferred_net()
    trainer.set_learning_rate(0.02)
    history = fit_arrays(net, trainer, X.astype(float), LABELS.tolist(), epochs=20)
    assert set(history) == {"loss", "error", "seconds", "best_epoch"} and history["best_epoch"] == 19
    assert history["error"][-1] < history["error"][0] - 0.1 and trainer.learning_rate == 0.02
    other, trainer = deferred_net()
    found = fit_arrays(other, trainer, epochs=2, validate=(X[:10].astype(float), LABELS[:10]), metric="acc", mode="max")
    assert found["validation_metric"][found["best_epoch"]] == train.evaluate(other, X[:10], LABELS[:10], metric="acc")


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_best_epoch_of_real_convolutions(axes, tmp_path):
    """A forward pass puts the weights into a layout of oneDNN's, in which MXNet's set_data fails over 1 and 3 axes."""
    convolution = {1: mx.gluon.nn.Conv1D, 2: mx.gluon.nn.Conv2D, 3: mx.gluon.nn.Conv3D}[axes]
    x = np.random.default_rng(0).standard_normal((60, 16, *(5,) * axes), np.float32)
    net = mx.gluon.nn.HybridSequential()
    net.add(convolution(16, 3, in_channels=16), nn.BinaryActivation(), nn.BinaryDense(3))
    net.initialize()
    seen = []

    def validate(net):
        train.predict(net, x)
        seen.append(net[0].weight.data().asnumpy().copy())
        return len(seen)

    def run(**options):
        trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1}, kvstore=None)
        return fit_arrays(net, trainer, x, validate=validate, checkpoint=tmp_path / "run.safetensors", **options)

    assert run(epochs=2)["best_epoch"] == 0
    mx.nd.waitall()
    assert not np.array_equal(*seen)
    np.testing.assert_array_equal(net[0].weight.data().asnumpy(), seen[0])
    train.predict(net, x)
    assert run(epochs=2, resume=True)["best_epoch"] == 0  # which sets the last epoch and then the best one
    mx.nd.waitall()
    np.testing.assert_array_equal(net[0].weight.data().asnumpy(), seen[0])


def test_open_shapes_take_no_random_numbers():
    """A first batch is drawn for the shapes: NumPy's generator is afterwards as it was."""
    loader = mx.gluon.data.DataLoader(mx.gluon.data.ArrayDataset(X, LABELS.astype(np.float32)), 20, shuffle=True)
    net, trainer = deferred_net()
    np.random.seed(3)
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    train.fit(net, trainer, loss, lambda generator: loader, epochs=1, progress=False)
    assert np.random.rand() == np.random.RandomState(3).rand()


def test_batches_of_arrays():
    found = train.batches(X, LABELS, 25)
    assert len(found) == 2
    drawn = [list(found(np.random.default_rng(seed))) for seed in (1, 1, 2)]
    for epoch in drawn:
        rows = np.concatenate([x.asnumpy() for x, _ in epoch])
        assert len(np.unique(rows, axis=0)) == 50 and [x.shape for x, _ in epoch] == [(25, 12)] * 2
        labels = np.concatenate([y.asnumpy() for _, y in epoch])
        np.testing.assert_array_equal(labels, rows[:, :3].argmax(axis=1))
    first, again, other = (np.concatenate([x.asnumpy() for x, _ in epoch]) for epoch in drawn)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    images = train.batches(np.zeros((3, 1, 4, 4), np.uint8), mx.nd.zeros((3, 2)), 3)
    ((x, y),) = images(np.random.default_rng(0))
    assert x.shape == (3, 1, 4, 4) and y.shape == (3, 2) and x.dtype == np.float32


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((X, LABELS[:-1], 20), "one label for each of the 60 rows, got 59"),
        ((np.where(np.arange(60)[:, None] == 7, np.nan, X), LABELS, 20), r"x must be finite, got nan in row 7, "),
        ((X, np.where(LABELS == 1, np.inf, LABELS), 20), "labels must be finite, got inf in row"),
        ((X, LABELS, 61), "batch_size must be a whole number from 1 to 60, got 61"),
        ((X, LABELS, 0), "from 1 to 60"),
        ((X, LABELS, 2.5), "batch_size must be a whole number from 1 to 60, got 2.5"),
        ((X[:0], LABELS[:0], 1), r"at least one row is needed, got \(0, "),
        ((3.0, LABELS, 1), "array of numbers is needed, its rows first; got float64"),
        ((X, ["cat"] * 60, 1), "array of numbers is needed"),
    ],
)
def test_arrays_that_are_no_batches(arguments, message):
    with pytest.raises(ValueError, match=message):
        train.batches(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("mode, sign, cases", [("min", 1, slice(None)), ("max", -1, slice(1, 2))])
def test_patience(tmp_path, mode, sign, cases):
    """Training stops where validation was no better for so many epochs in a row, and keeps the best."""
    numbers = [sign * number for number in (0.5, 0.6, 0.4, 0.4, float("nan"), 0.41, 0.1)]
    for patience, epochs, best in ((1, 2, 0), (2, 5, 2), (3, 6, 2), (4, 7, 6))[cases]:
        left, seen = iter(numbers), []
        net, trainer = make()

        def validate(net):
            seen.append(values(net))
            return next(left)

        path = tmp_path / f"{patience}.safetensors"
        found = fit(
            net, trainer, epochs=7, validate=validate, metric="acc", mode=mode, patience=patience, checkpoint=path
        )
        assert len(found["loss"]) == len(seen) == epochs and found["best_epoch"] == best
        assert found["stopped_early"] == (epochs < 7)
        for a, b in zip(values(net), seen[best]):
            np.testing.assert_array_equal(a, b)
        # It is finished: it may be overwritten, resumes to its result, and goes on with more patience.
        options = dict(metric="acc", mode=mode, checkpoint=path)
        copied = shutil.copy(path, tmp_path / "copy.safetensors")
        fit(*make(), epochs=1, validate=lambda net: 0.5, **{**options, "checkpoint": copied})
        other, trainer = make(seed=99)
        assert fit(other, trainer, epochs=7, resume=True, patience=patience, **options) == found
        for a, b in zip(values(net), values(other)):
            np.testing.assert_array_equal(a, b)
        more = fit(*make(), epochs=7, resume=True, validate=lambda net: next(left), **options)
        assert len(more["loss"]) == 7 and "stopped_early" not in more


def test_ties(tmp_path):
    """Of equally good epochs the first is kept, or the last; patience counts from the first."""
    numbers = [0.5, 0.2, 0.3, 0.2, 0.4, float("nan")]
    for ties, best in (("first", 1), ("last", 3)):
        left, seen = iter(numbers), []
        net, trainer = make()

        def validate(net):
            seen.append(values(net))
            return next(left)

        found = fit(net, trainer, validate=validate, ties=ties, patience=4, checkpoint=tmp_path / ties)
        assert found["best_epoch"] == best and len(found["loss"]) == 6 and found["stopped_early"] is False
        other, trainer = make(seed=99)
        assert fit(other, trainer, ties=ties, patience=4, checkpoint=tmp_path / ties, resume=True) == found
        for a, b, c in zip(values(net), seen[best], values(other)):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)
    for ties, saved in (("last", "first"), ("first", "last")):
        with pytest.raises(ValueError, match=f"differs in ties: saved {saved}, now {ties}; use the same"):
            fit(*make(), ties=ties, checkpoint=tmp_path / saved, resume=True)
    with pytest.raises(ValueError, match='"first" or "last", got \'best\''):
        fit(*make(), ties="best")


def test_watched_numbers_are_in_the_history_and_choose_nothing(tmp_path):
    """A run that was cut off and resumed has them of all epochs."""

    def watch():
        numbers = iter(range(100))
        return {"first": lambda net: next(numbers), "weights": lambda net: float(net[0].weight.data().sum().asscalar())}

    plain = fit(*make())
    whole = fit(*make(), watch=watch())
    assert whole["first"] == [0, 1, 2, 3, 4, 5] and len(set(whole["weights"])) == 6
    assert {name: whole[name] for name in plain if name != "seconds"} == {
        name: plain[name] for name in plain if name != "seconds"
    }
    path = tmp_path / "checkpoint"
    net, trainer = make()
    cut_at(path, 3, KeyboardInterrupt(), made=(net, trainer), watch=watch())
    resumed = fit(*make(), watch=watch(), checkpoint=path, resume=True)
    assert resumed["weights"] == whole["weights"] and resumed["first"] == [0, 1, 0, 1, 2, 3]
    with pytest.raises(ValueError, match="history of loss, error, validation_error, seconds, first, weights"):
        fit(*make(), checkpoint=path, resume=True)


@pytest.mark.parametrize("name", ["loss", "seconds", "best_epoch", "validation_error"])
def test_watched_numbers_have_names_of_their_own(name):
    with pytest.raises(ValueError, match=f"does not have already, got {name}"):
        fit(*make(), watch={name: len})


def test_patience_of_a_resumed_run(tmp_path):
    """A run that was cut off while it was waiting stops in the same epoch, with the same net."""
    numbers = [0.5, 0.3, 0.4, 0.35, 0.45, 0.2]
    net, trainer = make()
    left = iter(numbers)
    whole = fit(net, trainer, validate=lambda net: next(left), patience=3)
    assert len(whole["loss"]) == 5 and whole["stopped_early"]
    for epochs in range(1, 5):
        left, path = iter(numbers[:epochs]), tmp_path / str(epochs)
        with pytest.raises(StopIteration):
            fit(*make(), validate=lambda net: next(left), patience=3, checkpoint=path)
        left = iter(numbers[epochs:])
        other, trainer = make(seed=99)
        resumed = fit(other, trainer, validate=lambda net: next(left), patience=3, checkpoint=path, resume=True)
        assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}
        for a, b in zip(values(net), values(other)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "either epochs.* or learning_rates.*neither"),
        ({"epochs": 2, "learning_rates": [0.1, 0.1]}, "got both"),
        ({"epochs": -1}, "at least 0, got -1"),
        ({"epochs": 2, "patience": 1}, "needs validate"),
        ({"epochs": 2, "patience": 0, "validate": (X, LABELS)}, "patience must be a whole number from 1 to"),
        ({"epochs": 2, "validate": X}, "function of the net or a pair"),
        ({"epochs": 2, "validate": (X, LABELS, 3)}, "function of the net or a pair"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        fit_arrays(*deferred_net(), **options)


def test_a_custom_metric_end_to_end(tmp_path):
    """A metric of one's own is trained by, chosen by, waited for and resumed."""

    class Recall(mx.metric.EvalMetric):
        def __init__(self):
            super().__init__("recall of class 0")

        def update(self, labels, preds):
            for label, pred in zip(labels, preds):
                of_class = label.asnumpy() == 0
                self.sum_metric += (pred.asnumpy().argmax(axis=1)[of_class] == 0).sum()
                self.num_inst += of_class.sum()

    net, trainer = deferred_net()
    options = dict(learning_rates=[0.02] * 4, validate=(X, LABELS), metric=Recall(), mode="max", patience=2)
    found = fit_arrays(net, trainer, checkpoint=tmp_path / "c", **options)
    assert set(found) == {"loss", "metric", "validation_metric", "seconds", "best_epoch", "stopped_early"}
    recall = (train.predict(net, X).argmax(axis=1)[LABELS == 0] == 0).mean()
    assert max(found["validation_metric"]) == found["validation_metric"][found["best_epoch"]] == pytest.approx(recall)
    other, trainer = deferred_net()
    assert fit_arrays(other, trainer, checkpoint=tmp_path / "c", resume=True, **options) == found
