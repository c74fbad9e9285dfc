"""The kinds of node that a deployed net is made of: one file each, with all that Python knows about it."""

from .activation import Activation
from .arithmetic import Arithmetic
from .average_pool import AveragePool
from .batch_norm import BatchNorm
from .binary_conv2d import BinaryConv2D
from .binary_dense import BinaryDense
from .concat import Concat
from .conv2d import Conv2D
from .dense import Dense
from .flatten import Flatten
from .image import Image
from .input import Input
from .kind import Kind
from .max_pool import MaxPool
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
        BinaryConv2D(),
        Conv2D(),
        MaxPool(),
        AveragePool(),
    )
}
