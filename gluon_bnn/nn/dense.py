"""Gluon blocks with binary weights and binary activations, and a fast batch norm to go between them."""
import math

import numpy as np

from .. import initializer, ops, optimizer  # initializer, optimizer: MXNet then finds theirs by name
from .._compat import mx
from . import parameter as _gluon

__all__ = ["BinaryDense", "Activation", "BinaryActivation", "BinarySigmoid", "BatchNorm", "with_real_weights"]


class BinaryDense(mx.gluon.nn.Dense):
    r"""A dense layer whose weights are binary in the forward pass.

    .. math:: y = \alpha \, (x \cdot \mathrm{sign}(W)^T) + b, \qquad \alpha = \mathrm{mean} |W|

    The real weights W are what the optimiser updates. sign(W) is -1 where W < 0, else +1. The gradient
    to x is d @ (alpha sign(W)); what reaches W from g = dL/d(alpha sign(W)) is a straight-through rule,
    with n weights sharing an alpha and m = 1[\|W\| <= clip]:

    ===========  =========================================  ======================================
    gradient     dL/dW                                      source
    ===========  =========================================  ======================================
    "ste"        g m                                        BinaryConnect (Courbariaux et al. 2015)
    "xnor"       g (1/n + alpha m)                          XNOR-Net (Rastegari et al. 2016), 3
    "exact"      alpha m g + s/n sum_j g_j s_j              the product rule in full
    "notebook"   g (1/n + 1[\|W\| <= 5] W alpha / n)          the notebook, as it stands
    ===========  =========================================  ======================================

    scale="loss" is LAB (Hou, Yao, Kwok 2017, Loss-aware Binarization of Deep Networks, section 3): alpha
    = sum L \|W\| / sum L over the layer, with the rule "ste". L is the parameter `curvature`, as large as the
    weights, without a gradient, and ones at first; an optimiser writes it after every step
    (`gluon_bnn.optimizer.BinaryAdam`). Under one that does not, alpha stays mean \|W\|.

    stochastic=True draws the signs anew for every batch while MXNet trains, +1 with probability
    (W + 1) / 2 held within [0, 1] (BinaryConnect, section 2.2); otherwise they are sign(W).

    Parameters
    ----------
    units, activation, use_bias, flatten, dtype, weight_initializer, bias_initializer, in_units :
        as in `mxnet.gluon.nn.Dense`; dtype is float32 or float64.
    scale : "layer" (one alpha), "channel" (one a unit), "loss" (one alpha, LAB) or None (alpha = 1)
    gradient : one of the rules above; None means "xnor" with scale="layer" and "channel", else "ste", the
        only one there
    clip : weights beyond it get no gradient through the sign; None for no limit
    stochastic : draw the signs while training; with scale=None only

    Inputs: (rows, ...) flattened to (rows, in_units), or (..., in_units) with flatten=False.
    Outputs: (rows, units), or (..., units) with flatten=False.

    Raises ValueError when the layer is made with arguments outside of these.

    >>> net = BinaryDense(3, in_units=2)
    >>> net.initialize()
    >>> net(mx.nd.ones((5, 2))).shape
    (5, 3)
    """

    def __init__(self, units, activation=None, use_bias=True, flatten=True, dtype="float32",
                 weight_initializer=None, bias_initializer="zeros", in_units=0, *, scale="layer",
                 gradient=None, clip=1.0, stochastic=False, prefix=None, params=None):
        for name, value, least in (("units", units, 1), ("in_units", in_units, 0)):
            if isinstance(value, bool) or int(value) != value or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        _check_dtype(dtype)
        self._scale, self._clip = scale, clip
        self._stochastic = stochastic
        self._gradient = ops.check_sign_scale(scale, gradient, clip, stochastic)
        self._implementation = ops.implementation()
        super().__init__(units, activation, use_bias, flatten, dtype, weight_initializer,
                         bias_initializer, in_units, prefix=prefix, params=params)
        if activation is not None:
            with self.name_scope():
                self.act = Activation(activation, prefix=f"{activation}_")
        self.curvature = None
        if scale == "loss":
            self.curvature = self.params.get("curvature", shape=(units, in_units), dtype=dtype, init="ones",
                                             allow_deferred_init=True, grad_req="null", differentiable=False)
        _gluon.mark(self.weight, self.curvature)

    def infer_shape(self, x, *args):
        """The shape of the weight from that of the input, when the layer is called by itself."""
        width = x.shape[-1] if not self._flatten else math.prod(x.shape[1:])
        self.weight.shape = (self._units, width)
        if self.curvature is not None:
            self.curvature.shape = self.weight.shape

    def hybrid_forward(self, F, x, weight, bias=None, curvature=None):
        symbolic = isinstance(x, mx.sym.Symbol)
        parameters = [parameter for parameter in (self.weight, self.bias) if parameter is not None]
        adds = self._implementation != "native" or _gluon.gradient_adds(parameters, symbolic)
        y = ops.binary_dense(F, x, weight, bias, curvature, scale=self._scale, gradient=self._gradient,
                             clip=self._clip, stochastic=self._stochastic, units=self._units,
                             flatten=self._flatten, dtype=np.dtype(self.weight.dtype).name,
                             implementation=self._implementation, hint=symbolic and 0 in self.weight.shape,
                             adds=adds)
        return y if self.act is None else self.act(y)

    @staticmethod
    def check_dtype(dtype):
        """ValueError unless dtype is float32 or float64; asked before any block of a net is cast."""
        _check_dtype(dtype)

    def __repr__(self):
        return (f"{super().__repr__()[:-1]}, scale={self._scale!r}, gradient={self._gradient!r}"
                + ("" if self._clip == 1.0 else f", clip={self._clip!r}")
                + (", stochastic=True" if self._stochastic else "") + ")")


