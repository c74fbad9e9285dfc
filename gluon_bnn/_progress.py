"""Progress bars: tqdm's, with a lock for the threads of one process.

tqdm's own lock is a semaphore of the system, for bars of several processes. After Ctrl-C Python 3.14 warns that it has
leaked.
"""
import threading

from tqdm import tqdm


class Bar(tqdm):
    """As `tqdm`."""


Bar.set_lock(threading.RLock())
