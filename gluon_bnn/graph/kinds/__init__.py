"""The kinds of node that a deployed net is made of: one file each, with all that Python knows about it."""

from .activation import Activation
from .arithmetic import Arithmetic
from .batch_norm import BatchNorm
from .binary_dense import BinaryDense
from .concat import Concat
from .dense import Dense
from .flatten import Flatten
from .image import Image
from .input import Input
from .kind import Kind
from .pack import Pack
from .slice import Slice

__all__ = ["KINDS", "Kind"]


def __dir__():
    return __all__


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Input(),
        BinaryDense(),
        Dense(),
        BatchNorm(),
        Activation(),
        Pack(),
        Flatten(),
        Image(),
        Arithmetic(),
        Concat(),
        Slice(),
    )
}
