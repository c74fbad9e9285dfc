"""A graph of ONNX operators in the making, and the values in it."""

import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18  # the first with BitwiseAnd, which unpacks the weights
IR_VERSION = 8  # that of opset 18; a later one would shut out runtimes that know all of these operators
NODES = 70  # bytes that the two nodes of `whole` take in a file, with their factor
SMALL = 64  # bytes of constants that are stored once, however many nodes use them


class Tensor(NamedTuple):
    """A value: float32; or uint8, which are either pixels or stand for bits.

    A row of features is (batch, features), an image (batch, channels, height, width).

    high : 0 for what are no bits; else the smaller of the two numbers is 0 and the larger `high`
    ones : how many features follow, for a layer that adds constants to its products, that are always `high`
    """

    name: str
    high: int = 0
    pixels: bool = False
    ones: int = 0


def per_channel(array: np.ndarray, rank: int) -> np.ndarray:
    """Numbers of channels, or one, in a shape that broadcasts to values whose rows have so many axes."""
    return array.reshape(-1, *(1,) * (rank - 1))


Given = Union[str, np.ndarray, np.generic]


def _taken(node):
    """The names that a node takes, and what it has in branches takes."""
    inner = [each for attribute in node.attribute for each in attribute.g.node]
    return {*node.input}.union(*map(_taken, inner))


