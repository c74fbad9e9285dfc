"""A form of a net in a process of its own: `classify.py FORM FILE INPUTS.npy OUTPUTS.npy`, for `prove`.

It prints a line of JSON: import_seconds, load_seconds, and seconds_per_image in batches and one by one, which is what
classify.c and deploy_web/classify.mjs print too.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

BATCH, ONE_BY_ONE = 1000, 200  # rows
ALONE = 10  # rows whose answers are those that they get by themselves, each followed by one of a batch
SECONDS = 0.5  # after which no more are timed


def load(form: str, path: str) -> tuple[float, Callable]:
    """(when all that the form needs was imported, a function of a batch to outputs)"""
    if form == "mxnet":
        from gluon_bnn import mx
        from gluon_bnn.deploy import load_exported

        imported = time.time()
        prefix, _, epoch = path[: -len(".params")].rpartition("-")
        net = load_exported(prefix, int(epoch))
        net.hybridize(static_alloc=True, static_shape=True)
        return imported, lambda x: net(mx.nd.array(x)).asnumpy()
    if form == "onnx":
        import onnxruntime

        imported, options = time.time(), onnxruntime.SessionOptions()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return imported, lambda x: session.run(["y"], {"x": x})[0]
    from gluon_bnn import runtime

    imported, model = time.time(), runtime.load(path)
    if form == "numpy":
        from gluon_bnn.graph import engine

        return imported, lambda x: engine.run(model.graph, x.reshape(len(x), -1))
    return imported, model


def seconds(net: Callable, pieces: Sequence[np.ndarray]) -> float:
    """The median of a row's seconds, over pieces of a batch each."""
    found, end = [], time.perf_counter() + SECONDS
    for piece in pieces:
        start = time.perf_counter()
        net(piece)
        found.append((time.perf_counter() - start) / len(piece))
        if time.perf_counter() > end:
            break
    return statistics.median(found)


def classify(imported: float, net: Callable, inputs: str, outputs: str) -> None:
    """Run a net, a function of a batch, that has just been loaded; `imported` is as `load` returns it."""
    loaded, x = time.time(), np.load(inputs)
    batches = [x[begin : begin + BATCH] for begin in range(0, len(x), BATCH)]
    answers = np.concatenate([net(batch) for batch in batches])
    for row in range(0, min(len(x), 2 * ALONE), 2):
        answers[row] = net(x[row : row + 1])
    np.save(outputs, answers)
    ones = [x[i : i + 1] for i in range(min(len(x), ONE_BY_ONE))]
    found = {
        "import_seconds": imported - float(os.environ["BEGAN"]),  # when the process was started
        "load_seconds": loaded - imported,
        "seconds_per_image": {"batch": seconds(net, batches), "one_by_one": seconds(net, ones)},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    classify(*load(*sys.argv[1:3]), *sys.argv[3:])
