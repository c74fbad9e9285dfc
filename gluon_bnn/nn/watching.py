"""A net that is watched while it runs, block by block."""

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

from .._compat import mx


@contextlib.contextmanager
def watched(net: mx.gluon.Block, note: Callable[[mx.gluon.Block, Any, Any], Any]) -> Iterator[None]:
    """Inside, note(block, inputs, outputs) is called after each call of a block on arrays, of the net itself as well.

    Hybridized blocks run block by block inside, since a graph would not call what is in it; afterwards they are as they
    were, graphs and all.
    """
    blocks: list[mx.gluon.Block] = []
    net.apply(blocks.append)
    blocks = list(dict.fromkeys(blocks))
    active = {block: block._active for block in blocks if isinstance(block, mx.gluon.HybridBlock)}

    def hook(block, inputs, outputs):
        if not isinstance(inputs[0], mx.sym.Symbol):  # with which Gluon finds shapes
            note(block, inputs, outputs)

    handles = [block.register_forward_hook(hook) for block in blocks]
    try:
        for block in active:
            block._active = False
        yield
    finally:
        for handle in handles:
            handle.detach()
        for block, value in active.items():
            block._active = value
