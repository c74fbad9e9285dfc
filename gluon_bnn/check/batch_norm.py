"""`nn.BatchNorm`: what `check` and the tests compare it with."""

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import dense
from .measure import Rows, in_mode, units


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for the layer over the last axis and over the channels of images, in training and in
    inference."""
    for axis, name in ((-1, "BatchNorm"), (1, "BatchNorm(axis=1)")):
        for training in (True, False):
            yield (
                _errors(axis, training, dtype, mode, generator, directory),
                dict(operator=f"{name}, {'training' if training else 'inference'}", gradient="-", scale="-"),
            )


def by_units(x: np.ndarray, axis: int) -> np.ndarray:
    """An array as (rows, units), which is what the reference takes: every place of an image is a row."""
    return np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])


def expected(
    x: np.ndarray,
    d: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    momentum: float,
    training: bool,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(value, sum of the magnitudes of its terms)] of y, running mean, running var, dx, dgamma and dbeta, from x and d
    (rows, units)."""
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        kept = tuple(dense.running_average(*pair, momentum) for pair in ((running_mean, mean), (running_var, var)))
        y, gradients = dense.batch_norm(x, gamma, beta, eps), dense.batch_norm_backward(d, x, gamma, eps)
    else:
        mean, var = kept = running_mean, running_var
        y = dense.batch_norm_inference(x, gamma, beta, mean, var, eps)
        gradients = dense.batch_norm_inference_backward(d, x, gamma, mean, var, eps)
    inverse = 1 / np.sqrt(var + eps)
    normal = inverse * (np.abs(x) + np.abs(x).mean(axis=0) + np.abs(mean))  # that of (x - mean) / deviation
    through_batch = np.abs(d).mean(axis=0) + normal * (np.abs(d) * normal).mean(axis=0) if training else 0
    magnitudes = [
        np.abs(gamma) * normal + np.abs(beta),
        np.abs(running_mean) + np.abs(x).mean(axis=0),
        running_var + (normal**2).mean(axis=0) * (var + eps),
        np.abs(gamma) * inverse * (np.abs(d) + through_batch),
        (np.abs(d) * normal).sum(axis=0),
        np.abs(d).sum(axis=0),
    ]
    return list(zip((y, *kept, gradients["x"], gradients["gamma"], gradients["beta"]), magnitudes))


def _errors(axis, training, dtype, mode, generator, directory):
    """(forward, backward) errors of a BatchNorm with random parameters, running averages among the forward ones."""
    layer = nn.BatchNorm(axis, in_channels=33, momentum=0.75, epsilon=1e-3)
    layer.cast(dtype)
    layer.initialize()
    parameters = layer.gamma, layer.beta, layer.running_mean, layer.running_var
    for p in parameters[:3]:
        p.set_data(mx.nd.array(generator.standard_normal(33), dtype=dtype))
    layer.running_var.set_data(mx.nd.array(generator.random(33) + 0.1, dtype=dtype))
    shape = (5, 33) if axis == -1 else (3, 33, 5, 7)
    x, d = (generator.standard_normal(shape).astype(dtype) for _ in range(2))
    wide = [
        a.astype(np.float64) for a in (by_units(x, axis), by_units(d, axis), *(p.data().asnumpy() for p in parameters))
    ]
    array = mx.nd.array(x, dtype=dtype)
    run = in_mode(layer, [array], mode, directory)
    array.attach_grad()
    with mx.autograd.record(train_mode=training):
        y = run(array)
    y.backward(mx.nd.array(d, dtype=dtype), train_mode=training)
    mx.nd.waitall()  # MXNet's static graphs do not make a reader wait for averages that change within them
    gamma, beta, *averages = (run.collect_params()[p.name] for p in parameters)
    found = [y, *(p.data() for p in averages), array.grad, gamma.grad(), beta.grad()]
    found = [by_units(a, axis) if a.ndim > 1 else a for a in (a.asnumpy() for a in found)]
    error = [
        units(f, value, magnitude, dtype) for f, (value, magnitude) in zip(found, expected(*wide, 1e-3, 0.75, training))
    ]
    return max(error[:3]), max(error[3:])
