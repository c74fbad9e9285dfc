"""Activations: binary ones, and Gluon's with a ReLU that keeps NaN."""

from typing import Any, Optional

from .. import ops, quantizers
from .._arrays import on_nd
from .._compat import mx
from . import parameter, tracing
from .rows import TakesRows

ACTIVATIONS = "relu", "sigmoid", "tanh", "softrelu", "softsign"  # of Gluon's Activation


def check_activation(name: str) -> None:
    """ValueError unless Gluon's Activation has a function of this name."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")


class Activation(TakesRows, mx.gluon.nn.Activation):
    """Gluon's activations, except that "relu" keeps NaN, as `mx.nd.relu` and the runtime do; Gluon's makes 0 of it.

    >>> Activation("relu")(mx.nd.array([-1, float("nan"), 2])).asnumpy()
    array([ 0., nan,  2.], dtype=float32)

    Raises ValueError for another name than Gluon's.
    """

    def __init__(self, activation: str, **kwargs: Any):
        check_activation(activation)
        super().__init__(activation, **kwargs)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        return on_nd(F.relu, x) if self._act_type == "relu" else super().hybrid_forward(F, x)


class BinaryActivation(TakesRows):
    """sign(x): -1 where x < 0, else +1; gradient d * 1[|x| <= clip], or d with clip=None.

    Any shape, float32 or float64. Raises ValueError for a clip that is neither None nor a number above 0. Hubara et
    al. 2016, Binarized Neural Networks, section 1.3.

    >>> BinaryActivation()(mx.nd.array([-2, -0.5, 0, 3])).asnumpy()
    array([-1., -1.,  1.,  1.], dtype=float32)
    """

    def __init__(self, clip: Optional[float] = 1.0, prefix: Optional[str] = None, params: Any = None):
        super().__init__(prefix=prefix, params=params)
        self._clip = quantizers.check_clip(clip)
        self._ops = ops.current()

    @property
    def clip(self) -> Optional[float]:
        """Beyond it no gradient passes; None for no limit."""
        return self._clip

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        signs = tracing.stand_in(self, F.sign, x)
        if signs is None:
            signs = self._ops.sign(F, x, self._clip)
            parameter.note_signs(signs, x, self._clip)
        return signs

    def check_dtype(self, dtype: Any) -> None:
        """ValueError unless the layer computes in this dtype; asked before any block of a net is cast."""
        if self._ops.overwrites:
            parameter.check_dtype(dtype)

    def __repr__(self):
        return f"BinaryActivation(clip={self._clip!r})"


class BinarySigmoid(TakesRows):
    """The sigmoid rounded to a bit: 0 where x < 0, else 1; gradient d * s (1 - s), s = sigmoid(x).

    Any shape. This is the `b_sigmoid` that the notebook left open.

    >>> BinarySigmoid()(mx.nd.array([-2, -0.5, 0, 3])).asnumpy()
    array([0., 0., 1., 1.], dtype=float32)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        y = tracing.stand_in(self, F.sign, x)
        return ops.composed.binary_sigmoid(F, x) if y is None else y

    def __repr__(self):
        return "BinarySigmoid()"
