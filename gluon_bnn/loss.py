"""The loss that the papers on binary nets train with, over integer labels; and a net and its loss as one block."""

from typing import Any, Optional

from . import ops
from ._arrays import on_nd, takes_np
from ._compat import mx

__all__ = ["SquaredHingeLoss", "WithLoss"]


def __dir__():
    return __all__


class SquaredHingeLoss(mx.gluon.loss.Loss):
    """Mean over classes of max(0, 1 - t x)^2, t = +1 for the label and -1 for all other classes.

    Courbariaux et al. 2015, BinaryConnect, section 3.1 (an "L2-SVM output layer"). The gradient to the
    outputs x is -2 t max(0, 1 - t x) / classes. Gluon's own SquaredHingeLoss takes t in place of labels.

    Parameters
    ----------
    weight : a number that multiplies every loss, or None
    batch_axis : 0 for outputs (rows, classes), 1 for (classes, rows)

    Inputs: outputs of float32 or float64, labels (rows,) or (rows, 1) of any type, and optionally sample_weight, as
    in Gluon's losses. Output: (rows,). Labels or outputs of other shapes are a ValueError, where the loss is called
    with arrays; a label beyond 0 .. classes - 1 is an MXNetError when the loss is read. It is one operator of our
    library where it loads (GLUON_BNN_OPS and `ops.use` choose, when the loss is made) and no sample_weight is given,
    else some of MXNet's own.

    >>> SquaredHingeLoss()(mx.nd.array([[1, -1, 0], [0, 0, 0]]), mx.nd.array([0, 2])).asnumpy()
    array([0.33333334, 1.        ], dtype=float32)
    """

    def __init__(self, weight: Optional[float] = None, batch_axis: int = 0, **kwargs: Any) -> None:
        if batch_axis not in (0, 1):
            raise ValueError(f"batch_axis must be 0 or 1, got {batch_axis!r}")
        super().__init__(weight, batch_axis, **kwargs)
        self._ops = ops.current()

    def forward(self, outputs: Any, labels: Any, *args: Any) -> Any:
        """The loss of each row, (rows,); ValueError where the shapes of outputs and labels do not fit."""
        if isinstance(outputs, mx.nd.NDArray) and isinstance(labels, mx.nd.NDArray):
            if outputs.ndim != 2:
                raise ValueError(
                    f"outputs must be (rows, classes), or (classes, rows) with batch_axis=1, got {outputs.shape}"
                )
            rows = outputs.shape[self._batch_axis]
            if labels.shape not in ((rows,), (rows, 1)):
                raise ValueError(
                    f"labels must be ({rows},) or ({rows}, 1), a number of its class for each row of the "
                    f"outputs {outputs.shape}, got {labels.shape}"
                )
        return super().forward(outputs, labels, *args)

    @takes_np
    def hybrid_forward(self, F: Any, outputs: Any, labels: Any, sample_weight: Any = None) -> Any:
        """As Gluon has it: what the block computes, where F is mx.nd or mx.sym."""
        across = self._batch_axis == 1
        if across:
            outputs = F.transpose(outputs)
        if sample_weight is None:
            loss = self._ops.squared_hinge(F, outputs, labels)
            return loss if self._weight is None else loss * self._weight
        loss = ops.composed.squared_hinges(F, outputs, labels)
        if across:  # sample_weight is given in the layout of the outputs
            loss = F.transpose(loss)
        loss = F.broadcast_mul(loss, sample_weight)
        loss = loss if self._weight is None else loss * self._weight
        return F.mean(loss, axis=1 - self._batch_axis)


class WithLoss(mx.gluon.HybridBlock):
    """A net and its loss as one block: hybridized they are one graph, and a training step of a small net, whose calls
    cost more than its arithmetic, takes less time.

    net, loss : HybridBlocks

    Inputs: x of the net, and whatever the loss takes after the net's outputs. Outputs: (the net's outputs, the loss).
    The outputs are for metrics: gradients go through the loss alone.

    >>> step = WithLoss(mx.gluon.nn.Dense(3, in_units=2), SquaredHingeLoss())
    >>> step.initialize()
    >>> step.hybridize(static_alloc=True, static_shape=True)
    >>> outputs, value = step(mx.nd.ones((5, 2)), mx.nd.zeros(5))
    >>> outputs.shape, value.shape
    ((5, 3), (5,))
    """

    def __init__(self, net: mx.gluon.HybridBlock, loss: mx.gluon.HybridBlock, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net, self.loss = net, loss

    def hybrid_forward(self, F: Any, x: Any, *targets: Any) -> tuple[Any, Any]:
        """(outputs, loss); F is mx.nd or mx.sym."""
        outputs = self.net(x)
        return on_nd(F.BlockGrad, outputs), self.loss(outputs, *targets)
