"""sign_scale, scale_bias and sign as functions of F (mx.nd or mx.sym), each in two implementations; and
binary_dense, a whole layer in one operator; batch_norm and squared_hinge, native only.

- *native*: the operators of our library, one pass over memory each way;
- *composed*: MXNet's own operators only, for any device and any machine, only slower.

Both follow the formulas of `gluon_bnn.reference.binary`. `GLUON_BNN_OPS=auto|native|composed` chooses,
or the context manager `use`; a layer asks when it is made. "auto" is native where the library loads.

Gradients of native operators. MXNet does not tell an operator of an extension library when it has to add to a
gradient (grad_req="add", the body of a loop, an array that is used eight times or more in one graph): the operator
overwrites what is there. So every array goes to a native operator through `adding`, one of MXNet's own operators,
which adds. Only the layers of `nn` may leave it out, for their parameters in a graph that needs no addition.
"""
import contextlib
import contextvars
import itertools
import os
import sys
import warnings

from .native import library

CHOICES = ("auto", "native", "composed")
SCALES = ("layer", "channel", "loss", None)
GRADIENTS = ("ste", "xnor", "exact", "notebook")

_use = itertools.count()
_chosen = contextvars.ContextVar("gluon_bnn_ops", default=None)
_warned = False


@contextlib.contextmanager
def use(choice):
    """Layers made inside this context use the implementation `choice`: auto, native or composed.

    >>> with use("composed"):
    ...     implementation()
    'composed'
    """
    _check_choice(choice, "use()")
    token = _chosen.set(choice)
    try:
        yield
    finally:
        _chosen.reset(token)


def _check_choice(choice, source):
    if choice not in CHOICES:
        raise ValueError(f"{source} takes one of {', '.join(CHOICES)}, got {choice!r}")


def implementation():
    """"native" or "composed": what a layer made now will use. Loads the library where it is native.

    Raises OSError when "native" was asked for and the library is not there.
    """
    global _warned
    choice = _chosen.get() or os.environ.get("GLUON_BNN_OPS") or "auto"
    _check_choice(choice, "GLUON_BNN_OPS")
    if choice == "composed":
        return "composed"
    if choice == "auto" and not library.available():
        if not _warned:
            _warned = True
            warnings.warn(f"binary layers run on MXNet's own operators, slower: {library.problem()}",
                          RuntimeWarning, stacklevel=3)
        return "composed"
    library.load_operators()
    return "native"


def check_sign_scale(scale, gradient, clip, stochastic=False):
    """The gradient rule to use; ValueError where the arguments do not go together."""
    if scale not in SCALES:
        raise ValueError(f"scale must be 'layer', 'channel', 'loss' or None, got {scale!r}")
    if gradient is None:
        gradient = "xnor" if scale in ("layer", "channel") else "ste"
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient must be one of {', '.join(GRADIENTS)} or None, got {gradient!r}")
    if scale is None and gradient != "ste":
        raise ValueError("with scale=None alpha does not depend on the weights, so only "
                         f"gradient='ste' has a meaning, got {gradient!r}")
    if scale == "loss" and gradient != "ste":
        raise ValueError(f"scale='loss' has one rule, gradient='ste', got {gradient!r}")
    if not isinstance(stochastic, bool):
        raise ValueError(f"stochastic must be True or False, got {stochastic!r}")
    if stochastic and scale is not None:
        raise ValueError(f"stochastic=True takes scale=None, got {scale!r}")
    check_clip(clip)
    return gradient


def check_clip(clip):
    """ValueError unless clip is None or a number above 0, and not so small that MXNet cannot read it."""
    if clip is not None and not (isinstance(clip, (int, float)) and not isinstance(clip, bool)
                                 and clip >= sys.float_info.min):
        raise ValueError(f"clip must be a number above 0 or None, got {clip!r}"
                         + (f"; the smallest is {sys.float_info.min}" if isinstance(clip, float) and clip > 0 else ""))


def adding(F, array):
    """`array`, dense, through one of MXNet's own operators, which adds to gradients where that is asked for.

    Between two operators it costs nothing, since MXNet lets both use the same memory; a variable is copied, and so is
    its gradient.
    """
    return _reshaped(F, array, (-2,))


def _row(F, array, adds=True):
    """`adding` for an array of one axis, as (1, size): mx.viz.print_summary fails on operators that give one axis.
    Without `adds` the array itself."""
    return _reshaped(F, array, (1, -1)) if adds else array


def _reshaped(F, array, shape):
    if not F.__name__.startswith("mxnet.symbol"):
        return F.reshape(array, shape=shape)
    # MXNet makes one operator of several that are equal. Its gradient would then be added up from those of several
    # operators of ours. The number makes this one differ.
    return F.reshape(array, shape=shape, attr={"__use__": str(next(_use))})


