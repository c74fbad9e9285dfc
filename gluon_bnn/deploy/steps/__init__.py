"""The steps of a frozen net: what each computes in MXNet, and which node of the runtime's graph it is.

Those named Float use MXNet's own operators, those named Pack and Packed use those of our library. All others are the
same in both forms. A new kind of step is a class in a file here.
"""

from ..plan import Step
from .convs import Conv, FloatConv, PackedConv, PackedFlatten, PackImage
from .elementwise import Activation, Arithmetic, FloatSign
from .held import Held, Kept
from .layers import BatchNorm, Dense, FloatDense, Pack, PackedDense
from .pools import PackedMaxPool, Pool
from .shapes import Concat, Flatten, Slice

__all__ = [
    "Activation",
    "Arithmetic",
    "BatchNorm",
    "Concat",
    "Conv",
    "Dense",
    "Flatten",
    "FloatConv",
    "FloatDense",
    "FloatSign",
    "Held",
    "Kept",
    "Pack",
    "PackImage",
    "PackedConv",
    "PackedDense",
    "PackedFlatten",
    "PackedMaxPool",
    "Pool",
    "Slice",
    "is_binary",
]


def is_binary(step: Step) -> bool:
    """Whether a step has 1-bit weights or gives signs."""
    return step.binary is not None or isinstance(step, (FloatSign, Pack, PackImage))