class Builder:
    """Nodes and constants, whose names begin with the number of the layer that they belong to. Names are short, and
    nodes have none but that of their value, since each is in the file several times."""

    def __init__(self, finite: Collection[int] = (), ones: Optional[dict[int, int]] = None) -> None:
        """finite : the nodes of the graph whose values are never NaN or infinite; ones : what `products.ones` finds"""
        self.layer, self.finite, self.ones = 0, finite, ones or {}
        self.differences: dict[str, tuple[str, str]] = {}  # {name: x and y, of which it is x - y}
        self._images: dict[str, tuple[str, tuple[int, int, int]]] = {}  # {name of a row: as `image_of` gives it}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._names: dict[Any, int] = {}
        self._small: dict[tuple, str] = {}
        # {name: (that of the value which it is reshaped from, the shape of a row of that, None where it is not known)}
        self._reshaped: dict[str, tuple[str, Optional[tuple[int, ...]]]] = {}
        self._two: dict[str, str] = {}  # {name of bits: that of the same bits as `two` gives them}
        self._tables: dict[bool, str] = {}  # {whether it is float32: name}

    def add(self, operator: str, *inputs: Given, domain: str = "", **attributes: Any) -> str:
        """A node of one output, whose name is returned. Inputs are names, or arrays, which become constants."""
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        output = self._name(self.layer)
        self.nodes.append(helper.make_node(operator, names, [output], domain=domain or None, **attributes))
        return output

    def choose(self, condition: str, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """A node whose value is that of `then` where the condition, bool (1,), holds, and else that of `otherwise`:
        functions that add nodes and return the name of a float32 value."""
        branches = self._branch(then), self._branch(otherwise)
        return self.add("If", condition, then_branch=branches[0], else_branch=branches[1])

    def _branch(self, make):
        outside, self.nodes = self.nodes, []
        value = helper.make_tensor_value_info(make(), onnx.TensorProto.FLOAT, None)
        branch = helper.make_graph(self.nodes, "branch", [], [value])
        self.nodes = outside
        return branch

    def constant(self, array: Any, name: str = "constant") -> str:
        """The name of a constant with these numbers."""
        array = np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= SMALL else None
        if key in self._small:
            return self._small[key]
        found = self._name("c" if key else f"{self.layer}.{name}")
        self.constants[found] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), found)
        if key:
            self._small[key] = found
        return found

    def whole(self, array: np.ndarray, name: str) -> str:
        """A constant of type int32, in the file without its common factor, and in the smallest type."""
        factor = max(1, int(np.gcd.reduce(array.astype(np.int64))))
        small = array // factor
        most = max(-small.min(initial=0) - 1, small.max(initial=0))
        small = small.astype(np.int8 if most < 1 << 7 else np.int16 if most < 1 << 15 else np.int32)
        if array.nbytes < small.nbytes + NODES:
            return self.constant(array.astype(np.int32), name)
        found = self.add("Cast", self.constant(small, name), to=onnx.TensorProto.INT32)
        return found if factor == 1 else self.add("Mul", found, np.int32(factor))

    def _name(self, of):
        """The next name of a layer's values, as 4.1, 4.2, or of constants, as 4.threshold, 4.threshold2."""
        self._names[of] = count = self._names.get(of, 0) + 1
        if isinstance(of, int):
            return f"{of}.{count}"
        return of if count == 1 else f"{of}{count}"

    def declare(self, name: str, shape: tuple[int, ...]) -> str:
        """The name of a value, of which `reshape` knows the shape of a row from here on."""
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

    def is_row_of(self, name: str, image: str, shape: tuple[int, int, int]) -> None:
        """Say that a row has the elements of an image of (height, width, channels), the channels innermost."""
        self._images[name] = image, shape

    def image_of(self, name: str) -> Optional[tuple[str, tuple[int, int, int]]]:
        """The image, and its shape, of which this is the row; None where it is of none."""
        return self._images.get(name)

    def flattened(self, name: str) -> tuple[str, Any]:
        """A row, and the order of its elements: of an image, as they lie in memory, the channels first."""
        if name not in self._images:
            return name, slice(None)
        image, shape = self._images[name]
        order = np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).reshape(-1)
        return self.reshape(image, (len(order),)), order

    def finish(self, last: str, output: str) -> None:
        """Give the last value the name of the model's output, and drop nodes that do not lead to it."""
        made = next((node for node in self.nodes if last in node.output), None)
        readers = [node for node in self.nodes if last in _taken(node)]
        if made is None or readers:
            self.nodes.append(helper.make_node("Identity", [last], [output]))
        else:
            made.output[0] = output
        wanted, kept = {output}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(_taken(node))
        self.nodes = kept[::-1]
        self.constants = {name: array for name, array in self.constants.items() if name in wanted}

    def two(self, x: Tensor) -> Tensor:
        """The same bits with 2 for the larger number, which is 1, 2, 128 or 255."""
        if x.high == 2:
            return x
        if x.name not in self._two:
            if x.high == 255:
                self._two[x.name] = self.add("BitwiseAnd", x.name, np.uint8(2))
            elif x.high == 1:
                self._two[x.name] = self.add("BitShift", x.name, np.uint8(1), direction="LEFT")
            else:
                self._two[x.name] = self.add("BitShift", x.name, np.uint8(6), direction="RIGHT")
        return Tensor(self._two[x.name], 2)

    # What the form QONNX has another way of: the subclass in qonnx.py.

    integers = True  # whether products of bits and pixels are computed on uint8

    def weights(self, negative: np.ndarray, real: bool) -> str:
        """+1 and -1, int8 or where `real` float32, in the shape of negative, which is 1 where a weight is -1.

        The file holds one bit a weight: bit t of byte b is weight 8 b + t. A runtime that folds constants unpacks them
        once, when it loads the model."""
        packed = self.constant(np.packbits(negative.reshape(-1), bitorder="little"), "bits")
        every = self.add("Gather", self._table(real), self.add("Cast", packed, to=onnx.TensorProto.INT32))
        if negative.size % 8:
            flat = self.add("Reshape", every, np.array([-1], np.int64))
            every = self.add("Slice", flat, np.array([0], np.int64), np.array([negative.size], np.int64))
        return self.add("Reshape", every, np.array(negative.shape, np.int64))

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

    def signs(self, y: str, least: Any, to: str, finite: bool) -> Tensor:
        """Bits, which are the smaller number where y, float32, is below `least`.

        finite : whether y is never NaN, which is not below anything"""
        if finite:  # then x - y is below 0 where x is below y
            return self.larger(*self.differences.get(y, (y, least)))
        return Tensor(self.add("Cast", self.add("Not", self.add("Less", y, least)), to=onnx.TensorProto.UINT8), 1)

    def larger(self, y: str, least: Any, ones: int = 0) -> Tensor:
        """Bits, which are the larger number where y, numbers, is `least` or above."""
        above = self.add("GreaterOrEqual", y, least)
        return Tensor(self.add("Cast", above, to=onnx.TensorProto.UINT8), 1, ones=ones)

    def as_it_is(self, y: str) -> str:
        """A product, or a value times one number, that nothing must be folded into, for it would be rounded otherwise.

        ONNX Runtime multiplies the weights of a Conv by the scale that follows it, adds a bias in the sum of a MatMul,
        and multiplies this sum by the one number that what it takes, or it itself, is multiplied by; but not past an
        activation. This one changes nothing, and is computed with the Conv."""
        return self.add("LeakyRelu", y, alpha=1.0)
