"""What MXNet 1.9.1, of 2022, expects of NumPy and Python and no longer finds there; tried with NumPy 1.26 and 2.5.

Only names that are missing are set; nothing of NumPy's is overwritten (`numpy.bool` of NumPy 2 is its own type, which
numpy.ma and SciPy rely on), and how NumPy prints stays as the user has it. `Finder` does this for every import of
MXNet: after `import gluon_bnn`, `import mxnet` works too.
"""

import builtins
import importlib.machinery
import importlib.util
import sys
import threading
import types
import warnings
from typing import Any


class Finder:
    """Finds MXNet where Python would; what is done before, while and after it is imported is in _compat.py."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """As `importlib.abc.MetaPathFinder.find_spec`; only for MXNet."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == "mxnet" else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """MXNet's own loader, inside of `_compat.importing_mxnet`."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        from . import _compat

        with _compat.importing_mxnet():
            self._loader.exec_module(module)


def add_missing_names(numpy: types.ModuleType) -> None:
    """Give the module `numpy` the names that MXNet uses and that later versions removed.

    >>> import numpy
    >>> add_missing_names(numpy)
    >>> numpy.product([2, 3]) == 6 and numpy.sometrue([0, 1]) and numpy.PINF == numpy.inf
    True
    """

    def msort(a):
        return numpy.sort(a, axis=0)

    def in1d(ar1, ar2, assume_unique=False, invert=False):
        return numpy.isin(numpy.ravel(ar1), ar2, assume_unique=assume_unique, invert=invert)

    names = {
        "bool": bool,
        "int": int,
        "PZERO": 0.0,
        "NZERO": -0.0,
        "NINF": -numpy.inf,
        "PINF": numpy.inf,
        "NAN": numpy.nan,
        "NaN": numpy.nan,
        "Inf": numpy.inf,
        "alltrue": numpy.all,
        "sometrue": numpy.any,
        "product": numpy.prod,
        "round_": numpy.round,
        "msort": msort,
        "in1d": in1d,
        "trapz": getattr(numpy, "trapezoid", None),
        "compat": types.SimpleNamespace(basestring=str),
    }
    # MXNet hands these on under its own names; NumPy moved them to a package of their own.
    names.update(dict.fromkeys(("mirr", "npv", "pmt", "ppmt", "pv", "rate")))
    for name, value in names.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a version that still has a name may call it deprecated
            if not hasattr(numpy, name):
                setattr(numpy, name, value)


class _Unread(types.ModuleType):
    """A module whose code runs once one of its names is asked for. (That of `importlib.util.LazyLoader` would run as
    soon as it is imported twice.)"""

    def __getattr__(self, name):  # Python asks here for what it does not find, so not again once the code has run
        with _reading:
            if vars(self).pop("_unread", False):
                try:
                    self.__spec__.loader.exec_module(self)
                except BaseException:
                    self._unread = True
                    raise
                self.__class__ = types.ModuleType
        return types.ModuleType.__getattribute__(self, name)

    def __dir__(self):
        self.__getattr__("__name__")
        return types.ModuleType.__dir__(self)


_reading = threading.RLock()


def import_when_used(name: str) -> None:
    """Let the import of a module, unless it was imported before, do nothing until one of its names is asked for.

    MXNet imports scipy.stats, which takes a quarter of its own import, for one function of its quantization.
    """
    package, _, own = name.rpartition(".")
    if name in sys.modules or importlib.util.find_spec(package) is None:
        return
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    module: Any = _Unread(name)
    module.__spec__, module.__path__, module.__file__ = spec, spec.submodule_search_locations, spec.origin
    module.__package__, module.__loader__, module._unread = name, spec.loader, True
    sys.modules[name] = module
    setattr(sys.modules[package], own, module)


class _TextType(type):
    """The class of `_Text`: as of `str`, every text is an instance of that, and a call gives a text."""

    def __instancecheck__(cls, value):
        return isinstance(value, builtins.str)

    def __call__(cls, *args):
        if len(args) == 1 and type(args[0]) in (tuple, list):
            return builtins.str(_plain(args[0]))
        return builtins.str(*args)


class _Text(metaclass=_TextType):
    """`str` for MXNet's modules: NumPy's numbers within tuples and lists are written as Python's."""


def _plain(value):
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.floating):
        return float(builtins.str(value))  # the digits that NumPy 1 wrote
    return value.item() if isinstance(value, numpy.generic) else value


def write_plain_numbers(numpy: types.ModuleType) -> None:
    """Let MXNet write shapes, axes and kernels in which NumPy's integers are as it reads them.

    It writes attributes of operators with `str`, and NumPy 2 writes a tuple of its integers as
    (np.int64(2), np.int64(3)). Called after MXNet was imported; does nothing for NumPy 1.
    """
    if int(numpy.__version__.split(".")[0]) < 2:
        return
    for name in ("mxnet._ctypes.ndarray", "mxnet._ctypes.symbol", "mxnet.symbol.symbol"):
        module: Any = sys.modules.get(name)
        if module is not None:  # or else it is another version of MXNet, which _compat refuses
            module.str = _Text


def fork_workers() -> None:
    """Let the worker processes of MXNet's DataLoader be forked, as it was written for, unless the user chose "spawn".

    From Python 3.14 on, Linux starts them from a server instead. They would import MXNet before this package, fail, and
    be started again and again, while the training waits.
    """
    loader = sys.modules.get("mxnet.gluon.data.dataloader")
    if sys.platform != "linux" or sys.version_info < (3, 14) or loader is None:
        return
    multiprocessing = loader.multiprocessing

    def pool(*args, **kwargs):
        chosen = multiprocessing.get_start_method(allow_none=True)  # None, or the default, until someone chooses
        return multiprocessing.get_context("spawn" if chosen == "spawn" else "fork").Pool(*args, **kwargs)

    loader.multiprocessing = types.SimpleNamespace(**{**vars(multiprocessing), "Pool": pool})
