"""Makes Apache MXNet 1.9.1 importable on today's NumPy and Python; the only place that imports it.

MXNet 1.9.1 is the last release. What stands between it and a current machine is little:

- it uses names that NumPy 1.24 and 2 removed, and misreads how NumPy 2 writes tuples (_shims.py mends both);
- it imports `distutils`, which Python 3.12 removed and setuptools still provides;
- `libmxnet.so` needs `libgomp.so.1` and `libquadmath.so.0`, which slim systems lack;
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
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys

from . import _shims

MXNET_VERSION = "1.9.1"
# Turns that a waiting OpenMP thread spins: 10,000, and where there are more threads than cores the 1,000 that ACTIVE
# stands for in libgomp, in place of 300,000 and 100.
WAITING = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "10000"}
BESIDE_NUMPY = "'graphviz<0.9'", "requests"  # what MXNet's metadata asks for
REINSTALL = f"pip install mxnet=={MXNET_VERSION} --force-reinstall --no-deps"
# The Debian packages of the system libraries that MXNet's wheel and our library expect but do not carry.
DEBIAN_PACKAGES = {"libgomp.so.1": "libgomp1", "libquadmath.so.0": "libquadmath0", "libstdc++.so.6": "libstdc++6",
                   "libgcc_s.so.1": "libgcc-s1"}


def physical_cores():
    """The number of cores this process may use: hyper-threads counted once, limits of its group obeyed.

    Two hyper-threads share one set of vector units, so a second one only slows a matrix product down.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS and Windows have no affinity to ask for
        return os.cpu_count() or 1
    cores = set()
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


def threads_wanted():
    """The number of threads that OMP_NUM_THREADS asks for, as OpenMP reads it: the first of a list, and where it is not
    set, or is no whole number above 0, one a core."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if re.fullmatch("[0-9]{1,9}", first) and int(first) else physical_cores()


def mxnet_library():
    """The path of the installed libmxnet.so, found without importing MXNet, or None."""
    try:
        spec = importlib.util.find_spec("mxnet")
    except (ImportError, ValueError):  # ValueError where sys.modules holds something else by that name
        return None
    path = spec and spec.origin and os.path.join(os.path.dirname(spec.origin), "libmxnet.so")
    return path if path and os.path.isfile(path) else None


def missing_libraries(path):
    """The names of all system libraries that the shared library `path` needs, itself or for others, and that are not
    here, sorted; found without loading it."""
    if not sys.platform.startswith("linux"):
        return []
    try:
        listed = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                errors="replace").stdout
        candidates = re.findall(r"^\s*(\S+) => not found$", listed, re.MULTILINE)
    except OSError:  # there is no ldd
        candidates = DEBIAN_PACKAGES
    return sorted(name for name in set(candidates) if not _can_be_loaded(name))


def _can_be_loaded(name):
    """Whether the loader finds a library: from this process it looks in more places than from ldd's (conda)."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def how_to_get(libraries):
    """What installs system libraries of these names, as one line."""
    packages = sorted(DEBIAN_PACKAGES[name] for name in libraries if name in DEBIAN_PACKAGES)
    others = sorted(set(libraries) - DEBIAN_PACKAGES.keys())
    lines = [f"apt-get install {' '.join(packages)} (on Debian or Ubuntu)"] if packages else []
    lines += [f"install what provides {', '.join(others)}"] if others else []
    return "; ".join(lines)


def name_missing(error):
    """The system library whose absence an error of the loader reports, or None."""
    found = re.search(r"(lib[^\s/:]+\.so[.\d]*): cannot open shared object file", str(error))
    return found and found[1]


def explain_missing(libraries):
    """What to do about system libraries that MXNet needs and that are not here."""
    return (f"MXNet needs system libraries that are not here, {', '.join(sorted(libraries))}: "
            f"{how_to_get(libraries)}")


def install(*modules: str) -> str:
    """The command that installs what provides these modules, the same on every Python.

    MXNet's metadata asks for NumPy 1, which has no wheel for Python 3.13 and later; with --no-deps pip does not read
    it, and installs what MXNet needs beside NumPy by name.

    >>> install("distutils")
    'pip install setuptools'
    """
    others = ["setuptools" if name == "distutils" else name for name in modules if name != "mxnet"]
    if "mxnet" not in modules:
        return f"pip install {' '.join(others)}"
    return (f"pip install {' '.join([*others, *BESIDE_NUMPY])} && "
            f"pip install --no-deps mxnet=={MXNET_VERSION}")


def explain(error):
    """What to do about an error that `import mxnet` raised, as one string."""
    if name_missing(error):
        path = mxnet_library()
        return explain_missing({name_missing(error), *(missing_libraries(path) if path else ())})
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("mxnet."):
        if error.name == "mxnet":  # where pip has a record of it all the same, it would do nothing
            return f"Apache MXNet is not installed: {REINSTALL if installed('mxnet') else install('mxnet')}"
        if error.name == "distutils":
            return f"MXNet imports distutils, which this Python no longer has: {install('distutils')}"
        return f"MXNet imports {error.name}, which is not installed: {install(error.name)}"
    return (f"importing MXNet failed: {type(error).__name__}: {' '.join(str(error).split())}; "
            f"if the installed MXNet is damaged: {REINSTALL}")


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
def waiting_threads_spin():
    """For an OpenMP library that is loaded meanwhile, unless the user says how its threads wait.

    Not for longer: in other libraries, and in processes started from here, ACTIVE may mean to spin for ever.
    """
    mine = {} if WAITING.keys() & os.environ.keys() else WAITING
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


@contextlib.contextmanager
def importing_mxnet():
    """Around the import of MXNet: what it needs before, what is mended after, and errors that say what to do."""
    import numpy
    _shims.add_missing_names(numpy)
    # Read when libmxnet is loaded, which aborts the process at a list or at no number; a user's own setting wins.
    os.environ["OMP_NUM_THREADS"] = str(threads_wanted())
    _keep_freed_memory()
    try:
        with waiting_threads_spin():
            yield
    except Exception as error:
        kind = type(error) if isinstance(error, (ImportError, OSError)) else ImportError
        raise kind(explain(error)) from error
    _shims.write_plain_numbers(numpy)


def _import_mxnet():
    try:
        import numpy  # noqa: F401 (first, so that its absence is named and not that of MXNet)
        import mxnet
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "mxnet"):
            raise  # explained by importing_mxnet
        raise ImportError(explain(error)) from error
    if mxnet.__version__ != MXNET_VERSION:
        raise ImportError(f"gluon_bnn needs MXNet {MXNET_VERSION}, found {mxnet.__version__}: {REINSTALL}")
    return mxnet


def installed(package):
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def __getattr__(name):
    # Lazily, so that the doctor can import this module where MXNet cannot be imported.
    if name == "mx":
        globals()["mx"] = mx = _import_mxnet()
        return mx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
