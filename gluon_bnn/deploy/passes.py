"""From plan to plan: `simplify` for both forms, `pack` for the packed form and the runtime. NumPy only.

Each step of a new plan gives the same values, to the bit, as the steps that it replaces.
"""

import dataclasses

import numpy as np

from ..graph import bits
from . import fold
from .plan import Plan, Shape
from .steps import (
    Arithmetic,
    BatchNorm,
    Dense,
    Flatten,
    FloatConv,
    FloatDense,
    FloatSign,
    Pack,
    PackedFlatten,
    PackImage,
    Pool,
)


def simplify(plan: Plan) -> Plan:
    """Drops steps that do nothing or are not used, and folds constants into the binary layer before them."""
    for change in (_signs_first, _without_flatten, _without_clip, _with_constants):
        plan = change(plan.ending(plan.outputs))
    return plan.ending(plan.outputs)


def _signs_first(plan):
    """Takes signs before a Flatten instead of after it, where nothing else takes what is flattened: next to the layer
    whose outputs they are of."""
    users, now, made = plan.users(), {0: 0}, plan.empty()
    for place, step in plan.places():
        sources = tuple(now[source] for source in step.sources)
        flatten = made[sources[0]]
        if isinstance(step, FloatSign) and isinstance(flatten, Flatten) and len(users[step.sources[0]]) == 1:
            made.steps[sources[0] - 1] = dataclasses.replace(step, sources=flatten.sources)
            step = dataclasses.replace(flatten, sources=sources)
            sources = step.sources
        now[place] = made.add(dataclasses.replace(step, sources=sources))
    return dataclasses.replace(made, outputs=tuple(now[place] for place in plan.outputs))


def _without_flatten(plan):
    """Drops each Flatten of rows, and those before layers that all flatten by themselves."""
    users, shapes = plan.users(), plan.shapes(Shape())
    now, made = {0: 0}, plan.empty()
    for place, step in plan.places():
        sources = tuple(now[source] for source in step.sources)
        if isinstance(step, Flatten) and _does_nothing(step, shapes[step.sources[0]], [plan[i] for i in users[place]]):
            now[place] = sources[0]
        else:
            now[place] = made.add(dataclasses.replace(step, sources=sources))
    return dataclasses.replace(made, outputs=tuple(now[place] for place in plan.outputs))


def _does_nothing(flatten, taken, users):
    """Whether a Flatten of a value of this shape changes nothing for the steps that follow it."""
    if flatten.shape and flatten.shape[0] == -1:  # it may make more rows, or fewer
        return taken.flat and taken.size == flatten.inputs
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
        binary = isinstance(before, (FloatDense, FloatConv))
        array = _constant(step, before) if isinstance(step, Arithmetic) and binary else None
        if array is None:
            now[place] = made.add(dataclasses.replace(step, sources=sources))
            continue
        name, values = array
        folded = before.folded if step.row is before.row else (*before.folded, step.row)
        made.steps[sources[0] - 1] = dataclasses.replace(before, arrays={**before.arrays, name: values}, folded=folded)
        now[place] = sources[0]
    return dataclasses.replace(made, outputs=tuple(now[place] for place in plan.outputs))


def _constant(step, product):
    """(name, array) of the binary layer that takes in this Arithmetic, or None."""
    operand, units = step.arrays.get("operand"), product.units
    along = (1, units) + (1,) * (product.arrays["signs"].ndim - 2)
    if operand is None or operand.size not in (1, units) or not _spreads(operand.shape, along):
        return None
    values = np.broadcast_to(operand.reshape(-1), (units,)).astype(np.float32)
    if not np.isfinite(values).all():
        return None
    no_bias = not product.arrays["bias"].any() and np.signbit(product.arrays["bias"]).all()
    if step.function == "multiply" and no_bias and (product.arrays["alpha"] == 1).all():
        return "alpha", values
    if step.function in ("add", "subtract") and no_bias:
        return "bias", values if step.function == "add" else -values
    return None


