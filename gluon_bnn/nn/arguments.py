"""Sizes, of layers and of batches: whole numbers, checked before MXNet sees them."""

from typing import Any

import numpy as np

MOST = 2**31 - 1  # MXNet's sizes have 32 bits


def whole(name: str, value: Any, least: int, most: int = MOST) -> int:
    """An argument as an int; ValueError unless it is a whole number from `least` to `most`."""
    try:
        if not isinstance(value, (bool, np.bool_)) and int(value) == value and least <= value <= most:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")


def sizes(name: str, value: Any, axes: int, least: int) -> tuple[int, ...]:
    """An argument of a layer as an int for each axis of space; ValueError unless it is one number or as many."""
    several = isinstance(value, (tuple, list, range)) or (isinstance(value, np.ndarray) and value.ndim > 0)
    values = tuple(value) if several else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"{name} must be one number or {axes}, one for each axis of space, got {value!r}")
    return tuple(whole(name, each, least) for each in values)
