"""Format 1 of the file of a deployed net: a chain of layers. Version 0.1 wrote it, and it is read for ever.

Its line is

    format 1; input 1x28x28; binary_dense 784 64 float bits; binary_dense 64 10 bits float; crc32 0123abcd

that is the shape of one input, then each layer as `kind inputs units from to [function]`. Tensors are
"<layer>.<array>", and "input.scale" (1,), above 0, and "input.shift" (inputs,) where uint8 inputs are taken. Layer i is
node i + 1.
"""

import math
import re

import numpy as np

from ..graph.graph import Node
from ..graph.kinds import KINDS

_SIZE = "[1-9][0-9]{0,9}"
_INPUT = re.compile(f"input ({_SIZE}(?:x{_SIZE}){{0,30}})")
_FUNCTIONS = ("relu", "sigmoid", "tanh", "softrelu", "softsign", "sign", "binary_sigmoid")
_KINDS = ("binary_dense", "dense", "batch_norm", "activation", "pack")
_LAYER = re.compile(
    f"({'|'.join(_KINDS)}) ({_SIZE}) ({_SIZE}) (float|bits|bits01) (float|bits)(?: ({'|'.join(_FUNCTIONS)}))?"
)
_NAME = re.compile("(0|[1-9][0-9]{0,8})(\\.[a-z0-9_]+)")


def nodes(entries: list[str]) -> list[Node]:
    """The nodes, without their arrays, of the entries between the format and the checksum."""
    found = _INPUT.fullmatch(entries[0])
    if not found:
        raise ValueError(
            "its metadata must have the shape of an input in second place, like "
            f'"input 1x28x28", got {entries[0][:80]!r}'
        )
    shape = tuple(map(int, found[1].split("x")))
    made = [Node("input", (), {"shape": shape})]
    matches = [_LAYER.fullmatch(entry) for entry in entries[1:]]
    given, gives = math.prod(shape), "float"  # what the layer before gives
    for index, match in enumerate(matches):
        if not match:
            raise ValueError(
                f'layer {index} must be "<kind> <inputs> <units> <from> <to> [<function>]", kinds {", ".join(_KINDS)}, '
                f"forms float, bits, bits01, functions {', '.join(_FUNCTIONS)}; got {entries[1 + index][:80]!r}"
            )
        kind, inputs, units, source, target, function = match.groups()
        inputs, units = int(inputs), int(units)
        where = f"layer {index}, {kind} {inputs} -> {units},"
        if inputs != given:
            raise ValueError(f"{where} must have {given} inputs, what stands before it gives; got {inputs}")
        if kind not in ("binary_dense", "dense") and units != inputs:
            raise ValueError(f"{where} must have as many units as inputs")
        form = "bits" if kind == "pack" else "float"
        if (source == "float") != (gives == "float") or kind != "binary_dense" and (source, target) != ("float", form):
            allowed = f"from {gives} to float or bits" if kind == "binary_dense" else f"from float to {form}"
            raise ValueError(f"{where} after what gives {gives} must be {allowed}, got {source} to {target}")
        if (function is not None) != (kind == "activation"):
            raise ValueError(f"{where} must have {'a' if kind == 'activation' else 'no'} function, got {function}")
        after = matches[index + 1] if index + 1 < len(matches) else None
        to = "bits01" if target == "bits" and after and after[4] == "bits01" else target
        attributes = {"units": units, "to": to, "function": function}
        made.append(Node(kind, (index,), {name: attributes[name] for name in KINDS[kind].attributes}))
        given, gives = units, target
    return made


def check_scale(tensors: dict[str, np.ndarray]) -> None:
    """ValueError for an input scale that format 1 does not have."""
    scale = tensors.get("input.scale")
    if scale is not None and not (scale.dtype == np.float32 and scale.shape == (1,) and scale[0] > 0):
        raise ValueError(
            "in format 1 input.scale must be float32 (1,) and above 0, got "
            + (f"{scale[0]}" if scale.shape == (1,) else f"{scale.dtype} {scale.shape}")
        )


def name_of(tensor: str) -> str:
    """The name in format 2 of a tensor of format 1; one that it does not have stays wrong."""
    if tensor in ("input.scale", "input.shift"):
        return tensor.replace("input", "0")
    match = _NAME.fullmatch(tensor)
    return f"{int(match[1]) + 1}{match[2]}" if match else f"{tensor!r}"
