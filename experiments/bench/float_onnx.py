"""The float32 net of a frozen one, as ONNX: what somebody has who does not know that its weights are signs.

A binary layer is Gemm or Conv of sign times scale, into which batch norm is folded, as exporters fold it; signs are the
operator Sign. Inputs are the floats that the net was trained on, so that pixels are scaled outside of the model.
"""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from gluon_bnn.deploy import fold
from gluon_bnn.graph.kinds.binary_conv2d import PADS
from gluon_bnn.graph.kinds.window import POOL

ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "sign": "Sign"}


def model(graph, sign="Sign"):
    """The ONNX model of a graph; ValueError where it has a kind that none of the papers' nets has.

    sign : the operator in the place of signs; with Relu it is another net of the same size
    """
    net = _Net(sign)
    as_row = len(graph.input_shape) > 1 and graph.nodes[1].kind != "image"
    held = [net.add("Flatten", "x") if as_row else "x"]
    for index, node in enumerate(graph.nodes[1:], 1):
        emitter = getattr(net, node.kind, None)
        if emitter is None:
            raise ValueError(f"there is no float32 net of a model with the kind {node.kind}")
        held.append(emitter(node, graph.taken(index), *(held[source] for source in node.sources)))
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", *graph.input_shape])
    y = helper.make_tensor_value_info(held[-1], onnx.TensorProto.FLOAT, ["batch", graph.units])
    made = helper.make_graph(net.nodes, "float32", [x], [y], net.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


class _Net:
    """Kinds of the graph as methods: of a node, the values that it takes and their names, to the name of its value."""

    def __init__(self, sign):
        self.sign, self.nodes, self.constants = sign, [], []
        self.images = {}  # {name of a flattened value: the shape of the image}

    def add(self, operator, x, *arrays, **attributes):
        names = [f"constant{len(self.constants) + i}" for i in range(len(arrays))]
        self.constants += [numpy_helper.from_array(array, name) for array, name in zip(arrays, names)]
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [x, *names], [output], **attributes))
        return output

    def image(self, node, taken, x):
        height, width, channels = node.attributes["shape"]
        return self.add("Reshape", x, np.array([-1, channels, height, width], np.int64))

    def flatten(self, node, taken, x):
        y = self.add("Flatten", x)
        self.images[y] = taken[0].shape
        return y

    def activation(self, node, taken, x):
        function = node.attributes["function"]
        if function not in ACTIVATIONS:
            raise ValueError(f"there is no float32 net of a model with the activation {function}")
        return self.add(ACTIVATIONS[function], x)

    def pack(self, node, taken, x):
        y = self.add(self.sign, x)
        if x in self.images:
            self.images[y] = self.images[x]
        return y

    def batch_norm(self, node, taken, x):
        factor, ones = node.arrays["factor"], np.ones_like(node.arrays["factor"])
        arrays = factor, node.arrays["beta"], node.arrays["mean"], ones
        return self.add("BatchNormalization", x, *arrays, epsilon=0.0)

    def max_pool(self, node, taken, x):
        kernel, strides, padding = (node.attributes[name] for name in POOL)
        rounding = node.attributes["rounding"] == "ceil"
        return self.add("MaxPool", x, kernel_shape=kernel, strides=strides, pads=padding * 2, ceil_mode=rounding)

    def dense(self, node, taken, x):
        return self._gemm(x, node.arrays["weight"], node.arrays.get("bias", np.zeros(node.attributes["units"])))

    def _gemm(self, x, weight, bias):
        if x in self.images:  # Gluon's order, the channels first
            height, width, channels = self.images[x]
            weight = weight.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(weight.shape)
        if len(weight) != math.prod(self.images.get(x, (len(weight),))):
            raise ValueError("there is no float32 net of a model with dense layers over the channels of images")
        return self.add("Gemm", x, np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))

    def conv2d(self, node, taken, x):
        attributes, channels = node.attributes, node.attributes["channels"]
        weight = node.arrays["weight"].reshape(*attributes["kernel"], -1, channels).transpose(3, 2, 0, 1)
        return self._conv(node, x, weight, node.arrays.get("bias", np.zeros(channels)), attributes["groups"])

    def _conv(self, node, x, weight, bias, groups=1):
        kernel, strides, padding, dilation = (
            node.attributes[name] for name in ("kernel", "strides", "padding", "dilation")
        )
        arrays = np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)
        window = dict(kernel_shape=kernel, strides=strides, pads=padding * 2, dilations=dilation, group=groups)
        return self.add("Conv", x, *arrays, **window)

    def binary_dense(self, node, taken, x):
        shape = node.attributes["units"], taken[0].channels
        weight, bias = self._scaled(node, taken[0], shape)
        return self._with_sign(node, self._gemm(x, weight.T, bias))

    def binary_conv2d(self, node, taken, x):
        attributes = node.attributes
        if any(attributes["padding"]) and PADS[attributes["pad"]]:
            raise ValueError("there is no float32 net of a model with ones outside of images")
        weight, bias = self._scaled(node, taken[0], (attributes["channels"], taken[0].channels, *attributes["kernel"]))
        return self._with_sign(node, self._conv(node, x, weight, bias))

    def _scaled(self, node, value, shape):
        """Signs times scale, and bias, with the batch norm that follows; with thresholds it is beyond them by a half,
        since the dots of bits are whole numbers."""
        arrays = node.arrays
        if "bits01" in (value.form, node.attributes["to"]):
            raise ValueError("there is no float32 net of a model with 0 and 1 as activations")
        signs = fold.unpack_signs(arrays["weight_bits"], shape, value.form)
        if "threshold" in arrays:
            most = math.prod(shape[1:])
            return signs, 0.5 - np.clip(arrays["threshold"].astype(np.float64), -most, most + 1)
        norm = {"mean": 0, "factor": 1, "beta": 0, **arrays}
        scale = (arrays["alpha"] * norm["factor"]).reshape(-1, *(1,) * (len(shape) - 1))
        return signs * scale, (arrays["bias"] - norm["mean"]) * norm["factor"] + norm["beta"]

    def _with_sign(self, node, y):
        return y if node.attributes["to"] == "float" else self.add(self.sign, y)
