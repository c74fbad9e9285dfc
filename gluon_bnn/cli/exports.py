"""A net that MXNet exported, where a command takes one for MODEL, and the options of freezing it."""

import argparse
import dataclasses
import glob
import re
from typing import Any, Optional

from . import models

ALSO = f", or PREFIX, PREFIX{models.EXPORT} or PREFIX-0000.params of an exported net"
OPTIONS = "input_shape", "input_scale", "input_shift"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `freeze`, for an exported net."""
    add = parser.add_argument_group("for an exported net, as in gluon_bnn.freeze").add_argument
    add("--input-shape", metavar="1x28x28", type=_shape, help="the shape of one input")
    add("--input-scale", metavar="1/255", type=_number, help="uint8 inputs p stand for SCALE p + SHIFT")
    add("--input-shift", metavar="SHIFT", type=_number, help="0 by default")


@dataclasses.dataclass(frozen=True)
class Export:
    """An exported net. prefix and epoch are those of `load_exported`, options those of `freeze`."""

    prefix: str
    epoch: int
    options: dict[str, Any]

    @property
    def parameters(self) -> str:
        """The path of the file of its parameters."""
        return f"{self.prefix}-{self.epoch:04}.params"

    def frozen(self, form: str) -> Any:
        """The net, frozen; raises as `load_exported` and `freeze`."""
        from ..deploy import freeze, load_exported

        return freeze(load_exported(self.prefix, self.epoch), form, **self.options, verbose=False)


def find(args: argparse.Namespace) -> Optional[Export]:
    """The export that MODEL names, of its only epoch where it names none; None for a model. ValueError where there are
    several epochs, and for options that a model does not take."""
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    found = models.export(args.model)
    if found is None:
        if given:
            raise ValueError(f"--{next(iter(given)).replace('_', '-')} is for an exported net; {args.model} is a model")
        return None
    prefix, epoch = found
    ends = [path[len(prefix) :] for path in glob.glob(glob.escape(prefix) + "-*.params")]
    epochs = sorted(int(end[1:-7]) for end in ends if re.fullmatch("-[0-9]{4,}[.]params", end))
    if epoch is None and len(epochs) > 1:
        raise ValueError(
            f"{prefix} has the epochs {', '.join(map(str, epochs))}: name one, as {prefix}-{epochs[-1]:04}.params"
        )
    return Export(prefix, epoch if epoch is not None else epochs[0] if epochs else 0, given)


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch("[0-9]{1,10}(x[0-9]{1,10})*", text):
        raise argparse.ArgumentTypeError(f"must be sizes like 1x28x28, got {text!r:.80}")
    return tuple(map(int, text.split("x")))


def _number(text: str) -> float:
    dividend, slash, divisor = text.partition("/")
    try:
        return float(dividend) / (float(divisor) if slash else 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"must be a number, like 0.5 or 1/255, got {text!r:.80}") from None
