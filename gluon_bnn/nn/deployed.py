"""What a layer holds and multiplies when it is deployed: `Deployed`, of which summaries are made.

A block says it in a method `deployed`; what Gluon's own blocks hold is known here.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from .._compat import mx
from ..graph import bits
from .parameter import BinaryWeight

nn = mx.gluon.nn
LAYERS = nn.Dense, nn.conv_layers._Conv  # Gluon's, whose `act` is an activation of their own or None
# Those of Gluon's that have parameters, but multiply no matrices.
WITHOUT_PRODUCT = nn.BatchNorm, nn.LayerNorm, nn.InstanceNorm, nn.GroupNorm, nn.PReLU, nn.Embedding


class Held(NamedTuple):
    """What is deployed of a parameter: the number of its 1-bit weights and of its other numbers, and their bytes."""

    bits: int
    floats: int
    nbytes: int


@dataclasses.dataclass(frozen=True)
class Deployed:
    """A layer as it is deployed.

    weights : what is deployed of each parameter of the layer itself; those that only training needs are not there
    macs : the multiply-accumulates, None where they are not known
    weight_bits : 1 or 32, those of the weights that are multiplied, None without a product
    input_bits : the bits of an input, None where they are to be found from the input's values
    output_shape : of what it gives, with the batch axis, None where it is that of the array
    type : its type as a summary shows it, None for the name of its class
    """

    weights: dict[mx.gluon.Parameter, Held]
    macs: Optional[int] = 0
    weight_bits: Optional[int] = None
    input_bits: Optional[int] = None
    output_shape: Optional[tuple[int, ...]] = None
    type: Optional[str] = None


def floats(parameter: mx.gluon.Parameter) -> Held:
    """What is deployed of a parameter as it is: its numbers, 4 bytes each."""
    size = parameter.list_data()[0].size  # that of a loaded export does not know its shape
    return Held(0, size, 4 * size)


def packed(parameter: mx.gluon.Parameter, scales: int = 0, places: int = 1) -> Held:
    """What is deployed of the weights of a binary layer: their signs, as `graph.bits` packs them, and so many scales.

    places : of the kernel, where the signs of each place begin with a word of their own, as the bits of images do
    """
    units, *inputs = parameter.list_data()[0].shape
    words = math.ceil(units / bits.LANES) * bits.LANES * places * bits.words(math.prod(inputs) // places)
    return Held(units * math.prod(inputs), 0, 4 * (words + scales))


def bits_of(arrays: Sequence[Any]) -> int:
    """The bits of a layer's inputs: 1 where all are +1 and -1, or 0 and 1 with a 1 among them; else 32."""
    values = [array.asnumpy() for array in arrays if isinstance(array, mx.nd.NDArray)]
    signs = all((np.abs(value) == 1).all() for value in values)
    gates = all(((value == 0) | (value == 1)).all() and (value == 1).any() for value in values)
    return 1 if values and (signs or gates) else 32


def of_block(block: mx.gluon.Block, x: Any, y: Any) -> Deployed:
    """What a block itself, without those in it, has when deployed; x are the arrays that it took, y what it gave."""
    if hasattr(block, "deployed"):
        return block.deployed(x, y)
    weights = {parameter: floats(parameter) for parameter in block._reg_params.values()}
    if isinstance(block, mx.gluon.SymbolBlock):  # a loaded export, in which binary weights are marked
        binary = [parameter for parameter in weights if isinstance(parameter, BinaryWeight)]
        for parameter in binary:
            weights[parameter] = packed(parameter)
            weights.pop(parameter.curvature, None)
        return Deployed(weights, None)
    if isinstance(block, nn.Dense):
        return Deployed(weights, products(block.weight, y), 32)
    if isinstance(block, nn.conv_layers._Conv):
        transposed = block._op_name == "Deconvolution"  # each input goes to as many outputs
        return Deployed(weights, products(block.weight, x[0] if transposed else y), 32)
    return Deployed(weights, None if weights and not isinstance(block, WITHOUT_PRODUCT) else 0)


def products(weight: mx.gluon.Parameter, array: Any) -> int:
    """The multiply-accumulates where each number of an array is made of one row of the weights, or goes to one."""
    return array.size * math.prod(weight.shape[1:])
