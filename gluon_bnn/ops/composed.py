"""The operators of binary layers made of MXNet's own: for any device and any machine, and for any gradient rule."""

from typing import Any, Optional, Union

from .. import quantizers
from .._arrays import takes_np
from .gradients import adding, row
from .options import BinaryOptions
from .training import training, while_training

Sizes = tuple[int, ...]  # one for each axis of space


class Composed:
    """What a binary layer computes. F is mx.nd or mx.sym; arrays are float32 or float64."""

    overwrites = False  # whether an operator needs its arrays through `gradients.adding`

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
        """(signs, alpha) of `weight` (units, ...), with a gradient rule, by its name or as a `quantizers.Rule`.

        signs has the shape of weight, alpha (1,) or with scale="channel" (units,). The formulas are those of
        `gluon_bnn.reference.binary.sign_scale_backward`. While the shape of the weight is not known, `hint` is the
        input of its layer: the shape is inferred from it. scale="loss" takes a `curvature`, positive and in the shape
        and dtype of weight; no gradient goes there. With `stochastic` signs are drawn while MXNet trains: +1 with
        probability (w + 1) / 2, held within [0, 1].
        """
        options = _checked(scale, gradient, clip, stochastic, curvature)
        signs, alpha = self._signs(F, weight, options, curvature, _shape_from(hint, flatten))
        return signs, F.reshape(alpha, shape=(-1,))

    def _signs(self, F, weight, options, curvature, told=None):
        """(signs, alpha) with the gradients of the rule.

        told : (input of the layer, attributes) by which an operator of our library finds the shape of the weight, or
            None where that is known
        """
        return _sign_scale(F, weight, options, curvature)

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
        """alpha * (x @ signs.T) + bias: all of `nn.BinaryDense` but its activation.

        x (rows, ...), weight (units, in_units), bias (units,) or None, curvature in the shape of weight with
        scale="loss", else None.

        of_signs : (z, clip) where x is known to be sign(z, clip), which may then be left out of the graph
        """
        x = adding(F, x)
        told = _shape_from(x if options.hint else None, flatten)
        signs, alpha = self._signs(F, weight, options, curvature, told)
        # The product runs over +-1 and the scale multiplies its result: over binary inputs the product
        # is then an exact integer, and the 1-bit form equal to it.
        dot = F.FullyConnected(x, signs, no_bias=True, num_hidden=units, flatten=flatten)
        alpha = None if options.scale is None else row(F, alpha)
        return self.scale_bias(F, dot, alpha, bias, alpha_gradient=options.rule.through_alpha)

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
        """alpha * conv(pad(x), signs) + bias: all of `nn.BinaryConv2D`, or that of one or three axes of space, but its
        activation.

        x (rows, in_channels, ...), weight (channels, in_channels / groups, *kernel), bias (channels,) or None,
        curvature and of_signs as in `binary_dense`; sizes as `convolution` has them.
        """
        told = (x, {"hint": "channels", "groups": str(sizes["num_group"])}) if options.hint else None
        signs, alpha = self._signs(F, weight, options, curvature, told)
        if pad_value != 0 and any(sizes["pad"]):
            x = padded(F, x, sizes["pad"], pad_value)
            sizes = {**sizes, "pad": (0,) * len(sizes["pad"])}
        # The product runs over +-1, and the scale multiplies its result, as in `binary_dense`.
        dot = F.Convolution(x, signs, no_bias=True, **sizes)
        along = (1, -1) + (1,) * len(sizes["kernel"])  # channels are axis 1
        if options.scale is not None:
            alpha = F.reshape(alpha, shape=along)
            dot = F.broadcast_mul(dot, alpha if options.rule.through_alpha else F.BlockGrad(alpha))
        return dot if bias is None else F.broadcast_add(dot, F.reshape(bias, shape=along))

    @takes_np
    def scale_bias(self, F: Any, dot: Any, alpha: Any, bias: Any = None, *, alpha_gradient: bool) -> Any:
        """alpha * dot + bias over the last axis, rounded after the product and after the sum.

        dot (..., units); alpha (1,) or (units,), or None for no scale; bias (units,) or None. alpha gets a
        gradient only with `alpha_gradient`, see `quantizers.Rule.through_alpha`.
        """
        if alpha is not None:
            dot = F.broadcast_mul(dot, alpha if alpha_gradient else F.BlockGrad(alpha))
        return dot if bias is None else F.broadcast_add(dot, bias)

    @takes_np
    def sign(self, F: Any, x: Any, clip: Optional[float] = 1.0) -> Any:
        """-1 where x < 0, else +1; gradient d * 1[|x| <= clip], clip=None passes d on unchanged.

        Hubara et al. 2016, Binarized Neural Networks, section 1.3. At NaN the sign is +1, and with a clip the
        gradient 0.
        """
        quantizers.check_clip(clip)
        fixed = F.BlockGrad(x)
        zero = _zero(F, x)
        if clip is not None:  # where, and no product: d may be infinite
            zero = F.where(F.abs(fixed) <= clip, zero, F.zeros_like(fixed))
        return _signs(F, fixed) + zero

    @takes_np
    def binary_sigmoid(self, F: Any, x: Any) -> Any:
        """0 where x < 0, else 1; gradient d * s (1 - s), s = sigmoid(x)."""
        known = F.where(x == x, x, F.zeros_like(x))  # NaN counts as 0, whose bit is 1
        s = F.sigmoid(known)
        return F.BlockGrad(1 - (x < 0)) + (s - F.BlockGrad(s))

    def training(self, F: Any) -> Any:
        """What `batch_norm` takes as `training`: an array (1, 1) that is not 1 while MXNet trains, and 1 otherwise."""
        return training(F)

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
        """Batch norm over an axis, -1 or 1; formulas at `nn.BatchNorm`.

        running_mean and running_var change in the backward pass, those of `native` in the forward pass while
        `training`, an array of one number, is not 1.
        adds : False where no gradient of gamma and beta has to be added (see gradients.py)
        """
        x = adding(F, x)
        y = F.BatchNorm(
            _in_plain_order(F, x) if axis == -1 else x,
            gamma,
            beta,
            running_mean,
            running_var,
            name="fwd",
            axis=axis,
            eps=eps,
            momentum=momentum,
            fix_gamma=fix_gamma,
            use_global_stats=use_global_stats,
        )
        return _in_plain_order(F, y) if axis == -1 else y

    @takes_np
    def max_pool(self, F: Any, x: Any, **options: Any) -> Any:
        """Max pooling of x (rows, channels, height, width); options of MXNet's Pooling: kernel, stride, pad,
        pooling_convention."""
        return F.Pooling(x, pool_type="max", **options)

    @takes_np
    def squared_hinge(self, F: Any, outputs: Any, labels: Any) -> Any:
        """max(0, 1 - t x)^2 averaged over classes, of each row (rows,); t is 1 for the label and -1 for all others.

        outputs x (rows, classes); labels (rows,) or (rows, 1) of any type, whole numbers.
        """
        return F.mean(self.squared_hinges(F, outputs, labels), axis=1)

    @takes_np
    def squared_hinges(self, F: Any, outputs: Any, labels: Any) -> Any:
        """What `squared_hinge` averages: (rows, classes)."""
        numbers = F.contrib.arange_like(outputs, axis=1)
        # A row of targets for each class, in the type of the outputs: labels may be of another.
        targets = 2 * F.broadcast_equal(F.expand_dims(numbers, 1), F.expand_dims(numbers, 0)) - 1
        targets = F.take(targets, F.reshape(labels, (-1,)), axis=0, mode="raise")
        return F.square(F.relu(1 - F.elemwise_mul(targets, outputs)))

    def adam_takes(self, weight: Any, grad: Any) -> bool:
        """Whether `adam` updates a weight like this."""
        return False

    def __repr__(self):
        return type(self).__name__.lower()

    def __reduce__(self):
        return repr(self)  # copies and what is unpickled are the one object of this name


