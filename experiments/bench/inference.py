"""What the peers of bench_inference.py share: the cases, and how a candidate is checked and timed.

`prepare` makes the candidates of a case, checks each and answers their names; `time` answers the seconds of a call.
Every peer draws the same arrays, and runs its library at its best: where a library has several ways to compute the
same, the fastest takes part.
"""

import importlib.metadata
import math
import statistics
import sys
import time

import numpy as np

from bench.serve import rest

IMAGES = 100
ALLOWED = {"bfloat16": 0.02, "int8": 0.1}  # how far from float64 a candidate on floats may be; others 1e-5


class Call:
    """A candidate: function() computes, result() gives what it computed as a NumPy array."""

    def __init__(self, function, convert=np.asarray):
        self.function, self.convert = function, convert

    def result(self):
        return self.convert(self.function())

    def times(self):
        """The median seconds of a call in a burst of 20 ms, of 3 to 1000 calls."""
        rest()
        seconds, end = [], time.perf_counter() + 0.02
        while len(seconds) < 3 or len(seconds) < 1000 and time.perf_counter() < end:
            began = time.perf_counter()
            self.function()
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)


def fastest(calls):
    """The fastest of several ways to compute the same."""
    return min(calls, key=lambda call: min(call.times(), call.times()))


def check(name, call, expected, allowed):
    """Leave unless a candidate computes what it should, within `allowed` of the largest number."""
    found = call.result()
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    if found.shape != expected.shape or not difference <= allowed:
        sys.exit(f"{name} differs from what it should compute by {difference:.2g}, allowed is {allowed}")


def check_floats(calls, layers, x):
    """`calls`, each checked to be the net of these layers, [(weight, bias)] with relu between them."""
    expected = x.astype(np.float64)
    for i, (weight, bias) in enumerate(layers):
        expected = (np.maximum(expected, 0) if i else expected) @ weight.T.astype(np.float64) + bias
    for name, call in calls.items():
        check(name, call, expected, ALLOWED.get(name.split()[-1], 1e-5))
    return calls


class Layer:
    """The arrays of one dense layer: signs, alpha, bias, and inputs as floats and as pixels."""

    def __init__(self, rows, units, inputs):
        generator = np.random.default_rng(rows + units + inputs)
        self.signs = generator.choice(np.array([-1, 1], np.float32), (units, inputs))
        self.alpha = generator.uniform(0.01, 0.1, units).astype(np.float32)
        self.bias = generator.standard_normal(units).astype(np.float32)
        self.x = generator.standard_normal((rows, inputs)).astype(np.float32)
        self.pixels = generator.integers(0, 256, (rows, inputs), np.uint8)
        self.dense = [(self.alpha[:, None] * self.signs, self.bias)]

    def dot(self):
        """The products of signs, exact in float32."""
        return np.where(self.x < 0, np.float32(-1), np.float32(1)) @ self.signs.T


class Conv:
    """A convolution of signs, 3x3 with zeros around the image: x (rows, size, size, channels), w (channels, 9,
    channels), both +1 and -1 in float32."""

    def __init__(self, rows, size, channels):
        generator = np.random.default_rng(rows + size + channels)
        self.x = generator.choice(np.array([-1, 1], np.float32), (rows, size, size, channels))
        self.w = generator.choice(np.array([-1, 1], np.float32), (channels, 9, channels))

    def channels_first(self):
        """x (rows, channels, size, size) and w (channels, channels, 3, 3)."""
        w = self.w.reshape(-1, 3, 3, self.w.shape[2])
        return np.ascontiguousarray(self.x.transpose(0, 3, 1, 2)), np.ascontiguousarray(w.transpose(0, 3, 1, 2))

    def dot(self, outside=0):
        """The products, exact, channels first."""
        _, size, _, channels = self.x.shape
        padded = np.pad(self.x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=outside)
        dot = np.zeros(self.x.shape, np.float32)
        for tap, (i, j) in enumerate(np.ndindex(3, 3)):
            part = np.ascontiguousarray(padded[:, i : i + size, j : j + size]).reshape(-1, channels)
            dot += (part @ self.w[:, tap].T).reshape(dot.shape)
        return np.ascontiguousarray(dot.transpose(0, 3, 1, 2))