def sign_scale(F, weight, scale="layer", gradient=None, clip=1.0, *, implementation, hint=None,
               flatten=True, curvature=None, stochastic=False):
    """(signs, alpha) of `weight`, float32 or float64 (units, ...), with the chosen gradient rule.

    signs has the shape of weight, alpha (1,) or with scale="channel" (units,). The rules and formulas
    are those of `gluon_bnn.reference.binary.sign_scale_backward`. While the shape of the weight is not
    known, `hint` is the input of its layer: the shape is inferred from it. scale="loss" takes a `curvature`,
    positive and in the shape and dtype of weight; no gradient goes there. With `stochastic` signs are drawn
    while MXNet trains: +1 with probability (w + 1) / 2, held within [0, 1].
    """
    gradient = check_sign_scale(scale, gradient, clip, stochastic)
    if (scale == "loss") != (curvature is not None):
        raise ValueError("a curvature must be given with scale='loss' and only then, got "
                         f"scale={scale!r} and the curvature {curvature!r}")
    if implementation == "native":
        return _native_sign_scale(F, adding(F, weight), scale, gradient, clip, hint, flatten, curvature, stochastic)
    signs, alpha = _composed_sign_scale(F, weight, scale, gradient, clip, curvature, stochastic)
    return signs, F.reshape(alpha, shape=(-1,))


def _native_sign_scale(F, weight, scale, gradient, clip, hint, flatten, curvature, stochastic):
    inputs = [weight]
    if hint is not None:  # the batch does not matter: one row is enough, and no gradient goes there
        inputs.append(F.BlockGrad(F.slice_axis(hint, axis=0, begin=0, end=1)))
    if curvature is not None:
        inputs.append(curvature)
    if stochastic:
        inputs.append(_while_training(F, F.random.uniform(shape=(1, 2))))
    kind = "None" if hint is None else "flatten" if flatten else "last"
    return F.gluon_bnn_sign_scale(*inputs, scale=str(scale), gradient=gradient, clip=str(clip), hint=kind,
                                  stochastic=str(stochastic))


def _while_training(F, numbers):
    """`numbers`, of two axes, while MXNet trains, zeros otherwise, by one and the same graph."""
    first = F.slice_axis(F.reshape(F.ones_like(numbers), shape=(1, -1)), axis=1, begin=0, end=1)
    return F.BlockGrad(F.broadcast_mul(numbers, _dropped(F, first) != 1))


def training(F):
    """An array (1, 1) that is not 1 while MXNet trains, and 1 otherwise, by one and the same graph."""
    return _dropped(F, F.ones(shape=(1, 1)))


def _dropped(F, ones):
    # Dropout of one half makes 0 or 2 of a 1 while MXNet trains, and leaves it alone otherwise.
    return F.Dropout(ones, p=0.5)


def _zero(F, x):
    """Exactly 0.0 for every x, NaN and infinities included, with gradient 1 to x."""
    zero = F.contrib.sign_ste(x)  # finite for every x, and straight-through
    return zero - F.BlockGrad(zero)


def _composed_sign_scale(F, w, scale, gradient, clip, curvature, stochastic):
    """(signs, alpha), alpha (1, ..., 1), or (units, 1, ..., 1) with scale="channel"."""
    # Exact signs with a gradient of our own: signs + factor * zero.
    fixed = F.BlockGrad(w)
    signs = _signs(F, fixed)
    if stochastic:  # w + u, u uniform over [-1, 1), is below 0 with the probability of -1
        signs = _signs(F, fixed + _while_training(F, F.random.uniform_like(fixed, -1, 1)))
    zero = _zero(F, w)
    mask = F.ones_like(fixed) if clip is None else F.abs(fixed) <= clip
    # mean over a group; keepdims keeps alpha broadcastable to w
    axes = {"axis": 0, "exclude": True} if scale == "channel" else {}
    if scale is None:
        return signs + zero * mask, F.mean(F.ones_like(fixed), keepdims=True)
    if scale == "loss":
        curvature = F.BlockGrad(curvature)
        alpha = F.sum(F.abs(fixed) * curvature, keepdims=True) / F.sum(curvature, keepdims=True)
    else:
        alpha = F.mean(F.abs(fixed), keepdims=True, **axes)
    n = F.sum(F.ones_like(fixed), keepdims=True, **axes)
    inverse = F.where(alpha > 0, 1 / alpha, F.zeros_like(alpha))  # an all-zero group: no gradient
    alive = alpha > 0
    if gradient == "ste":
        factor = F.broadcast_mul(mask, inverse)
    elif gradient == "xnor":
        factor = F.broadcast_add(mask, inverse / n)
    elif gradient == "exact":
        factor = mask
        alive_signs = F.broadcast_mul(signs, alive)
        # mean(w s) is mean |w|, with gradient s / n also at 0, where that of abs is not
        alpha = F.mean(w * F.BlockGrad(alive_signs), keepdims=True, **axes)
    else:
        inside = F.where(F.abs(fixed) <= 5, fixed, F.zeros_like(fixed))
        factor = F.broadcast_add(F.broadcast_div(inside, n), inverse / n)
    factor = F.broadcast_mul(factor, alive)
    return signs + zero * F.BlockGrad(factor), alpha


