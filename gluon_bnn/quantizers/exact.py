"""The product rule in full."""

from typing import Any

from .rule import Rule


class Exact(Rule):
    """dL/dW = alpha m g + s/n sum_j g_j s_j: the derivative of alpha s, with "ste" for that of s."""

    name, formula, source = "exact", "alpha m g + s/n sum_j g_j s_j", "the product rule in full"
    native, through_alpha = "exact", True

    def factor(self, F: Any, w: Any, alpha: Any, n: Any, mask: Any) -> Any:
        return alpha * mask
