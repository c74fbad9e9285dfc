"""Adam for binary weights: what BinaryConnect, BNN and LAB do to the real weights after every step.

Importing this module registers it with MXNet, so that `gluon.Trainer(params, "binaryadam", {...})` finds it.
"""

import math
import numbers
import operator
from typing import Any, Optional

import numpy as np

from . import ops
from ._arrays import classic
from ._compat import mx

__all__ = ["BinaryAdam"]


def __dir__():
    return __all__


AT_ONCE = 1000  # parameters that the Trainer hands over at a time


def _text(values):
    """The values for an attribute of the operator; one stands for all where they are equal."""
    return ",".join(map(str, values[:1] if len(set(values)) == 1 else values))


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


class _Plan:
    """What BinaryAdam needs for a step of these parameters and does not change from step to step: finding it costs more
    than the step of a small net. Weights and gradients are not part of it: those of `mx.np` are new objects in every
    step.

    native : (place of the parameter, its state and its curvature) of those that our library updates; by_mxnet : the
        places of all others; curvatures : pairs (curvature, its var) to be written after the step
    """

    def __init__(self, adam, index, weight, grad, state):
        self.indices, self.states = list(index), list(state)
        self.native, self.by_mxnet, self.curvatures, self._found, bounds, has_curvature = [], [], [], [], [], []
        for place, index in enumerate(self.indices):
            own, others = adam._curvatures(index, weight[place])
            if own or others:
                parameter = adam.param_dict[index].curvature
                self._found.append((parameter, parameter.list_data()))
            # In inference MXNet's convolutions put their weights into a layout of oneDNN, which no operator of ours can
            # write to; binary ones are no weights of MXNet's.
            onednns = weight[place].ndim > 2 and not adam._binary(index)
            if adam._ops.adam_takes(weight[place], grad[place]) and not onednns:
                self.native.append((place, (*state[place], *own)))
                bounds.append(1 if adam._binary(index) else None)
                has_curvature.append(bool(own))
            else:
                self.by_mxnet.append(place)
                others = own + others
            self.curvatures += [(curvature, state[place][1]) for curvature in others]
        self.bounds, self.has_curvature = _text(bounds), _text(has_curvature)

    def is_for(self, index, state):
        """Whether it was made for these parameters, with these states (of one device) and the curvatures of now."""
        pairs = [(self.states, state), *((arrays, parameter.list_data()) for parameter, arrays in self._found)]
        same = all(len(a) == len(b) and all(map(operator.is_, a, b)) for a, b in pairs)
        return same and self.indices == list(index)


