"""From the trained net to the one that is deployed: `freeze`, files of it, and exports loaded again.

MXNet is imported with the first name that needs it: `save` writes nets that the runtime has loaded without it.
"""

import importlib
from typing import TYPE_CHECKING

from .forms import save

if TYPE_CHECKING:
    from .exported import load_exported
    from .freezing import freeze
    from .frozen import Frozen

__all__ = ["Frozen", "freeze", "load_exported", "save"]
_WHERE = {"Frozen": "frozen", "freeze": "freezing", "load_exported": "exported"}


def __getattr__(name):
    if name in _WHERE:
        return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
