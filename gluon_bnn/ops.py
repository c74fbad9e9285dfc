"""sign_scale, scale_bias and sign as functions of F (mx.nd or mx.sym), each in two implementations; and
binary_dense, all of a layer in one, and batch_norm, native only.

- *native*: the operators of our library, one pass over memory each way;
- *composed*: MXNet's own operators only, for any device and any machine, only slower.

Both follow the formulas of `gluon_bnn.reference.binary`. `GLUON_BNN_OPS=auto|native|composed` chooses,
or the context manager `use`; a layer asks when it is made. "auto" is native where the library loads.
"""
import contextlib
import contextvars
import os
import warnings

from .native import library

CHOICES = ("auto", "native", "composed")
SCALES = ("layer", "channel", "loss", None)
GRADIENTS = ("ste", "xnor", "exact", "notebook")

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
    """ValueError unless clip is None or a number above 0."""
    if clip is not None and not (isinstance(clip, (int, float)) and not isinstance(clip, bool)
                                 and clip > 0):
        raise ValueError(f"clip must be a number above 0 or None, got {clip!r}")


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
        inputs = [weight]
        if hint is not None:  # the batch does not matter: one row is enough, and no gradient goes there
            inputs.append(F.BlockGrad(F.slice_axis(hint, axis=0, begin=0, end=1)))
        if curvature is not None:
            inputs.append(curvature)
        if stochastic:
            inputs.append(_while_training(F, F.random.uniform(shape=(2,))))
        kind = "None" if hint is None else "flatten" if flatten else "last"
        return F.gluon_bnn_sign_scale(*inputs, scale=str(scale), gradient=gradient, clip=str(clip), hint=kind,
                                      stochastic=str(stochastic))
    return _composed_sign_scale(F, weight, scale, gradient, clip, curvature, stochastic)


def _while_training(F, numbers):
    """`numbers` while MXNet trains, zeros otherwise, by one and the same graph."""
    flat = F.reshape(numbers, shape=(-1,))
    training = _training(F, F.ones_like(F.slice_axis(flat, axis=0, begin=0, end=1)))
    return F.BlockGrad(F.reshape_like(F.broadcast_mul(flat, training), numbers))


def _training(F, one):
    """1 while MXNet trains, 0 otherwise, by one and the same graph; `one` is an array of 1."""
    # Dropout of one half makes 0 or 2 of a 1 while training, and leaves it alone otherwise.
    return F.Dropout(one, p=0.5) != 1


def _composed_sign_scale(F, w, scale, gradient, clip, curvature, stochastic):
    # Exact signs with a gradient of our own: signs + factor * zero, where zero is exactly 0.0 and its
    # gradient to w is 1. sign_ste gives it: finite for every w, NaN included, and straight-through.
    fixed = F.BlockGrad(w)
    signs = _signs(F, fixed)
    if stochastic:  # w + u, u uniform over [-1, 1), is below 0 with the probability that -1 shall have
        signs = _signs(F, fixed + _while_training(F, F.random.uniform_like(fixed, -1, 1)))
    zero = F.contrib.sign_ste(w)
    zero = zero - F.BlockGrad(zero)
    mask = F.ones_like(fixed) if clip is None else F.abs(fixed) <= clip
    if scale is None:
        return signs + zero * mask, F.slice_axis(F.reshape(F.ones_like(fixed), shape=(-1,)),
                                                 axis=0, begin=0, end=1)
    # mean over a group; keepdims keeps alpha broadcastable to w
    axes = {"axis": 0, "exclude": True} if scale == "channel" else {}
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
    return signs + zero * F.BlockGrad(factor), F.reshape(alpha, shape=(-1,))


def _signs(F, x):
    return 1 - 2 * (x < 0)


def binary_dense(F, x, weight, bias, curvature, scale, gradient, clip, units, flatten):
    """The whole of `nn.BinaryDense` in one native operator, float32: alpha * (x @ signs.T) + bias.

    For all scales, "loss" with its curvature, and all rules. Signs are packed to bits, so the products with them read
    a 32nd of the memory, and the gradient to the weights is written once, by the rule "exact" twice.
    """
    # identity: an extension operator cannot add to the gradient of a variable, MXNet's own can
    inputs = [F.identity(x), weight] + ([] if bias is None else [F.identity(bias)])
    inputs += [] if curvature is None else [curvature]
    return F.gluon_bnn_binary_dense(*inputs, units=str(units), scale=str(scale), gradient=gradient, clip=str(clip),
                                    no_bias=str(bias is None), flatten=str(flatten))[0]


def scale_bias(F, dot, alpha, bias=None, *, alpha_gradient, implementation):
    """alpha * dot + bias over the last axis, rounded after the product and after the sum.

    dot (..., units); alpha (1,) or (units,), or None for no scale; bias (units,) or None. alpha gets a
    gradient only with `alpha_gradient`: no rule but "exact" has one.
    """
    if implementation == "native" and alpha is not None:
        # identity: an extension operator cannot add to the gradient of a parameter, MXNet's own can
        inputs = (dot, alpha) if bias is None else (dot, alpha, F.identity(bias))
        return F.gluon_bnn_scale_bias(*inputs, no_bias=str(bias is None),
                                      alpha_gradient=str(alpha_gradient))
    if alpha is not None:
        dot = F.broadcast_mul(dot, alpha if alpha_gradient else F.BlockGrad(alpha))
    return dot if bias is None else F.broadcast_add(dot, bias)


def batch_norm(F, x, gamma, beta, running_mean, running_var, eps, momentum, use_global_stats):
    """Batch norm over the last axis in one native operator; formulas at `nn.BatchNorm`.

    While MXNet trains it changes running_mean and running_var, in the forward pass.
    """
    training = F.zeros(shape=(1,)) if use_global_stats else _training(F, F.ones(shape=(1,)))
    # identity: an extension operator cannot add to the gradient of a variable, MXNet's own can
    return F.gluon_bnn_batch_norm(F.identity(x), F.identity(gamma), F.identity(beta), running_mean, running_var,
                                  F.BlockGrad(training), eps=repr(float(eps)), momentum=repr(float(momentum)))[0]


def sign(F, x, clip=1.0, *, implementation):
    """-1 where x < 0, else +1; gradient d * 1[|x| <= clip], clip=None passes d on unchanged.

    Hubara et al. 2016, Binarized Neural Networks, section 1.3.
    """
    check_clip(clip)
    if implementation == "native":
        return F.gluon_bnn_sign(x, clip=str(clip))
    # sign_ste is 0 at 0 and NaN and straight-through everywhere: applied again half a step higher it
    # is exactly +-1. clip has the mask for a gradient.
    inner = x if clip is None else F.clip(x, -clip, clip)
    return F.contrib.sign_ste(F.contrib.sign_ste(inner) + 0.5)


def binary_sigmoid(F, x):
    """0 where x < 0, else 1; gradient d * s (1 - s), s = sigmoid(x)."""
    known = F.where(x == x, x, F.zeros_like(x))  # NaN counts as 0, whose bit is 1
    s = F.sigmoid(known)
    return F.BlockGrad(1 - (x < 0)) + (s - F.BlockGrad(s))
