"""1-bit inference without MXNet: `load` a file that `save` wrote, and call the `Model`. Needs NumPy and safetensors."""

from .file import save
from .model import Model, load

__all__ = ["Model", "load", "save"]


def __dir__():
    return __all__
