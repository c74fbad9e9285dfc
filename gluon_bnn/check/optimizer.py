"""`optimizer.BinaryAdam`: what `check` and the tests compare its steps with."""

from typing import Any, Optional

import numpy as np

from .. import nn
from .._compat import mx
from ..optimizer import BinaryAdam
from ..reference import optimizer as reference
from .measure import Rows, units

OPTIONS: tuple[dict[str, Any], ...] = {}, {"wd": 0.01, "clip_gradient": 0.1, "glorot": True}


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for binary weights without and with LAB's curvature; an optimiser is part of no graph."""
    if mode == "imperative":
        for scale in None, "loss":
            yield (
                (max(_error(scale, dtype, generator, **options) for options in OPTIONS), 0),
                dict(operator="BinaryAdam", gradient="-", scale=str(scale)),
            )


def rule(
    t: int, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, **options: Any
) -> dict[str, Any]:
    """The options of `reference.adam` in step t as MXNet's operator and ours have them.

    Both take attributes of float32, whatever the dtype of the arrays. The rate that they get has Adam's correction for
    step t in it already, so it is that product which is rounded.
    """
    exact_options = dict(options, beta1=beta1, beta2=beta2, epsilon=epsilon)
    rounded = {name: float(np.float32(value)) for name, value in exact_options.items()}
    rate = float(np.float32(lr * (np.sqrt(1 - beta2**t) / (1 - beta1**t))))
    return {**rounded, "lr": rate * (1 - rounded["beta1"] ** t) / np.sqrt(1 - rounded["beta2"] ** t)}


def magnitudes(
    w: np.ndarray,
    g: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    wd: float = 0.0,
    clip_gradient: Optional[float] = None,
    rescale_grad: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sums of the terms behind the new w, mean and var of `reference.adam`, every one counted as positive."""
    size = np.abs(g * rescale_grad) + np.abs(w * wd)
    m, v = beta1 * np.abs(mean) + (1 - beta1) * size, beta2 * var + (1 - beta2) * size**2
    new_var = reference.adam(w, g, mean, var, t, lr, beta1, beta2, epsilon, wd, clip_gradient, rescale_grad)[2]
    step = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(new_var) + epsilon)
    return np.abs(w) + step * np.where(new_var > 0, v / np.where(new_var > 0, new_var, 1), 1), m, v


def _error(scale, dtype, generator, glorot=False, **options):
    """The largest error over three steps, of a layer's weight, its bias, which is not clipped, and their state."""
    layer = nn.BinaryDense(7, in_units=33, dtype=dtype, scale=scale, bias_initializer=mx.init.Normal(2))
    layer.initialize(mx.init.Uniform(1))
    parameters = dict(enumerate((layer.weight, layer.bias)))
    adam = BinaryAdam(learning_rate=0.1, glorot=glorot, param_dict=parameters, rescale_grad=0.125, **options)
    arrays = [p.list_data()[0] for p in parameters.values()]
    states = [adam.create_state(index, array) for index, array in enumerate(arrays)]
    rates = [0.1 * (reference.learning_rate_scale(layer.weight.shape) if glorot else 1), 0.1]
    steps = [reference.binary_adam, reference.adam]
    found = []
    for t in (1, 2, 3):
        gradients = [generator.standard_normal(array.shape).astype(dtype) for array in arrays]
        before = [_wide(array, *state) for array, state in zip(arrays, states)]
        adam.update(list(parameters), arrays, [mx.nd.array(g, dtype=dtype) for g in gradients], states)
        for array, state, old, g, rate, step in zip(arrays, states, before, gradients, rates, steps):
            (w, mean, var), g = old, g.astype(np.float64)
            used = rule(t, rate, rescale_grad=0.125, **options)
            expected = step(w, g, mean, var, t, **used)
            sizes = magnitudes(w, g, mean, var, t, **used)
            found += [units(*values, dtype) for values in zip(_wide(array, *state), expected, sizes)]
        if scale == "loss":
            curvature = reference.curvature(_wide(states[0][1])[0])
            found.append(units(layer.curvature.data().asnumpy(), curvature, curvature, dtype))
    return max(found)


def _wide(*arrays):
    return [array.asnumpy().astype(np.float64) for array in arrays]
