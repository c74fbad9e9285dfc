"""Progress bars: tqdm's, with a lock for the threads of one process.

tqdm's own lock is a semaphore of the system, for bars of several processes. After Ctrl-C Python 3.14 warns that it has
leaked.
"""

import functools
import threading

from tqdm import tqdm


@functools.cache
def _bars():
    """A class of its own: the user's bars keep the lock that they have."""
    bars = type("Bar", (tqdm,), {})
    bars.set_lock(threading.RLock())
    return bars


def progress_bar(**options):
    """A `tqdm` with these options; nothing is shown where output is no terminal, unless they say so."""
    return _bars()(**{"disable": None, **options})
