"""The two distributions from which the papers draw the real weights behind binary ones, under names that MXNet finds.

Importing this module registers them: `net.initialize("binaryconnectuniform")`, or as a layer's
weight_initializer, draws its weights so; biases and all that batch norm has start as Gluon starts them.
"""

from ._compat import mx

__all__ = ["BinaryConnectUniform", "LABUniform"]


def __dir__():
    return __all__


@mx.init.register
class BinaryConnectUniform(mx.init.Uniform):
    """U(-1, 1): BinaryConnect's and BNN's official code, with H = 1.

    >>> mx.init.create("binaryconnectuniform").scale
    1.0
    """

    def __init__(self) -> None:
        super().__init__(1.0)
        self._kwargs: dict[str, float] = {}  # arguments for the name in an exported graph: there are none


@mx.init.register
class LABUniform(mx.init.Xavier):
    """U(-a, a), a = sqrt(1.5 / (in_units + units)), half of Glorot's: LAB's official code, FNN/lab.py.

    >>> w = mx.nd.zeros((100, 50))
    >>> mx.init.create("labuniform")(mx.init.InitDesc("weight"), w)
    >>> bool(0.09 < w.abs().max().asscalar() <= 0.1)
    True
    """

    def __init__(self) -> None:
        super().__init__("uniform", "avg", 0.75)  # sqrt(0.75 / ((in + out) / 2))
        self._kwargs: dict[str, float] = {}
