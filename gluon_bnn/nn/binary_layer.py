"""What all layers with binary weights have in common: `BinaryLayer`, a base of them next to Gluon's own layer."""

from typing import Any, Optional

import numpy as np

from .. import ops, quantizers
from .._compat import mx
from ..ops.options import BinaryOptions
from . import parameter
from .activations import Activation, check_activation
from .deployed import Deployed, floats, packed, products
from .rows import TakesRows

_WEIGHTS = """The real weights W are what the optimiser updates, and `weight.data()`; the binary ones that the layer
    computes with are `binary_weight()`, and their signs `signs()`. sign(W) is -1 where W < 0, else +1. What reaches W
    from g = dL/d(alpha sign(W)) is a straight-through rule, with n weights sharing an alpha and m = 1[|W| <= clip]:

    {rules}

    BinaryConnect is Courbariaux, Bengio, David 2015; BNN Hubara et al. 2016, Binarized Neural Networks; XNOR-Net
    Rastegari et al. 2016; LAB Hou, Yao, Kwok 2017, Loss-aware Binarization of Deep Networks.

    scale="loss" is that of LAB, section 3: alpha = sum L |W| / sum L over the layer, with the rule "ste". L is the
    parameter `curvature`, as large as the weights, without a gradient, and ones at first; an optimiser writes it after
    every step (`gluon_bnn.optimizer.BinaryAdam`). Under one that does not, alpha stays mean |W|.

    stochastic=True draws new signs for every batch while MXNet trains, +1 with probability (W + 1) / 2 held within
    [0, 1] (BinaryConnect, section 2.2); otherwise they are sign(W).""".replace(
    "{rules}", quantizers.table().replace("\n", "\n    ")
)

_OPTIONS = """scale : "layer" (one alpha), "channel" (one per unit), "loss" (one alpha, LAB) or None (alpha = 1)
    gradient : one of the rules above; None means "xnor" with scale="layer" and "channel", else "ste", which alone goes
        with "loss" and None
    clip : weights beyond it get no gradient through the sign; None for no limit
    stochastic : draw the signs while training; with scale=None only"""


def described(text: str) -> str:
    """The docstring of a layer: what all have in common in the places of {weights} and {options}."""
    return text.replace("{weights}", _WEIGHTS).replace("{options}", _OPTIONS)


