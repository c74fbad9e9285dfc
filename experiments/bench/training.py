"""The workers of bench_training.py: a process for MXNet, ours included, and one for PyTorch.

    python bench/training.py mxnet 2  # or torch; the number of threads

How they are asked is written in workers.py. Every worker draws the same images, and the same first weights for its
plain nets.

Every step's batch is a view of data that lies on the device, as in training, which shuffles once an epoch.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing is kept")

import functools
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
import time

import numpy as np

from bench.workers import serve

BATCH, INPUTS, CLASSES, HIDDEN_LAYERS = 100, 784, 10, 3
IMAGES = 60000
LEARNING_RATE = 1e-3
WARM = 0.25  # seconds of steps before a burst: a processor that rested is slow at first
BURST = 0.5  # seconds of steps that are timed in a row, three steps at least


def sizes_of(width):
    return [INPUTS] + [width] * HIDDEN_LAYERS + [CLASSES]


@functools.cache
def images():
    """Images and labels."""
    generator = np.random.default_rng(1)
    return generator.random((IMAGES, INPUTS), np.float32), generator.integers(0, CLASSES, IMAGES)


def first_weights(width):
    """The weights of the plain net, (units, inputs) a layer."""
    generator = np.random.default_rng(width)
    return [
        (generator.standard_normal((units, inputs)) * (2 / inputs) ** 0.5).astype(np.float32)
        for inputs, units in zip(sizes_of(width), sizes_of(width)[1:])
    ]


class Worker:
    """What both share. `nets` returns {name: step}, checked; a step trains on the batch that begins at a number.
    `data` holds images and labels on the device."""

    def __init__(self, threads):
        self.threads, self.steps, self.begin = threads, {}, 0

    def prepare(self, width, more):
        self.steps = {}  # frees those of the width before
        self.steps = self.nets(width, more)
        return list(self.steps)

    def batch(self, begin):
        return [part[begin : begin + BATCH] for part in self.data]

    def step(self, name):
        self.steps[name](self.begin)
        self.begin = (self.begin + BATCH) % (IMAGES - BATCH)

    def time(self, name):
        """The median seconds of a step in a burst."""
        seconds = []
        end = time.perf_counter() + WARM
        while time.perf_counter() < end:
            self.step(name)
        end = time.perf_counter() + BURST
        while len(seconds) < 3 or time.perf_counter() < end:
            began = time.perf_counter()
            self.step(name)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)


class MXNet(Worker):
    """Plain Dense, and nets of BinaryDense."""

    def __init__(self, threads):
        super().__init__(threads)
        import gluon_bnn
        from gluon_bnn import loss, nn, ops
        from gluon_bnn._compat import mx

        if not gluon_bnn.native.library.available():
            sys.exit(gluon_bnn.native.library.problem())
        self.mx, self.nn, self.ops, self.check_net = mx, nn, ops, gluon_bnn.check_net
        self.loss, self.with_loss = loss.SquaredHingeLoss(), loss.WithLoss
        self.data = [mx.nd.array(a, dtype=a.dtype) for a in images()]

    def about(self):
        from gluon_bnn.native import library

        return {"instruction_set": library.instruction_set()}

    def net(self, width, dense, activation, batch_norm):
        """With batch norm after every layer, and the activation but for the last one."""
        net = self.mx.gluon.nn.HybridSequential()
        for i, (inputs, units) in enumerate(zip(sizes_of(width), sizes_of(width)[1:])):
            net.add(dense(units, in_units=inputs, use_bias=False), batch_norm(in_channels=units))
            if i < HIDDEN_LAYERS:
                net.add(activation())
        net.initialize(self.mx.init.Xavier())
        for i, weight in enumerate(first_weights(width)):
            net[3 * i].weight.set_data(self.mx.nd.array(weight))
        net.hybridize(static_alloc=True, static_shape=True)
        return net

    def training_step(self, net, optimizer):
        mx = self.mx
        trainer = mx.gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": LEARNING_RATE}, kvstore=None)
        forward = self.with_loss(net, self.loss)
        forward.hybridize(static_alloc=True, static_shape=True)

        def step(begin):
            with mx.autograd.record():
                _, value = forward(*self.batch(begin))
            value.backward()
            trainer.step(BATCH)
            mx.nd.waitall()

        return step

    def plain_net(self, width):
        """The layers are MXNet's own."""
        relu = functools.partial(self.mx.gluon.nn.Activation, "relu")
        return self.net(width, self.mx.gluon.nn.Dense, relu, self.mx.gluon.nn.BatchNorm)

    def nets(self, width, more):
        def binary(**options):
            return functools.partial(self.nn.BinaryDense, clip=None, **options)

        bwn, relu = binary(scale="layer", gradient="ste"), functools.partial(self.nn.Activation, "relu")
        kinds = {"BWN": (bwn, relu), "BNN": (binary(scale=None), self.nn.BinaryActivation)}
        if more:
            kinds.update(
                {
                    "BWN, alpha a unit": (binary(scale="channel", gradient="ste"), relu),
                    "BWN, exact gradient": (binary(scale="layer", gradient="exact"), relu),
                    "LAB": (binary(scale="loss"), relu),
                }
            )
        steps = {"plain Dense": self.training_step(self.plain_net(width), "adam")}
        for name, (dense, activation) in kinds.items():
            steps[name] = self.binary_step(name, width, dense, activation)
        if more:
            with self.ops.use("composed"):
                steps["BWN, composed of MXNet's operators"] = self.binary_step("composed", width, bwn, relu)
        return steps

    def binary_step(self, name, width, dense, activation):
        net = self.net(width, dense, activation, self.nn.BatchNorm)
        table = self.check_net(net, self.batch(0)[0])
        if not table.ok:
            sys.exit(f"{name} differs from the reference:\n{table}")
        return self.training_step(net, "binaryadam")

    def first_loss(self, width):
        """Of the plain net before any step, on the first batch."""
        net = self.plain_net(width)
        x, labels = self.batch(0)
        with self.mx.autograd.record():  # batch norm with the batch's own statistics
            value = self.loss(net(x), labels)
        return float(value.mean().asscalar())

    def profile(self, names, steps):
        """{name: {operator: calls and milliseconds a step}}. Operators show up by themselves only in a process that
        has MXNET_EXEC_BULK_EXEC_TRAIN=0."""
        profiler = self.mx.profiler
        found = {}
        with tempfile.TemporaryDirectory() as directory:
            profiler.set_config(
                profile_imperative=True,
                profile_symbolic=True,
                aggregate_stats=True,
                filename=os.path.join(directory, "profile.json"),
            )
            for name in names:
                for _ in range(3):
                    self.step(name)
                profiler.set_state("run")
                for _ in range(steps):
                    self.step(name)
                profiler.set_state("stop")
                table = json.loads(profiler.dumps(reset=True, format="json"))["Time"]["operator"]
                rows = {
                    operator: {"calls": row["Count"] / steps, "ms": round(row["Total"] / steps, 4)}
                    for operator, row in table.items()
                }
                found[name] = dict(sorted(rows.items(), key=lambda item: -item[1]["ms"]))
        return found