def _check_dtype(dtype):
    if np.dtype(dtype).name not in ("float32", "float64"):
        raise ValueError(f"binary layers compute in float32 or float64, got {dtype!r}")


class Activation(mx.gluon.nn.Activation):
    """Gluon's activations, except that "relu" keeps NaN, as `mx.nd.relu` and the runtime do; Gluon's makes 0 of it.

    >>> Activation("relu")(mx.nd.array([-1, float("nan"), 2])).asnumpy()
    array([ 0., nan,  2.], dtype=float32)
    """

    def hybrid_forward(self, F, x):
        return F.relu(x) if self._act_type == "relu" else super().hybrid_forward(F, x)


class BinaryActivation(mx.gluon.HybridBlock):
    """sign(x): -1 where x < 0, else +1; gradient d * 1[|x| <= clip], or d with clip=None.

    Any shape, float32 or float64. Hubara et al. 2016, Binarized Neural Networks, section 1.3.

    >>> BinaryActivation()(mx.nd.array([-2, -0.5, 0, 3])).asnumpy()
    array([-1., -1.,  1.,  1.], dtype=float32)
    """

    def __init__(self, clip=1.0, prefix=None, params=None):
        ops.check_clip(clip)
        super().__init__(prefix=prefix, params=params)
        self._clip = clip
        self._implementation = ops.implementation()

    def hybrid_forward(self, F, x):
        return ops.sign(F, x, self._clip, implementation=self._implementation)

    def check_dtype(self, dtype):
        """ValueError unless the layer computes in this dtype; asked before any block of a net is cast."""
        if self._implementation == "native":
            _check_dtype(dtype)

    def __repr__(self):
        return f"BinaryActivation(clip={self._clip!r})"


class BinarySigmoid(mx.gluon.HybridBlock):
    """The sigmoid rounded to a bit: 0 where x < 0, else 1; gradient d * s (1 - s), s = sigmoid(x).

    Any shape. This is the `b_sigmoid` that the notebook left open.

    >>> BinarySigmoid()(mx.nd.array([-2, -0.5, 0, 3])).asnumpy()
    array([0., 0., 1., 1.], dtype=float32)
    """

    def hybrid_forward(self, F, x):
        return ops.binary_sigmoid(F, x)

    def __repr__(self):
        return "BinarySigmoid()"


