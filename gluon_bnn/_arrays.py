"""Arrays and symbols of `mx.np`, which Gluon computes with after `mx.npx.set_np()`.

An operator of MXNet takes either these or arrays and symbols of `mx.nd` and `mx.sym`, which is what the operators of an
extension library take. The two kinds share memory, gradients and graph nodes, so that converting copies nothing.
This module imports without MXNet, because the doctor imports modules that use it where MXNet is missing.
"""

import functools
from typing import Any, Callable


def on_nd(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """function(*args, **kwargs), of arrays or symbols of `mx.nd` and `mx.sym`, for those of `mx.np` as well.

    `function` itself gets `mx.nd` and `mx.sym` only. The result is of the kind of the first array, the data, whatever
    the kind of the others.
    """
    first = next((arg for arg in args if hasattr(arg, "as_nd_ndarray")), None)
    found = function(*map(classic, args), **{name: classic(value) for name, value in kwargs.items()})
    return found if classic(first) is first else _each(found, "as_np_ndarray")


def takes_np(function: Callable) -> Callable:
    """The decorator of functions that are called `on_nd`."""

    @functools.wraps(function)
    def converted(*args, **kwargs):
        return on_nd(function, *args, **kwargs)

    return converted


def classic(value: Any) -> Any:
    """`value` of `mx.nd` or `mx.sym` where it is of `mx.np`, in tuples and lists too; anything else as it is."""
    return _each(value, "as_nd_ndarray")


def gluon_array(values: Any, ctx: Any = None, dtype: Any = None) -> Any:
    """As `mx.nd.array`, of the kind that Gluon computes with now."""
    from ._compat import mx

    return as_in_gluon(mx.nd.array(classic(values), ctx, dtype))


def as_in_gluon(value: Any) -> Any:
    """An array or symbol of the kind that Gluon computes with now: of `mx.np` after `mx.npx.set_np()`."""
    from ._compat import mx

    return _each(value, "as_np_ndarray" if mx.util.is_np_array() else "as_nd_ndarray")


def require_numbers(array: Any) -> None:
    """ValueError for an array without numbers, with 0 rows for instance; symbols are not looked at."""
    if hasattr(array, "context") and 0 in array.shape:
        raise ValueError(f"layers of gluon_bnn take at least one number, got an array of shape {array.shape}")


def _each(value, conversion):
    if isinstance(value, (tuple, list)):
        return type(value)(_each(each, conversion) for each in value)
    return getattr(value, conversion)() if hasattr(value, conversion) else value
