"""Every kernel and operator gives the same bits on any number of threads."""

import os
import sys

import numpy as np
import pytest

from gluon_bnn import nn, ops
from gluon_bnn._compat import mx
from gluon_bnn.native import bindings, library

import programs
from needs import needs_library

THREADS = 1, 5


def kernels(rng):
    x = rng.standard_normal((70, 300)).astype(np.float32)
    w = bindings.pack_weights(rng.standard_normal((4100, 300)).astype(np.float32))
    one = np.ones(4100, np.float32)
    pixels = rng.integers(0, 256, x.shape).astype(np.uint8)
    for rows in (1, 70):
        yield bindings.xnor_dense(bindings.pack_inputs(x[:rows]), w, one, one, 300)
        yield bindings.binary_dense(x[:rows], w, one, one)
        yield bindings.binary_dense_u8(pixels[:rows], w, one, one)


def with_gradients(function, inputs, upstream):
    """The outputs of an operator and the gradients of its inputs."""
    for array in inputs:
        array.attach_grad()
    with mx.autograd.record():
        outputs = function(*inputs)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    mx.autograd.backward(outputs, upstream)
    return [*outputs, *(array.grad for array in inputs)]


def normal(rng, *shape):
    return mx.nd.array(rng.standard_normal(shape))


def binary_dense(rng):
    for scale, gradient, clip in (("layer", "exact", 1), ("channel", "xnor", 1), ("None", "ste", None)):
        for of_signs in (False, True):
            x, w, d = normal(rng, 130, 304), normal(rng, 500, 304), normal(rng, 130, 500)
            options = dict(units=500, scale=scale, gradient=gradient, clip=str(clip), no_bias=True)
            yield from with_gradients(
                lambda *arrays: mx.nd.gluon_bnn_binary_dense(*arrays, **options)[0],
                [x.sign() if of_signs else x, w],
                [d],
            )


def binary_conv(rng):
    for scale, gradient, channels, stride in (
        ("layer", "exact", 3, 2),
        ("channel", "xnor", 32, 2),
        ("None", "ste", 33, 2),
        ("channel", "exact", 33, 1),  # with Winograd's weight gradient
    ):
        for of_signs in (False, True):
            x, w = normal(rng, 9, channels, 40, 41), normal(rng, 20, channels, 3, 3)
            sizes = dict(kernel=(3, 3), strides=(1, stride), padding=(1, 1), dilation=(1, 1))
            options = dict(sizes, channels=20, scale=scale, gradient=gradient, sign=of_signs, sign_clip="1.0")
            yield from with_gradients(
                lambda *arrays: mx.nd.gluon_bnn_binary_conv(*arrays, **options)[0],
                [x, w, normal(rng, 20)],
                [normal(rng, 9, 20, 40, 40 // stride + 1)],
            )


def max_pool(rng):
    yield from with_gradients(nn.MaxPool2D(3, 2, 1), [normal(rng, 9, 30, 40, 41)], [normal(rng, 9, 30, 20, 21)])


def sign_scale(rng):
    for scale in ("layer", "channel"):
        for gradient in ("xnor", "exact"):
            w = normal(rng, 3, 70001)
            yield from with_gradients(
                lambda w: ops.native.sign_scale(mx.nd, w, scale, gradient),
                [w],
                [w * 3, normal(rng, 3 if scale == "channel" else 1)],
            )


def scale_bias(rng):
    for alpha in (mx.nd.array([2.5]), normal(rng, 660)):
        yield from with_gradients(
            lambda *arrays: ops.native.scale_bias(mx.nd, *arrays, alpha_gradient=True),
            [normal(rng, 300, 660), alpha, normal(rng, 660)],
            [normal(rng, 300, 660)],
        )


def batch_norm(rng):
    for axis, shape in ((-1, (130, 1500)), (1, (70, 13, 9, 31))):
        layer = nn.BatchNorm(axis, in_channels=shape[axis])
        layer.initialize()
        yield from with_gradients(layer, [normal(rng, *shape)], [normal(rng, *shape)])
        yield from (layer.gamma.grad(), layer.beta.grad(), layer.running_mean.data(), layer.running_var.data())


def adam(rng):
    w, g, mean, var, curvature = (normal(rng, 3, 70001).abs() for _ in range(5))
    options = dict(lr=0.1, beta1=0.9, beta2=0.99, epsilon=1e-8, wd=0.1, rescale_grad=0.5, clip_gradient=0.7)
    mx.nd.gluon_bnn_adam(w, g, mean, var, curvature, **options, clip_weights=1, curvature=True, out=w)
    yield from (w, mean, var, curvature)
    yield ops.native.sign_scale(mx.nd, w, "loss", curvature=curvature)[1]


def stochastic_signs(rng):
    mx.random.seed(1)
    with mx.autograd.train_mode():
        yield ops.native.sign_scale(mx.nd, normal(rng, 3, 70001) / 2, None, stochastic=True)[0]


FUNCTIONS = kernels, binary_dense, binary_conv, max_pool, sign_scale, scale_bias, batch_norm, adam, stochastic_signs


def main(path):
    """Write the arrays of all of them."""
    library.load_operators()
    found = {}
    for function in FUNCTIONS:
        with ops.use("native"):
            for index, array in enumerate(function(np.random.default_rng(5))):
                found[f"{function.__name__} {index}"] = array if isinstance(array, np.ndarray) else array.asnumpy()
    np.savez(path, **found)


@pytest.mark.slow
@needs_library
def test_number_of_threads_changes_nothing(tmp_path):
    found = []
    for threads in THREADS:
        path = tmp_path / f"{threads}.npz"
        programs.output(__file__, path, PYTHONPATH=os.pathsep.join(sys.path), OMP_NUM_THREADS=str(threads))
        with np.load(path) as arrays:
            found.append({name: arrays[name] for name in arrays.files})
    for name, first in found[0].items():
        assert np.isfinite(first).all() and first.any(), name
        assert all(other[name].tobytes() == first.tobytes() for other in found), f"{name} differs"


if __name__ == "__main__":
    main(sys.argv[1])
