"""What runs of experiments/train_mnist.py leave behind, read so that two runs can be compared."""

import json
import os

from safetensors import safe_open

from paths import EXPERIMENTS

SCRIPT = os.path.join(EXPERIMENTS, "train_mnist.py")
# What differs between two runs that are equal; the commit may move on while a developer's tests run.
TIMES = ("date", "seconds", "training_seconds", "commit")


NAME = "checkpoint.safetensors"


def checkpoint(directory, name=NAME):
    """(metadata without seconds, {name: array}) of a checkpoint."""
    with safe_open(os.path.join(directory, name), framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = json.loads(file.metadata()["gluon_bnn"])
    del metadata["state"]["history"]["seconds"], metadata["digest"]  # of the seconds too
    return metadata, tensors


def epochs_done(directory, name=NAME):
    """Whole epochs in a checkpoint; None where there is none yet."""
    if not os.path.exists(os.path.join(directory, name)):
        return None
    with safe_open(os.path.join(directory, name), framework="numpy") as file:
        return len(json.loads(file.metadata()["gluon_bnn"])["state"]["history"]["loss"])


def record(directory):
    """record.json without times, and without the --resume of a run that was cut off."""
    with open(os.path.join(directory, "record.json"), encoding="utf-8") as file:
        found = {name: value for name, value in json.load(file).items() if name not in TIMES}
    return {**found, "argv": [argument for argument in found["argv"] if argument != "--resume"]}


def assert_equal(one, other):
    """Two runs' checkpoints (weights, averages, optimiser, best epoch, history) and records, to the bit."""
    (metadata, tensors), (other_metadata, other_tensors) = checkpoint(one), checkpoint(other)
    assert metadata == other_metadata
    assert set(tensors) == set(other_tensors)
    differing = [
        name
        for name in tensors
        if tensors[name].dtype != other_tensors[name].dtype or tensors[name].tobytes() != other_tensors[name].tobytes()
    ]
    assert not differing
    assert record(one) == record(other)
