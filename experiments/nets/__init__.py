"""The nets that train_mnist.py trains, one file each.

A file has one function, `make(layers, ...)`: it puts together a HybridBlock that takes images (rows, channels, height,
width) and gives outputs (rows, layers.classes), from layers that are what the method says (`Layers`) and Gluon's own. A
dense layer takes images too, as rows of pixels. What else `make` takes are options of train_mnist.py that shape a net:
`hidden`, `dropout`, or one of them, or none. `train_mnist.py --net` finds the files of this folder by itself: to add a
net, add a file.
"""

import functools
import importlib
import inspect
import math
import pkgutil

from gluon_bnn import initializer as initializers
from gluon_bnn import mx, nn

IMAGE, CLASSES = (1, 28, 28), 10  # of MNIST
WEIGHTS = ("binary", "stochastic", "real")
ACTIVATIONS = {
    "relu": functools.partial(mx.gluon.nn.Activation, "relu"),
    "sigmoid": functools.partial(mx.gluon.nn.Activation, "sigmoid"),
    "binary": nn.BinaryActivation,
    "binary_sigmoid": nn.BinarySigmoid,
}
INITIALIZERS = {
    "xavier": mx.init.Xavier,
    "binaryconnect": initializers.BinaryConnectUniform,
    "lab": initializers.LABUniform,
}


class Layers:
    """The layers of a method. They have no biases, since batch norm has one; sizes left out are inferred.

    weights : "binary", "stochastic" (signs drawn for every batch) or "real" (Gluon's own layers)
    scale, gradient, clip : as in nn.BinaryDense, for binary weights
    activation : a key of ACTIVATIONS
    real_ends : whether `ends`, the layers for the first and the last product of a net, have real weights (XNOR-Net)
    shape, classes : (channels, height, width) of the images, of which `inputs` is the product; the number of outputs
    """

    def __init__(self, weights, scale, gradient, clip, activation, real_ends=False, shape=IMAGE, classes=CLASSES):
        self.shape, self.inputs, self.classes = tuple(shape), math.prod(shape), classes
        self._real, self.activation = weights == "real", ACTIVATIONS[activation]
        self._binary = dict(scale=scale, gradient=gradient, clip=clip, stochastic=weights == "stochastic")
        self.ends = Layers("real", scale, gradient, clip, activation, False, shape, classes) if real_ends else self

    def dense(self, units, inputs=0, **options):
        options = {"use_bias": False, "in_units": inputs, **options}
        return mx.gluon.nn.Dense(units, **options) if self._real else nn.BinaryDense(units, **options, **self._binary)

    def conv(self, channels, kernel, **options):
        options = {"use_bias": False, **options}
        layer = mx.gluon.nn.Conv2D if self._real else functools.partial(nn.BinaryConv2D, **self._binary)
        return layer(channels, kernel, **options)

    def batch_norm(self, units=0, axis=1, **options):
        """Axis 1 is that of the units of a dense layer and of the channels of a convolution."""
        return nn.BatchNorm(axis, in_channels=units, **options)


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
    real_ends=False,
    binary_inputs=False,
    dropout=(0.0, 0.0),
    initializer="xavier",
    shape=IMAGE,
    classes=CLASSES,
):
    """The net of this name, initialised. Raises ValueError where it does not take images of this shape.

    hidden : units of each hidden layer; dropout : shares of the inputs and of hidden values that are dropped
    binary_inputs : whether it sees the signs of its inputs only
    initializer : a key of INITIALIZERS; all others : see Layers
    """
    layers = Layers(weights, scale, gradient, clip, activation, real_ends, shape, classes)
    made = _load(net)(layers, **{name: value for name, value in zip(SHAPE, (hidden, dropout)) if takes(net, name)})
    if binary_inputs:
        inner, made = made, mx.gluon.nn.HybridSequential()
        made.add(nn.BinaryActivation(), inner)
    made.initialize(INITIALIZERS[initializer]())
    try:
        made(mx.nd.zeros((1, *layers.shape))).wait_to_read()  # for sizes that the net's file leaves open
    except (ValueError, mx.base.MXNetError) as error:
        size = "x".join(map(str, layers.shape))
        raise ValueError(f"the net {net} does not take images of {size}: {str(error).splitlines()[-1]}") from None
    return made


OF_DATA = ("shape", "classes")
# The options of train_mnist.py, under the same names.
OPTIONS = tuple(name for name in inspect.signature(make).parameters if name not in OF_DATA)
