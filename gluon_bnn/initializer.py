"""The two distributions from which the papers draw the real weights behind binary ones, under names that MXNet finds.

Importing this module registers them: `net.initialize("binaryconnectuniform")`, or as a layer's
weight_initializer, draws its weights so; biases and all that batch norm has start as Gluon starts them.
"""

from typing import Any

from ._arrays import classic
from ._compat import mx

__all__ = ["BinaryConnectUniform", "LABUniform"]


def __dir__():
    return __all__


class _Draws:
    """A base of classes of `mx.init` that draw numbers: an array of `mx.np` gets the numbers that one of `mx.nd` would.
    MXNet itself cannot fill those of `mx.np` in float64."""

    def _init_weight(self, name: Any, array: Any) -> None:
        with mx.util.np_array(False):
            super()._init_weight(name, classic(array))  # type: ignore[misc]


@mx.init.register
class BinaryConnectUniform(_Draws, mx.init.Uniform):
    """U(-1, 1): BinaryConnect's and BNN's official code, with H = 1.

    >>> mx.init.create("binaryconnectuniform").scale
    1.0
    """

    def __init__(self) -> None:
        super().__init__(1.0)
        self._kwargs: dict[str, float] = {}  # arguments for the name in an exported graph: there are none


@mx.init.register
class LABUniform(_Draws, mx.init.Xavier):
    """U(-a, a), a = sqrt(1.5 / (in_units + units)), half of Glorot's: LAB's official code, FNN/lab.py. For convolutions
    it is in_channels + channels times the places of the kernel.

    >>> w = mx.nd.zeros((100, 50))
    >>> mx.init.create("labuniform")(mx.init.InitDesc("weight"), w)
    >>> bool(0.09 < w.abs().max().asscalar() <= 0.1)
    True
    """

    def __init__(self) -> None:
        super().__init__("uniform", "avg", 0.75)  # sqrt(0.75 / ((in + out) / 2))
        self._kwargs: dict[str, float] = {}
