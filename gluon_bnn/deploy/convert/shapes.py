"""Converters of operators that change shapes, and of those that are the identity in inference."""

from typing import Any

import numpy as np

from ..steps import Concat, Flatten, Slice
from .build import Build, converts


@converts("_copy", "BlockGrad", "make_loss", "Cast", "amp_cast", "_npi_cast")
def same(build: Build, x: Any) -> Any:
    """A cast that is converted is one from float32 to float32."""
    return x


@converts("cast_storage")
def cast_storage(build: Build, x: Any) -> Any:
    return x if build.get("stype") == "default" else None


@converts("Dropout")
def dropout(build: Build, x: Any) -> Any:
    return None if build.get("mode", "training") == "always" else x


@converts("Flatten")
def flatten(build: Build, x: Any) -> Any:
    return build(Flatten, x)


@converts("Reshape")
def reshape(build: Build, x: Any) -> Any:
    return None if build.get("reverse") else _reshape(build, x, build.get("shape"))


@converts("_np_reshape")
def np_reshape(build: Build, x: Any) -> Any:
    shape = build.get("newshape")
    return None if shape == (0, -1) or build.get("order", "C") != "C" else _reshape(build, x, shape)


@converts("_npx_reshape")
def npx_reshape(build: Build, x: Any) -> Any:
    """Here -2 keeps an axis and -4 all that follow; Reshape writes 0 and -2."""
    shape = build.get("newshape")
    shape = shape if isinstance(shape, tuple) else (shape,)
    if build.get("reverse") or min(shape, default=0) < -4 or not {0, -3}.isdisjoint(shape):
        return None
    return _reshape(build, x, tuple({-2: 0, -4: -2}.get(size, size) for size in shape))


def _reshape(build, x, shape):
    """Reshape as MXNet's operator of this name does; it keeps an axis at 0, and all that follow at -2."""
    if not isinstance(shape, tuple) or not shape:
        return None
    if shape[-1] == -2 and not any(shape[:-1]):
        return x
    if len(shape) == 2 and shape[0] in (0, -1) and (shape[1] > 0 or shape == (0, -1)):
        return build(Flatten, x, shape=shape)
    return None


@converts("Concat")
def concat(build: Build, *xs: Any) -> Any:
    return _concat(build, xs, build.get("dim", 1))


@converts("_npi_concatenate", "_npi_hstack")
def np_concatenate(build: Build, *xs: Any) -> Any:
    return _concat(build, xs, build.get("axis", 1 if build.node.operator == "_npi_hstack" else 0))


def _concat(build, xs, axis):
    if not axis or any(isinstance(x, np.ndarray) for x in xs):  # over the rows, or of all elements
        return None
    most = Concat.MOST
    places = list(xs)
    while len(places) > 1:
        groups = [places[i : i + most] for i in range(0, len(places), most)]
        places = [build(Concat, *group, axis=axis) if len(group) > 1 else group[0] for group in groups]
    return places[0]


@converts("slice_axis")
def slice_axis(build: Build, x: Any) -> Any:
    axis, begin, end = build.get("axis"), build.get("begin"), build.get("end")
    if axis == 0 and begin == 0 and end is None:  # a copy, as ops/composed.py makes it
        return x
    return build(Slice, x, axis=axis, begin=begin, end=end) if axis else None


@converts("slice")
def slice_(build: Build, x: Any) -> Any:
    """x[:, begin:end] of (rows, features); others are not converted."""
    begin, end, step = (build.get(name, ()) for name in ("begin", "end", "step"))
    if not all(isinstance(each, tuple) and len(each) == 2 for each in (begin, end)):
        return None
    if begin[0] not in (None, 0) or end[0] is not None:
        return None
    if any(each not in (None, 1) for each in step or ()):
        return None
    return build(Slice, x, axis=1, begin=begin[1] or 0, end=end[1])


@converts("SliceChannel")
def split(build: Build, x: Any) -> Any:
    parts, axis = build.get("num_outputs"), build.get("axis", 1)
    if build.get("squeeze_axis") or axis == 0:
        return None
    return _split(build, x, axis=axis, parts=parts)


def _split(build, x, *, parts, **options):
    """Of one part, what F.split gives is no list."""
    return x if parts == 1 else [build(Slice, x, begin=part, parts=parts, **options) for part in range(parts)]


@converts("_split_v2", "_npi_hsplit")
def np_split(build: Build, x: Any) -> Any:
    """Into `sections` parts, of which the first are larger where they cannot be equal, or at the indices, before which
    MXNet has put a 0."""
    axis, parts, begins = build.get("axis", 1), build.get("sections", 0), build.get("indices", ())
    if build.get("squeeze_axis") or axis == 0:
        return None
    if parts:
        return _split(build, x, axis=axis, parts=parts, equal=False)
    return [build(Slice, x, axis=axis, begin=begin, end=end) for begin, end in zip(begins, [*begins[1:], None])]
