"""The rule of XNOR-Net."""

from typing import Any

from .rule import Rule


class Xnor(Rule):
    """dL/dW = g (1/n + alpha m). Rastegari et al. 2016, XNOR-Net, section 3."""

    name, formula, source = "xnor", "g (1/n + alpha m)", "XNOR-Net, section 3; the default with a scale"
    native = "xnor"

    def factor(self, F: Any, w: Any, alpha: Any, n: Any, mask: Any) -> Any:
        return 1 / n + alpha * mask