class BatchNorm(mx.gluon.nn.BatchNorm):
    r"""Batch norm of the last axis, where a dense layer has its units: Gluon's, several times as fast.

    .. math:: y = \gamma \, (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta

    with the mean and the (biased) variance of each unit over the batch while MXNet trains, and with their
    running averages otherwise: running = momentum running + (1 - momentum) batch's. The gradient goes through
    the mean and the variance of the batch. Ioffe, Szegedy 2015, Batch Normalization, sections 3 and 3.1.

    Parameters
    ----------
    axis : -1, the last one
    momentum, epsilon, center, scale, use_global_stats, beta_initializer, gamma_initializer,
    running_mean_initializer, running_variance_initializer, in_channels :
        as in `mxnet.gluon.nn.BatchNorm`. With scale=False gamma is 1; with center=False beta stays as it is.

    Inputs: (rows, ..., in_channels), float32 or float64. Outputs: the same shape.

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

    def __init__(self, axis=-1, momentum=0.9, epsilon=1e-5, center=True, scale=True, use_global_stats=False,
                 **kwargs):
        if axis != -1:
            raise ValueError(f"axis must be -1, the last one (mxnet.gluon.nn.BatchNorm takes others), got {axis!r}")
        for name, value, most in (("epsilon", epsilon, math.inf), ("momentum", momentum, 1)):
            if not (isinstance(value, (int, float)) and 0 <= value <= most and value < math.inf):
                raise ValueError(f"{name} must be a finite number of at least 0"
                                 f"{' and at most 1' if most == 1 else ''}, got {value!r}")
        self._implementation = ops.implementation()
        super().__init__(axis, momentum, epsilon, center, scale, use_global_stats, **kwargs)

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        if self._implementation == "composed":
            y = super().hybrid_forward(F, _in_plain_order(F, ops.adding(F, x)), gamma, beta, running_mean, running_var)
            return _in_plain_order(F, y)
        adds = _gluon.gradient_adds([self.gamma, self.beta], isinstance(x, mx.sym.Symbol))
        gamma = F.BlockGrad(F.ones_like(gamma)) if self._kwargs["fix_gamma"] else gamma
        one = self._kwargs["use_global_stats"]
        training = F.ones(shape=(1, 1)) if one else _gluon.training(lambda: ops.training(F))
        return ops.batch_norm(F, x, gamma, beta, running_mean, running_var, training, self._kwargs["eps"],
                              self._kwargs["momentum"], adds=adds)

    @staticmethod
    def check_dtype(dtype):
        """ValueError unless dtype is float32 or float64; asked before any block of a net is cast."""
        _check_dtype(dtype)

    def cast(self, dtype):
        """Cast the parameters to float32 or float64; ValueError for anything else."""
        _check_dtype(dtype)  # Gluon's own makes float32 of float16
        super().cast(dtype)


def _in_plain_order(F, x):
    """`x`, copied: MXNet's convolutions pass on arrays and gradients in blocks of channels, with which its batch norm
    over the last axis cannot train (its issue 20858)."""
    return F.slice_axis(x, axis=0, begin=0, end=None)


def with_real_weights(net):
    """`net` with a plain Dense layer for every BinaryDense, y = x @ W.T + b: the weights that were trained.

    net : a BinaryDense, or a Sequential or HybridSequential of any blocks, nested or not, whose parameter
        shapes are known. Parameters are shared, blocks that are not replaced are the very same.

    BinaryConnect (Courbariaux et al. 2015, section 2.6) tests nets trained with stochastic signs this way.
    Raises TypeError for another kind of net.

    >>> net = BinaryDense(3, in_units=2, scale=None)
    >>> with_real_weights(net)
    Dense(2 -> 3, linear)
    """
    nn = mx.gluon.nn
    if not isinstance(net, (BinaryDense, nn.Sequential, nn.HybridSequential)):
        raise TypeError("with_real_weights takes a BinaryDense, or a Sequential or HybridSequential of "
                        f"blocks, got {type(net).__name__}")
    return _with_real_weights(net)


def _with_real_weights(block):
    nn = mx.gluon.nn
    if isinstance(block, BinaryDense):
        weight, bias = block.weight, block.bias
        return nn.Dense(block._units, activation=block.act and block.act._act_type,
                        use_bias=bias is not None, flatten=block._flatten, dtype=weight.dtype,
                        weight_initializer=weight.init, bias_initializer=bias and bias.init,
                        in_units=weight.shape[1], params=block.params)
    if not isinstance(block, (nn.Sequential, nn.HybridSequential)):
        return block
    copy = type(block)()
    copy.add(*map(_with_real_weights, block._children.values()))
    return copy
