"""Batch norm of the last axis or of an image's channels, several times as fast as Gluon's."""

import math
from typing import Any

import numpy as np

from .. import ops
from .._compat import mx
from .arguments import whole
from .parameter import check_dtype, gradient_adds, training
from .rows import TakesRows


class BatchNorm(TakesRows, mx.gluon.nn.BatchNorm):
    """Batch norm of the last axis, where a dense layer has its units, or of the channels of images: Gluon's, faster.

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    with the mean and the (biased) variance of each unit over the batch, and over all places of an image, while MXNet
    trains, and with their running averages otherwise: running = momentum running + (1 - momentum) batch's. The gradient
    goes through the mean and the variance of the batch. Ioffe, Szegedy 2015, Batch Normalization, sections 3 and 3.1.

    Parameters
    ----------
    axis : that of the units: -1, the last one, or 1, the channels of images (rows, channels, ...). Gluon's own is 1
        where nothing is said.
    momentum, epsilon, center, scale, use_global_stats, beta_initializer, gamma_initializer,
    running_mean_initializer, running_variance_initializer, in_channels :
        as in `mxnet.gluon.nn.BatchNorm`. With scale=False gamma is 1; with center=False beta stays as it is.

    Inputs: (rows, ..., in_channels), or with axis=1 (rows, in_channels, ...), float32 or float64. Outputs: the same
    shape.

    Without the native library it is MXNet's operator, whose running averages change in the backward pass
    instead of the forward pass. Raises ValueError for another axis, and for an epsilon or momentum that is not a
    finite number of at least 0, or a momentum above 1; MXNetError for data of fewer than two axes, of another
    width, or without rows.

    >>> net = BatchNorm(in_channels=2)
    >>> net.initialize()
    >>> with mx.autograd.train_mode():
    ...     net(mx.nd.array([[0, 3], [2, 3]])).round().asnumpy()
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        **kwargs: Any,
    ):
        if not isinstance(axis, (int, np.integer)) or isinstance(axis, bool) or axis not in (-1, 1):
            raise ValueError(
                f"axis must be -1, the last one, or 1, the channels of images (mxnet.gluon.nn.BatchNorm takes others), "
                f"got {axis!r}"
            )
        for name, value, most in (("epsilon", epsilon, math.inf), ("momentum", momentum, 1)):
            real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not (real and 0 <= value <= most and value < math.inf):
                raise ValueError(
                    f"{name} must be a finite number of at least 0"
                    f"{' and at most 1' if most == 1 else ''}, got {value!r}"
                )
        if "in_channels" in kwargs:
            kwargs["in_channels"] = whole("in_channels", kwargs["in_channels"], 0)
        self._ops = ops.current()
        super().__init__(int(axis), float(momentum), float(epsilon), center, scale, use_global_stats, **kwargs)

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any, running_mean: Any, running_var: Any) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        adds = not self._ops.overwrites or gradient_adds([self.gamma, self.beta], isinstance(x, mx.sym.Symbol))
        options = {name: self._kwargs[name] for name in ("axis", "eps", "momentum", "fix_gamma", "use_global_stats")}
        told = training(lambda: self._ops.training(F)) if self._ops.overwrites else None
        return self._ops.batch_norm(F, x, gamma, beta, running_mean, running_var, training=told, adds=adds, **options)

    @staticmethod
    def check_dtype(dtype: Any) -> None:
        """ValueError unless dtype is float32 or float64; asked before any block of a net is cast."""
        check_dtype(dtype)

    def cast(self, dtype: Any) -> None:
        """Cast the parameters to float32 or float64; ValueError for anything else."""
        check_dtype(dtype)  # Gluon's own makes float32 of float16
        super().cast(dtype)
