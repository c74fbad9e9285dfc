"""One worker of a job of test_distributed.py: what is refused first, then training; also one worker alone.

python distributed_worker.py DIRECTORY SEED
"""

import json
import os
import sys

import numpy as np

from gluon_bnn import nn, train
from gluon_bnn._compat import mx
from gluon_bnn.train import workers as distributed

ROWS, INPUTS, BATCH, EPOCHS = 60, 12, 20, 3


def make(seed, kvstore):
    """A net in float64 without batch norm, and its Trainer; an average that no layer uses."""
    np.random.seed(seed)
    mx.random.seed(seed)
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(7, in_units=INPUTS, dtype="float64", scale="channel", activation="tanh"),
        nn.BinaryDense(3, in_units=7, dtype="float64", scale=None),
    )
    net.params.get("running_mean", shape=2, dtype="float64", init="zeros", grad_req="null")
    net.initialize(mx.init.Xavier())
    net.hybridize()
    return net, mx.gluon.Trainer(net.collect_params(), "binaryadam", kvstore=kvstore, update_on_kvstore=False)


def fit(net, trainer, seed, rows=BATCH):
    x = np.random.default_rng(seed).standard_normal((ROWS, INPUTS))
    labels = x[:, :3].argmax(axis=1)

    def batches(generator):
        order = generator.permutation(ROWS)
        for i in range(0, ROWS, rows):
            yield (mx.nd.array(x[order[i : i + rows]], dtype="float64"), mx.nd.array(labels[order[i : i + rows]]))

    falling = iter(np.linspace(0.5, 0.1, EPOCHS).tolist())  # the last epoch is the best
    return train.fit(
        net,
        trainer,
        mx.gluon.loss.SoftmaxCrossEntropyLoss(),
        batches,
        ROWS // rows,
        train.rates(0.03, 0.01, EPOCHS),
        lambda net: next(falling),
        seed,
        progress=False,
    )


def refused(function):
    """The message of the error that `function` raises."""
    try:
        function()
    except (ValueError, RuntimeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def main(directory, seed):
    kvstore = distributed.connect()
    rank = kvstore.rank
    found = {
        "other_seed": refused(lambda: fit(*make(seed + rank, kvstore), seed)),
        "other_data_order": refused(lambda: fit(*make(seed, kvstore), seed + rank)),
    }
    net, trainer = make(seed, kvstore)
    workers = distributed.Workers(trainer)

    def one_fails():
        with workers.together():
            if rank == 1:
                raise OSError("the disk is full")

    found["one_fails"] = refused(one_fails)
    found["gathered"] = workers.gather([rank, 0.1 + rank])
    found["history"] = fit(net, trainer, seed)
    parameters = net.collect_params().values()
    np.savez(os.path.join(directory, f"{rank}.npz"), *[p.data().asnumpy() for p in parameters])
    found["odd_batch"] = refused(lambda: fit(net, trainer, seed, rows=15))
    average = next(p for p in parameters if p.name.endswith("running_mean"))
    average.set_data(mx.nd.array([rank, 0.1 + rank], dtype="float64"))
    workers.average()
    found["average"] = average.data().asnumpy().tolist()
    with open(os.path.join(directory, f"{rank}.json"), "w", encoding="utf-8") as file:
        json.dump(found, file)
    workers.gather(None)  # both have written
    if rank == 1:  # fails alone: it must end, although the other does not
        distributed.PATIENCE = 0.5
        try:
            raise ValueError("out of luck")
        except ValueError:
            workers.leave()
    workers.gather(None)  # for ever, inside of MXNet


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