def _spreads(shape, over):
    """Whether an array of this shape broadcasts to the other."""
    return len(shape) <= len(over) and all(a in (1, b) for a, b in zip(shape[::-1], over[::-1]))


def in_floats(plan: Plan) -> Plan:
    """Binary convolutions that are left in floats as the steps that they are in the runtime, where it has them."""
    now, made = {0: 0}, plan.empty()
    for place, step in plan.places():
        sources = tuple(now[source] for source in step.sources)
        for each in isinstance(step, FloatConv) and step.in_floats() or [step]:
            sources = (made.add(dataclasses.replace(each, sources=sources)),)
        (now[place],) = sources
    return dataclasses.replace(made, outputs=tuple(now[place] for place in plan.outputs))


def pack(plan: Plan, given: Shape) -> Plan:
    """Binary layers on bits, for inputs of a shape of which `given` is known.

    A layer with 1-bit weights takes in the BatchNorm after it where that normalises its units, and the FloatSign after
    that where only binary layers follow that can use its bits; no other step may take the values in between. Between a
    convolution and these signs there may be max pooling, which then works on bits. Any other FloatSign before a binary
    layer becomes a Pack or PackImage, and stays as well where others take its value. The rest stays as it is: steps
    that are packed already, and convolutions that have no bits.
    """
    return _Packing(plan, given).run()