class Torch(Worker):
    """The plain net in PyTorch, as it is and compiled, each with Adam as it comes and with the fused one."""

    def __init__(self, threads):
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.data = [torch.from_numpy(a) for a in images()]

    def about(self):
        return {"torch": importlib.metadata.version("torch")}

    def net(self, width):
        nn = self.torch.nn
        layers = []
        for i, weight in enumerate(first_weights(width)):
            layers += [nn.Linear(*reversed(weight.shape), bias=False), nn.BatchNorm1d(len(weight))]
            layers += [nn.ReLU()] if i < HIDDEN_LAYERS else []
            layers[3 * i].weight.data = self.torch.from_numpy(weight)
        return nn.Sequential(*layers)

    def loss_of(self, net):
        def loss(x, labels):
            targets = 2 * self.torch.nn.functional.one_hot(labels, CLASSES) - 1
            return (1 - targets * net(x)).relu().square().mean()

        return loss

    def training_step(self, width, compiled, fused):
        net = self.net(width)
        optimizer = self.torch.optim.Adam(net.parameters(), LEARNING_RATE, fused=fused)
        loss = self.torch.compile(self.loss_of(net)) if compiled else self.loss_of(net)

        def step(begin):
            x, labels = self.batch(begin)
            optimizer.zero_grad()
            loss(x, labels).backward()
            optimizer.step()

        return step

    def nets(self, width, more):
        return {
            name + (", fused Adam" if fused else ""): self.training_step(width, compiled, fused)
            for name, compiled in (("PyTorch eager", False), ("torch.compile", True))
            for fused in (False, True)
        }

    def first_loss(self, width):
        return float(self.loss_of(self.net(width))(*self.batch(0)))


if __name__ == "__main__":
    serve({"mxnet": MXNet, "torch": Torch}, __doc__)
