"""From the trained net to the one that is deployed: `freeze`, and exports loaded again."""

from .blocks import Frozen
from .exported import load_exported
from .freeze import freeze

__all__ = ["Frozen", "freeze", "load_exported"]
