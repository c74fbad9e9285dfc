"""Trained nets, ready to run: `names`, `info`, `load`. Needs no MXNet.

>>> from gluon_bnn import zoo
>>> model = zoo.load("mnist")
>>> model.labels[:3], round(model.accuracy, 4), model.input_shape
(('0', '1', '2'), 0.9752, (1, 28, 28))

A small one comes with the package. A checkout has more, those of the papers in experiments/results/papers.
"""

import json
from pathlib import Path
from typing import Any

from ..graph.check import check
from ..graph.graph import Graph
from ..runtime import Model, file
from ..summaries import summary

__all__ = ["info", "load", "names"]


def __dir__():
    return __all__


_HERE = Path(__file__).resolve().parent
_RESULTS = "experiments/results"  # of a checkout
_PAPERS = _HERE.parents[1] / _RESULTS / "papers"
_DIGITS = tuple("0123456789")
# The nets of this folder, each with its record in _RESULTS.
_OWN = {"mnist": "mnist_relu.json"}
_MNIST = {"dataset": "MNIST", "dataset_licence": "CC BY-SA 3.0", "licence": "Apache-2.0"}


def names() -> tuple[str, ...]:
    """The nets that there are: those of the package, then those of the checkout, where the package runs in one."""
    return tuple(_files())


def info(name: str) -> dict[str, Any]:
    """What is known of a net: name, file, accuracy (of the test set, from 0 to 1), labels, input (the shape of one,
    and whether it is uint8), bits (of its binary weights), bytes (of its file), dataset and its licence, the net's own
    licence, record (the file of the checkout that says how it was trained). Raises as `load`."""
    path = _path(name)
    graph = _graph(name)
    return {
        "name": name,
        "file": str(path),
        "accuracy": graph.accuracy,
        "labels": list(graph.labels or ()),
        "input": {"shape": list(graph.input_shape), "uint8": graph.input_scale is not None},
        "bits": summary(graph).weights_1bit,
        "bytes": path.stat().st_size,
        **_MNIST,
        "record": f"{_RESULTS}/{_OWN.get(name, f'papers/{name}.json')}",
    }


def load(name: str) -> Model:
    """A net of the zoo, with its labels and its accuracy. Raises ValueError, with the names that there are, for another
    name, and OSError where its file cannot be read."""
    return Model(_graph(name))


def _files() -> dict[str, Path]:
    """{name: file}. A frozen net of a checkout counts where its record lies next to it."""
    found = sorted(path for path in _PAPERS.glob("*.safetensors") if path.with_suffix(".json").is_file())
    return {**{name: _HERE / f"{name}.safetensors" for name in _OWN}, **{path.stem: path for path in found}}


def _path(name: str) -> Path:
    files = _files()
    if name not in files:
        raise ValueError(f"the nets of the zoo are {', '.join(files)}; got {name!r}")
    return files[name]


def _graph(name: str) -> Graph:
    """The graph of a net. Labels that the file does not have are the ten digits, an accuracy that it does not have is
    taken from the record."""
    path = _path(name)
    graph, _ = file.read(path)
    graph = check(graph.described(graph.labels or _DIGITS))
    if graph.accuracy is not None:
        return graph
    record = path.with_suffix(".json")
    try:
        error = json.loads(record.read_text(encoding="utf-8"))["test_error"]
        return check(graph.described(accuracy=round(1 - error, 6)))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{record} is no record of a net's test error: {error!r}") from error
