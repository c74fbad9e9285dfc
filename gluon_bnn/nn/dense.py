"""A dense layer with binary weights."""

import math
from typing import Any, Optional, Union

from .._compat import mx
from . import parameter, tracing
from .arguments import whole
from .binary_layer import BinaryLayer, described


class BinaryDense(BinaryLayer, mx.gluon.nn.Dense):
    __doc__ = described("""A dense layer whose weights are binary in the forward pass.

    y = alpha * (x @ sign(W).T) + b, alpha = mean |W|

    From d = dL/dy the gradient to x is d @ (alpha sign(W)), and that to b the sum of d over the rows.

    {weights}

    Parameters
    ----------
    units, activation, use_bias, flatten, dtype, weight_initializer, bias_initializer, in_units :
        as in `mxnet.gluon.nn.Dense`; dtype is float32 or float64.
    {options}

    Inputs: (rows, ...) flattened to (rows, in_units), or (..., in_units) with flatten=False, of the layer's dtype.
    Outputs: (rows, units), or (..., units) with flatten=False.

    Raises ValueError when the layer is made with arguments outside of these, and MXNetError for inputs of another width
    or dtype.

    >>> net = BinaryDense(3, in_units=2)
    >>> net.initialize()
    >>> net(mx.nd.ones((5, 2))).shape
    (5, 3)
    """)

    def __init__(
        self,
        units: int,
        activation: Optional[str] = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Union[str, type] = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_units: int = 0,
        *,
        scale: Optional[str] = "layer",
        gradient: Optional[str] = None,
        clip: Optional[float] = 1.0,
        stochastic: bool = False,
        prefix: Optional[str] = None,
        params: Any = None,
    ):
        units, in_units = whole("units", units, 1), whole("in_units", in_units, 0)
        parameter.check_dtype(dtype)
        self._choose(activation, scale, gradient, clip, stochastic)
        super().__init__(
            units,
            activation,
            use_bias,
            flatten,
            dtype,
            weight_initializer,
            bias_initializer,
            in_units,
            prefix=prefix,
            params=params,
        )
        self._complete(activation)

    @property
    def units(self) -> int:
        """The number of outputs."""
        return self._units

    def infer_shape(self, x: Any, *args: Any) -> None:
        """The shape of the weight from that of the input, when the layer is called by itself."""
        self._set_shape(self._units, x.shape[-1] if not self._flatten else math.prod(x.shape[1:]))

    def _with_real_weights(self, **options):
        sizes = dict(flatten=self._flatten, dtype=self.weight.dtype, in_units=self.weight.shape[1])
        return mx.gluon.nn.Dense(self._units, **sizes, **options)

    def _stand_in(self, F, x, weight, bias):
        given = () if bias is None else (bias,)
        options = {"no_bias": bias is None, "num_hidden": self._units, "flatten": self._flatten}
        return tracing.stand_in(self, F.FullyConnected, x, weight, *given, **options)

    def _product(self, F, x, weight, bias, curvature, options, of_signs):
        sizes = {"units": self._units, "flatten": self._flatten}
        return self._ops.binary_dense(F, x, weight, bias, curvature, options, **sizes, of_signs=of_signs)