class BinaryLayer(TakesRows):
    """A layer whose weights are binary in the forward pass. A subclass is a layer of Gluon's too, with `weight`, `bias`
    and `act`; it calls `_choose` before and `_complete` after the __init__ of that one, and has

    _stand_in(F, x, weight, bias) : what the layer shows as while `freeze` traces a net, see tracing.py, or None
    _with_real_weights(**options) : the layer of Gluon's with its sizes and these options, in the same parameters
    _product(F, x, weight, bias, curvature, options, of_signs) : all of the layer but its activation, by
        an operator of `self._ops`
    """

    weight: mx.gluon.Parameter
    bias: Optional[mx.gluon.Parameter]
    act: Any
    curvature: Optional[mx.gluon.Parameter]

    def _choose(self, activation, scale, gradient, clip, stochastic):
        if activation is not None:
            check_activation(activation)
        self._rule = quantizers.check(scale, gradient, clip, stochastic)
        self._scale, self._clip, self._stochastic = scale, quantizers.check_clip(clip), stochastic
        self._ops = ops.current()

    def _complete(self, activation):
        if activation is not None:
            with self.name_scope():
                self.act = Activation(activation, prefix=f"{activation}_")
        self.curvature = None
        if self._scale == "loss":
            self.curvature = self.params.get(
                "curvature",
                shape=self.weight.shape,
                dtype=self.weight.dtype,
                init="ones",
                allow_deferred_init=True,
                grad_req="null",
                differentiable=False,
            )
        parameter.mark(self.weight, self.curvature)

    @property
    def scale(self) -> Optional[str]:
        """Which weights share an alpha: "layer", "channel", "loss" or None."""
        return self._scale

    @property
    def gradient(self) -> str:
        """The name of the gradient rule."""
        return self._rule.name

    @property
    def rule(self) -> quantizers.Rule:
        """The gradient rule."""
        return self._rule

    @property
    def clip(self) -> Optional[float]:
        """Weights beyond it get no gradient through the sign; None for no limit."""
        return self._clip

    @property
    def stochastic(self) -> bool:
        """Whether signs are drawn while MXNet trains."""
        return self._stochastic

    def signs(self) -> mx.nd.NDArray:
        """sign(W), +-1 in the shape and dtype of the weights: -1 where W < 0, +1 everywhere else, at 0.0, -0.0 and NaN.

        `layer.weight.data()` is W itself, the real weights behind the binary ones, which the literature calls latent.
        An optimiser's steps are much smaller than the distance from -1 to +1: they add up in W until it changes its
        sign. The forward pass takes W and makes the signs each time it runs.

        With stochastic=True these are the signs of inference; those of a training pass are drawn, and then gone.

        Raises RuntimeError before the layer is initialised, and MXNet's DeferredInitializationError, which is a
        MXNetError, while the number of its inputs is not known: call it once on a batch.
        """
        return self.sign_scale()[0]

    def alpha(self) -> mx.nd.NDArray:
        """The scale: (1,), or one per unit with scale="channel"; ones with scale=None. Raises as `signs`."""
        return self.sign_scale()[1]

    def binary_weight(self) -> mx.nd.NDArray:
        """alpha * signs, the weight of the layer in inference, in the shape and dtype of the weights.

        A layer of Gluon's with this weight gives the same but for rounding: the layer itself multiplies by +-1 first
        and by alpha last, which is exact for inputs of +-1. Raises as `signs`.
        """
        signs, alpha = self.sign_scale()
        return signs * alpha.reshape((-1,) + (1,) * (signs.ndim - 1))

    def sign_scale(self, weight: Optional[mx.nd.NDArray] = None) -> tuple:
        """(signs, alpha) of weights, by default the layer's own."""
        weight = self.weight.data() if weight is None else weight
        curvature = None if self.curvature is None else self.curvature.data()
        with mx.autograd.pause(train_mode=False):
            return self._ops.sign_scale(mx.nd, weight, self._scale, self._rule, self._clip, curvature=curvature)

    def deployed(self, x: Any, y: Any) -> Deployed:
        """What it holds and multiplies when deployed; x are the arrays that it took, y is what it gave."""
        return self._deployed(y, packed(self.weight, self._scales()))

    def _scales(self):
        """How many scales are deployed."""
        return {None: 0, "channel": self.weight.shape[0]}.get(self._scale, 1)

    def _deployed(self, y, held, weight_bits=1):
        """`held` is what is deployed of the weight, scales included, whose products are of `weight_bits`."""
        weights = {self.weight: held, **({} if self.bias is None else {self.bias: floats(self.bias)})}
        return Deployed(weights, products(self.weight, y), weight_bits=weight_bits)

    def _set_shape(self, *shape):
        """The shape of the weight, found from the input."""
        self.weight.shape = shape
        if self.curvature is not None:
            self.curvature.shape = shape

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None, curvature: Any = None) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        y = self._stand_in(F, x, weight, bias)
        if y is None:
            y = self._product(F, x, weight, bias, curvature, self._options(x), parameter.of_signs(x))
        return y if self.act is None else self.act(y)

    def _options(self, x):
        symbolic = isinstance(x, mx.sym.Symbol)
        parameters = [each for each in (self.weight, self.bias) if each is not None]
        return BinaryOptions(
            self._scale,
            self._rule,
            self._clip,
            self._stochastic,
            dtype=np.dtype(self.weight.dtype).name,
            hint=symbolic and min(self.weight.shape) < 1,
            adds=not self._ops.overwrites or parameter.gradient_adds(parameters, symbolic),
            apart=symbolic and parameter.from_inputs_alone(x),
        )

    @staticmethod
    def check_dtype(dtype: Any) -> None:
        """ValueError unless dtype is float32 or float64; asked before any block of a net is cast."""
        parameter.check_dtype(dtype)

    def __repr__(self):
        return (
            f"{super().__repr__()[:-1]}, scale={self._scale!r}, gradient={self.gradient!r}"
            + ("" if self._clip == 1.0 else f", clip={self._clip!r}")
            + (", stochastic=True" if self._stochastic else "")
            + ")"
        )
