"""What a gradient rule is: how a gradient reaches the real weight behind a binary one."""

from typing import Any, ClassVar, Optional

SCALES = ("layer", "channel", "loss", None)  # which weights share a scale alpha, see `nn.BinaryDense`


class Rule:
    """How the gradient g = dL/d(alpha s) of a binary weight alpha s, s = sign(W), reaches the real weight W:

        dL/dW = g factor(W)                            and with through_alpha
        dL/dW = g factor(W) + s/n sum_j g_j s_j        over the n weights that share alpha = mean |W|

    A rule is a class, made and registered once:

    >>> from gluon_bnn import quantizers
    >>> class Half(quantizers.Rule):
    ...     name, formula, source = "half", "g / 2", "this example"
    ...     def factor(self, F, w, alpha, n, mask):
    ...         return 0 * w + 0.5
    >>> half = quantizers.register(Half())
    >>> quantizers.rule("half") is half
    True
    >>> quantizers.unregister("half")

    Attributes
    ----------
    name : what layers take as `gradient`
    formula, source : for the table in the documentation; m stands for 1[|W| <= clip]
    scales : the scales that it goes with
    native : the name of its functor in native/src/training/rules.h, None where there is none: layers with such a rule
        run on MXNet's own operators
    through_alpha : whether the gradient also goes through alpha, as above, which then is mean |W|
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    scales: ClassVar[tuple[Optional[str], ...]] = ("layer", "channel")
    native: ClassVar[Optional[str]] = None
    through_alpha: ClassVar[bool] = False

    def factor(self, F: Any, w: Any, alpha: Any, n: Any, mask: Any) -> Any:
        """What g is multiplied with; arrays in the shape of the weights w.

        F is numpy, mx.nd or mx.sym: the arrays are theirs. alpha is the scale, n the number of weights that share it,
        mask 1 where |w| <= clip and else 0.
        """
        raise NotImplementedError

    def __repr__(self):
        return f"<gradient rule {self.name!r}>"
