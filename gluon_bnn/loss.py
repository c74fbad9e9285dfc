"""The loss that the papers on binary nets train with, over integer labels."""
from ._compat import mx

__all__ = ["SquaredHingeLoss"]


class SquaredHingeLoss(mx.gluon.loss.Loss):
    r"""Mean over classes of max(0, 1 - t x)^2, t = +1 for the label and -1 for all other classes.

    Courbariaux et al. 2015, BinaryConnect, section 3.1 (an "L2-SVM output layer"). The gradient to the
    outputs x is -2 t max(0, 1 - t x) / classes. Gluon's own SquaredHingeLoss takes t in place of labels.

    Parameters
    ----------
    weight : a number that multiplies every loss, or None
    batch_axis : 0 for outputs (rows, classes), 1 for (classes, rows)

    Inputs: outputs of float32 or float64, labels (rows,) or (rows, 1) of any type, and optionally sample_weight, as
    in Gluon's losses. Output: (rows,). Labels or outputs of other shapes are a ValueError, where the loss is called
    with arrays; a label beyond 0 .. classes - 1 is an MXNetError when the loss is read.

    >>> SquaredHingeLoss()(mx.nd.array([[1, -1, 0], [0, 0, 0]]), mx.nd.array([0, 2])).asnumpy()
    array([0.33333334, 1.        ], dtype=float32)
    """

    def __init__(self, weight=None, batch_axis=0, **kwargs):
        if batch_axis not in (0, 1):
            raise ValueError(f"batch_axis must be 0 or 1, got {batch_axis!r}")
        super().__init__(weight, batch_axis, **kwargs)

    def forward(self, outputs, labels, *args):
        if isinstance(outputs, mx.nd.NDArray) and isinstance(labels, mx.nd.NDArray):
            if outputs.ndim != 2:
                raise ValueError("outputs must be (rows, classes), or (classes, rows) with batch_axis=1, got "
                                 f"{outputs.shape}")
            rows = outputs.shape[self._batch_axis]
            if labels.shape not in ((rows,), (rows, 1)):
                raise ValueError(f"labels must be ({rows},) or ({rows}, 1), a number of its class for each row of the "
                                 f"outputs {outputs.shape}, got {labels.shape}")
        return super().forward(outputs, labels, *args)

    def hybrid_forward(self, F, outputs, labels, sample_weight=None):
        classes = 1 - self._batch_axis
        numbers = F.contrib.arange_like(outputs, axis=classes)
        # A row of targets for each class, in the type of the outputs: labels may be of another.
        targets = 2 * F.broadcast_equal(F.expand_dims(numbers, 1), F.expand_dims(numbers, 0)) - 1
        targets = F.take(targets, F.reshape(labels, (-1,)), axis=0, mode="raise")
        if classes == 0:
            targets = F.transpose(targets)
        loss = F.square(F.relu(1 - F.elemwise_mul(targets, outputs)))
        loss = mx.gluon.loss._apply_weighting(F, loss, self._weight, sample_weight)
        return F.mean(loss, axis=classes)
