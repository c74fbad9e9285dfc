"""Makes Apache MXNet 1.9.1 importable on today's NumPy and Python; the only place that imports it.

MXNet 1.9.1 is the last release. What stands between it and a current machine is little:

- it uses `numpy.bool`, which NumPy 1.24 removed (NumPy 2 removed more, so NumPy stays below 2);
- it imports `distutils`, which Python 3.12 removed and setuptools still provides;
- `libmxnet.so` needs `libgomp.so.1` and `libquadmath.so.0`, which slim systems lack;
- it takes half of the processors it sees for OpenMP, taking them for hyper-threads;
- it has more pools of OpenMP threads than cores, so that libgomp puts a waiting thread to sleep almost at once and
  wakes it again for every loop (a step of a binary net, 3 x 1024 units: 8.0 ms against 5.8), so libgomp is told to
  have it wait for some ten microseconds first;
- above eight uses of one array it adds gradients up in place, which operators of extension libraries
  cannot do (they overwrite), so that sum is told to stay out of place;
- it returns every large array to the system at once and pays for fresh pages at the next operator
  (sign_scale of 1024 x 1024 weights: 7.3 ms against 1.0), so malloc is told to keep them.

Use it as `from ._compat import mx`.
"""
import contextlib
import ctypes
import importlib.metadata
import os
import re

MXNET_VERSION = "1.9.1"
# Turns that a waiting OpenMP thread spins: 10,000, and where there are more threads than cores the 1,000 that ACTIVE
# stands for in libgomp, in place of 300,000 and 100.
WAITING = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "10000"}
# The Debian packages of the system libraries that the wheel expects but does not carry.
DEBIAN_PACKAGES = {"libgomp": "libgomp1", "libquadmath": "libquadmath0", "libgfortran": "libgfortran5",
                   "libstdc++": "libstdc++6", "libgcc_s": "libgcc-s1"}


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


def explain(error):
    """What to do about an error that `import mxnet` raised, as one string."""
    text = str(error)
    missing = re.search(r"(lib[\w+]+)\S*\.so[.\d]*: cannot open shared object file", text)
    if missing:
        package = DEBIAN_PACKAGES.get(missing[1])
        advice = (f"apt-get install {package}" if package
                  else f"install the system package that provides {missing[0].split(':')[0]}")
        return f"MXNet needs a system library that is not here: {text}. On Debian or Ubuntu: {advice}"
    if isinstance(error, ModuleNotFoundError) and error.name == "mxnet":
        return f"Apache MXNet is not installed: pip install mxnet=={MXNET_VERSION} 'numpy<2'"
    if isinstance(error, ModuleNotFoundError) and error.name == "distutils":
        return "MXNet imports distutils, which this Python no longer has: pip install setuptools"
    return f"importing MXNet failed: {type(error).__name__}: {text}"


def _keep_freed_memory():
    """Let glibc's malloc reuse large arrays; nothing on other systems, or where the user has set it."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, 1 << 30)


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


def _import_mxnet():
    import numpy
    if int(numpy.__version__.split(".")[0]) >= 2:
        raise ImportError(f"MXNet {MXNET_VERSION} needs NumPy below 2, found {numpy.__version__}: "
                          "pip install 'numpy<2'")
    if "bool" not in numpy.__dict__:
        numpy.bool = bool
    # Read when libmxnet is loaded or a gradient is built; a user's own setting wins.
    os.environ.setdefault("MXNET_EXEC_INPLACE_GRAD_SUM_CAP", str(2**31 - 1))
    os.environ["OMP_NUM_THREADS"] = str(threads_wanted())  # MXNet aborts the process at a list, or no number
    _keep_freed_memory()
    try:
        with waiting_threads_spin():
            import mxnet
    except (ImportError, OSError) as error:
        raise type(error)(explain(error)) from error
    if mxnet.__version__ != MXNET_VERSION:
        raise ImportError(f"gluon_bnn needs MXNet {MXNET_VERSION}, found {mxnet.__version__}: "
                          f"pip install mxnet=={MXNET_VERSION}")
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
