"""Batch norm statistics re-estimated on a fixed set of inputs, in the place of running averages of training batches.

In an all-binary net a bit changes where a sum passes a threshold that batch norm's statistics decide, and the running
averages of the last few augmented batches are not the statistics of plain images: the error of such a net then jumps
from epoch to epoch.
"""

from collections.abc import Iterable
from typing import Any, Union

import numpy as np

from .._arrays import as_in_gluon, classic
from .._compat import mx
from ..nn.watching import watched
from .arrays import in_batches

BATCH_NORM = mx.gluon.nn.basic_layers._BatchNorm  # ours is one too


def reestimate(net: mx.gluon.Block, x: Union[np.ndarray, Iterable[Any]], batch_size: int = 1000) -> None:
    """Set the running mean and variance of every BatchNorm in the net, Gluon's or ours, to those of its inputs over x.

    x : NumPy array (rows, ...) of the net's own dtype, as `predict` takes it, or an iterable of batches, each an
        NDArray or a pair (x, labels) of them
    batch_size : rows of a batch where x is an array

    The net runs once over all batches as in inference, without dropout and with the signs of inference, but each
    BatchNorm normalises a batch by the batch's own mean and variance. The statistics are those of all batches together:
    the (biased) variance is the mean of the batches' variances plus the variance of their means. They do not depend on
    what the running averages were before. A BatchNorm with use_global_stats=True stays as it is, and so does one that
    the net does not call.

    Raises ValueError for a net without a BatchNorm that could be set, or that calls none of them, for one with a loaded
    export in it whose batch norm no block stands for, and without batches; TypeError for a net that is no Block. The
    statistics are then as they were.

    >>> from gluon_bnn import nn
    >>> net = nn.BatchNorm(in_channels=2)
    >>> net.initialize()
    >>> reestimate(net, np.array([[0, 1], [2, 5], [4, 3]], np.float32))
    >>> net.running_mean.data().asnumpy()
    array([2., 3.], dtype=float32)
    """
    layers = layers_of(net)
    kept = dict.fromkeys(layers)
    found: dict[mx.gluon.Block, list[tuple[int, np.ndarray, np.ndarray]]] = {layer: [] for layer in layers}

    def before(layer, inputs):
        if kept[layer] is None:
            kept[layer] = [average.data().copy() for average in _averages(layer)]
        count, *moments = _moments(classic(inputs[0]), layer)
        _set(layer, moments)
        found[layer].append((count, *(moment.asnumpy().astype(np.float64) for moment in moments)))

    batches = 0
    with mx.autograd.pause(train_mode=False):
        hooks: list[Any] = []
        try:
            for batch in _inputs(net, x, batch_size):
                if not hooks:
                    net(batch[:1])  # shapes that were left open are known then
                    hooks += [layer.register_forward_pre_hook(before) for layer in layers]
                with watched(net, lambda *_: None):
                    net(batch)
                batches += 1
            if not any(found.values()):
                what = "net(x) called no BatchNorm" if batches else "x gave no batches"
                raise ValueError(f"batch norm statistics need at least one batch and a net that calls them: {what}")
            for layer, moments in found.items():
                if moments:
                    _set(layer, [mx.nd.array(each, dtype="float64") for each in _together(moments)])
        except BaseException:
            for layer, averages in kept.items():
                if averages is not None:
                    _set(layer, averages)
            raise
        finally:
            for hook in hooks:
                hook.detach()


def check(net: mx.gluon.Block, x: Any) -> None:
    """What `reestimate` raises for such a net, and for an array that the net does not take, before there is any work;
    ValueError also for batches that can be gone over only once."""
    layers_of(net)
    if hasattr(x, "__next__"):
        raise ValueError(
            f"batch norm statistics are re-estimated in every epoch, and a {type(x).__name__} is used up after one; "
            "give an array, a list of batches or a DataLoader"
        )
    if isinstance(x, str) or not (hasattr(x, "shape") or hasattr(x, "__iter__")):
        raise ValueError(
            f"batch norm statistics are re-estimated on an array, a list of batches or a DataLoader, got a "
            f"{type(x).__name__}"
        )
    if hasattr(x, "shape"):
        with mx.autograd.pause(train_mode=False):
            net(next(in_batches(net, x[:1], 1)))


def layers_of(net: mx.gluon.Block) -> list[mx.gluon.Block]:
    """The layers of a net that `reestimate` sets; the errors are described there."""
    if not isinstance(net, mx.gluon.Block):
        raise TypeError(f"batch norm statistics are those of a mxnet.gluon.Block, got a {type(net).__name__}")
    blocks: list[mx.gluon.Block] = []
    net.apply(blocks.append)
    for block in blocks:
        if isinstance(block, mx.gluon.SymbolBlock) and block._cached_graph[1].list_auxiliary_states():
            raise ValueError(
                f"batch norm statistics cannot be re-estimated in {block.name}, a loaded export: no block stands for "
                "its batch norm; re-estimate them in the net that was exported"
            )
    layers = [block for block in blocks if isinstance(block, BATCH_NORM) and not block._kwargs["use_global_stats"]]
    if not layers:
        raise ValueError(
            "batch norm statistics can be re-estimated in a net with a BatchNorm that uses those of its batches, got a "
            "net without one"
        )
    return list(dict.fromkeys(layers))


def _inputs(net, x, batch_size):
    if hasattr(x, "shape"):
        yield from in_batches(net, x, batch_size)
        return
    for batch in x:
        array = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if not isinstance(array, mx.nd.NDArray):
            raise ValueError(f"batches must be NDArrays, or pairs (x, labels) of them, got {type(array).__name__}")
        yield array


def _moments(x, layer):
    """(how many numbers a unit has, their mean, their variance)"""
    axis = layer._kwargs.get("axis", 1) % x.ndim
    x = x.astype("float32") if x.dtype == np.float16 else x
    along = tuple(-1 if i == axis else 1 for i in range(x.ndim))
    mean = mx.nd.mean(x, axis=axis, exclude=True)
    var = mx.nd.mean(mx.nd.square(mx.nd.broadcast_sub(x, mean.reshape(along))), axis=axis, exclude=True)
    return x.size // x.shape[axis], mean, var


def _together(moments):
    """The mean and variance of all from (count, mean, variance) of each."""
    counts, means, variances = (np.array(each, np.float64) for each in zip(*moments))
    shares = (counts / counts.sum()).reshape(-1, 1)
    mean = (shares * means).sum(axis=0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(axis=0)


def _averages(layer):
    return layer.running_mean, layer.running_var


def _set(layer, values):
    for average, value in zip(_averages(layer), values):
        average.set_data(as_in_gluon(classic(value).astype(average.dtype)))