def _signs(F, x):
    return 1 - 2 * (x < 0)


def binary_dense(F, x, weight, bias=None, curvature=None, *, scale, gradient, clip, stochastic, units, flatten,
                 dtype, implementation, hint=False, adds=True):
    """alpha * (x @ signs.T) + bias: all of `nn.BinaryDense` but its activation.

    x (rows, ...), weight (units, in_units), bias (units,) or None, curvature in the shape of weight with scale="loss",
    all of `dtype`, "float32" or "float64"; the options are those of the layer and of `sign_scale`. Native and in
    float32 it is one operator: signs are packed to bits, so the products with them read a 32nd of the memory, and the
    gradient to the weights is written once, by the rule "exact" twice. In float64, and with stochastic signs, the
    product runs over +-1.

    hint : True while the shape of the weight is not known: it is inferred from x
    adds : False where no gradient of the weight and the bias has to be added (see the top of this file)
    """
    native, x = implementation == "native", adding(F, x)
    if native and adds:
        weight = adding(F, weight)
    if native and dtype == "float32" and not stochastic:
        inputs = [x, weight, *([] if bias is None else [_row(F, bias, adds)]), *([] if curvature is None else [curvature])]
        return F.gluon_bnn_binary_dense(*inputs, units=str(units), scale=str(scale), gradient=gradient,
                                        clip=str(clip), no_bias=str(bias is None), flatten=str(flatten))[0]
    if native:
        signs, alpha = _native_sign_scale(F, weight, scale, gradient, clip, x if hint else None, flatten, curvature,
                                          stochastic)
    else:
        signs, alpha = _composed_sign_scale(F, weight, scale, gradient, clip, curvature, stochastic)
        alpha = _row(F, alpha)
    # The product runs over +-1 and the scale multiplies its result: over binary inputs the product
    # is then an exact integer, and the 1-bit form equal to it.
    dot = F.FullyConnected(x, signs, no_bias=True, num_hidden=units, flatten=flatten)
    return scale_bias(F, dot, None if scale is None else alpha, bias, alpha_gradient=gradient == "exact",
                      implementation=implementation)


def scale_bias(F, dot, alpha, bias=None, *, alpha_gradient, implementation):
    """alpha * dot + bias over the last axis, rounded after the product and after the sum.

    dot (..., units); alpha (1,) or (units,), or None for no scale; bias (units,) or None. alpha gets a
    gradient only with `alpha_gradient`: no rule but "exact" has one.
    """
    if implementation == "native" and alpha is not None:
        inputs = (adding(F, dot), _row(F, alpha)) + (() if bias is None else (_row(F, bias),))
        return F.gluon_bnn_scale_bias(*inputs, no_bias=str(bias is None),
                                      alpha_gradient=str(alpha_gradient))
    if alpha is not None:
        dot = F.broadcast_mul(dot, alpha if alpha_gradient else F.BlockGrad(alpha))
    return dot if bias is None else F.broadcast_add(dot, bias)


def batch_norm(F, x, gamma, beta, running_mean, running_var, training, eps, momentum, adds=True):
    """Batch norm over the last axis in one native operator; formulas at `nn.BatchNorm`.

    Where `training`, a number in an array, is not 1, it changes running_mean and running_var, in the forward pass.
    adds : False where no gradient of gamma and beta has to be added (see the top of this file)
    """
    return F.gluon_bnn_batch_norm(adding(F, x), _row(F, gamma, adds), _row(F, beta, adds), running_mean, running_var,
                                  training, eps=repr(float(eps)), momentum=repr(float(momentum)), inference="1")[0]


def squared_hinge(F, outputs, labels):
    """The loss of each row (rows,) in one native operator; formulas at `loss.SquaredHingeLoss`.

    outputs (rows, classes), float32 or float64; labels (rows,) or (rows, 1) of any type.
    """
    return F.gluon_bnn_squared_hinge(adding(F, outputs), adding(F, labels))


def sign(F, x, clip=1.0, *, implementation):
    """-1 where x < 0, else +1; gradient d * 1[|x| <= clip], clip=None passes d on unchanged.

    Hubara et al. 2016, Binarized Neural Networks, section 1.3. At NaN the sign is +1, and with a clip the gradient 0.
    """
    check_clip(clip)
    if implementation == "native":
        return F.gluon_bnn_sign(adding(F, x), clip=str(clip))
    fixed = F.BlockGrad(x)
    zero = _zero(F, x)
    if clip is not None:  # where, and no product: d may be infinite
        zero = F.where(F.abs(fixed) <= clip, zero, F.zeros_like(fixed))
    return _signs(F, fixed) + zero


def binary_sigmoid(F, x):
    """0 where x < 0, else 1; gradient d * s (1 - s), s = sigmoid(x)."""
    known = F.where(x == x, x, F.zeros_like(x))  # NaN counts as 0, whose bit is 1
    s = F.sigmoid(known)
    return F.BlockGrad(1 - (x < 0)) + (s - F.BlockGrad(s))
