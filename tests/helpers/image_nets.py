"""Convolutional nets for the tests: drawn at random, and compared in all forms of their frozen nets."""

import math

import numpy as np

from gluon_bnn import nn, runtime
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.graph import engine

from frozen_blocks import Own
from frozen_nets import FORMS, close, gluon, lines, sequential

SIGNS = nn.BinaryActivation, nn.BinarySigmoid
CHANNELS = 1, 2, 3, 8, 31, 32, 33, 40


def agree_on_images(net, x, tmp_path, exact=True):
    """The net, its frozen forms, their exports and the graphs of each give the same; an export that is frozen again has
    the same graph. Returns the nodes as text."""
    x, texts = x.astype(np.float32), []
    data = mx.nd.array(x)
    expected = net(data).asnumpy()
    same = np.testing.assert_array_equal if exact else close
    for form in FORMS:
        frozen = freeze(net, form, input_shape=x.shape[1:], verbose=False)
        same(frozen(data).asnumpy(), expected)
        frozen.hybridize()
        frozen(data)
        frozen.export(str(tmp_path / form))
        loaded = load_exported(str(tmp_path / form))
        same(loaded(data).asnumpy(), expected)
        again = freeze(loaded, form, input_shape=x.shape[1:], verbose=False)
        graphs = frozen.graph, again.graph
        equal_graphs(*graphs)
        texts.append(lines(graphs[0]))
        rows = runtime.Model(graphs[0])(x)
        same(rows.reshape(expected.shape), expected)
        np.testing.assert_array_equal(engine.run(graphs[0], x.reshape(len(x), -1)), rows)
    assert texts[0] == texts[-1]
    return texts[0]


def equal_graphs(graph, other):
    assert lines(graph) == lines(other)
    for node, same in zip(graph.nodes, other.nodes):
        assert node.attributes == same.attributes and node.arrays.keys() == same.arrays.keys()
        for name in node.arrays:
            np.testing.assert_array_equal(node.arrays[name], same.arrays[name])


def shortcut(channels, conv=nn.BinaryConv2D, **options):
    """x + norm(conv(sign(x))), the residual block of a binary ResNet."""
    return Own(
        lambda self, F, x: x + self.norm(self.conv(self.sign(x))),
        sign=nn.BinaryActivation(),
        conv=conv(channels, 3, padding=1, in_channels=channels, **options),
        norm=gluon.BatchNorm(in_channels=channels),
    )


def branches(*blocks):
    """The channels of all blocks, one after the other."""
    block = mx.gluon.contrib.nn.HybridConcurrent(axis=1)
    block.add(*blocks)
    return block


class RandomNet:
    """A net of some layers over images, one after the other. Whatever a binary layer takes are signs, so that all sums
    are exact.

    net, shape : the net, and the shape of one image; exact : False where the last layer takes averages
    """

    def __init__(self, rng, layers=7):
        self.rng, self.axes = rng, int(rng.integers(1, 3))
        self.channels, self.sizes = self._channels(), [int(size) for size in rng.integers(5, 13, self.axes)]
        self.shape = (self.channels, *self.sizes)
        self.layers, self.binary, self.exact = [self._of(*SIGNS)()], True, True
        for _ in range(layers):
            self._of(
                *[self._conv] * 4, self._max_pool, self._norm, self._sign, self._relu, self._shortcut, self._branches
            )()
        self._end()
        self.net = sequential(*self.layers)

    def _of(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def _channels(self):
        return int(self.rng.choice(CHANNELS))

    def _each(self, least, most):
        return tuple(int(size) for size in self.rng.integers(least, most + 1, self.axes))

    def _kind(self, name):
        return getattr(nn if name.startswith("Binary") else gluon, f"{name}{self.axes}D")

    def _add(self, layer, binary):
        self.layers.append(layer)
        self.binary = binary

    def _conv(self):
        kernel, strides, padding, dilation = self._each(1, 3), self._each(1, 2), self._each(0, 2), self._each(1, 2)
        sizes = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(self.sizes, kernel, strides, padding, dilation)
        ]
        if min(sizes) < 1:
            return
        if not self.binary:
            self._sign()
        groups = self._of(*[1] * 6, self.channels, 2 if self.channels % 2 == 0 else 1)
        units = self._channels() if groups == 1 else groups * int(self.rng.integers(1, 4))
        options = dict(scale=self._of(None, "layer", "channel"), use_bias=self.rng.random() < 0.7)
        options["pad_value"] = self._of(0, 0, 1, -1) if groups == 1 else 0
        conv = self._kind("BinaryConv")
        self._add(conv(units, kernel, strides, padding, dilation, groups, in_channels=self.channels, **options), False)
        self.channels, self.sizes = units, sizes

    def _max_pool(self):
        kernel, strides = self._each(1, 3), self._each(1, 2)
        padding = tuple(int(self.rng.integers((k + 1) // 2)) for k in kernel)
        ceil = self.rng.random() < 0.5
        room = [size + 2 * p - k for size, k, p in zip(self.sizes, kernel, padding)]
        sizes = [(left + (s - 1) * ceil) // s + 1 for left, s in zip(room, strides)]
        inside = [(n - 1) * s - p < size for n, s, p, size in zip(sizes, strides, padding, self.sizes)]
        if min(room) < 0 or not all(inside):
            return
        self.layers.append(self._kind("MaxPool")(kernel, strides, padding, ceil_mode=bool(ceil)))
        self.sizes = sizes

    def _norm(self):
        kind = self._of(gluon, nn)
        self._add(kind.BatchNorm(axis=1, in_channels=self.channels), False)

    def _sign(self):
        self._add(self._of(*SIGNS)(), True)

    def _relu(self):
        self._add(gluon.Activation("relu"), False)

    def _shortcut(self):
        self._add(shortcut(self.channels, self._kind("BinaryConv"), pad_value=self._of(0, 1)), False)

    def _branches(self):
        conv, units = self._kind("BinaryConv"), self._channels()
        self._add(
            branches(
                sequential(nn.BinaryActivation(), conv(units, 1, in_channels=self.channels)),
                sequential(
                    nn.BinaryActivation(), self._kind("MaxPool")(3, 1, 1), conv(5, 3, 1, 1, in_channels=self.channels)
                ),
            ),
            False,
        )
        self.channels = units + 5

    def _end(self):
        if self.rng.random() < 0.3:
            self.layers.append(self._kind("GlobalMaxPool")())
            self.sizes = [1] * self.axes
        if self.rng.random() < 0.7:
            if self.rng.random() < 0.5:
                self.layers.append(gluon.Flatten())
            if not self.binary:
                self._sign()
            self.layers.append(nn.BinaryDense(7, in_units=self.channels * math.prod(self.sizes)))
        elif self.rng.random() < 0.5:
            self.layers.append(self._kind("GlobalAvgPool")())
            self.exact = False
