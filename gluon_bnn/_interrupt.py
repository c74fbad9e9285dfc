"""Ctrl-C between steps only: a KeyboardInterrupt that Python raises while MXNet frees an array would be lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if Ctrl-C came since; a second Ctrl-C raises it at once.

    Without it Python raises in whatever function runs, and where that is a `__del__` (as of the arrays that die
    in every step) the exception is printed and ignored. Leaves alone a handler that is not Python's own, and
    does nothing outside of the main thread.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield lambda: None
        return
    came: list[bool] = []

    def note(*_):
        if came:
            raise KeyboardInterrupt
        came.append(True)

    def check():
        if came:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
