"""The options of a binary layer as its operators take them: scale, gradient rule, clip, and facts of the graph."""

import dataclasses
from typing import Optional

from .. import quantizers


@dataclasses.dataclass(frozen=True)
class BinaryOptions:
    """How a layer makes its weights binary, and what is known of the graph that it is in.

    scale, clip, stochastic : options of the layer; rule : a `quantizers.Rule`
    dtype : that of all arrays, "float32" or "float64"
    hint : True while the shape of the weight is not known: it is inferred from the inputs
    adds : False where no gradient of the weight and the bias has to be added (see gradients.py)
    apart : True where the gradient of the inputs may not be needed. In `native` it then has an operator of its own, as
        it has in `composed` anyway, which MXNet leaves out of a graph where it is not needed.
    """

    scale: Optional[str]
    rule: quantizers.Rule
    clip: Optional[float]
    stochastic: bool
    dtype: str = "float32"
    hint: bool = False
    adds: bool = True
    apart: bool = False
