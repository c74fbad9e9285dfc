"""What the peers of bench_training.py share: the nets' shapes, images and first weights, and how a step is timed.

Every step's batch is a view of data that lies on the device, as in training, which shuffles once per epoch.
"""

import dataclasses
import functools
import math
import time

import numpy as np

CLASSES, HIDDEN_LAYERS = 10, 3
LEARNING_RATE = 1e-3
BURST = 0.5  # seconds of steps that are timed
IN_A_ROW = 10  # steps between two waits for the device; `train.fit` waits every 50


@dataclasses.dataclass(frozen=True)
class Net:
    """The shape of an image, the weights of the layers in order, the rows of a batch, and how many images there are."""

    title: str
    image: tuple
    weights: tuple
    batch: int = 100
    images: int = 20000  # more than fit into a cache


CONVOLUTIONS = {
    "lenet": Net("LeNet 32-64-512-10", (1, 28, 28), ((32, 1, 5, 5), (64, 32, 5, 5), (512, 1024), (CLASSES, 512))),
    "block": Net("ResNet block, 64 x 28 x 28", (64, 28, 28), (2 * ((64, 64, 3, 3),) + ((CLASSES, 64),)), 32, 640),
}


def net_of(name):
    """The Net of this name, or of dense layers of so many units."""
    if name in CONVOLUTIONS:
        return CONVOLUTIONS[name]
    sizes = [784] + [name] * HIDDEN_LAYERS + [CLASSES]
    return Net("-".join(map(str, sizes)), (784,), tuple(zip(sizes[1:], sizes)))


@functools.cache
def images(name):
    """Images and labels."""
    generator, net = np.random.default_rng(1), net_of(name)
    return generator.random((net.images, *net.image), np.float32), generator.integers(0, CLASSES, net.images)


def first_weights(name):
    """The weights of the plain net, an array for each layer."""
    net = net_of(name)
    generator = np.random.default_rng(list(CONVOLUTIONS).index(name) if name in CONVOLUTIONS else name)
    return [
        (generator.standard_normal(shape) * (2 / math.prod(shape[1:])) ** 0.5).astype(np.float32)
        for shape in net.weights
    ]


class Worker:
    """The base class of the peers. `nets` returns {name: step} of a net, checked; step(begin) trains on the batch that
    begins at row `begin`. `data` holds images and labels on the device, which `on_device` brings there."""

    def __init__(self, threads):
        self.threads, self.steps, self.begin = threads, {}, 0

    def load(self, net):
        """Bring the images of a net to the device."""
        self.data, self.rows = [self.on_device(part) for part in images(net)], net_of(net).batch

    def prepare(self, net, more):
        self.steps, self.begin = {}, 0  # frees those of the net before
        self.load(net)
        self.steps = self.nets(net, more)
        return list(self.steps)

    def batch(self, begin):
        return [part[begin : begin + self.rows] for part in self.data]

    def step(self, name):
        self.steps[name](self.begin)
        self.begin = (self.begin + self.rows) % (len(self.data[0]) - self.rows)

    def wait(self):
        """Until the device has done what it was given."""

    def time(self, name, burst=BURST):
        """The seconds of a step in a burst of so many seconds. As in training, the device is waited for only now and
        then: Python goes on while it computes. Before it come steps that do not count: a processor that rested is slow
        at first."""
        for seconds in (burst / 2, burst):
            began, steps = time.perf_counter(), 0
            while not steps or time.perf_counter() < began + seconds:
                for _ in range(IN_A_ROW):
                    self.step(name)
                self.wait()
                steps += IN_A_ROW
        return (time.perf_counter() - began) / steps
