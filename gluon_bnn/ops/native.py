"""The operators of binary layers in our library, one pass over memory each way."""

from typing import Any, Optional, Union

from .. import quantizers
from .._arrays import takes_np
from ..native import library
from .composed import Composed, Sizes, _checked, convolution
from .gradients import adding, row
from .training import while_training


class Native(Composed):
    """As `Composed`. Where the library has no operator, or a rule has no functor, it is composed."""

    overwrites = True

    def __reduce__(self):  # a process that unpickles a layer needs the operators
        return _native, ()

    @takes_np
    def sign_scale(
        self,
        F: Any,
        weight: Any,
        scale: Optional[str] = "layer",
        gradient: Union[str, quantizers.Rule, None] = None,
        clip: Optional[float] = 1.0,
        *,
        hint: Any = None,
        flatten: bool = True,
        curvature: Any = None,
        stochastic: bool = False,
    ) -> tuple[Any, Any]:
        rule = _checked(scale, gradient, clip, stochastic, curvature)
        if rule.native is None:
            return super().sign_scale(F, weight, scale, rule, clip, curvature=curvature, stochastic=stochastic)
        return _sign_scale(F, adding(F, weight), scale, rule, clip, curvature, stochastic, _hint(hint, flatten))

    @takes_np
    def binary_dense(
        self,
        F: Any,
        x: Any,
        weight: Any,
        bias: Any = None,
        curvature: Any = None,
        *,
        scale: Optional[str],
        rule: quantizers.Rule,
        clip: Optional[float],
        stochastic: bool,
        units: int,
        flatten: bool,
        dtype: str,
        hint: bool = False,
        adds: bool = True,
        of_signs: Optional[tuple] = None,
        apart: bool = False,
    ) -> Any:
        """In float32 it is one operator: signs are packed to bits, so the products with them read a 32nd of the memory,
        and the gradient to the weights is written once, by the rule "exact" twice. The signs of the activation before
        it are part of that operator: their bits serve both passes, and they are never written as floats. In float64,
        and with stochastic signs, the product runs over +-1.

        apart : the gradient of x has an operator of its own, which MXNet leaves out of a graph where this gradient is
            not needed
        """
        if rule.native is None:
            return super().binary_dense(
                F,
                x,
                weight,
                bias,
                curvature,
                scale=scale,
                rule=rule,
                clip=clip,
                stochastic=stochastic,
                units=units,
                flatten=flatten,
                dtype=dtype,
            )
        x, weight = adding(F, x), adding(F, weight) if adds else weight
        if dtype != "float32" or stochastic:
            told = _hint(x if hint else None, flatten)
            signs, alpha = _sign_scale(F, weight, scale, rule, clip, curvature, stochastic, told)
            return self._product(F, x, signs, alpha, bias, scale, rule, units, flatten)
        sizes = {"units": str(units), "flatten": str(flatten)}
        kind, carriers = {}, ()
        if of_signs is not None:
            x, clip_of_signs = adding(F, of_signs[0]), of_signs[1]
            kind = {"sign": "True", "sign_clip": str(clip_of_signs)}
        elif apart:
            x, carriers = F.BlockGrad(x), F.gluon_bnn_data_gradient(x, **sizes)
            kind = {"apart": "True"}
        inputs = [x, weight]
        if bias is not None:
            inputs.append(row(F, bias, adds))
        if curvature is not None:
            inputs.append(curvature)
        return F.gluon_bnn_binary_dense(
            *inputs,
            *carriers,
            scale=str(scale),
            gradient=rule.native,
            clip=str(clip),
            no_bias=str(bias is None),
            **sizes,
            **kind,
        )[0]

    @takes_np
    def binary_conv(
        self,
        F: Any,
        x: Any,
        weight: Any,
        bias: Any = None,
        curvature: Any = None,
        *,
        scale: Optional[str],
        rule: quantizers.Rule,
        clip: Optional[float],
        stochastic: bool,
        channels: int,
        kernel: Sizes,
        strides: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
        pad_value: int,
        dtype: str,
        hint: bool = False,
        adds: bool = True,
        of_signs: Optional[tuple] = None,
        apart: bool = False,
    ) -> Any:
        """In float32, with one or two axes and one group, it is one operator, as `binary_dense`."""
        weight = adding(F, weight) if adds and rule.native is not None else weight
        if dtype == "float32" and groups == 1 and len(kernel) < 3 and rule.native is not None and not stochastic:
            names = ("channels", "kernel", "strides", "padding", "dilation")
            sizes = dict(zip(names, map(str, (channels, kernel, strides, padding, dilation))))
            kind, carriers = {}, ()
            if of_signs is not None:
                x, clip_of_signs = of_signs
                kind = {"sign": "True", "sign_clip": str(clip_of_signs)}
            x = adding(F, x)
            if of_signs is None and apart:
                carriers = F.gluon_bnn_conv_data_gradient(x, **sizes)
                x, kind = F.BlockGrad(x), {"apart": "True"}
            inputs = [x, weight]
            if bias is not None:
                inputs.append(row(F, bias, adds))
            if curvature is not None:
                inputs.append(curvature)
            return F.gluon_bnn_binary_conv(
                *inputs,
                *carriers,
                pad_value=str(pad_value),
                scale=str(scale),
                gradient=rule.native,
                clip=str(clip),
                no_bias=str(bias is None),
                **sizes,
                **kind,
            )[0]
        sizes = convolution(channels, kernel, strides, padding, dilation, groups)
        if rule.native is None:
            signs, alpha = super().sign_scale(F, weight, scale, rule, clip, curvature=curvature, stochastic=stochastic)
        else:
            told = (x, {"hint": "channels", "groups": str(groups)}) if hint else None
            signs, alpha = _sign_scale(F, weight, scale, rule, clip, curvature, stochastic, told)
        return self._convolution(F, x, signs, alpha, bias, scale, rule, pad_value, sizes)

    @takes_np
    def scale_bias(self, F: Any, dot: Any, alpha: Any, bias: Any = None, *, alpha_gradient: bool) -> Any:
        if alpha is None:
            return super().scale_bias(F, dot, alpha, bias, alpha_gradient=alpha_gradient)
        inputs = (adding(F, dot), row(F, alpha)) + (() if bias is None else (row(F, bias),))
        return F.gluon_bnn_scale_bias(*inputs, no_bias=str(bias is None), alpha_gradient=str(alpha_gradient))

    @takes_np
    def sign(self, F: Any, x: Any, clip: Optional[float] = 1.0) -> Any:
        quantizers.check_clip(clip)
        return F.gluon_bnn_sign(adding(F, x), clip=str(clip))

    @takes_np
    def batch_norm(
        self,
        F: Any,
        x: Any,
        gamma: Any,
        beta: Any,
        running_mean: Any,
        running_var: Any,
        *,
        axis: int,
        eps: float,
        momentum: float,
        fix_gamma: bool,
        use_global_stats: bool,
        training: Any,
        adds: bool = True,
    ) -> Any:
        gamma = F.BlockGrad(F.ones_like(gamma)) if fix_gamma else gamma
        training = F.ones(shape=(1, 1)) if use_global_stats else training
        return F.gluon_bnn_batch_norm(
            adding(F, x),
            row(F, gamma, adds),
            row(F, beta, adds),
            running_mean,
            running_var,
            training,
            axis=str(axis),
            eps=repr(float(eps)),
            momentum=repr(float(momentum)),
            inference="1",
        )[0]

    @takes_np
    def max_pool(self, F: Any, x: Any, *, kernel: Sizes, stride: Sizes, pad: Sizes, pooling_convention: str) -> Any:
        rounding = {"valid": "floor", "full": "ceil"}[pooling_convention]
        return F.gluon_bnn_max_pool(
            adding(F, x), kernel=str(kernel), strides=str(stride), padding=str(pad), rounding=rounding
        )

    @takes_np
    def squared_hinge(self, F: Any, outputs: Any, labels: Any) -> Any:
        return F.gluon_bnn_squared_hinge(adding(F, outputs), adding(F, labels))

    def adam_takes(self, weight: Any, grad: Any) -> bool:
        """Dense arrays of float32 and float64 on the CPU."""
        import numpy as np  # not above: the doctor imports this module where there is no NumPy

        return (
            weight.dtype in (np.float32, np.float64)
            and weight.stype == grad.stype == "default"
            and weight.context.device_type == "cpu"
        )

    @takes_np
    def adam(self, *arrays: Any, **options: Any) -> None:
        """A step of Adam for several parameters, in place; arguments in native/src/mxnet/adam.cc."""
        from .._compat import mx

        mx.nd.gluon_bnn_adam(*arrays, **options)


def _hint(x, flatten):
    """What tells `_sign_scale` the shape of the weight of a dense layer that takes x; None without an x."""
    return None if x is None else (x, {"hint": "flatten" if flatten else "last"})


def _sign_scale(F, weight, scale, rule, clip, curvature, stochastic, hint=None):
    """hint : (input of the layer, attributes) by which the shape of the weight is found, or None"""
    inputs, attributes = [weight], {}
    if hint is not None:  # the batch does not matter: one row is enough, and no gradient goes there
        inputs.append(F.BlockGrad(F.slice_axis(hint[0], axis=0, begin=0, end=1)))
        attributes = hint[1]
    if curvature is not None:
        inputs.append(curvature)
    if stochastic:
        inputs.append(while_training(F, F.random.uniform(shape=(1, 2))))
    return F.gluon_bnn_sign_scale(
        *inputs, scale=str(scale), gradient=rule.native, clip=str(clip), stochastic=str(stochastic), **attributes
    )


def _native():
    library.load_operators()
    return native


native = Native()
