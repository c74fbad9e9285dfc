"""A node while it becomes C: the calls of functions, and the arrays and buffers that these take."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Callable

import numpy as np

from ...graph import bits
from ...graph.graph import Node, Value
from ...graph.kinds import KINDS
from .buffers import Buffers


def words(value: Value) -> int:
    """How many floats, or words of bits, a place of this value has."""
    return value.channels if value.form == "float" else bits.words(value.channels)


@dataclasses.dataclass
class Step:
    """A node while its calls are written.

    index : the number of the node
    xs : in C, what it takes, and y where its value goes; pixels : whether it takes uint8
    lines : the calls so far; arrays : {name in C: content}, that they take; used : the functions
    temporaries : names of buffers for this step alone
    """

    index: int
    node: Node
    taken: Sequence[Value]
    value: Value
    xs: Sequence[str]
    y: str
    pixels: bool
    buffers: Buffers

    def __post_init__(self) -> None:
        self.lines: list[str] = []
        self.arrays: dict[str, Any] = {}
        self.used: set[str] = set()
        self.temporaries: list[str] = []
        self.window, self._indent = "0", ""

    @property
    def title(self) -> str:
        """The name of the node for people."""
        return KINDS[self.node.kind].title(self.node)

    @property
    def channels(self) -> int:
        """Of the value that it takes."""
        return self.taken[0].channels

    @property
    def places(self) -> int:
        """Of the value that it takes: 1, or those of an image."""
        return self.taken[0].size // self.channels

    def call(self, function: str, *arguments: object) -> None:
        """Write a call. An int is a size; a str stands for itself."""
        self.used.add(function)
        self.lines.append(f"{self._indent}net_{function}({', '.join(map(str, arguments))});")

    def array(self, name: str, content: Any = None) -> str:
        """The name in C of an array of the node, or of this content."""
        full = f"net_{self.index}_{name}"
        self.arrays[full] = self.node.arrays[name] if content is None else content
        return full

    def signs(self, name: str = "weight_bits") -> str:
        """The name of its 1-bit weights, unit by unit."""
        blocks = self.node.arrays[name].view(np.uint32)
        rows = blocks.transpose(0, 2, 1).reshape(-1, blocks.shape[1])
        return self.array(name, rows[: self.value.channels])

    def temporary(self, of: str, size: int) -> str:
        """The name of a buffer that is free again after this step."""
        self.temporaries.append(self.buffers.take(of, size))
        return self.temporaries[-1]

    @contextlib.contextmanager
    def each_place(self) -> Iterator[Callable[[str, int], str]]:
        """A loop over the places of its value, if there are several: gives a function of the name of a value and the
        size of one place of it, which is the place's address. `window` is the number of the place, in C."""
        places = self.value.size // self.value.channels
        if places == 1:
            yield lambda name, step: name
            return
        self.lines.append(f"for (i = 0; i < {places}; ++i) {{")
        self.window, self._indent = "i", "  "
        yield lambda name, step: f"{name} + i" + f" * {step}" * (step > 1)
        self._indent = ""
        self.lines.append("}")
