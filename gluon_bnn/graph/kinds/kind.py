"""What every kind of node says about itself, and the checks that several kinds share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import MOST_ELEMENTS, Node, Value

# The types of attributes; a tuple of words is a choice among them.
SIZE = "a whole number from 1 on"
PLACE = "a whole number from 0 on"
SIZES = "whole numbers from 1 on"
PLACES = "whole numbers from 0 on"

Shape = tuple[int, ...]
Ends = tuple[np.ndarray, np.ndarray]  # (low, high), the same array where they are equal
Arrays = dict[str, tuple[type, Shape]]


class Kind:
    """A kind of node. A new one is one file, and a line in kinds/__init__.py; its C++ is one file as well.

    name : as in files and messages
    attributes : {name: SIZE, PLACE, SIZES, PLACES or a tuple of words}; all must be given
    sources : how many values it takes, (least, most)
    """

    name: str
    attributes: dict[str, object] = {}
    sources: tuple[int, int] = (1, 1)

    def value(self, node: Node, taken: Sequence[Value]) -> Value:
        """What the node gives, from the values that it takes; ValueError for those that it does not take."""
        raise NotImplementedError

    def arrays(self, node: Node, taken: Sequence[Value]) -> tuple[Arrays, Arrays]:
        """({name: (dtype, shape)} of arrays that must be there, the same of those that may be)."""
        return {}, {}

    def check(self, node: Node, taken: Sequence[Value]) -> None:
        """ValueError where arrays of the right dtype and shape, finite, do not fit together."""

    def run(self, node: Node, taken: Sequence[Value], *xs: Any) -> np.ndarray:
        """The node's value in NumPy, with the bits of the compiled library; xs are those taken, as `Value` says."""
        raise NotImplementedError

    def bounds(self, node: Node, taken: Sequence[Value], *ends: Ends) -> Ends:
        """Between which numbers its value lies, from those between which the values lie that it takes: see bounds.py.
        Right as it is for kinds that do not round, or round as every runtime does, and whose value does not fall where
        one that they take rises."""
        low = self.run(node, taken, *(low for low, _ in ends))
        return (low, low) if exact(*ends) else (low, self.run(node, taken, *(high for _, high in ends)))

    def takes_pixels(self, node: Node, taken: Sequence[Value]) -> bool:
        """True where `run` computes on uint8 in the place of a value with `pixels`."""
        return False

    def weights(self, node: Node, taken: Sequence[Value]) -> tuple[int, int]:
        """How many weights of 1 bit its arrays hold, and how many other numbers."""
        return 0, sum(array.size for array in node.arrays.values())

    def macs(self, node: Node, taken: Sequence[Value]) -> int:
        """The number of multiply-accumulates for a row."""
        return 0

    def title(self, node: Node) -> str:
        """Its name for people."""
        return self.name


def floats(kind: Kind, taken: Sequence[Value]) -> None:
    """ValueError unless all values are floats."""
    for value in taken:
        if value.form != "float":
            raise ValueError(f"{kind.name} takes floats, got {value}")


def shape_of(taken: Value, channels: int) -> Shape:
    """The shape of `taken` with another size of the last axis; ValueError where it becomes too large."""
    shape = (*taken.shape[:-1], channels)
    if taken.size // taken.channels * channels > MOST_ELEMENTS:
        raise ValueError(f"a value must have at most {MOST_ELEMENTS} elements, got {'x'.join(map(str, shape))}")
    return shape


def exact(*ends: Ends) -> bool:
    """Whether all values are known."""
    return all(low is high for low, high in ends)


def ordered(*values: np.ndarray) -> Ends:
    """The least and the largest of each element; where only some are NaN, the least is NaN."""
    return np.minimum.reduce(values), np.fmax.reduce(values)


def widened(low: np.ndarray, high: np.ndarray) -> Ends:
    """Intervals, from -inf to inf where an end is not finite, for then nothing is known; but for two equal ends."""
    known = np.isfinite(low) & np.isfinite(high) | (low == high)
    return np.where(known, low, np.float32(-np.inf)), np.where(known, high, np.float32(np.inf))


def halves(low: np.ndarray, high: np.ndarray) -> Ends:
    """(middle, radius) of intervals; no radius where both ends are equal, infinities included, or NaN."""
    same = (low == high) | np.isnan(low)
    middle = np.where(same, low, low + (high - low) / 2)
    radius = np.where(same, np.float32(0), np.maximum(high - middle, middle - low))
    unknown = ~same & ~np.isfinite(radius)
    return np.where(unknown, np.float32(0), middle), np.where(unknown, np.float32(np.inf), radius)


def with_overflow(spread: np.ndarray, inputs: int) -> np.ndarray:
    """What the order of a sum leaves open, infinite where one order may pass the largest float32."""
    return np.where(spread > sum_error(inputs) * np.float32(3e38), np.float32(np.inf), spread)


def sum_error(inputs: int) -> np.float32:
    """How far a sum of so many products that was rounded in any order is at most from the engine's, as a share of the
    sum of the magnitudes: inputs 2^-24 in any order, 256 + inputs / 256 in the engine's, a little for what follows."""
    return np.float32(1.01 * (inputs + min(inputs, 256) + inputs / 256 + 8) * 2.0**-24)


def together(node: Node, names: Sequence[str]) -> None:
    """ValueError unless the node has all or none of these arrays."""
    present = [name for name in names if name in node.arrays]
    if len(present) not in (0, len(names)):
        raise ValueError(f"{', '.join(names)} must be there together or not at all, got {', '.join(present)}")
