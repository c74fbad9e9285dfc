"""One step of Adam over real weights behind binary ones, and what BinaryConnect and LAB add to it."""

from typing import Any, Optional

import numpy as np

__all__ = ["adam", "binary_adam", "curvature", "learning_rate_scale"]


def __dir__():
    return __all__


def adam(
    w: np.ndarray,
    g: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    t: int,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    clip_gradient: Optional[float] = None,
    rescale_grad: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(w, mean, var) after step t = 1, 2, .. of Adam as MXNet has it; all arrays in the shape of w.

    Kingma, Ba 2015, Adam, end of section 2: the form in which epsilon is not corrected for bias. Weight decay
    is part of the gradient, and so under its clip.
    """
    g = g * rescale_grad + w * wd
    if clip_gradient is not None:
        g = np.clip(g, -clip_gradient, clip_gradient)
    mean = beta1 * mean + (1 - beta1) * g
    var = beta2 * var + (1 - beta2) * g**2
    corrected = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return w - corrected * mean / (np.sqrt(var) + epsilon), mean, var


def binary_adam(
    w: np.ndarray,
    g: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    t: int,
    lr: float = 0.001,
    glorot: bool = False,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(w, mean, var) of `adam` with w held within [-1, 1] after the step.

    With `glorot`, lr is multiplied by `learning_rate_scale`. Courbariaux et al. 2015, BinaryConnect, sections
    2.4 and 2.5.
    """
    if glorot:
        lr = lr * learning_rate_scale(w.shape)
    w, mean, var = adam(w, g, mean, var, t, lr, **options)
    return np.clip(w, -1, 1), mean, var


def learning_rate_scale(shape: tuple[int, ...]) -> float:
    """1 / sqrt(1.5 / (inputs + outputs)) for weights (units, in_units), or (channels, in_channels, *kernel), where a
    convolution has in_channels inputs and channels outputs in each place of its kernel: BinaryConnect's official code.

    >>> float(round(learning_rate_scale((2048, 784)), 1)), float(round(learning_rate_scale((64, 32, 5, 5)), 1))
    (43.5, 40.0)
    """
    units, in_units, *kernel = shape
    places = np.prod(kernel, dtype=int)
    return 1 / np.sqrt(1.5 / (in_units * places + units * places))


def curvature(var: np.ndarray) -> np.ndarray:
    """LAB's diagonal Hessian, sqrt(v) + 1e-8, from Adam's second moment (not corrected for bias).

    Hou, Yao, Kwok 2017, Loss-aware Binarization of Deep Networks, section 3; 1e-8 is in its official code.
    """
    return np.sqrt(var) + 1e-8
