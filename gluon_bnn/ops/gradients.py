"""How arrays reach operators of ours, so that gradients are added where MXNet asks for it.

MXNet does not tell an operator of an extension library when it has to add to a gradient (grad_req="add", the body of a
loop, an array that is used eight times or more in one graph): the operator overwrites what is there. So every array
goes to a native operator through `adding`, one of MXNet's own operators, which adds. Only the layers of `nn` may leave
it out, for their parameters in a graph that needs no addition.
"""

import itertools
from typing import Any

from .._arrays import require_numbers

_use = itertools.count()


def adding(F: Any, array: Any) -> Any:
    """`array`, dense, through one of MXNet's own operators, which adds to gradients where that is asked for.

    Between two operators it costs nothing, since MXNet lets both use the same memory; a variable is copied, and so is
    its gradient. MXNet copies with one thread in cast_storage and shares the copy among all in reshape: in a small net
    the threads take longer to meet than to copy.
    """
    if not _symbolic(F):
        require_numbers(array)  # MXNet would fail later, elsewhere
    if _symbolic(F) and array.get_children() is None:
        return F.cast_storage(array, stype="default", attr=_number())
    return _reshaped(F, array, (-2,))


def row(F: Any, array: Any, adds: bool = True) -> Any:
    """`adding` for an array of one axis, as (1, size): mx.viz.print_summary fails on operators that give one axis.
    Without `adds` the array itself."""
    return _reshaped(F, array, (1, -1)) if adds else array


def _reshaped(F, array, shape):
    return F.reshape(array, shape=shape, attr=_number()) if _symbolic(F) else F.reshape(array, shape=shape)


def _symbolic(F):
    return F.__name__.startswith("mxnet.symbol")


def _number():
    # MXNet makes one operator of several that are equal. Its gradient would then be added up from those of several
    # operators of ours. The number makes this one differ.
    return {"__use__": str(next(_use))}
