"""From the trained net to the one that is deployed: `freeze`, files of it, and exports loaded again."""

from .blocks import Frozen
from .exported import load_exported
from .forms import save
from .freeze import freeze

__all__ = ["Frozen", "freeze", "load_exported", "save"]