def _checked(scale, gradient, clip, stochastic, curvature):
    """The BinaryOptions."""
    name = gradient.name if isinstance(gradient, quantizers.Rule) else gradient
    rule = quantizers.check(scale, name, clip, stochastic)
    if (scale == "loss") != (curvature is not None):
        raise ValueError(
            "a curvature must be given with scale='loss' and only then, got "
            f"scale={scale!r} and the curvature {curvature!r}"
        )
    return BinaryOptions(scale, rule, clip, stochastic)


def _shape_from(x, flatten):
    """What tells `_signs` the shape of the weight of a dense layer that takes x; None without an x."""
    return None if x is None else (x, {"hint": "flatten" if flatten else "last"})


def _signs(F, x):
    return 1 - 2 * (x < 0)


def _zero(F, x):
    """Exactly 0.0 for every x, NaN and infinities included, with gradient 1 to x."""
    zero = F.contrib.sign_ste(x)  # finite for every x, and straight-through
    return zero - F.BlockGrad(zero)


def _sign_scale(F, w, options, curvature):
    """(signs, alpha), alpha (1, ..., 1), or (units, 1, ..., 1) with scale="channel"."""
    scale, rule, clip = options.scale, options.rule, options.clip
    # Exact signs with a gradient of our own: signs + zero * factor / alpha, since the product multiplies by alpha.
    fixed = F.BlockGrad(w)
    signs = _signs(F, fixed)
    if options.stochastic:  # w + u, u uniform over [-1, 1), is below 0 with the probability of -1
        signs = _signs(F, fixed + while_training(F, F.random.uniform_like(fixed, -1, 1)))
    zero, ones = _zero(F, w), F.ones_like(fixed)
    mask = ones if clip is None else F.abs(fixed) <= clip
    # Over a group; keepdims keeps alpha broadcastable to w.
    axes = {"keepdims": True, **({"axis": 0, "exclude": True} if scale == "channel" else {})}
    if scale is None:
        alpha = F.mean(ones, **axes)
    elif scale == "loss":
        curvature = F.BlockGrad(curvature)
        alpha = F.sum(F.abs(fixed) * curvature, **axes) / F.sum(curvature, **axes)
    else:
        alpha = F.mean(F.abs(fixed), **axes)
    n, shared = F.broadcast_mul(ones, F.sum(ones, **axes)), F.broadcast_mul(ones, alpha)
    alive = shared > 0  # a group whose weights are all zero gets no gradient
    factor = F.where(alive, rule.factor(F, fixed, shared, n, mask) / shared, F.zeros_like(fixed))
    if rule.through_alpha:
        # mean(w s) is mean |w|, with gradient s / n also at 0, where that of abs is not
        alpha = F.mean(w * F.BlockGrad(signs * alive), **axes)
    return signs + zero * F.BlockGrad(factor), alpha


def convolution(channels: int, kernel: Sizes, strides: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> dict:
    """The sizes of a convolution as MXNet's attributes."""
    return dict(num_filter=channels, kernel=kernel, stride=strides, pad=padding, dilate=dilation, num_group=groups)


@takes_np
def padded(F: Any, x: Any, padding: Sizes, value: float) -> Any:
    """x (rows, channels, ...) with `value` outside of it. MXNet pads arrays of 4 and 5 axes."""
    short = len(padding) == 1
    widths = (0, 0) * (3 if short else 2) + sum(((size, size) for size in padding), ())
    x = F.expand_dims(x, axis=2) if short else x
    x = F.Pad(x, mode="constant", pad_width=widths, constant_value=value)
    return F.squeeze(x, axis=2) if short else x


def _in_plain_order(F, x):
    """`x`, copied: MXNet's convolutions pass on arrays and gradients in blocks of channels, with which its batch norm
    over the last axis cannot train (its issue 20858)."""
    return F.slice_axis(x, axis=0, begin=0, end=None)


composed = Composed()
