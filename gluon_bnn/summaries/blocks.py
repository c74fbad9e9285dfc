"""The summary of a Gluon block, which runs once, block by block, on one input."""

import numpy as np

from .._arrays import gluon_array
from .._compat import mx, reason
from ..nn import deployed
from ..nn.watching import watched
from .table import Layer


def of_block(net: mx.gluon.Block, shapes: list[tuple[int, ...]]) -> list[Layer]:
    """A line for each call of a block that computes something itself: one without blocks in it, or with parameters.

    Raises ValueError where the net does not run on inputs of these shapes.
    """
    _check_initialised(net)
    layers: list[Layer] = []
    seen: set[mx.gluon.Parameter] = set()
    inside: set[mx.gluon.Block] = set()  # activations that are parts of layers
    net.apply(lambda block: inside.update({block.act} if isinstance(block, deployed.LAYERS) else ()))

    def note(block, inputs, outputs):
        """Adds the line of a call."""
        if block in inside or block._children and not block._reg_params:
            return
        x, y = _flat(inputs), _flat(outputs)
        found = deployed.of_block(block, x, y[0])
        new = [held for parameter, held in found.weights.items() if parameter not in seen]
        bits, floats, nbytes = (sum(numbers) for numbers in zip(*new)) if new else (0, 0, 0)
        shared = bool(found.weights) and not new
        seen.update(found.weights)
        layers.append(
            Layer(
                block.name,
                (found.type or type(block).__name__) + " (shared)" * shared,
                found.input_bits or deployed.bits_of(x),
                tuple((found.output_shape or getattr(y[0], "shape", ()))[1:]),
                bits,
                floats,
                nbytes,
                found.macs,
                found.weight_bits,
            )
        )

    arrays = _inputs(net, shapes)
    try:
        with mx.autograd.pause(train_mode=False), watched(net, note):
            net(*arrays)
            mx.nd.waitall()
    except Exception as error:
        given = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            f"summary runs the net on one input, and {type(net).__name__} does not take {given}, which is input_shape "
            f"with a batch axis of 1 before it: {type(error).__name__}: {reason(error)}"
        ) from error
    return layers


def _check_initialised(net):
    for parameter in net.collect_params().values():
        if parameter._data is None and not parameter._deferred_init:
            raise ValueError(
                f"summary takes a net whose parameters have values, and {parameter.name} has none: call "
                "net.initialize(), or load parameters"
            )


def _inputs(net, shapes):
    """Normally distributed numbers in the type of the parameters and on their device; MXNet's generator is not used."""
    parameters = list(net.collect_params().values())
    dtypes = [np.dtype(p.dtype) for p in parameters if np.dtype(p.dtype).kind == "f"]
    device = parameters[0].list_ctx()[0] if parameters else mx.cpu()
    generator, dtype = np.random.default_rng(0), dtypes[0] if dtypes else np.dtype(np.float32)
    return [gluon_array(generator.standard_normal((1, *shape)), device, dtype) for shape in shapes]


def _flat(arrays):
    if isinstance(arrays, (list, tuple)):
        return [array for each in arrays for array in _flat(each)]
    return [arrays]
