"""Binary neural networks for Apache MXNet/Gluon, from the first training step to 1-bit inference.

Public names are resolved when they are first used (PEP 562), so that parts which do not need MXNet, such as
`gluon_bnn.reference` and `gluon_bnn.runtime`, can be imported without it. `gluon_bnn.mx` is MXNet itself, imported the
one way that works on today's NumPy and Python:

>>> import gluon_bnn
>>> gluon_bnn.nn.BinaryDense(10, in_units=784)
BinaryDense(784 -> 10, linear, scale='layer', gradient='xnor')
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from . import _shims

if TYPE_CHECKING:  # what editors and type checkers see
    from . import (
        check,
        data,
        deploy,
        doctor,
        graph,
        initializer,
        launch,
        loss,
        metric,
        native,
        nn,
        ops,
        optimizer,
        prove,
        quantizers,
        reference,
        runtime,
        summaries,
        train,
        zoo,
    )
    from ._compat import mx
    from .check import check_net
    from .deploy import freeze, load_exported, save
    from .summaries import summary

__version__ = "0.2.0.dev0"

__all__ = [
    "__version__",
    "check",
    "check_net",
    "data",
    "deploy",
    "doctor",
    "freeze",
    "graph",
    "initializer",
    "launch",
    "load_exported",
    "loss",
    "metric",
    "mx",
    "native",
    "nn",
    "ops",
    "optimizer",
    "prove",
    "quantizers",
    "reference",
    "runtime",
    "save",
    "summaries",
    "summary",
    "train",
    "zoo",
]
# Where the names are that are no modules.
_WHERE = {
    "check_net": "check",
    "freeze": "deploy",
    "load_exported": "deploy",
    "mx": "_compat",
    "save": "deploy",
    "summary": "summaries",
}

sys.meta_path.insert(0, _shims.Finder)  # `import mxnet` works from here on


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module("." + _WHERE[name], __name__), name)
    if name in __all__:
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
