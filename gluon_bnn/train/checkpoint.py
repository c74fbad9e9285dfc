"""The checkpoint of a run of `train.fit`: one safetensors file, replaced as a whole at the end of every epoch.

It holds the net's parameters and those of the best epoch, the optimiser's arrays and counts, and, as JSON, the history
and what a run must have in common with the one that resumes it. Nothing is pickled. A digest over all of it shows
damage; what is read is checked all the same, before the net or the trainer changes.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Iterable
from typing import Any, Union

import numpy as np

from .. import _files
from .._arrays import classic, gluon_array
from .._compat import mx
from .workers import digest

FORMAT = 3
LEFT_OUT = {"ties": "first", "reestimated": False}  # entries of a run that a file has with other values only
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LARGEST = 2**53  # of a count: as many steps as float64 can tell apart


class Checkpoint:
    """The file at `path`, for a net and its gluon.Trainer on one device.

    path : str, bytes or os.PathLike
    run : dict (JSON) of what a run must have in common with the one that resumes it

    Raises ValueError for a Trainer whose kvstore updates the weights and so has the optimiser's state.
    """

    def __init__(
        self, path: Union[str, bytes, os.PathLike], net: mx.gluon.Block, trainer: mx.gluon.Trainer, run: dict[str, Any]
    ) -> None:
        if not trainer._kv_initialized:
            trainer._init_kvstore()
        if trainer._update_on_kvstore:
            raise ValueError(
                "a Trainer whose kvstore updates the weights keeps the optimiser's state where no "
                "checkpoint gets at it: give the Trainer kvstore=None or update_on_kvstore=False"
            )
        self.path = os.fsdecode(path)
        self._net, self._trainer, self._run = net, trainer, {**LEFT_OUT, **run}
        self._floats = self._optimizer_floats()
        # A Trainer counts its parameters in the order of their global names, in which dense10 comes before dense9: that
        # order is not the same in every process. The names here are those within the net, the first for a shared one.
        within = {id(parameter): name for name, parameter in reversed(net._collect_params_with_prefix().items())}
        self._names = [within.get(id(parameter), parameter.name) for parameter in trainer._params]

    def save(self, epochs: int, history: dict[str, list[float]], best: dict[str, np.ndarray]) -> None:
        """Write the file; the old one stays whole until then, and where it cannot be written.

        epochs : how many the whole run has
        history : {name: one float for each epoch that is done}
        best : the parameters of the best epoch, as from `values`

        Raises OSError of the system's own kind (PermissionError, ...).
        """
        tensors = {f"net/{name}": value for name, value in values(self._net).items()}
        tensors.update({f"best/{name}": value for name, value in best.items()})
        tensors.update({name: array.asnumpy() for name, array in self._optimizer_arrays().items()})
        tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        optimizer = self._trainer.optimizer
        # What an optimiser counts in Python, as Nadam does, in addition to what all of them count.
        floats = {
            name: value
            for name, value in self._optimizer_floats().items()
            if name in self._floats and value != self._floats[name]
        }
        metadata = {
            "format": FORMAT,
            **{name: value for name, value in self._run.items() if value != LEFT_OUT.get(name, ...)},
            "state": {"epochs": epochs, "history": history},
            "num_update": optimizer.num_update,
            "floats": floats,
            "counts": {self._names[index]: count for index, count in self._counts().items()},
        }
        from safetensors.numpy import save

        content = save(tensors, {"gluon_bnn": json.dumps({**metadata, "digest": _digest(metadata, tensors)})})
        try:
            _files.make_directory(self.path)
            _files.replace(self.path, content)
        except OSError as error:
            room = "; there must be room for the old one and the new" if error.errno in _NO_ROOM else ""
            raise OSError(
                error.errno,
                f"{error.strerror}: a checkpoint of {len(content) / 1e6:.1f} MB cannot be "
                f"written{room}; the last one is as it was",
                self.path,
            ) from error

    def load(self, names: Iterable[str]) -> tuple[dict[str, list[float]], dict[str, np.ndarray]]:
        """(history with these names, best) from the file, with net and trainer set to what it holds.

        Raises ValueError where it is damaged, of another format, or of a run with other settings or another net, and
        OSError where it cannot be read; net and trainer are then as they were.
        """
        metadata, tensors = self._read()
        for name, value in self._run.items():
            if metadata[name] != value:
                saved, now = (
                    {key: item for key, item in one.items() if other.get(key, ...) != item}
                    if isinstance(one, dict) and isinstance(other, dict)
                    else one
                    for one, other in ((metadata[name], value), (value, metadata[name]))
                )
                raise ValueError(
                    f"{self.path} is of a run that differs in {name}: saved {saved}, now {now}; use the "
                    "same, or another file"
                )
        history = metadata["state"]["history"]
        if set(history) != set(names):
            raise ValueError(
                f"{self.path} has a history of {', '.join(history)}, this run one of {', '.join(names)}: "
                "use the same kind of metric, or another file"
            )
        self._check_tensors(tensors)
        optimizer, indexes = self._trainer.optimizer, {name: index for index, name in enumerate(self._names)}
        if not set(metadata["counts"]) <= set(indexes) or not set(metadata["floats"]) <= set(self._floats):
            raise ValueError(f"{self.path} is of another net or optimiser: it counts what this one does not")

        set_values(self._net, {n[4:]: v for n, v in tensors.items() if n.startswith("net/")})
        for name, array in self._optimizer_arrays().items():
            array[:] = tensors[name]
        optimizer.num_update = metadata["num_update"]
        self._counts().clear()
        self._counts().update({indexes[name]: count for name, count in metadata["counts"].items()})
        for name, value in metadata["floats"].items():
            setattr(optimizer, name, value)
        return history, {n[5:]: v for n, v in tensors.items() if n.startswith("best/")}

    def check_finished(self) -> None:
        """FileExistsError where the file is there and is not the checkpoint of a run that went to its end."""
        if not os.path.exists(self.path):
            return
        try:
            state = self._read()[0]["state"]
        except ValueError as error:
            raise FileExistsError(errno.EEXIST, f"would be overwritten: {error}", self.path) from error
        done = len(state["history"]["loss"])
        if done < state["epochs"]:
            raise FileExistsError(
                errno.EEXIST,
                f"is of a run that is not finished: {done} of {state['epochs']} epochs are done",
                self.path,
            )

    def _read(self):
        """(metadata, tensors) of the file, of the right types but not yet compared with this run."""
        from safetensors import safe_open

        if not stat.S_ISREG(os.stat(self.path).st_mode):  # to open a FIFO would wait for a writer
            raise ValueError(f"{self.path} is not a regular file")
        with open(self.path, "rb"):
            pass  # an OSError is the system's own, not one that safetensors makes of it
        try:
            with safe_open(self.path, framework="numpy") as file:
                metadata = json.loads((file.metadata() or {}).get("gluon_bnn", "null"))
                form = metadata.get("format") if isinstance(metadata, dict) else None
                tensors = {name: file.get_tensor(name) for name in file.keys()} if form == FORMAT else {}
            damaged = form == FORMAT and metadata.pop("digest", None) != _digest(metadata, tensors)
        except Exception as error:  # safetensors raises TypeError, AttributeError and others for what it does not know
            raise ValueError(f"{self.path} is not a whole checkpoint ({error}); remove it to begin again") from error
        if form is None:
            raise ValueError(f"{self.path} is not a checkpoint of gluon_bnn.train")
        if form != FORMAT:
            raise ValueError(
                f"{self.path} has checkpoint format {str(form)[:20]}, expected {FORMAT}: go on with the "
                "version of gluon_bnn that wrote it, or remove it to begin again"
            )
        if damaged:
            raise ValueError(f"{self.path} is damaged: its content is not what was written; remove it to begin again")
        metadata = {**LEFT_OUT, **metadata}
        wrong = _wrong(metadata, set(self._run))
        if wrong:
            raise ValueError(
                f"{self.path} is not a checkpoint of gluon_bnn.train: its {wrong} is wrong; remove it to begin again"
            )
        return metadata, tensors

    def _check_tensors(self, tensors):
        expected = {f"{kind}/{name}": value for kind in ("net", "best") for name, value in values(self._net).items()}
        expected.update(self._optimizer_arrays())
        if set(expected) != set(tensors):
            raise ValueError(
                f"{self.path} is of another net or optimiser: these tensors are in one only: "
                f"{sorted(set(expected) ^ set(tensors))[:6]}"
            )
        for name, value in expected.items():
            if value.shape != tensors[name].shape or value.dtype != tensors[name].dtype:
                raise ValueError(
                    f"{self.path}: {name} must be {np.dtype(value.dtype)} {value.shape}, got "
                    f"{tensors[name].dtype} {tensors[name].shape}"
                )

    def _optimizer_arrays(self):
        """{name: NDArray} of the optimiser's state, made now where the optimiser has not made it yet."""
        return {
            f"optimizer/{self._names[index]}/{i}": array
            for index, state in states(self._trainer).items()
            for i, array in enumerate(state)
        }

    def _optimizer_floats(self):
        """The optimiser's attributes that are floats, but for those that the Trainer sets before every step."""
        return {
            name: value
            for name, value in vars(self._trainer.optimizer).items()
            if type(value) is float and name not in ("lr", "rescale_grad")
        }

    def _counts(self):
        """{index of a parameter: its steps}, of the trainer's device: MXNet counts for each device id apart."""
        optimizer = self._trainer.optimizer
        optimizer._set_current_context(self._trainer._contexts[0].device_id)
        return optimizer._index_update_count


