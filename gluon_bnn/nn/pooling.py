"""Max pooling, several times as fast as Gluon's where the arrays come from operators of ours."""

from typing import Any

from .. import ops
from .._compat import mx
from . import parameter
from .arguments import sizes
from .rows import TakesRows


class MaxPool2D(TakesRows, mx.gluon.nn.MaxPool2D):
    """Gluon's max pooling over (rows, channels, height, width), faster; arguments and shapes are Gluon's.

    NaN is ignored. Where several places of a window hold the largest number, the first, row by row, gets the gradient.
    float32 and float64. Exports have MXNet's own operator. Raises ValueError for sizes that are no whole numbers.

    >>> MaxPool2D()(mx.nd.array([[[[1, 2], [3, 4]]]])).asnumpy()
    array([[[[4.]]]], dtype=float32)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name, argument, least in (("kernel", "pool_size", 1), ("stride", "strides", 1), ("pad", "padding", 0)):
            self._kwargs[name] = sizes(argument, self._kwargs[name], 2, least)
        self._ops = ops.current()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        if self._kwargs["layout"] != "NCHW" or not parameter.runs(x):
            return super().hybrid_forward(F, x)
        options = {name: self._kwargs[name] for name in ("kernel", "stride", "pad", "pooling_convention")}
        return self._ops.max_pool(F, x, **options)

    def check_dtype(self, dtype: Any) -> None:
        """ValueError unless the layer computes in this dtype; asked before any block of a net is cast."""
        if self._ops.overwrites:
            parameter.check_dtype(dtype)

    def _alias(self):
        return "pool"  # as Gluon's
