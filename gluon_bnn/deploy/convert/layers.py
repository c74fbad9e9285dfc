"""Converters of layers with weights, of binary activations, and of blocks that MXNet cannot trace."""

import dataclasses
from typing import Any, Optional

import numpy as np

from ... import nn
from ..._compat import mx
from ...graph.kinds.batch_norm import NORM
from ..steps import BatchNorm, Dense, FloatDense, FloatSign, Kept, Pack, PackedDense, PackedFlatten, PackedMaxPool
from .arithmetic import add, multiply
from .build import Build, constant, converts


@converts(nn.BinaryDense)
def binary_dense(build: Build, x: Any, weight: Any, bias: Any = None) -> Any:
    layer: Any = build.node.layer
    return _float_dense(build, x, *signs_of(layer, weight), bias, layer._flatten)


def signs_of(layer: Any, weight: Any) -> tuple[np.ndarray, np.ndarray]:
    """(signs, alpha) of a binary layer; ValueError where its weights are no array, but depend on the input."""
    if not isinstance(weight, np.ndarray):
        raise ValueError(f"the weights of {layer.name} must not depend on the input")
    signs, alpha = layer.sign_scale(mx.nd.array(weight))
    return signs.asnumpy(), alpha.asnumpy()


@converts(nn.BinaryActivation, "gluon_bnn_sign")
def binary_activation(build: Build, x: Any) -> Any:
    return build(FloatSign, x)


@converts(nn.BinarySigmoid)
def binary_sigmoid(build: Build, x: Any) -> Any:
    return build(FloatSign, x, form="bits01")


def _float_dense(build, x, signs, alpha, bias, flatten):
    return build(FloatDense, x, arrays=float_arrays(signs, alpha, bias), flatten=bool(flatten))


def float_arrays(signs: np.ndarray, alpha: np.ndarray, bias: Optional[np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a FloatDense or FloatConv; one alpha, or one for each unit."""
    units = len(signs)
    return {
        "signs": signs,
        "alpha": np.broadcast_to(alpha.reshape(-1), (units,)).copy(),
        "bias": np.full(units, -0.0, np.float32) if bias is None else bias.reshape(-1),
    }


@converts("gluon_bnn_binary_dense")
def native_binary_dense(build: Build, x: Any, weight: Any, *others: Any) -> Any:
    if not constant(weight, *others):
        return None
    x, bias, signs, alpha = native_layer(build, x, weight, others)
    return _float_dense(build, x, signs, alpha, bias, build.get("flatten", True))


def native_layer(build: Build, x: int, weight: np.ndarray, others: tuple) -> tuple:
    """(x or its signs, bias or None, signs, alpha) of an operator of a whole layer."""
    bias, others = (None, others) if build.get("no_bias") else (others[0], others[1:])
    x = build(FloatSign, x) if build.get("sign") else x
    return (x, bias, *sign_scale(build, weight, *others))  # with a curvature where the scale is "loss"


@converts("gluon_bnn_sign_scale")
def sign_scale(build: Build, weight: Any, *others: Any) -> Any:
    """In a layer made without in_units this operator also takes the layer's input, as a hint of the shape, and with
    `stochastic` random numbers."""
    arrays = [weight, *others[build.get("hint") is not None : len(others) - bool(build.get("stochastic"))]]
    if not constant(*arrays):
        return None
    options = {name: build.node.attributes[name] for name in ("scale", "gradient", "clip")}
    return [array.asnumpy() for array in mx.nd.gluon_bnn_sign_scale(*map(mx.nd.array, arrays), **options)]


@converts("gluon_bnn_scale_bias")
def scale_bias(build: Build, dot: Any, alpha: Any, bias: Any = None) -> Any:
    if not constant(alpha, bias):
        return None
    y = multiply(build, dot, alpha.reshape(-1))
    return y if bias is None else add(build, y, bias.reshape(-1))


@converts("gluon_bnn_pack")
def pack(build: Build, x: Any) -> Any:
    return build(Pack, x, in_units=build.get("in_units"), flatten=build.get("flatten"))


@converts("gluon_bnn_packed_dense")
def packed_dense(build: Build, x: Any, *arrays: Any) -> Any:
    """From the export of a net that was frozen in the packed form."""
    if not constant(*arrays):
        return None
    units, in_units, flatten = (build.get(name) for name in ("units", "in_units", "flatten"))
    return build(PackedDense, x, units=units, in_units=in_units, flatten=flatten, **packed_arrays(build, x, arrays))


def packed_arrays(build: Build, x: int, arrays: tuple) -> dict[str, Any]:
    """The options arrays, source and to of a PackedDense or PackedConv, from the operator of an export. x is the place
    of the value that it takes, which becomes one of 0 and 1 where the operator says so."""
    source, target = build.get("source"), build.get("target")
    if source == "bits01":
        _as_bits01(build.plan, x)
    names = ["weight_bits", "threshold"]
    if source == "float" or target == "float":
        names = ["weight_bits", "alpha", "bias", *(NORM if build.get("norm") else ())]
        names += ["sums"] if source == "bits01" else []
    return {"arrays": dict(zip(names, arrays)), "source": source, "to": target}


def _as_bits01(plan, place):
    """The bits of a value stand for 0 and 1, which an export says only where they are used."""
    step = plan[place]
    if isinstance(step, (PackedMaxPool, PackedFlatten)):
        _as_bits01(plan, step.sources[0])
    elif step and getattr(step, "to", "float") != "float":
        plan.steps[place - 1] = dataclasses.replace(step, to="bits01")


@converts("FullyConnected")
def fully_connected(build: Build, x: Any, weight: Any, bias: Any = None) -> Any:
    if not constant(weight, bias):
        return None
    flatten = build.get("flatten", True)
    if (np.abs(weight) == 1).all():  # a binary layer, whatever operators computed its signs
        return _float_dense(build, x, weight, np.ones(1, np.float32), bias, flatten)
    arrays = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    return build(Dense, x, arrays=arrays, flatten=bool(flatten))


@converts("BatchNorm")
def batch_norm(build: Build, x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
    if not constant(gamma, beta, mean, var) or build.get("output_mean_var"):
        return None
    gamma = np.ones_like(gamma) if build.get("fix_gamma", True) else gamma
    return _batch_norm(build, x, gamma, beta, mean, var, build.get("axis", 1), build.get("eps", 1e-3))


@converts("gluon_bnn_batch_norm")
def native_batch_norm(build: Build, x: Any, gamma: Any, beta: Any, mean: Any, var: Any, training: Any) -> Any:
    if not constant(gamma, beta, mean, var, training) or (training != build.get("inference", 0)).any():
        return None  # it normalises by the statistics of its batch, always or for some inputs
    gamma, beta, mean, var = (array.reshape(-1) for array in (gamma, beta, mean, var))
    return _batch_norm(build, x, gamma, beta, mean, var, build.get("axis", -1), build.get("eps"))


def _batch_norm(build, x, gamma, beta, mean, var, axis, eps):
    arrays = {"gamma": gamma, "beta": beta, "running_mean": mean, "running_var": var}
    place = build(BatchNorm, x, arrays=arrays, axis=axis, eps=float(eps))
    build.plan[place].norm()  # raises where it is not finite
    return place


@converts(mx.gluon.HybridBlock)
def kept(build: Build, x: Any, *arrays: Any) -> Any:
    """A block that MXNet cannot trace, or a layer with binary weights that has no converter of its own."""
    return build(Kept, x, block=build.node.layer)
