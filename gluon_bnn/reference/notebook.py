"""The notebook's twelve functions under their own names; weights are (in, hidden).

A trailing underscore marks the backward function. What the notebook left open is finished here: `softmax_ce` does not
overflow, and `b_sigmoid`, which raised NotImplementedError, is the sigmoid rounded to a bit. `b_affine_` is the
notebook's formula unchanged, slips included; `gluon_bnn.reference.binary` has the rules that learn better.
"""

import numpy as np
from scipy.special import expit, logsumexp, softmax

from .binary import sign

__all__ = [
    "affine",
    "affine_",
    "b",
    "b_affine",
    "b_affine_",
    "b_sigmoid",
    "b_sigmoid_",
    "l1",
    "sigmoid",
    "sigmoid_",
    "softmax_ce",
    "softmax_ce_",
]


def __dir__():
    return __all__


def affine(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x @ w: x (rows, in), w (in, hidden)."""
    return x.dot(w)


def affine_(d: np.ndarray, x: np.ndarray, w: np.ndarray) -> dict[str, np.ndarray]:
    """{"x": d @ w.T, "w": x.T @ d}."""
    return {"x": d.dot(w.T), "w": x.T.dot(d)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return expit(x)


def sigmoid_(d: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d s (1 - s), s = sigmoid(x)."""
    s = expit(x)
    return d * s * (1 - s)


def softmax_ce(x: np.ndarray, y: np.ndarray) -> float:
    """Mean over rows of log sum exp(x) - x[y]: x (rows, classes), y (rows,) integers."""
    return np.mean(logsumexp(x, axis=1) - x[np.arange(len(x)), y])


def softmax_ce_(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(softmax(x) - onehot(y)) / rows."""
    d = softmax(x, axis=1)
    d[np.arange(len(x)), y] -= 1
    return d / len(x)


def l1(w: np.ndarray) -> float:
    """mean |w|: one number for the whole of w."""
    return np.abs(w).mean()


def b(w: np.ndarray) -> np.ndarray:
    """l1(w) * sign(w), the binary weights; sign is -1 where w < 0, else +1 (also for 0.0 and NaN)."""
    return l1(w) * sign(w)


def b_affine(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x @ b(w)."""
    return x.dot(b(w))


def b_affine_(d: np.ndarray, x: np.ndarray, w: np.ndarray) -> dict[str, np.ndarray]:
    """{"x": d @ b(w).T, "w": g (1/n + 1[|w| <= 5] w l1(w) / n)} with g = x.T @ d, n = w.size.

    The rule of XNOR-Net, section 3, with its printed factor w kept, clipped at 5, and divided by n.
    """
    g, n = x.T.dot(d), w.size
    return {"x": d.dot(b(w).T), "w": g * (1 / n + ((w >= -5) * (w <= 5) * w) * l1(w) / n)}


def b_sigmoid(x: np.ndarray) -> np.ndarray:
    """The sigmoid rounded to a bit: 0 where x < 0, else 1 (also for 0.0, -0.0 and NaN, as in `b`)."""
    return (1 + sign(x)) / 2


def b_sigmoid_(d: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d passed through the sigmoid's own gradient."""
    return sigmoid_(d, x)
