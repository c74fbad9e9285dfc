"""The straight-through estimator."""

from typing import Any

from .rule import SCALES, Rule


class Ste(Rule):
    """dL/dW = g m. Courbariaux, Bengio, David 2015, BinaryConnect, section 2.3 (clip=None there and in BNN and LAB)."""

    name, formula, source = "ste", "g m", "BinaryConnect, BNN, LAB (theirs: clip=None)"
    scales, native = SCALES, "ste"

    def factor(self, F: Any, w: Any, alpha: Any, n: Any, mask: Any) -> Any:
        return mask
