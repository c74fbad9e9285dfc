"""Layers that refuse an array without numbers, before MXNet runs them: `TakesRows`.

MXNet 1.9.1 knows 0 rows after `mx.npx.set_np()` only. Otherwise 0 is a size that is not known, and what runs on such an
array fails with whatever comes of that, in a hybridized net as "Failed to allocate CPU Memory", or divides by 0.
"""

from typing import Any

from .._arrays import require_numbers
from .._compat import mx


class TakesRows(mx.gluon.HybridBlock):
    """The base of our layers. A hybridized net with one of them inside refuses such arrays too: see parameter.py."""

    def forward(self, x: Any, *args: Any) -> Any:
        """As Gluon has it; ValueError for an array without numbers."""
        require_numbers(x)
        return super().forward(x, *args)


def require_rows(block: mx.gluon.Block, arrays: Any) -> None:
    """ValueError where one of these arrays has no numbers, and a layer of ours is in the block."""
    if any(isinstance(array, mx.nd.NDArray) and 0 in array.shape for array in arrays):
        found: list[mx.gluon.Block] = []
        block.apply(found.append)
        if any(isinstance(each, TakesRows) for each in found):
            for array in arrays:
                require_numbers(array)
