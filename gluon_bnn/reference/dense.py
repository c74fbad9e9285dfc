"""What surrounds a binary layer: affine map, activations, losses and batch norm, forward and backward.

Rows are examples: x is (rows, units) unless another shape is given, and a parameter of batch norm (units,). A backward
function takes d = dL/d(output), in the shape of the output, and returns the gradients to its inputs. All of them are
smooth (ReLU and hard tanh but for their kinks), so tests hold them to finite differences. Sources: Ioffe, Szegedy 2015,
Batch Normalization, section 3; for the squared hinge loss Courbariaux et al. 2015, BinaryConnect, section 3.1.
"""

from typing import Optional

import numpy as np
from scipy.special import expit, logsumexp, softmax

__all__ = [
    "affine",
    "affine_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "hard_tanh",
    "hard_tanh_backward",
    "relu",
    "relu_backward",
    "running_average",
    "sigmoid",
    "sigmoid_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "squared_hinge",
    "squared_hinge_backward",
]


def __dir__():
    return __all__


def affine(x: np.ndarray, w: np.ndarray, bias: Optional[np.ndarray] = None) -> np.ndarray:
    """x @ w.T + bias: x (rows, in_units), w (units, in_units), bias (units,) or None."""
    y = x @ w.T
    return y if bias is None else y + bias


def affine_backward(d: np.ndarray, x: np.ndarray, w: np.ndarray) -> dict[str, np.ndarray]:
    """{"x": d @ w, "weight": d.T @ x, "bias": column sums of d}."""
    return {"x": d @ w, "weight": d.T @ x, "bias": d.sum(axis=0)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return expit(x)


def sigmoid_backward(d: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d s (1 - s), s = sigmoid(x)."""
    s = expit(x)
    return d * s * (1 - s)


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, 0)


def relu_backward(d: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d 1[x > 0]."""
    return d * (x > 0)


def hard_tanh(x: np.ndarray, clip: float = 1.0) -> np.ndarray:
    """x held within [-clip, clip]."""
    return np.clip(x, -clip, clip)


def hard_tanh_backward(d: np.ndarray, x: np.ndarray, clip: float = 1.0) -> np.ndarray:
    """d 1[|x| <= clip]."""
    return d * (np.abs(x) <= clip)


def softmax_cross_entropy(x: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows of log sum exp(x) - x[label]; x (rows, classes), labels (rows,) integers."""
    return np.mean(logsumexp(x, axis=1) - x[np.arange(len(x)), labels])


def softmax_cross_entropy_backward(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(softmax(x) - onehot(labels)) / rows."""
    d = softmax(x, axis=1)
    d[np.arange(len(x)), labels] -= 1
    return d / len(x)


def squared_hinge(x: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows and classes of max(0, 1 - t x)^2, t = +1 at the label and -1 elsewhere."""
    return np.mean(np.maximum(0, 1 - _targets(x, labels) * x) ** 2)


def squared_hinge_backward(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-2 t max(0, 1 - t x) / (rows * classes)."""
    t = _targets(x, labels)
    return -2 * t * np.maximum(0, 1 - t * x) / x.size


def _targets(x, labels):
    t = -np.ones_like(x)
    t[np.arange(len(x)), labels] = 1
    return t


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """(x - mean) / sqrt(var + eps) * gamma + beta with the mean and (biased) variance of the batch."""
    mean, var = x.mean(axis=0), x.var(axis=0)
    return (x - mean) / np.sqrt(var + eps) * gamma + beta


def batch_norm_backward(d: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float = 1e-5) -> dict[str, np.ndarray]:
    """{"x", "gamma", "beta"}, through the batch's own mean and variance."""
    inverse = 1 / np.sqrt(x.var(axis=0) + eps)
    normal = (x - x.mean(axis=0)) * inverse
    dnormal = d * gamma
    dx = inverse * (dnormal - dnormal.mean(axis=0) - normal * (dnormal * normal).mean(axis=0))
    return {"x": dx, "gamma": (d * normal).sum(axis=0), "beta": d.sum(axis=0)}


def batch_norm_inference(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float = 1e-5
) -> np.ndarray:
    """(x - mean) * (gamma / sqrt(var + eps)) + beta, grouped as MXNet groups it."""
    return (x - mean) * (gamma / np.sqrt(var + eps)) + beta


def batch_norm_inference_backward(
    d: np.ndarray, x: np.ndarray, gamma: np.ndarray, mean: np.ndarray, var: np.ndarray, eps: float = 1e-5
) -> dict[str, np.ndarray]:
    """{"x": d gamma / sqrt(var + eps), "gamma", "beta"}: mean and var do not depend on x."""
    inverse = 1 / np.sqrt(var + eps)
    return {"x": d * (gamma * inverse), "gamma": (d * (x - mean) * inverse).sum(axis=0), "beta": d.sum(axis=0)}


def running_average(running: np.ndarray, batch: np.ndarray, momentum: float = 0.9) -> np.ndarray:
    """momentum * running + (1 - momentum) * batch: what inference uses for a batch's mean or (biased) variance."""
    return momentum * running + (1 - momentum) * batch