def values(net: mx.gluon.Block) -> dict[str, np.ndarray]:
    """{name: NumPy array} of all parameters of a net, batch norm's averages included."""
    return {name: parameter.data().asnumpy() for name, parameter in net._collect_params_with_prefix().items()}


def set_values(net: mx.gluon.Block, found: dict[str, np.ndarray]) -> None:
    """Give a net what `values` took from it."""
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(gluon_array(found[name], dtype=found[name].dtype))


def states(trainer: mx.gluon.Trainer) -> dict[int, list[mx.nd.NDArray]]:
    """{index of a parameter: list of the NDArrays that the optimiser keeps for it}."""
    updater = trainer._updaters[0]
    for index, parameter in enumerate(trainer._params):
        if parameter.grad_req != "null" and index not in updater.states:
            updater.states[index] = trainer.optimizer.create_state_multi_precision(index, classic(parameter.data()))
            updater.states_synced[index] = True
    return {index: list(_flat(state)) for index, state in updater.states.items()}


def _flat(state):
    if isinstance(state, mx.nd.NDArray):
        yield state
    elif state is not None:
        for part in state:
            yield from _flat(part)


def _digest(metadata, tensors):
    parts = [json.dumps(metadata).encode()]
    for name in sorted(tensors):
        parts += [f"{name} {tensors[name].dtype} {tensors[name].shape}".encode(), tensors[name]]
    return digest(*parts)


