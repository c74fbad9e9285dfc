"""A deployed net as data: nodes in the order in which they run, each with the numbers of those whose values it takes.

NumPy only. `freeze` makes a graph, `runtime` saves, loads and runs it, the compiled library runs the same. What a node
means is the business of its kind, one file in `kinds/`; nothing here knows any of them.
"""

import dataclasses
import math
from typing import Any, Optional, Union

import numpy as np

from . import bits

__all__ = [
    "FORMS",
    "Graph",
    "MOST_AXES",
    "MOST_ELEMENTS",
    "MOST_ELEMENTS_U8",
    "MOST_NODES",
    "MOST_WORDS",
    "Node",
    "Value",
]


def __dir__():
    return __all__


FORMS = "float", "bits", "bits01"  # bits stand for +1 (bit 0) and -1 (bit 1); bits01 for 1 (bit 0) and 0 (bit 1)

MOST_NODES = 1 << 16
MOST_ELEMENTS = 1 << 30  # of a row of a value: the product of so many signs is an int32
MOST_ELEMENTS_U8 = 8421504  # in a product of uint8: 255 times it is below 2^31
MOST_WORDS = 1 << 30  # of a row of all values together but the input, which bounds a net's memory and its time
MOST_AXES = 31  # of one input: NumPy has 32, one of which counts the rows
MOST_LABEL = 255  # bytes of a label in UTF-8: as many as the name of a folder may have


@dataclasses.dataclass(frozen=True)
class Value:
    """What a node gives for each row: a form of FORMS, and a shape, (features,) or (height, width, channels).

    pixels : True for an input that is also taken as uint8 with one scale above 0, as it is or moved only; a node that
        computes on these integers themselves has arrays for them

    In memory a batch is (rows, *shape) float32, or int32 with the last axis packed: (rows, *shape[:-1], words),
    words = ceil(shape[-1] / 32), bit t of word w is element 32 w + t.
    """

    form: str
    shape: tuple[int, ...]
    pixels: bool = False

    @property
    def size(self) -> int:
        """The number of elements of a row."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """The size of the last axis, over which dense layers and batch norm work."""
        return self.shape[-1]

    @property
    def words(self) -> int:
        """The number of 4-byte words of a row in memory."""
        return self.size if self.form == "float" else self.size // self.channels * bits.words(self.channels)

    def __str__(self):
        return f"{self.form} {self.sizes}"

    @property
    def sizes(self) -> str:
        """The shape as text: 784, or 28x28x16."""
        return "x".join(map(str, self.shape))


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One operation of a net.

    kind : a name in `kinds.KINDS`; sources : the numbers of the nodes whose values it takes, all before it;
    attributes : {name: an int, a word or a tuple of int}, arrays : {name: ndarray}, as the kind says
    """

    kind: str
    sources: tuple[int, ...] = ()
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A net: node 0 is its input, the value of the last node its output.

    values : what each node gives; `check` finds it, which every graph passes through that is run or saved
    labels : None, or the names of the outputs where these are classes
    accuracy : None, or the share of test inputs that the net gave the right class, from 0 to 1
    """

    nodes: tuple[Node, ...]
    values: tuple[Value, ...] = ()
    labels: Optional[tuple[str, ...]] = None
    accuracy: Optional[float] = None

    def described(self, labels: Any = None, accuracy: Any = None) -> "Graph":
        """The same net with these labels and this accuracy; None keeps its own. `check` looks at both."""
        labels = self.labels if labels is None else labels
        accuracy = self.accuracy if accuracy is None else accuracy
        return dataclasses.replace(self, labels=labels, accuracy=accuracy)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as its user has it."""
        return self.nodes[0].attributes["shape"]

    @property
    def input_scale(self) -> Union[float, np.ndarray, None]:
        """None, or what uint8 inputs p are multiplied by, a float or float32 (inputs,): x = scale * p + shift."""
        scale = self.nodes[0].arrays.get("scale")
        return float(scale[0]) if scale is not None and scale.shape == (1,) else scale

    @property
    def input_shift(self) -> Optional[np.ndarray]:
        """None, or what is then added, float32 (inputs,)."""
        return self.nodes[0].arrays.get("shift")

    @property
    def inputs(self) -> int:
        """The number of elements of one input."""
        return math.prod(self.input_shape)

    @property
    def units(self) -> int:
        """The number of outputs of a row."""
        return self.values[-1].size

    def taken(self, index: int) -> tuple[Value, ...]:
        """The values that node `index` takes."""
        return tuple(self.values[source] for source in self.nodes[index].sources)
