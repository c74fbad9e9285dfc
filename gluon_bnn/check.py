"""Cross-checks against the NumPy reference: of every operator and layer, and of a user's own net.

An error is counted in units of eps * S, where eps is that of the dtype and S the sum of the
magnitudes of the terms that were added up for that number: rounding alone does a small multiple.
"""
import os
import tempfile
import warnings

import numpy as np

from . import nn, ops
from ._compat import mx
from .native import library
from .reference import binary, dense

# Largest error that counts as rounding: four times the 4.6 that was seen over all rows and 20 seeds;
# on layers of up to 784 x 2048 it was 3.5. An error in a formula is of the order of 1 / eps.
BOUND = 18.0

MODES = ("imperative", "hybridized", "exported")
RULES = [(scale, gradient) for scale in ops.SCALES for gradient in ops.GRADIENTS
         if scale in ("layer", "channel") or gradient == "ste"]


class Table(list):
    """Rows of checks: dicts that end in "forward", "backward", "bound" and "ok"; prints as a table.

    forward and backward are the largest errors of outputs and gradients; infinite where something
    that must be exact is not, a shape is wrong, or a number is not finite.
    """

    @property
    def ok(self):
        """True where every row is within its bound."""
        return all(row["ok"] for row in self)

    def add(self, errors, **row):
        """Append a row with the errors (forward, backward)."""
        forward, backward = map(float, errors)
        self.append({**row, "forward": forward, "backward": backward, "bound": BOUND,
                     "ok": forward <= BOUND and backward <= BOUND})

    def __str__(self):
        heads = list(self[0]) if self else []
        cells = [heads] + [[self._cell(row[head]) for head in heads] for row in self]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells]
        return "\n".join(lines)

    @staticmethod
    def _cell(value):
        if isinstance(value, bool):
            return "ok" if value else "FAILED"
        return f"{value:.2f}" if isinstance(value, float) else str(value)


def _units(found, expected, magnitude, dtype):
    """Largest |found - expected| in units of eps * magnitude; infinite for other shapes or NaN."""
    found = np.asarray(found, np.float64)
    if found.shape != np.shape(expected) or not np.isfinite(found).all():
        return np.inf
    error = np.abs(found - expected)
    unit = np.finfo(dtype).eps * np.broadcast_to(magnitude, error.shape)
    return float(np.max(np.where(error == 0, 0, error / np.maximum(unit, np.finfo(dtype).tiny)),
                        initial=0))


def _exact(found, expected):
    return 0.0 if np.array_equal(found, expected) else np.inf


def _dense_errors(layer, x, d, y, dx, dweight, dbias):
    """(forward, backward) errors of a BinaryDense's y and gradients, from its x and upstream d."""
    dtype = y.dtype
    x, d, w = (np.asarray(a, np.float64) for a in (x, d, layer.weight.data().asnumpy()))
    bias = None if layer.bias is None else layer.bias.data().asnumpy().astype(np.float64)
    x = x.reshape(len(x), -1) if layer._flatten else x.reshape(-1, x.shape[-1])
    y, d, dx = y.reshape(len(x), -1), d.reshape(len(x), -1), dx.reshape(x.shape)
    scale = dict(scale=layer._scale)
    if layer.curvature is not None:
        scale["curvature"] = layer.curvature.data().asnumpy().astype(np.float64)
    expected = binary.binary_dense(x, w, bias, **scale)
    gradients = binary.binary_dense_backward(d, x, w, **scale, gradient=layer._gradient, clip=layer._clip)
    alpha = binary.sign_scale(w, **scale)[1]
    forward = _units(y, expected, alpha * np.abs(x).sum(1, keepdims=True)
                     + (0 if bias is None else np.abs(bias)), dtype)
    backward = [
        _units(dx, gradients["x"], (np.abs(d) * alpha).sum(1, keepdims=True), dtype),
        _units(dweight, gradients["weight"],
               _weight_magnitude(np.abs(d).T @ np.abs(x), w, layer._scale, layer._gradient), dtype)]
    if bias is not None:
        backward.append(_units(dbias, gradients["bias"], np.abs(d).sum(0), dtype))
    return forward, max(backward)


def _weight_magnitude(g, w, scale, gradient):
    """The rule's own terms of dL/dW with |g| = g, every one of them counted as positive."""
    axes = tuple(range(1, w.ndim)) if scale == "channel" else None
    alpha = np.abs(w).mean(axis=axes, keepdims=True)
    n = w[0].size if scale == "channel" else w.size
    if gradient == "ste":
        return g
    if gradient == "xnor":
        return g * (1 / n + alpha)
    if gradient == "exact":
        return g * alpha + g.sum(axis=axes, keepdims=True) / n
    return g * (1 / n + np.abs(w) * alpha / n)