class _Packing:
    """forms : for each place the form of the bits that can stand for its value, or None; floats : whether its value is
    wanted as floats; now : the place of its floats in the new plan; taken : {place of signs that a layer has taken in:
    (that of its bits, whether these are an image)}; packs : {(place, in which way): that of other bits}"""

    def __init__(self, plan, given):
        self.plan, self.users, self.shapes = plan, plan.users(), plan.shapes(given)
        self.made, self.now, self.taken, self.packs = plan.empty(), {0: 0}, {}, {}
        self.forms, self.floats = [None], [True] * len(self.users)
        for _, step in plan.places():
            self.forms.append(self._form(step))
        for place in range(len(plan.steps), 0, -1):  # after all that take its value
            if self.forms[place]:
                self.floats[place] = not all(self._takes_bits(user, place) for user in self.users[place])

    def _form(self, step):
        """The form of the bits that can stand for a step's value: of signs, and of what max pools and Flattens make of
        them. None where there are none."""
        if isinstance(step, FloatSign):
            return step.form
        if not (isinstance(step, Flatten) or isinstance(step, Pool) and step.function == "max"):
            return None
        source = step.sources[0]
        x, signs = self.shapes[source], isinstance(self.plan[source], FloatSign)
        if isinstance(step, Flatten) and not step.keeps_rows(x):
            return None
        return self.forms[source] if x.image and x.units or signs and isinstance(step, Flatten) else None

    def _takes_bits(self, user, place):
        """Whether the step at `user` can take the bits of a value."""
        step = self.plan[user]
        if isinstance(step, FloatConv):
            return not step.without_bits and (self.forms[place] == "bits" or step.pads_with >= 0)
        if isinstance(step, FloatDense):
            return step.flatten or not isinstance(self.plan[place], Pool)
        return isinstance(step, (Pool, Flatten)) and self.forms[user] is not None and not self.floats[user]

    def run(self):
        for place, step in self.plan.places():
            if isinstance(step, FloatDense) or isinstance(step, FloatConv) and not step.without_bits:
                self._product(place, step)
            elif place not in self.now and self.floats[place]:
                sources = tuple(self.now[source] for source in step.sources)
                self.now[place] = self.made.add(dataclasses.replace(step, sources=sources))
        return dataclasses.replace(self.made, outputs=tuple(self.now[place] for place in self.plan.outputs))

    def _product(self, place, product):
        """Adds a layer with 1-bit weights, with all that it takes in."""
        norm, pools, sign = self._following(place, product)
        arrays = self.plan[norm].norm() if norm else {}
        source, form, order = self._source(place, product)
        signs = product.signs() if order is None else product.signs()[:, order]
        to = self.plan[sign].form if sign else "float"
        # A padding of 0 between signs allows sums of any parity.
        step = 1 if isinstance(product, FloatConv) and form == "bits" and product.pads_with == 0 else 2
        try:
            found = fold.packed(signs, product.arrays["alpha"], product.arrays["bias"], arrays, form, to, step)
        except ValueError as error:
            raise ValueError(f"{product.name}: {error}") from None
        taken = [place for place in (norm, sign) if place]
        folded = (*product.folded, *(row for each in taken for row in (self.plan[each].row, *self.plan[each].folded)))
        now = self.made.add(product.packed((source,), found, folded, form, to))
        for pool, before_norm in pools:
            falls = arrays["factor"] < 0 if before_norm and arrays else np.False_
            options = {"falls": bits.pack(falls)} if falls.any() else {}
            now = self.made.add(self.plan[pool].packed((now,), options, product.units))
        self.now.update(dict.fromkeys([place, *taken, *(pool for pool, _ in pools)], now))
        if sign:
            self.taken[sign] = now, isinstance(product, FloatConv)

    def _following(self, place, product):
        """(place of the BatchNorm, [(place of a Pool, whether it comes before the BatchNorm)], place of the FloatSign)
        that a product takes in, or 0: pools only together with signs."""
        norm, pools, at, conv = 0, [], place, isinstance(product, FloatConv)
        while len(self.users[at]) == 1:
            following = self.users[at][0]
            step = self.plan[following]
            if isinstance(step, FloatSign):
                if not self.floats[following] and self._all_take(following, product):
                    return norm, [(pool, before == 0) for pool, before in pools], following
                break
            if isinstance(step, BatchNorm) and not norm and step.axis in product.unit_axes:
                norm = following
            elif conv and isinstance(step, Pool) and step.function == "max":
                pools.append((following, norm))
            else:
                break
            at = following
        return (norm if norm and self.plan[norm].sources[0] == place else 0), [], 0

    def _all_take(self, place, product):
        """Whether all that take a value can take the bits that this product gives."""
        for step, user in ((self.plan[user], user) for user in self.users[place]):
            if isinstance(product, FloatDense):
                if not (isinstance(step, FloatDense) and step.inputs == product.units):  # else one flattens more
                    return False
            elif isinstance(step, FloatDense):
                if not (step.flatten or isinstance(self.plan[place], Flatten)):
                    return False
            elif not isinstance(step, FloatConv) and not self._all_take(user, product):
                return False
        return True

    def _source(self, place, product):
        """(place in the new plan, form, order) of what a product takes; `order` is that of a dense layer's inputs."""
        source = product.sources[0]
        form = self.forms[source] if self._takes_bits(place, source) else None
        if form is None:
            return self.now[source], "float", None
        if isinstance(product, FloatConv):
            return self._image(source, product.in_channels), form, None
        flatten = product.flatten
        while isinstance(self.plan[source], Flatten):
            source, flatten = self.plan[source].sources[0], True
        step, channels = self.plan[source], self.shapes[source].units
        now, is_image = self.taken.get(source, (None, isinstance(step, Pool)))
        if now and not is_image:
            return now, form, None
        if is_image:
            image, options = self._image(source, channels), (channels, product.inputs)
            rows = self._once((source, options), lambda: PackedFlatten((image,), {}, step.row, (), *options))
            return rows, form, fold.places_first(product.inputs, channels)
        options, taken = (product.inputs, form, flatten), self.now[step.sources[0]]
        return self._once((source, options), lambda: Pack((taken,), {}, step.row, step.folded, *options)), form, None

    def _image(self, place, channels):
        """The place of the bits of an image."""
        step = self.plan[place]
        if place in self.taken:
            return self.taken[place][0]
        if isinstance(step, Pool):
            image = self._image(step.sources[0], channels)
            return self._once((place, "image"), lambda: step.packed((image,), {}, channels))
        options, taken = (channels, step.form), self.now[step.sources[0]]
        return self._once((place, "image"), lambda: PackImage((taken,), {}, step.row, step.folded, *options))

    def _once(self, key, make):
        if key not in self.packs:
            self.packs[key] = self.made.add(make())
        return self.packs[key]
