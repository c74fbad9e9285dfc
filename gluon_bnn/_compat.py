"""Makes Apache MXNet 1.9.1 importable on today's NumPy and Python; the only place that imports it.

MXNet 1.9.1 is the last release. What stands between it and a current machine is little:

- it uses names that NumPy 1.24 and 2 removed, and misreads how NumPy 2 writes tuples (_shims.py mends both);
- its DataLoader waits for ever for worker processes that Python 3.14 starts in another way (_shims.py);
- it imports `distutils`, which Python 3.12 removed and setuptools still provides;
- `libmxnet.so` needs `libgomp.so.1` and `libquadmath.so.0`, which slim systems lack, so _missing.py names them;
- it imports scipy.stats for one function, a quarter of the time that its import takes, so that waits (_shims.py);
- it takes half of the processors it sees for OpenMP, taking them for hyper-threads;
- it has more pools of OpenMP threads than cores, so that libgomp puts a waiting thread to sleep almost at once and
  wakes it again for every loop (a step of a binary net, 3 x 1024 units: 8.0 ms against 5.8), so libgomp is told to
  have it wait for some ten microseconds first;
- training with MXNet's own operators makes and frees many arrays of some megabytes, which malloc returns to the system
  and fetches back as fresh pages (9,000 of them, 35 ms, in a step of a composed net, 3 x 1024 units), so malloc is told
  to keep up to 64 MB. Arrays above 32 MB still go back at once. The user's own setting of malloc, any variable
  MALLOC_... or glibc.malloc in GLIBC_TUNABLES, switches this off.

Use it as `from ._compat import mx`, outside of this package as `from gluon_bnn import mx`.
"""

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator

from . import _shims

# Turns that a waiting OpenMP thread spins: 10,000, and where there are more threads than cores the 1,000 that ACTIVE
# stands for in libgomp, in place of 300,000 and 100.
WAITING = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "10000"}


def physical_cores() -> int:
    """The number of cores this process may use: hyper-threads counted once, limits of its group obeyed.

    Two hyper-threads share one set of vector units, so a second one only slows a matrix product down.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS and Windows have no affinity to ask for
        return os.cpu_count() or 1
    cores: set[object] = set()
    for cpu in allowed:
        try:
            path = f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            with open(path, encoding="ascii") as file:
                cores.add(file.read().strip())
        except OSError:
            cores.add(cpu)
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        limit = len(cores) if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        limit = len(cores)
    return max(1, min(len(cores), limit))


def threads_wanted() -> int:
    """The number of threads that OMP_NUM_THREADS asks for, as OpenMP reads it: the first of a list, and where it is not
    set, or is no whole number above 0, one per core."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if re.fullmatch("[0-9]{1,9}", first) and int(first) else physical_cores()


def _keep_freed_memory():
    """Let glibc's malloc reuse arrays of up to 32 MB; nothing on other systems, or where the user has set it.

    32 MB is the most that every version of glibc takes, and what its malloc comes to by itself at most; twice as much
    free memory at the end of the heap is kept, its own ratio.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_mmap_threshold, 32 << 20)
    mallopt(m_trim_threshold, 64 << 20)


forked = False  # True in a child of fork, if this module was imported before the fork


def _note_fork():
    global forked
    forked = True


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_note_fork)


@contextlib.contextmanager
def waiting_threads_spin() -> Iterator[None]:
    """An OpenMP library that is loaded inside of this context gets the settings WAITING, unless the user has set one.

    They are removed at the end: in other libraries, and in processes started from here, ACTIVE may mean to spin for
    ever.
    """
    mine = {} if WAITING.keys() & os.environ.keys() else WAITING
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


@contextlib.contextmanager
def importing_mxnet() -> Iterator[None]:
    """Around the import of MXNet: what it needs before, what is mended after, and errors that say what to do."""
    try:
        import numpy

        _shims.add_missing_names(numpy)
        _shims.import_when_used("scipy.stats")
        # Read when libmxnet is loaded, which aborts the process at a list or at no number; a user's own setting wins.
        os.environ["OMP_NUM_THREADS"] = str(threads_wanted())
        _keep_freed_memory()
        with waiting_threads_spin():
            yield
    except Exception as error:
        from . import _missing  # rarely needed, and it imports a good deal

        raise ImportError(_missing.explain(error)) from error
    _shims.write_plain_numbers(numpy)
    _shims.fork_workers()


def reason(error: BaseException) -> str:
    """The last line of an error, which of one of MXNet's says what is wrong: those before it are places in its C++."""
    return (str(error).strip() or repr(error)).splitlines()[-1].strip()


def _import_mxnet():
    from . import _missing

    try:
        import mxnet
    except ModuleNotFoundError as error:  # where it is there, importing_mxnet has explained the error
        raise ImportError(_missing.explain(error)) from error
    if mxnet.__version__ != _missing.MXNET_VERSION:
        raise ImportError(
            f"gluon_bnn needs MXNet {_missing.MXNET_VERSION}, found {mxnet.__version__}: {_missing.REINSTALL}"
        )
    return mxnet


def __getattr__(name):
    # Lazily, so that the doctor can import this module where MXNet cannot be imported.
    if name == "mx":
        globals()["mx"] = mx = _import_mxnet()
        return mx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
