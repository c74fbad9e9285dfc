"""What the peers of bench_training.py share: the nets' sizes, images and first weights, and how a step is timed.

Every step's batch is a view of data that lies on the device, as in training, which shuffles once per epoch.
"""

import functools
import time

import numpy as np

BATCH, INPUTS, CLASSES, HIDDEN_LAYERS = 100, 784, 10, 3
IMAGES = 60000
LEARNING_RATE = 1e-3
BURST = 0.5  # seconds of steps that are timed
IN_A_ROW = 10  # steps between two waits for the device; `train.fit` waits every 50


def sizes_of(width):
    return [INPUTS] + [width] * HIDDEN_LAYERS + [CLASSES]


@functools.cache
def images():
    """Images and labels."""
    generator = np.random.default_rng(1)
    return generator.random((IMAGES, INPUTS), np.float32), generator.integers(0, CLASSES, IMAGES)


def first_weights(width):
    """The weights of the plain net, a list of (units, inputs) for each layer."""
    generator = np.random.default_rng(width)
    return [
        (generator.standard_normal((units, inputs)) * (2 / inputs) ** 0.5).astype(np.float32)
        for inputs, units in zip(sizes_of(width), sizes_of(width)[1:])
    ]


class Worker:
    """The base class of the peers. `nets` returns {name: step}, checked; step(begin) trains on the batch that begins at
    row `begin`. `data` holds images and labels on the device."""

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
