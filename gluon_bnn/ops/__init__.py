"""The operators of binary layers, as methods that take F (mx.nd or mx.sym), in two implementations of one interface.

- `native`: the operators of our library, one pass over memory each way;
- `composed`: MXNet's own operators only, for any device and any machine, only slower.

Both follow the formulas of `gluon_bnn.reference`. GLUON_BNN_OPS=auto|native|composed chooses, or the context manager
`use`; a layer asks `current` when it is made. "auto" is native where the library loads.
"""

import contextlib
import contextvars
import os
import warnings
from collections.abc import Iterator
from typing import Optional

from ..native import library
from .composed import Composed, composed
from .native import native

__all__ = ["CHOICES", "Composed", "composed", "current", "native", "use"]


def __dir__():
    return __all__


CHOICES = ("auto", "native", "composed")

_chosen: contextvars.ContextVar[Optional[str]] = contextvars.ContextVar("gluon_bnn_ops", default=None)
_warned = False


@contextlib.contextmanager
def use(choice: str) -> Iterator[None]:
    """Layers made inside this context use the implementation `choice`: auto, native or composed. Raises ValueError for
    any other.

    >>> with use("composed"):
    ...     current()
    composed
    """
    _check_choice(choice, "use()")
    token = _chosen.set(choice)
    try:
        yield
    finally:
        _chosen.reset(token)


def _check_choice(choice, source):
    if choice not in CHOICES:
        raise ValueError(f"{source} takes one of {', '.join(CHOICES)}, got {choice!r}")


def current() -> Composed:
    """`native` or `composed`: what a layer made now will use. Loads the library where it is native.

    Raises OSError when "native" was asked for and the library is not there.
    """
    global _warned
    choice = _chosen.get() or os.environ.get("GLUON_BNN_OPS") or "auto"
    _check_choice(choice, "GLUON_BNN_OPS")
    if choice == "composed":
        return composed
    if choice == "auto" and not library.available():
        if not _warned:
            _warned = True
            warnings.warn(
                f"binary layers run on MXNet's own operators, slower: {library.problem()}", RuntimeWarning, stacklevel=3
            )
        return composed
    library.load_operators()
    return native