LENET = 32, 64, 512, 10  # channels of two 5x5 convolutions, each with a pool behind it, and units of two dense layers


class LeNet:
    """A float net of LENET's sizes, batch norm folded in, with relu between its layers, and one image x (1, 1, 28, 28):
    `convs` and `dense` are [(weight, bias)]."""

    def __init__(self):
        generator = np.random.default_rng(4)

        def layer(*shape):
            weight = generator.standard_normal(shape) * (2 / math.prod(shape[1:])) ** 0.5
            return weight.astype(np.float32), generator.standard_normal(shape[0]).astype(np.float32)

        a, b, c, d = LENET
        self.convs, self.dense = [layer(a, 1, 5, 5), layer(b, a, 5, 5)], [layer(c, 16 * b), layer(d, c)]
        self.pixels = generator.integers(0, 256, (1, 1, 28, 28), np.uint8)
        self.x = self.pixels.astype(np.float32) * np.float32(1 / 255)

    def check(self, calls):
        """`calls`, {name: Call}, each checked to be this net."""
        x = self.x.astype(np.float64)
        for weight, bias in self.convs:
            windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (2, 3))
            y = np.tensordot(windows, weight.astype(np.float64), ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
            y = np.maximum(y + bias[:, None, None], 0)
            x = y.reshape(*y.shape[:2], y.shape[2] // 2, 2, y.shape[3] // 2, 2).max((3, 5))
        return check_floats(calls, self.dense, x.reshape(1, -1))


def net_inputs(inputs):
    """Images, (IMAGES, inputs) uint8, and the same as floats from 0 to 1."""
    images = np.random.default_rng(2).integers(0, 256, (IMAGES, inputs), np.uint8)
    return images, images.astype(np.float32) * np.float32(1 / 255)


def float_layers(sizes):
    """[(weight, bias)] of a float net of these sizes, batch norm folded in."""
    generator = np.random.default_rng(3)
    return [
        (
            (generator.standard_normal((units, inputs)) * (2 / inputs) ** 0.5).astype(np.float32),
            generator.standard_normal(units).astype(np.float32),
        )
        for inputs, units in zip(sizes, sizes[1:])
    ]


def check_agreement(name, found, expected):
    """Leave unless the largest outputs are mostly the same: sums of floats differ in their last bits, and so do the
    signs of those near 0."""
    same = (found.argmax(1) == expected.argmax(1)).mean()
    if same < 0.9:
        sys.exit(f"{name} and the frozen net agree on {same:.0%} of the images")


class Worker:
    """What all share. Its cases are methods: they return {name: candidate}, checked; a candidate has times()."""

    package = None  # the distribution whose version belongs into the record

    def __init__(self, threads):
        self.threads, self.calls = threads, {}

    def about(self):
        return {self.package: importlib.metadata.version(self.package)} if self.package else {}

    def prepare(self, case, *arguments):
        self.calls = {}  # frees the case before
        self.calls = getattr(self, case)(*arguments)
        return list(self.calls)

    def time(self, name):
        return self.calls[name].times()

    def conv(self, rows, size, channels):
        """The convolution of signs `Conv`."""
        return {}

    def lenet(self, model, outputs):
        """One image through a LeNet: the float net `LeNet`, or the one of bits in the file `model`, which gives
        `outputs` for the same pixels."""
        return {}

    def net(self, sizes, model, outputs):
        """One image through a whole net: the float net of these sizes, or a 1-bit net, the one in the file
        `model`; its outputs for all images are in the file `outputs` where that is not None."""
        return {}


class FloatPeer(Worker):
    """Another library's float32 and int8: `dense` makes {name: Call} for the net of these layers, [(weight, bias)]
    with relu between them."""

    def layer(self, rows, units, inputs):
        case = Layer(rows, units, inputs)
        return check_floats(self.dense(case.dense, case.x), case.dense, case.x)

    def net(self, sizes, model, outputs):
        layers, x = float_layers(sizes), net_inputs(sizes[0])[1][:1]
        return check_floats(self.dense(layers, x), layers, x)
