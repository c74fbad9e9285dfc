"""From plan to plan: `simplify` for both forms, `pack` for the packed form and the runtime. NumPy only.

Each step of a new plan gives the same values, to the bit, as the steps that it replaces.
"""

import dataclasses

import numpy as np

from . import fold
from .plan import Plan, Width
from .steps import Arithmetic, BatchNorm, Dense, Flatten, FloatDense, FloatSign, Pack, PackedDense


def simplify(plan: Plan) -> Plan:
    """Drops steps that do nothing or are not used, and folds constants into the binary layer before them."""
    for change in (_without_flatten, _without_clip, _with_constants):
        plan = change(plan.ending(plan.outputs))
    return plan.ending(plan.outputs)


def _without_flatten(plan):
    """Drops each Flatten of rows, and those before layers that all flatten by themselves."""
    users, widths = plan.users(), plan.widths(Width())
    now, made = {0: 0}, plan.empty()
    for place, step in plan.places():
        sources = tuple(now[source] for source in step.sources)
        if isinstance(step, Flatten) and _does_nothing(step, widths[step.sources[0]], [plan[i] for i in users[place]]):
            now[place] = sources[0]
        else:
            now[place] = made.add(dataclasses.replace(step, sources=sources))
    return dataclasses.replace(made, outputs=tuple(now[place] for place in plan.outputs))


def _does_nothing(flatten, taken, users):
    if flatten.shape and flatten.shape[0] == -1:  # it may make more rows, or fewer
        return taken.flat and taken.channels == flatten.inputs
    return taken.flat or all(isinstance(user, (FloatDense, Dense)) and user.flatten for user in users)


def _without_clip(plan):
    """Takes the sign of what comes before a clip that keeps signs: a maximum with a number below 0, or a minimum with
    one of at least 0."""
    made = plan.empty()
    for _, step in plan.places():
        while isinstance(step, FloatSign) and _keeps_signs(made[step.sources[0]]):
            step = dataclasses.replace(step, sources=made[step.sources[0]].sources)
        made.add(step)
    return dataclasses.replace(made, outputs=plan.outputs)


def _keeps_signs(step):
    operand = step.arrays.get("operand") if isinstance(step, Arithmetic) else None
    if operand is None or operand.size > 1:
        return False
    return step.function == "maximum" and (operand < 0).all() or step.function == "minimum" and (operand >= 0).all()


def _with_constants(plan):
    """alpha = c of dot * c, and bias = c of y + c for a layer that has none: 1 * dot + -0.0 is dot to the bit."""
    users = plan.users()
    now, made = {0: 0}, plan.empty()
    for place, step in plan.places():
        sources = tuple(now[source] for source in step.sources)
        alone = len(step.sources) == 1 and len(users[step.sources[0]]) == 1
        before = made[sources[0]] if alone else None
        array = _constant(step, before) if isinstance(step, Arithmetic) and isinstance(before, FloatDense) else None
        if array is None:
            now[place] = made.add(dataclasses.replace(step, sources=sources))
            continue
        name, values = array
        folded = before.folded if step.row is before.row else (*before.folded, step.row)
        made.steps[sources[0] - 1] = dataclasses.replace(before, arrays={**before.arrays, name: values}, folded=folded)
        now[place] = sources[0]
    return dataclasses.replace(made, outputs=tuple(now[place] for place in plan.outputs))


def _constant(step, dense):
    """(name, array) of the FloatDense that takes in this Arithmetic, or None."""
    operand, units = step.arrays.get("operand"), dense.units
    if operand is None or operand.size not in (1, units) or operand.shape[-1] != operand.size or operand.ndim > 2:
        return None
    values = np.broadcast_to(operand.reshape(-1), (units,)).astype(np.float32)
    if not np.isfinite(values).all():
        return None
    no_bias = not dense.arrays["bias"].any() and np.signbit(dense.arrays["bias"]).all()
    if step.function == "multiply" and no_bias and (dense.arrays["alpha"] == 1).all():
        return "alpha", values
    if step.function in ("add", "subtract") and no_bias:
        return "bias", values if step.function == "add" else -values
    return None


def pack(plan: Plan) -> Plan:
    """Binary layers on bits.

    A FloatDense takes in the BatchNorm after it where that normalises its units, and the FloatSign after that where
    only binary layers of as many inputs follow, to which it passes bits; no other step may take the values in between.
    Any other FloatSign before a FloatDense becomes a Pack, and stays as well where others take its value. The rest
    stays as it is, PackedDense and Pack included.
    """
    return _Packing(plan).run()


class _Packing:
    """now : for each place of the old plan that of its value in the new one; forms : for a FloatSign that a layer has
    taken in, the form of the bits; packs : {(place of a FloatSign, options): place of a Pack}"""

    def __init__(self, plan):
        self.plan, self.users = plan, plan.users()
        self.made, self.now, self.forms, self.packs = plan.empty(), {0: 0}, {}, {}

    def run(self):
        for place, step in self.plan.places():
            if isinstance(step, FloatDense):
                self._dense(place, step)
            elif place not in self.now and not (isinstance(step, FloatSign) and self._only_dense(place)):
                sources = tuple(self.now[source] for source in step.sources)
                self.now[place] = self.made.add(dataclasses.replace(step, sources=sources))
        return dataclasses.replace(self.made, outputs=tuple(self.now[place] for place in self.plan.outputs))

    def _dense(self, place, dense):
        taken, norm, to = [], {}, "float"
        following = self._next(place, BatchNorm)
        if following and self.plan[following].axis in ((1, -1) if dense.flatten else (-1,)):
            norm = self.plan[following].norm()  # flattened, the units are axis 1 of 2
            taken.append(following)
        following = self._next(taken[-1] if taken else place, FloatSign)
        if following and self._only_dense(following, dense.units):  # else one flattens (rows, T, units)
            to = self.forms[following] = self.plan[following].form
            taken.append(following)
        source, form = self._source(dense)
        try:
            arrays = fold.packed_dense(*(dense.arrays[name] for name in ("signs", "alpha", "bias")), norm, form, to)
        except ValueError as error:
            raise ValueError(f"{dense.name}: {error}") from None
        folded = (*dense.folded, *(row for each in taken for row in (self.plan[each].row, *self.plan[each].folded)))
        options = dict(flatten=dense.flatten, units=dense.units, in_units=dense.inputs, source=form, to=to)
        self.now[place] = self.made.add(PackedDense((source,), arrays, dense.row, folded, **options))
        self.now.update(dict.fromkeys(taken, self.now[place]))

    def _source(self, dense):
        """(place in the new plan, form) of what a FloatDense takes."""
        place = dense.sources[0]
        sign = self.plan[place]
        if not isinstance(sign, FloatSign):
            return self.now[place], "float"
        if place in self.forms:
            return self.now[place], self.forms[place]
        options = dense.inputs, sign.form, dense.flatten
        if (place, options) not in self.packs:
            source = self.now[sign.sources[0]]
            self.packs[place, options] = self.made.add(Pack((source,), {}, sign.row, sign.folded, *options))
        return self.packs[place, options], sign.form

    def _next(self, place, kind):
        """The place of the one step that takes a value, if it is of this kind; 0 if not."""
        only = self.users[place][0] if len(self.users[place]) == 1 else 0
        return only if isinstance(self.plan[only], kind) else 0

    def _only_dense(self, place, units=None):
        """Whether only binary layers take a value, all of so many inputs."""
        users = [self.plan[user] for user in self.users[place]]
        return all(isinstance(user, FloatDense) and units in (None, user.inputs) for user in users)
