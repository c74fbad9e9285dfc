"""Binary neural networks for Apache MXNet/Gluon, from the first training step to 1-bit inference.

Public names are resolved when they are first used (PEP 562), so that parts which do not need MXNet,
such as `gluon_bnn.reference` and `gluon_bnn.runtime`, can be imported without it. `gluon_bnn.mx` is MXNet itself,
imported the one way that works on today's NumPy and Python:

>>> import gluon_bnn
>>> gluon_bnn.nn.BinaryDense(10, in_units=784)
BinaryDense(784 -> 10, linear, scale='layer', gradient='xnor')
"""

import importlib
import sys

from . import _shims

__version__ = "0.2.0.dev0"

_MODULES = (
    "check",
    "data",
    "deploy",
    "doctor",
    "graph",
    "initializer",
    "launch",
    "loss",
    "metric",
    "native",
    "nn",
    "ops",
    "optimizer",
    "quantizers",
    "reference",
    "runtime",
    "summaries",
    "train",
    "zoo",
)
_NAMES = {
    "check_net": "check",
    "freeze": "deploy",
    "load_exported": "deploy",
    "mx": "_compat",
    "save": "deploy",
    "summary": "summaries",
}

__all__ = sorted(_MODULES + tuple(_NAMES)) + ["__version__"]


sys.meta_path.insert(0, _shims.Finder)  # `import mxnet` works from here on


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module("." + name, __name__)
    if name in _NAMES:
        return getattr(importlib.import_module("." + _NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