@mx.optimizer.register
class BinaryAdam(mx.optimizer.Adam):
    """`mx.optimizer.Adam`, after which binary weights, those of the layers of `nn`, are held within [-1, 1].

    g = clip(rescale_grad * grad + wd * W), m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
    W = clip(W - lr sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon), -1, 1): Kingma, Ba 2015, as
    MXNet has it to the bit, then BinaryConnect (Courbariaux et al. 2015), section 2.4. All other parameters,
    biases and batch norm's too, get MXNet's Adam.

    For layers with scale="loss" (LAB: Hou, Yao, Kwok 2017) it writes sqrt(v) + 1e-8 to their `curvature`.

    Dense arrays of float32 and float64 are updated by our library, in one pass on all cores, where it loads
    (GLUON_BNN_OPS and `ops.use` choose, when the optimiser is made); all others by MXNet's own operators.
    With a distributed kvstore, give the Trainer update_on_kvstore=False: its servers know no Parameter.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, and others : as in `mx.optimizer.Adam`
    glorot : multiply the rate of binary weights by 1 / sqrt(1.5 / (in_units + units)), BinaryConnect's scale of
        learning rates (section 2.5; its code has this formula), or with in_channels + channels times the places of the
        kernel for convolutions

    Raises ValueError for values outside of these, and in the first step where it cannot know which weights
    are binary.

    >>> from gluon_bnn import nn
    >>> net = nn.BinaryDense(3, in_units=2)
    >>> net.initialize()
    >>> options = {"learning_rate": 0.01, "glorot": True}
    >>> trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", options, kvstore=None)
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        glorot: bool = False,
        **kwargs: Any,
    ) -> None:
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not (_is_number(beta) and 0 <= beta < 1):
                raise ValueError(f"{name} must be at least 0 and below 1, got {beta!r}")
        if learning_rate is not None and not (_is_number(learning_rate) and 0 <= learning_rate < math.inf):
            raise ValueError(f"learning_rate must be a number of at least 0, got {learning_rate!r}")
        if not (_is_number(epsilon) and 0 < epsilon < math.inf):
            raise ValueError(f"epsilon must be a number above 0, got {epsilon!r}")
        if not isinstance(glorot, bool):
            raise ValueError(f"glorot must be True or False, got {glorot!r}")
        super().__init__(learning_rate, beta1, beta2, epsilon, **kwargs)
        self.glorot = glorot
        self.aggregate_num = AT_ONCE
        self._ops = ops.current()
        self._plan: Optional[_Plan] = None

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """One step for one parameter, in place, or for lists of them."""
        if not isinstance(index, (list, tuple)):
            index, weight, grad, state = [index], [weight], [grad], [state]
        plan = self._plan
        if plan is None or not plan.is_for(index, state):
            plan = self._plan = _Plan(self, index, weight, grad, state)
        if plan.native:
            self._native_update(plan, weight, grad)
        for place in plan.by_mxnet:
            self._update_by_mxnet(index[place], weight[place], grad[place], state[place])
        for curvature, var in plan.curvatures:
            curvature[:] = mx.nd.sqrt(var) + 1e-8

    def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """As `update`, with a copy in float32 of weights of float16 where multi_precision is True."""
        if not isinstance(index, (list, tuple)):
            super().update_multi_precision(index, weight, grad, state)
        elif self.multi_precision and weight[0].dtype == np.float16:  # the Trainer's lists have one dtype
            for step in zip(index, weight, grad, state):
                super().update_multi_precision(*step)
        else:
            self.update(index, weight, grad, state)

    def _native_update(self, plan, weight, grad):
        """All of them in one operator: it costs more to call it than to update a small array."""
        indices = [plan.indices[place] for place, _ in plan.native]
        self._update_count(indices)
        counts = [self._index_update_count[index] for index in indices]
        factors = {t: math.sqrt(1 - self.beta2**t) / (1 - self.beta1**t) for t in set(counts)}
        lrs = [lr * factors[t] for lr, t in zip(self._get_lrs(indices), counts)]
        clip_gradient = self.clip_gradient if (self.clip_gradient or 0) > 0 else None  # as MXNet takes it
        self._ops.adam(
            *(array for place, rest in plan.native for array in (weight[place], grad[place], *rest)),
            parameters=len(lrs),
            lr=_text(lrs),
            wd=_text(self._get_wds(indices)),
            clip_weights=plan.bounds,
            curvature=plan.has_curvature,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            rescale_grad=self.rescale_grad,
            clip_gradient=str(clip_gradient),
            out=[weight[place] for place, _ in plan.native],
        )

    def _update_by_mxnet(self, index, weight, grad, state):
        super().update(index, weight, grad, state)
        if self._binary(index):
            mx.nd.clip(weight, -1, 1, out=weight)

    def _curvatures(self, index, weight):
        """([the curvature on the device of this weight], []), and where a kvstore updates its own copy of the weight,
        ([], the curvatures of all devices). Both are empty for a parameter without a curvature."""
        parameter = self._binary(index)
        if not (parameter and parameter.curvature):
            return [], []
        curvatures = classic(parameter.curvature.list_data())
        if getattr(parameter._trainer, "_update_on_kvstore", False):
            return [], curvatures
        return [curvature for curvature in curvatures if curvature.context == weight.context], []

    def _binary(self, index):
        """The Parameter at this index where it is the weight of a layer with binary weights, else None."""
        if index not in self.param_dict:
            raise ValueError(
                "binaryadam must know which weights are binary, got an array without its "
                "Parameter: use it through gluon.Trainer"
            )
        parameter = self.param_dict[index]
        return parameter if getattr(parameter, "binary", False) else None

    def _get_lrs(self, indices):
        lrs = super()._get_lrs(indices)
        if self.glorot:
            for i, parameter in enumerate(map(self._binary, indices)):
                if parameter:
                    # Of the array: the parameter of a loaded export does not know its shape.
                    units, inputs, *kernel = parameter.list_data()[0].shape
                    lrs[i] /= math.sqrt(1.5 / ((units + inputs) * math.prod(kernel)))
        return lrs

    def __getstate__(self):
        return {**super().__getstate__(), "_plan": None, "_ops": None}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.aggregate_num = AT_ONCE  # of an earlier version it is 0, with which the Trainer would never end
        self._ops = ops.current()
        self._plan = None

    def __reduce_ex__(self, protocol):
        # A kvstore sends its optimiser to the servers with protocol 0; no server knows a Parameter.
        if protocol == 0:
            raise ValueError(
                "binaryadam updates parameters where they are, not on a kvstore's servers: "
                "give the Trainer update_on_kvstore=False"
            )
        return super().__reduce_ex__(protocol)
