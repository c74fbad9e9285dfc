"""The operators of binary layers in our library, one pass over memory each way."""

from typing import Any, Optional

from .. import quantizers
from .._arrays import takes_np
from ..native import library
from .composed import Composed, Sizes
from .gradients import adding, row
from .options import BinaryOptions
from .training import while_training


class Native(Composed):
    """As `Composed`. Where the library has no operator, or a rule has no functor, it is composed."""

    overwrites = True

    def __reduce__(self):  # a process that unpickles a layer needs the operators
        return _native, ()

    def _signs(self, F, weight, options, curvature, told=None):
        if options.rule.native is None:
            return super()._signs(F, weight, options, curvature)
        inputs, attributes = [adding(F, weight) if options.adds else weight], {}
        if told is not None:  # the batch does not matter: one row is enough, and no gradient goes there
            inputs.append(F.BlockGrad(F.slice_axis(told[0], axis=0, begin=0, end=1)))
            attributes = told[1]
        if curvature is not None:
            inputs.append(curvature)
        if options.stochastic:
            inputs.append(while_training(F, F.random.uniform(shape=(1, 2))))
        return F.gluon_bnn_sign_scale(*inputs, stochastic=str(options.stochastic), **_attributes(options), **attributes)

    @takes_np
    def binary_dense(
        self,
        F: Any,
        x: Any,
        weight: Any,
        bias: Any,
        curvature: Any,
        options: BinaryOptions,
        *,
        units: int,
        flatten: bool,
        of_signs: Optional[tuple] = None,
    ) -> Any:
        """In float32 it is one operator: signs are packed to bits, so the products with them read a 32nd of the memory,
        and the gradient to the weights is written once, by the rule "exact" twice. The signs of the activation before
        it are part of that operator: their bits serve both passes, and they are never written as floats. In float64,
        and with stochastic signs, the product runs over +-1."""
        if not _on_bits(options):
            return super().binary_dense(F, x, weight, bias, curvature, options, units=units, flatten=flatten)
        sizes = {"units": str(units), "flatten": str(flatten)}
        operators = F.gluon_bnn_binary_dense, F.gluon_bnn_data_gradient
        return _one_operator(F, operators, x, weight, bias, curvature, options, of_signs, sizes)

    @takes_np
    def binary_conv(
        self,
        F: Any,
        x: Any,
        weight: Any,
        bias: Any,
        curvature: Any,
        options: BinaryOptions,
        *,
        sizes: dict,
        pad_value: int,
        of_signs: Optional[tuple] = None,
    ) -> Any:
        """In float32, with one or two axes and one group, it is one operator, as `binary_dense`."""
        if not _on_bits(options) or sizes["num_group"] != 1 or len(sizes["kernel"]) > 2:
            return super().binary_conv(F, x, weight, bias, curvature, options, sizes=sizes, pad_value=pad_value)
        names = dict(channels="num_filter", kernel="kernel", strides="stride", padding="pad", dilation="dilate")
        sizes = {name: str(sizes[theirs]) for name, theirs in names.items()}
        operators = F.gluon_bnn_binary_conv, F.gluon_bnn_conv_data_gradient
        return _one_operator(
            F, operators, x, weight, bias, curvature, options, of_signs, sizes, pad_value=str(pad_value)
        )

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


def _on_bits(options):
    """Whether the library has one operator for all of a layer with these options."""
    return options.rule.native is not None and options.dtype == "float32" and not options.stochastic


def _attributes(options):
    return {"scale": str(options.scale), "gradient": options.rule.native, "clip": str(options.clip)}


def _one_operator(F, operators, x, weight, bias, curvature, options, of_signs, sizes, **more):
    """A layer as the first of the operators; the second gives the gradient of the inputs where that is apart."""
    layer, data_gradient = operators
    kind, clip, carriers = {}, {}, ()
    if of_signs is not None:
        x, clip_of_signs = of_signs
        kind, clip = {"sign": "True"}, {"sign_clip": str(clip_of_signs)}
    x = adding(F, x)
    if options.apart:
        x, carriers, kind = F.BlockGrad(x), data_gradient(x, **sizes, **clip), {**kind, "apart": "True"}
    inputs = [x, adding(F, weight) if options.adds else weight]
    if bias is not None:
        inputs.append(row(F, bias, options.adds))
    if curvature is not None:
        inputs.append(curvature)
    attributes = {**_attributes(options), "no_bias": str(bias is None), **sizes, **kind, **clip, **more}
    return layer(*inputs, *carriers, **attributes)[0]


def _native():
    library.load_operators()
    return native


native = Native()
