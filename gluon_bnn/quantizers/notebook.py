"""The rule of the notebook that this project grew out of."""

from typing import Any

from .rule import Rule

LIMIT = 5  # the notebook's own, whatever the layer's clip is


class Notebook(Rule):
    """dL/dW = g (1/n + 1[|W| <= 5] W alpha / n): XNOR-Net's with W alpha / n where the paper has alpha m."""

    name, formula, source = "notebook", "g (1/n + 1[|W| <= 5] W alpha / n)", "the notebook"
    native = "notebook"

    def factor(self, F: Any, w: Any, alpha: Any, n: Any, mask: Any) -> Any:
        return (1 + F.where(F.abs(w) <= LIMIT, w, F.zeros_like(w)) * alpha) / n
