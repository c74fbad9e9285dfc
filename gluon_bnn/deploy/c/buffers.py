"""The static arrays in which a header keeps its values: one is used again once nobody takes the value that it holds."""

import bisect

_BYTES = {"float": 4, "uint32_t": 4, "int32_t": 4, "uint8_t": 1}


class Buffers:
    """Arrays of each C type, by name.

    An array keeps its type: C compilers may assume that memory is never used as two types.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, tuple[str, int]] = {}  # {name: (type, elements)}
        self._free: dict[str, list[tuple[int, str]]] = {}

    @property
    def nbytes(self) -> int:
        """Of all arrays together."""
        return sum(_BYTES[of] * size for of, size in self.sizes.values())

    def take(self, of: str, size: int) -> str:
        """The name of a free array of this type, of at least so many elements: the smallest that is large enough, else
        the largest, which then grows."""
        free = self._free.setdefault(of, [])
        if not free:
            name = f"net_{of.replace('_t', '')}s_{sum(of == other for other, _ in self.sizes.values())}"
            self.sizes[name] = of, size
            return name
        _, name = free.pop(min(bisect.bisect_left(free, (size, "")), len(free) - 1))
        self.sizes[name] = of, max(size, self.sizes[name][1])
        return name

    def give_back(self, name: str) -> None:
        """The value in this array is not needed any more."""
        of, size = self.sizes[name]
        bisect.insort(self._free[of], (size, name))
