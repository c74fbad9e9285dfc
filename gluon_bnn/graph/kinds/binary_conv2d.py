"""A convolution with 1-bit weights, of floats, pixels or bits."""

from collections.abc import Sequence

import numpy as np

from .. import bits
from ..graph import FORMS, MOST_ELEMENTS, MOST_ELEMENTS_U8, Node, Value
from .binary_dense import check_signs, float_dot, from_dot, integer_dot, sign_arrays, sign_bounds
from .kind import SIZE, Arrays, Ends, Kind, together
from .window import CONV, conv_shape, patches, taps

PADS = {"zero": 0, "plus": 1, "minus": -1}


class BinaryConv2D(Kind):
    """dot = each window of x times the signs in weight_bits; what follows is that of binary_dense.

    Outside of the image the inputs are what `pad` says: 0, +1 or -1, of bits01 0 or 1. With bits of +1 and -1 and
    "zero" a place outside counts 0; dot is the sum over the places inside. From bits01 to bits the threshold is one of
    the product with +1 for 1 and -1 for 0, outside too.

    A window has K = kernel height * width * channels inputs, row by row, channels innermost. From bits, weight_bits is
    int32 (ceil(N / 16), kernel height * width * ceil(C / 32), 16) for N units and C channels of the input, and each
    pixel of the kernel begins in a word of its own; from floats and pixels it is (ceil(N / 16), ceil(K / 32), 16).

    For uint8 pixels p = (x - shift) / scale dot is that of p, 0 outside of the image. A node takes them where it has
    arrays for them: to floats alpha_u8 and bias_u8, float32 (N,), as in binary_dense, to bits threshold_u8, int32 (N,),
    bit = dot < threshold_u8. Else it gets the floats.
    """

    name = "binary_conv2d"
    attributes = {"channels": SIZE, **CONV, "pad": tuple(PADS), "to": FORMS}

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        shape = conv_shape(taken[0], node.attributes)
        runs, size = self._inputs(node, taken)
        most = MOST_ELEMENTS_U8 if self.takes_pixels(node, taken) else MOST_ELEMENTS
        if runs * size > most:
            raise ValueError(f"a window must have at most {most} inputs, got {runs * size}")
        if taken[0].form == "bits01" and node.attributes["pad"] == "minus":
            raise ValueError("from bits01, 0 and 1, pad must be zero or plus, got minus")
        return Value(node.attributes["to"], shape)

    def _inputs(self, node, taken):
        """The runs of inputs of a window, and the size of each, as `sign_arrays` takes them."""
        count = node.attributes["kernel"][0] * node.attributes["kernel"][1]
        if taken[0].form == "float":
            return 1, count * taken[0].channels
        return count, taken[0].channels

    def takes_pixels(self, node: Node, taken: Sequence[Value]) -> bool:
        return taken[0].pixels and ("alpha_u8" in node.arrays or "threshold_u8" in node.arrays)

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        attributes, units = node.attributes, node.attributes["channels"]
        must, may = sign_arrays(node, taken[0], units, self._inputs(node, taken))
        if taken[0].pixels and (attributes["pad"] == "zero" or attributes["padding"] == (0, 0)):
            if attributes["to"] == "float":
                may.update(dict.fromkeys(("alpha_u8", "bias_u8"), must["alpha"]))
            else:
                may["threshold_u8"] = (np.int32, (units,))
        return must, may

    def check(self, node: Node, taken: Sequence[Value]) -> None:
        check_signs(node, node.attributes["channels"], self._inputs(node, taken))
        together(node, ("alpha_u8", "bias_u8"))

    def weights(self, node: Node, taken: Sequence[Value]) -> tuple[int, int]:
        runs, size = self._inputs(node, taken)
        others = sum(array.size for name, array in node.arrays.items() if name != "weight_bits")
        return node.attributes["channels"] * runs * size, others

    def macs(self, node: Node, taken: Sequence[Value]) -> int:
        runs, size = self._inputs(node, taken)
        return self.value(node, taken).size * runs * size

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        runs, size = self._inputs(node, taken)
        return sign_bounds(self, node, taken[0], runs * size, ends[0])

    def run(self, node: Node, taken: Sequence[Value], x: np.ndarray) -> np.ndarray:
        signs = x if taken[0].form == "float" else bits.unpack(x, taken[0].channels)
        dot = self.dot(node, taken[0], signs)
        return from_dot(node.attributes["to"], node.arrays, taken[0], dot, x.dtype == np.uint8)

    def dot(self, node: Node, taken: Value, x: np.ndarray) -> np.ndarray:
        """The product of the signs with each window of x: floats, pixels, or the signs of bits."""
        of = self._dot_of_floats if taken.form == "float" else self._dot_of_signs
        return of(node, taken, conv_shape(taken, node.attributes), x)

    def _dot_of_signs(self, node, taken, shape, x):
        """First as if all inputs were those outside, then each tap's difference from that, where it lies inside."""
        outside = PADS[node.attributes["pad"]]
        if taken.form == "bits01":
            outside = 2 * outside - 1
        runs, size = self._inputs(node, (taken,))
        weight_bits, words = node.arrays["weight_bits"], bits.words(size)
        dot = np.zeros((len(x), *shape), np.int32)
        if outside:
            dot += outside * bits.sign_sums(weight_bits, shape[2], runs * size)
        differences = x - np.float32(outside)
        for tap, index, values in taps(node.attributes, shape[:2], differences):
            own = np.ascontiguousarray(weight_bits[:, tap * words : (tap + 1) * words])
            dot[index] += integer_dot(values.reshape(-1, size), own, shape[2]).reshape(*values.shape[:3], -1)
        return dot

    def _dot_of_floats(self, node, taken, shape, x):
        product, outside = float_dot, PADS[node.attributes["pad"]]
        if x.dtype == np.uint8:
            product, outside = integer_dot, 0
        weight_bits, units = node.arrays["weight_bits"], shape[2]
        windows = patches(node.attributes, shape[:2], x, outside)
        dots = [product(part.reshape(len(part), -1), weight_bits, units) for part in windows]
        return np.concatenate(dots).reshape(len(x), *shape)
