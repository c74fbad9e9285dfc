"""The nets that train_mnist.py trains, one file each.

A file has one function, `make(layers, ...)`: it puts together a HybridBlock that takes images (rows, layers.inputs) and
gives outputs (rows, layers.classes), from layers that are what the method says (`Layers`). What else it takes are
options of train_mnist.py that shape a net: `hidden`, `dropout`, or one of them, or none. `train_mnist.py --net` finds
the files of this folder by itself: to add a net, add a file.
"""

import functools
import importlib
import inspect
import math
import pkgutil

import gluon_bnn
from gluon_bnn import initializer as initializers
from gluon_bnn import mx

IMAGE, CLASSES = (1, 28, 28), 10  # of MNIST
WEIGHTS = ("binary", "stochastic", "real")
ACTIVATIONS = {
    "relu": functools.partial(mx.gluon.nn.Activation, "relu"),
    "sigmoid": functools.partial(mx.gluon.nn.Activation, "sigmoid"),
    "binary": gluon_bnn.nn.BinaryActivation,
    "binary_sigmoid": gluon_bnn.nn.BinarySigmoid,
}
INITIALIZERS = {
    "xavier": mx.init.Xavier,
    "binaryconnect": initializers.BinaryConnectUniform,
    "lab": initializers.LABUniform,
}


class Layers:
    """The layers of a method.

    weights : "binary", "stochastic" (signs drawn for every batch) or "real" (plain Dense and Conv2D)
    scale, gradient, clip : as in nn.BinaryDense and nn.BinaryConv2D, for binary weights
    activation : a key of ACTIVATIONS
    shape, classes : (channels, height, width) of the images, of which `inputs` is the product; the number of outputs
    """

    def __init__(self, weights, scale, gradient, clip, activation, shape=IMAGE, classes=CLASSES):
        self.shape, self.inputs, self.classes = tuple(shape), math.prod(shape), classes
        self._real, self.activation = weights == "real", ACTIVATIONS[activation]
        self._binary = dict(scale=scale, gradient=gradient, clip=clip, stochastic=weights == "stochastic")

    def dense(self, units, inputs=0):
        """A dense layer without a bias, since batch norm has one; 0 inputs are inferred at the first call."""
        if self._real:
            return mx.gluon.nn.Dense(units, use_bias=False, in_units=inputs)
        return gluon_bnn.nn.BinaryDense(units, use_bias=False, in_units=inputs, **self._binary)

    def conv(self, channels, kernel, inputs=0, **options):
        """A convolution of images, likewise; options are those of nn.BinaryConv2D that Gluon's Conv2D has too."""
        options = dict(use_bias=False, in_channels=inputs, **options)
        if self._real:
            return mx.gluon.nn.Conv2D(channels, kernel, **options)
        return gluon_bnn.nn.BinaryConv2D(channels, kernel, **options, **self._binary)

    def batch_norm(self, units=0, axis=-1):
        """axis : that of the units, -1 after a dense layer and 1, the channels, after a convolution"""
        return gluon_bnn.nn.BatchNorm(axis, in_channels=units)


SHAPE = ("hidden", "dropout")  # the options that shape a net


def names():
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _load(net):
    return importlib.import_module(f"nets.{net}").make


def takes(net, option):
    """Whether an option of SHAPE is one of this net."""
    return option in inspect.signature(_load(net)).parameters


def make(
    net="mlp",
    hidden=(100,),
    weights="binary",
    scale="channel",
    gradient=None,
    clip=1.0,
    activation="relu",
    dropout=(0.0, 0.0),
    initializer="xavier",
    shape=IMAGE,
    classes=CLASSES,
):
    """The net of this name, initialised.

    hidden : units of each hidden layer; dropout : shares of the inputs and of hidden values that are dropped
    weights, scale, gradient, clip, activation : see Layers; initializer : a key of INITIALIZERS
    """
    layers = Layers(weights, scale, gradient, clip, activation, shape, classes)
    made = _load(net)(layers, **{name: value for name, value in zip(SHAPE, (hidden, dropout)) if takes(net, name)})
    made.initialize(INITIALIZERS[initializer]())
    made(mx.nd.zeros((1, layers.inputs)))  # for sizes that the net's file leaves open
    return made


OF_DATA = ("shape", "classes")
# The options of train_mnist.py, under the same names.
OPTIONS = tuple(name for name in inspect.signature(make).parameters if name not in OF_DATA)
