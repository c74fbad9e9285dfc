"""Gradient rules: how a gradient reaches the real weights behind binary ones. A rule is one object in one file of this
folder, where it is found, and known by its name.

The names, which rules go with which scale, the table in the documentation, what `check` compares and the choices of
command lines all come from here. A rule of your own is registered from outside: see `Rule`.
"""

import importlib
import numbers
import pkgutil
import sys
from collections.abc import Iterator
from typing import Optional

from .. import _table
from .rule import SCALES, Rule

__all__ = ["SCALES", "Rule", "check", "check_clip", "names", "register", "rule", "rules", "table", "unregister"]


def __dir__():
    return __all__


_rules: dict[str, Rule] = {}


def register(rule: Rule) -> Rule:
    """Let layers find this rule by its name; returns it. Raises ValueError where the name is taken or not a word, the
    formula or the source is no text, or a scale is unknown or does not go with through_alpha, and TypeError for
    anything but a Rule with a factor."""
    if not isinstance(rule, Rule):
        raise TypeError(f"register takes a gluon_bnn.quantizers.Rule, got {rule!r}")
    if type(rule).factor is Rule.factor:
        raise TypeError(
            f"a rule has a method factor(self, F, w, alpha, n, mask), got {type(rule).__name__} without one"
        )
    name, *texts = (getattr(rule, each, None) for each in ("name", "formula", "source"))
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"the name of a rule must be a word, got {name!r}")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"the formula and the source of a rule are text for the documentation, got {texts}")
    if rule.name in _rules:
        raise ValueError(f"there is a rule {rule.name!r} already: {_rules[rule.name]!r}")
    if not rule.scales or set(rule.scales) - set(SCALES):
        raise ValueError(f"a rule goes with some of the scales {SCALES}, got {rule.scales!r}")
    if rule.through_alpha and not set(rule.scales) <= set(Rule.scales):
        raise ValueError(
            f"a rule with through_alpha goes with the scales {Rule.scales}, where alpha = mean |W|; got {rule.scales!r}"
        )
    _rules[rule.name] = rule
    return rule


def unregister(name: str) -> None:
    """Forget a rule; layers that have it keep it. Raises ValueError where there is none of this name."""
    del _rules[rule(name).name]


def _own() -> Iterator[Rule]:
    """The rules of this folder: of each class that a file has. The files are in the order of their names."""
    names = [module.name for module in pkgutil.iter_modules(__path__, f"{__name__}.")]
    for name in (name for name in names if name != Rule.__module__):
        classes = [each for each in vars(importlib.import_module(name)).values() if isinstance(each, type)]
        yield from (each() for each in classes if each.__module__ == name and issubclass(each, Rule))


for _rule in _own():
    register(_rule)


def rules(scale: Optional[str]) -> list[Rule]:
    """The rules that go with a scale, in the order in which they were registered."""
    return [rule for rule in _rules.values() if scale in rule.scales]


def names() -> list[str]:
    """The names of all rules."""
    return list(_rules)


def rule(name: str) -> Rule:
    """The rule of this name; ValueError where there is none."""
    if not isinstance(name, str) or name not in _rules:
        raise ValueError(f"gradient must be one of {', '.join(_rules)} or None, got {name!r}")
    return _rules[name]


def check(scale: Optional[str], gradient: Optional[str], clip: Optional[float], stochastic: bool = False) -> Rule:
    """The rule of a layer with these arguments; ValueError where they do not go together.

    gradient=None stands for "xnor" where that goes with the scale, else for "ste".
    """
    if not (scale is None or isinstance(scale, str)) or scale not in SCALES:
        raise ValueError(f"scale must be {', '.join(map(repr, SCALES[:-1]))} or {SCALES[-1]!r}, got {scale!r}")
    if gradient is None:
        gradient = "xnor" if scale in rule("xnor").scales else "ste"
    found = rule(gradient)
    if scale not in found.scales:
        allowed = " or ".join(repr(each.name) for each in rules(scale))
        raise ValueError(
            f"scale={scale!r} goes with gradient={allowed}, got {gradient!r}"
            + (": without a scale alpha does not depend on the weights" if scale is None else "")
        )
    if not isinstance(stochastic, bool):
        raise ValueError(f"stochastic must be True or False, got {stochastic!r}")
    if stochastic and scale is not None:
        raise ValueError(f"stochastic=True takes scale=None, got {scale!r}")
    check_clip(clip)
    return found


def check_clip(clip: Optional[float]) -> Optional[float]:
    """clip, of NumPy's numbers a float; ValueError unless it is None or a number above 0 that MXNet can read."""
    if clip is None:
        return None
    if isinstance(clip, numbers.Real) and not isinstance(clip, bool) and clip >= sys.float_info.min:
        return clip if type(clip) in (int, float) else float(clip)
    raise ValueError(
        f"clip must be a number above 0 or None, got {clip!r}"
        + (f"; the smallest is {sys.float_info.min}" if isinstance(clip, float) and clip > 0 else "")
    )


def table() -> str:
    """The rules as a table of text: name, formula, source."""
    head, *rows = ("gradient", "dL/dW", "source"), *((f'"{r.name}"', r.formula, r.source) for r in _rules.values())
    rule = ["=" * max(map(len, column)) for column in zip(head, *rows)]
    return _table.text([rule, head, rule, *rows, rule])
