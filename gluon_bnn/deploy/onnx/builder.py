"""A graph of ONNX operators in the making, and the values in it."""

import math
from collections.abc import Collection
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18  # the first with BitwiseAnd, which unpacks the weights
IR_VERSION = 8  # that of opset 18; a later one would shut out runtimes that know all of these operators
SMALL = 64  # bytes of constants that are stored once, however many nodes use them


class Tensor(NamedTuple):
    """A value: float32; or uint8, which are either pixels or stand for bits.

    A row of features is (batch, features), an image (batch, channels, height, width).

    high : 0 for what are no bits; else the smaller of the two numbers is 0 and the larger `high`
    """

    name: str
    high: int = 0
    pixels: bool = False


def per_channel(array: np.ndarray, rank: int) -> np.ndarray:
    """Numbers of channels, or one, in a shape that broadcasts to values whose rows have so many axes."""
    return array.reshape(-1, *(1,) * (rank - 1))


Given = Union[str, np.ndarray, np.generic]


class Builder:
    """Nodes and constants, whose names begin with the layer that they belong to."""

    def __init__(self, finite: Collection[int] = ()) -> None:
        """finite : the nodes of the graph whose values are never NaN or infinite"""
        self.layer, self.finite = "", finite
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[str, int] = {}
        self._small: dict[tuple, str] = {}
        self._reshaped: dict[
            str, tuple[str, Optional[tuple[int, ...]]]
        ] = {}  # {name: (of what, what that has as a shape)}
        self._two: dict[str, str] = {}
        self._tables: dict[bool, str] = {}  # {whether it is float32: name}

    def add(self, operator: str, *inputs: Given, domain: str = "", **attributes: Any) -> str:
        """A node of one output, whose name is returned. Inputs are names, or arrays, which become constants."""
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        output = self._name(f"{self.layer}/{operator}")
        self.nodes.append(helper.make_node(operator, names, [output], output, domain=domain, **attributes))
        return output

    def constant(self, array: Any, name: str = "constant") -> str:
        """The name of a constant with these numbers."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= SMALL else None
        if key in self._small:
            return self._small[key]
        found = self._name("constant" if key else f"{self.layer}/{name}")
        self.constants[found] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), found)
        if key:
            self._small[key] = found
        return found

    def _name(self, name):
        self._names[name] = count = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def declare(self, name: str, shape: tuple[int, ...]) -> str:
        """The name of the model's input, of which `reshape` knows the shape of a row from here on."""
        self._reshaped[name] = name, shape
        return name

    def reshape(self, name: str, shape: tuple[int, ...]) -> str:
        """The same elements with this shape of a row; a value that is reshaped twice is reshaped once."""
        first, before = self._reshaped.get(name, (name, None))
        if shape == before:
            return first
        output = self.add("Reshape", first, np.array([0, *shape], np.int64))
        self._reshaped[output] = first, before
        return output

    def finish(self, last: str, output: str) -> None:
        """Give the last value the name of the model's output, and drop nodes that do not lead to it."""
        self.nodes.append(helper.make_node("Identity", [last], [output], output))
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(node.input)
        self.nodes = kept[::-1]
        self.constants = {name: array for name, array in self.constants.items() if name in wanted}

    def two(self, x: Tensor) -> Tensor:
        """The same bits with 2 for the larger number, which is 2 or 255."""
        if x.high == 2:
            return x
        if x.name not in self._two:
            self._two[x.name] = self.add("BitwiseAnd", x.name, np.uint8(2))
        return Tensor(self._two[x.name], 2)

    # What the form QONNX has another way of: the subclass in qonnx.py.

    integers = True  # whether products of bits and pixels are computed on uint8

    def weights(self, negative: np.ndarray, real: bool) -> str:
        """+1 and -1, int8 or where `real` float32, in the shape of negative, which is 1 where a weight is -1.

        The file holds one bit a weight: bit t of byte b is weight 8 b + t. A runtime that folds constants unpacks them
        once, when it loads the model."""
        packed = self.constant(np.packbits(negative.reshape(-1), bitorder="little"), "weight_bits")
        index = self.add("Cast", packed, to=onnx.TensorProto.INT32)
        flat = self.add("Reshape", self.add("Gather", self._table(real), index, axis=0), np.array([-1], np.int64))
        ends = np.array([0], np.int64), np.array([math.prod(negative.shape)], np.int64)
        return self.add("Reshape", self.add("Slice", flat, *ends), np.array(negative.shape, np.int64))

    def _table(self, real):
        """The eight weights of each byte, (256, 8): made by operators, which are shorter in the file than the table, of
        types for which ONNX Runtime has had them since 1.15."""
        if True not in self._tables:
            each = np.arange(256, dtype=np.uint8)[:, None], np.uint8(1) << np.arange(8, dtype=np.uint8)[None]
            negative = self.add("Cast", self.add("BitwiseAnd", *each), to=onnx.TensorProto.BOOL)
            self._tables[True] = self.add("Where", negative, np.float32(-1), np.float32(1))
        if real not in self._tables:
            self._tables[real] = self.add("Cast", self._tables[True], to=onnx.TensorProto.INT8)
        return self._tables[real]

    def signs(self, y: str, to: str) -> Tensor:
        """Bits, which are the smaller number where y, float32, is below 0."""
        return self.smaller(self.add("Less", y, np.float32(0)))

    def smaller(self, condition: str) -> Tensor:
        """Bits, which are the smaller number where a condition holds."""
        return Tensor(self.add("Where", condition, np.uint8(0), np.uint8(2)), 2)

    def as_it_is(self, y: str) -> str:
        """A product, or a value times one number, that nothing must be folded into, for it would be rounded otherwise.

        ONNX Runtime multiplies the weights of a Conv by the scale that follows it, adds a bias in the sum of a MatMul,
        and multiplies this sum by the one number that what it takes, or it itself, is multiplied by; but not past an
        activation. This one changes nothing, and is computed with the Conv."""
        return self.add("LeakyRelu", y, alpha=1.0)
