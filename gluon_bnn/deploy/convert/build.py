"""What converters are made with: `converts`, which registers one, and `Build`, which each of them gets."""

import ast
import dataclasses
from typing import Any, Callable, Optional, Union

import numpy as np

from ..plan import Plan, Step
from ..trace import Node

# Operators of mx.np that are those of mx.nd on float32, by the same attributes. All others of mx.np and mx.npx that are
# converted have the names of mx.nd, or converters of their own.
TWINS = {
    "_np_copy": "_copy",
    "_npi_add": "broadcast_add",
    "_npi_add_scalar": "_plus_scalar",
    "_npi_multiply": "broadcast_mul",
    "_npi_multiply_scalar": "_mul_scalar",
    "_npi_negative": "negative",
    "_npi_rtrue_divide_scalar": "_rdiv_scalar",
    "_npi_rsubtract_scalar": "_rminus_scalar",
    "_npi_square": "square",
    "_npi_subtract": "broadcast_sub",
    "_npi_subtract_scalar": "_minus_scalar",
    "_npi_tanh": "tanh",
    "_npi_true_divide": "broadcast_div",
    "_npi_true_divide_scalar": "_div_scalar",
    "_npx_relu": "relu",
    "_npx_sigmoid": "sigmoid",
}
_converters: dict[Union[str, type], Callable] = {}  # by the name of an operator, or the class of a layer


def converts(*names: Union[str, type]) -> Callable[[Callable], Callable]:
    """Registers a converter for operators of these names, or layers of these classes."""

    def register(function):
        _converters.update(dict.fromkeys(names, function))
        return function

    return register


@dataclasses.dataclass
class Build:
    """What a converter builds the plan with: called with the class of a step and the places of its sources, it appends
    the step and returns its place."""

    plan: Plan
    node: Node

    def __call__(
        self, kind: Callable[..., Step], *sources: int, arrays: Optional[dict[str, np.ndarray]] = None, **options: Any
    ) -> int:
        return self.plan.add(kind(sources, arrays or {}, self.node.row, **options))

    def step(self, value: Any, *kinds: type[Step]) -> Any:
        """The step that gives a value, if it is of one of these kinds, else None."""
        found = self.plan[value] if isinstance(value, int) else None
        return found if isinstance(found, kinds) else None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute of the operator, as Python's literal."""
        text = self.node.attributes.get(name)
        return default if text is None else literal(text)


def literal(text: str) -> Any:
    """The text of an attribute as Python's literal, or itself where it is none."""
    try:
        value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text
    return tuple(value) if isinstance(value, list) else value


def converter(node: Node) -> Optional[Callable]:
    """The converter of a node, or None."""
    kinds = [TWINS.get(node.operator, node.operator)] if node.layer is None else type(node.layer).__mro__
    return next((_converters[kind] for kind in kinds if kind in _converters), None)


def constant(*values: Any) -> bool:
    """Whether all of these are arrays, or None, which stands for an input that the operator does not have."""
    return all(value is None or isinstance(value, np.ndarray) for value in values)
