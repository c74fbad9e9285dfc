"""Gluon blocks with binary weights and binary activations, and a fast batch norm to go between them."""
import math

import numpy as np

from . import ops
from ._compat import mx

__all__ = ["BinaryDense", "BinaryActivation", "BinarySigmoid", "BatchNorm", "with_real_weights"]


class _Weight(mx.gluon.Parameter):
    """The real weights behind binary ones: what `gluon_bnn.optimizer` recognises and holds within [-1, 1].

    `curvature` is the Parameter that it keeps up to date for scale="loss", else None.

    It refuses grad_req="add" once a graph was traced without it. MXNet's extension operators overwrite
    their gradient where "add" asks to add. So `BinaryDense` puts one of MXNet's own operators in between
    when it sees "add"; a graph traced before cannot know.
    """

    binary = True
    curvature = None
    traced = False

    @property
    def grad_req(self):
        return self._grad_req

    @grad_req.setter
    def grad_req(self, req):
        if req == "add" and self.traced and getattr(self, "_grad_req", None) != "add":
            raise ValueError(f"{self.name}: grad_req='add' must be set before the net is hybridized and "
                             "called; call net.hybridize(False), set it, then net.hybridize()")
        mx.gluon.Parameter.grad_req.fset(self, req)


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
        self.weight.__class__ = _Weight
        self.curvature = None
        if scale == "loss":
            self.curvature = self.weight.curvature = self.params.get(
                "curvature", shape=(units, in_units), dtype=dtype, init="ones", allow_deferred_init=True,
                grad_req="null", differentiable=False)

    def infer_shape(self, x, *args):
        """The shape of the weight from that of the input, when the layer is called by itself."""
        width = x.shape[-1] if not self._flatten else math.prod(x.shape[1:])
        self.weight.shape = (self._units, width)
        if self.curvature is not None:
            self.curvature.shape = self.weight.shape

    def hybrid_forward(self, F, x, weight, bias=None, curvature=None):
        symbolic = F is mx.sym
        self.weight.traced = self.weight.traced or symbolic
        hint = x if symbolic and 0 in self.weight.shape else None
        if self._implementation == "native" and self.weight.grad_req == "add":
            weight = F.identity(weight)
        if self._is_one_operator():
            y = ops.binary_dense(F, x, weight, bias, curvature, self._scale, self._gradient, self._clip, self._units,
                                 self._flatten)
            return y if self.act is None else self.act(y)
        signs, alpha = ops.sign_scale(F, weight, self._scale, self._gradient, self._clip, hint=hint,
                                      implementation=self._implementation, flatten=self._flatten,
                                      curvature=curvature, stochastic=self._stochastic)
        # The product runs over +-1 and the scale multiplies its result: over binary inputs the product
        # is then an exact integer, and the 1-bit form equal to it.
        y = F.FullyConnected(x, signs, no_bias=True, num_hidden=self._units, flatten=self._flatten)
        y = ops.scale_bias(F, y, None if self._scale is None else alpha, bias,
                           alpha_gradient=self._gradient == "exact",
                           implementation=self._implementation)
        return y if self.act is None else self.act(y)

    def _is_one_operator(self):
        """True where the library has the whole layer in one operator, a good deal faster than its parts."""
        return self._implementation == "native" and _is_float32(self.weight.dtype) and not self._stochastic

    def hybridize(self, active=True, **kwargs):
        """As Gluon's. Forgets earlier graphs, so grad_req may be set again."""
        self.weight.traced = False
        super().hybridize(active, **kwargs)

    def cast(self, dtype):
        """Cast the parameters to float32 or float64; ValueError for anything else."""
        _check_dtype(dtype)
        super().cast(dtype)

    def __repr__(self):
        return (f"{super().__repr__()[:-1]}, scale={self._scale!r}, gradient={self._gradient!r}"
                + ("" if self._clip == 1.0 else f", clip={self._clip!r}")
                + (", stochastic=True" if self._stochastic else "") + ")")


def _is_float32(dtype):
    return np.dtype(dtype) == np.float32


def _check_dtype(dtype):
    if np.dtype(dtype).name not in ("float32", "float64"):
        raise ValueError(f"binary layers compute in float32 or float64, got {dtype!r}")


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
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        gamma = F.BlockGrad(F.ones_like(gamma)) if self._kwargs["fix_gamma"] else gamma
        return ops.batch_norm(F, x, gamma, beta, running_mean, running_var, self._kwargs["eps"],
                              self._kwargs["momentum"], self._kwargs["use_global_stats"])

    def cast(self, dtype):
        """Cast the parameters to float32 or float64; ValueError for anything else."""
        _check_dtype(dtype)
        super().cast(dtype)


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