def _backward(run, inputs, upstream):
    """Outputs of run(*inputs) as a list, after backward from the upstream gradients.

    As in inference: the signs that a stochastic layer draws while training have no reference.
    """
    for array in inputs:
        array.attach_grad()
    with mx.autograd.record(train_mode=False):
        outputs = run(*inputs)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    mx.autograd.backward(outputs, upstream)
    return outputs


def _in_mode(block, inputs, mode, directory):
    """The block to run: itself, hybridized, or its export loaded back."""
    if mode == "imperative":
        return block
    block.hybridize(static_alloc=True, static_shape=True)
    block(*inputs)
    if mode == "hybridized":
        return block
    prefix = os.path.join(directory, "net")
    block.export(prefix)
    saved = prefix + "-0000.params"
    names = ["data"] if len(inputs) == 1 else [f"data{i}" for i in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the type of the input is open, as it should be
        return mx.gluon.SymbolBlock.imports(prefix + "-symbol.json", names,
                                            saved if block.collect_params() else None, ctx=mx.cpu())


class _SignScale(mx.gluon.HybridBlock):
    """The operator by itself, as a block that can be hybridized and exported."""

    def __init__(self, scale, gradient):
        super().__init__()
        self._rule = scale, gradient
        self._implementation = ops.implementation()

    def hybrid_forward(self, F, x, curvature=None):
        return ops.sign_scale(F, x, *self._rule, implementation=self._implementation, curvature=curvature)


def _awkward(generator, shape, dtype):
    """Random numbers of both signs, with 0.0, -0.0, |w| = 1 = clip, and one row all zero."""
    values = generator.standard_normal(shape)
    values.flat[:4] = 0.0, -0.0, 1.0, -1.0
    if len(values) > 2:
        values[-1] = 0
    return values.astype(dtype)


def _check_sign_scale(scale, gradient, dtype, mode, generator, directory):
    w = _awkward(generator, (7, 33), dtype)
    g = generator.standard_normal(w.shape)
    inputs, curvature = [mx.nd.array(w, dtype=dtype)], {}
    if scale == "loss":
        values = (generator.random(w.shape) + 0.01).astype(dtype)
        inputs.append(mx.nd.array(values, dtype=dtype))
        curvature["curvature"] = values.astype(np.float64)
    signs, alpha = binary.sign_scale(w.astype(np.float64), scale, **curvature)
    column = alpha.reshape(-1, 1)
    dsigns = (g * column).astype(dtype)
    per_group = (g * signs).sum(1) if scale == "channel" else (g * signs).sum().reshape(1)
    run = _in_mode(_SignScale(scale, gradient), inputs, mode, directory)
    upstream = [mx.nd.array(dsigns, dtype=dtype), mx.nd.array(per_group, dtype=dtype)]
    found = _backward(run, inputs, upstream)
    expected = binary.sign_scale_backward(g, w.astype(np.float64), scale, gradient, **curvature)
    magnitude = _weight_magnitude(np.abs(g), w.astype(np.float64), scale, gradient)
    return (max(_exact(found[0].asnumpy(), signs), _units(found[1].asnumpy(), alpha, alpha, dtype)),
            max([_units(inputs[0].grad.asnumpy(), expected, magnitude, dtype)]
                + [_exact(array.grad.asnumpy(), 0 * w) for array in inputs[1:]]))


def _check_dense(scale, gradient, dtype, mode, generator, directory):
    layer = nn.BinaryDense(7, in_units=33, dtype=dtype, scale=scale, gradient=gradient,
                           bias_initializer=mx.init.Normal(1))
    layer.initialize()
    layer.weight.set_data(mx.nd.array(_awkward(generator, (7, 33), dtype), dtype=dtype))
    if scale == "loss":
        layer.curvature.set_data(mx.nd.array(generator.random((7, 33)) + 0.01, dtype=dtype))
    x = mx.nd.array(_awkward(generator, (5, 33), dtype), dtype=dtype)
    d = generator.standard_normal((5, 7)).astype(dtype)
    run = _in_mode(layer, [x], mode, directory)
    y, = _backward(run, [x], [mx.nd.array(d, dtype=dtype)])
    gradients = [run.collect_params()[p.name].grad().asnumpy() for p in (layer.weight, layer.bias)]
    return _dense_errors(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy(), *gradients)


def _activation_error(layer, x, d, y, dx):
    """(forward, backward) errors of a BinaryActivation or BinarySigmoid; what is exact must be."""
    if isinstance(layer, nn.BinarySigmoid):
        wide = x.astype(np.float64)
        return (_exact(y, binary.binary_sigmoid(x)),
                _units(dx, dense.sigmoid_backward(d.astype(np.float64), wide), np.abs(d), y.dtype))
    return _exact(y, binary.sign(x)), _exact(dx, binary.sign_backward(d, x, layer._clip))


def _check_activation(layer, dtype, mode, generator, directory):
    x = _awkward(generator, (5, 33), dtype)
    d = generator.standard_normal(x.shape).astype(dtype)
    array = mx.nd.array(x, dtype=dtype)
    run = _in_mode(layer, [array], mode, directory)
    y, = _backward(run, [array], [mx.nd.array(d, dtype=dtype)])
    return _activation_error(layer, x, d, y.asnumpy(), array.grad.asnumpy())


def check(seed=0):
    """Check every operator, layer and frozen form of this package; returns a `Table`."""
    from . import check_batch_norm, check_frozen  # which import this module
    table = Table()
    generator = np.random.default_rng(seed)
    implementations = ("native", "composed") if library.available() else ("composed",)
    with tempfile.TemporaryDirectory() as directory:
        for choice in implementations:
            with ops.use(choice):
                for dtype in ("float32", "float64"):
                    for mode in MODES:
                        common = dtype, mode, generator, directory
                        row = dict(dtype=dtype, mode=mode, ops=choice)
                        for scale, gradient in RULES:
                            rule = dict(gradient=gradient, scale=str(scale), **row)
                            table.add(_check_sign_scale(scale, gradient, *common),
                                      operator="sign_scale", **rule)
                            table.add(_check_dense(scale, gradient, *common),
                                      operator="BinaryDense", **rule)
                        for layer in (nn.BinaryActivation(), nn.BinaryActivation(clip=None),
                                      nn.BinarySigmoid()):
                            table.add(_check_activation(layer, *common), operator=repr(layer),
                                      gradient="-", scale="-", **row)
                        for training in (True, False):
                            name = f"BatchNorm, {'training' if training else 'inference'}"
                            table.add(check_batch_norm.errors(training, *common), operator=name, gradient="-",
                                      scale="-", **row)
                check_frozen.add_rows(table, choice, generator, directory)
    return table


def check_net(net, x):
    """Run every binary layer of a live net forward and backward against the reference.

    net is any initialised Block, hybridized or not, x an NDArray it takes. Each layer is run on the
    input it gets when the net is given x, with a random upstream gradient; an activation of its own
    (activation="relu") is MXNet's and left aside. The net's parameters, gradients and hybridized
    graphs stay as they were. Returns a `Table`, one row a layer.

    Raises ValueError when the net has no binary layer, or none that x reaches.
    """
    blocks = []
    net.apply(blocks.append)
    layers = [b for b in dict.fromkeys(blocks)
              if isinstance(b, (nn.BinaryDense, nn.BinaryActivation, nn.BinarySigmoid))]
    if not layers:
        raise ValueError("the net has no BinaryDense, BinaryActivation or BinarySigmoid to check; "
                         "a net loaded by SymbolBlock.imports has lost its layers: check the "
                         "original")
    active = {b: b._active for b in blocks if isinstance(b, mx.gluon.HybridBlock)}
    inputs = {}
    hooks = [b.register_forward_pre_hook(lambda b, a: inputs.setdefault(b, a[0])) for b in layers]
    try:
        for block in active:  # a hybridized net would not call its children
            block._active = False
        with mx.autograd.pause():
            net(x)
        for hook in hooks:
            hook.detach()
        generator = np.random.default_rng(0)
        table = Table()
        for layer in layers:
            if layer in inputs:
                table.add(_layer_error(layer, inputs[layer], generator), layer=layer.name,
                          type=type(layer).__name__, gradient=getattr(layer, "_gradient", "-"),
                          scale=str(getattr(layer, "_scale", "-")))
    finally:
        for hook in hooks:
            hook.detach()
        for block, value in active.items():
            block._active = value
    if not table:
        raise ValueError("x reached none of the net's binary layers")
    return table


def _layer_error(layer, x, generator):
    """(forward, backward) errors of one live layer on the input x, its activation left aside."""
    x = x.copy()
    if not isinstance(layer, nn.BinaryDense):
        d = generator.standard_normal(x.shape).astype(x.dtype)
        y, = _backward(layer, [x], [mx.nd.array(d, dtype=x.dtype)])
        return _activation_error(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy())
    parameters = [p.data().copy() for p in (layer.weight, layer.bias) if p is not None]
    curvature = {} if layer.curvature is None else {"curvature": layer.curvature.data()}

    def run(x, weight, bias=None):
        activation = layer.act
        object.__setattr__(layer, "act", None)  # Gluon's own refuses to set a block aside
        try:
            return layer.hybrid_forward(mx.nd, x, weight, bias, **curvature)
        finally:
            object.__setattr__(layer, "act", activation)
    with mx.autograd.pause():
        shape = run(x, *parameters).shape
    d = generator.standard_normal(shape).astype(x.dtype)
    y, = _backward(run, [x] + parameters, [mx.nd.array(d, dtype=x.dtype)])
    gradients = [p.grad.asnumpy() for p in parameters]
    return _dense_errors(layer, x.asnumpy(), d, y.asnumpy(), x.grad.asnumpy(), gradients[0],
                         gradients[1] if len(gradients) > 1 else None)
