"""Whether MXNet trains, as an array in a graph: one graph serves training and inference."""

from typing import Any


def training(F: Any) -> Any:
    """An array (1, 1) that is not 1 while MXNet trains, and 1 otherwise."""
    return _dropped(F, F.ones(shape=(1, 1)))


def while_training(F: Any, numbers: Any) -> Any:
    """`numbers`, of two axes, while MXNet trains, and zeros otherwise."""
    first = F.slice_axis(F.reshape(F.ones_like(numbers), shape=(1, -1)), axis=1, begin=0, end=1)
    return F.BlockGrad(F.broadcast_mul(numbers, _dropped(F, first) != 1))


def _dropped(F, ones):
    # Dropout of one half makes 0 or 2 of a 1 while MXNet trains, and leaves it alone otherwise. With axes it uses one
    # thread; without, it wakes them all for a single number.
    return F.Dropout(ones, p=0.5, axes=(0,))