def _wrong(metadata, run):
    """The name of what is missing from a checkpoint's metadata or of a wrong type or value, None where all is right."""
    expected = {"format", "state", "num_update", "floats", "counts"} | run
    if set(metadata) != expected:
        return f"set of entries {sorted(set(metadata) ^ expected)[:6]}"
    state, counts, floats = metadata["state"], metadata["counts"], metadata["floats"]
    if not isinstance(state, dict) or set(state) != {"epochs", "history"} or not isinstance(state["history"], dict):
        return "state"
    columns = list(state["history"].values())
    if "loss" not in state["history"] or not all(isinstance(column, list) for column in columns):
        return "history"
    if len(set(map(len, columns))) != 1 or not all(type(number) is float for column in columns for number in column):
        return "history"
    if not all(map(math.isfinite, state["history"]["loss"])):
        return "loss"
    if not _is_count(state["epochs"]) or state["epochs"] < len(columns[0]):
        return "number of epochs"
    if not isinstance(counts, dict) or not all(map(_is_count, [metadata["num_update"], *counts.values()])):
        return "number of updates"
    if not isinstance(floats, dict) or not all(
        type(value) is float and math.isfinite(value) for value in floats.values()
    ):
        return "optimiser"
    return None


def _is_count(value):
    return type(value) is int and 0 <= value < _LARGEST
