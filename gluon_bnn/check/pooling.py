"""`nn.MaxPool2D`: what `check` compares it with."""

import numpy as np

from .. import nn
from .._compat import mx
from ..reference import conv
from .measure import Rows, exact, in_mode

OPTIONS = dict(pool_size=2), dict(pool_size=(3, 2), padding=1, ceil_mode=True)  # windows that do not overlap


def rows(dtype: str, mode: str, generator: np.random.Generator, directory: str) -> Rows:
    """Yields (errors, row) for pools without padding and with it."""
    for options in OPTIONS:
        text = ", ".join(f"{name}={value}" for name, value in options.items())
        found = _errors(nn.MaxPool2D(**options), dtype, mode, generator, directory)
        yield found, dict(operator=f"MaxPool2D({text})", gradient="-", scale="-")


def _errors(layer, dtype, mode, generator, directory):
    """(forward, backward) errors, both of which must be 0: the largest number of a window gets the gradient."""
    x = generator.standard_normal((3, 4, 7, 6)).astype(dtype)
    array = mx.nd.array(x, dtype=dtype)
    sizes = {name: layer._kwargs[name] for name in ("kernel", "stride", "pad")}
    ceil = layer._kwargs["pooling_convention"] == "full"
    expected = conv.max_pool(x, sizes["kernel"], sizes["stride"], sizes["pad"], ceil)
    d = generator.standard_normal(expected.shape).astype(dtype)
    run = in_mode(layer, [array], mode, directory)
    array.attach_grad()
    with mx.autograd.record():  # in inference MXNet's own pooling does not note where the largest numbers are
        y = run(array)
    y.backward(mx.nd.array(d, dtype=dtype))
    dx = np.zeros_like(x)
    for row, channel, *place in np.ndindex(*expected.shape):
        begins = [i * stride - pad for i, stride, pad in zip(place, sizes["stride"], sizes["pad"])]
        window = tuple(slice(max(begin, 0), begin + size) for begin, size in zip(begins, sizes["kernel"]))
        inside = x[row, channel][window]
        dx[row, channel][window][np.unravel_index(inside.argmax(), inside.shape)] += d[(row, channel, *place)]
    return exact(y.asnumpy(), expected), exact(array.grad.asnumpy(), dx)
