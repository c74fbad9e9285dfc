"""The file of a deployed net, safetensors: `save` writes one, `load` makes a `Model` of it.

Format 1: tensors "<layer>.<array>", and "input.scale" (1,), above 0, and "input.shift" (inputs,) where uint8 inputs are
taken; in the metadata, under "gluon_bnn", one line that a C program can read with sscanf:

    format 1; input 1x28x28; binary_dense 784 64 float bits; binary_dense 64 10 bits float; crc32 0123abcd

that is the shape of one input, each layer as `kind inputs units from to [function]`, and the CRC-32 of the
line before "; crc32" and then of each tensor, by name: its name in UTF-8 and its bytes. Format 2 is for what format 1
cannot say: an input.scale below 0, or of (inputs,). The first layer then has no array for uint8 inputs.
"""

import io
import os
import re
import zlib

import numpy as np

from .. import _files
from ..graph.layers import FUNCTIONS, KINDS, Layer, check, keeps_uint8
from .model import Model

FORMATS = 1, 2
MOST_HEADER = 1 << 24  # bytes; a layer takes about 500
PIECE = 1 << 24  # bytes that are asked for at a time: what a file only claims to hold takes no memory

_SIZE = "[1-9][0-9]{0,9}"
_INPUT = re.compile(f"input ({_SIZE}(?:x{_SIZE}){{0,30}})")
_LAYER = re.compile(
    f"({'|'.join(KINDS)}) ({_SIZE}) ({_SIZE}) (float|bits|bits01) (float|bits)(?: ({'|'.join(FUNCTIONS)}))?"
)
_TENSOR = re.compile("(0|[1-9][0-9]{0,8})\\.([a-z0-9_]+)")


def save(frozen, path):
    """Write a frozen net to one file, under a temporary name first; an OSError leaves an old file whole.

    `path` is a str, bytes, os.PathLike, or a file that is open to write bytes, which gets all in one call.
    `frozen` has layers (a list of `graph.layers.Layer`), input_shape, input_scale and input_shift as `Model` takes
    them. Raises what `graph.layers.check` raises, TypeError for another path, and OSError.
    """
    layers, shape, scale = list(frozen.layers), frozen.input_shape, frozen.input_scale
    check(layers, shape, scale, frozen.input_shift)
    tensors = {f"{index}.{name}": array for index, layer in enumerate(layers) for name, array in layer.arrays.items()}
    if scale is not None:
        tensors.update({"input.scale": np.array(scale, np.float32).reshape(-1), "input.shift": frozen.input_shift})
    line = "; ".join(
        [
            f"format {1 if scale is None or keeps_uint8(scale) else 2}",
            f"input {'x'.join(map(str, shape))}",
            *(
                " ".join(
                    map(
                        str,
                        filter(
                            None, (layer.kind, layer.inputs, layer.units, layer.source, layer.target, layer.function)
                        ),
                    )
                )
                for layer in layers
            ),
        ]
    )
    from safetensors.numpy import save as serialize

    content = serialize(tensors, metadata={"gluon_bnn": f"{line}; crc32 {crc32(line, tensors):08x}"})
    if not _is_open(path):
        _files.replace(_name(path), content)
    elif isinstance(path, io.TextIOBase):
        raise TypeError(f'the file must be open to write bytes, mode "wb"; got text, {path!r}')
    else:
        written = path.write(content)
        if written not in (None, len(content)):
            raise OSError(f"{_name(path)} took {written} of {len(content)} bytes")


def load(path):
    """The `Model` in a file that `save` wrote, of this version or an earlier one.

    `path` is a str, bytes, os.PathLike, or a file that is open to read bytes, which is read from where it stands to
    its end. Nothing of the file is mapped or kept. Raises OSError where it cannot be read, TypeError for another
    path, and ValueError, with what is wrong, where it is not such a file, is damaged, or is of a later format.
    """
    name = _name(path)
    try:
        if _is_open(path):
            content = _read(path)
        else:
            with _files.open_regular(path) as file:
                content = _read(file, os.fstat(file.fileno()).st_size)
        check(*content)
    except ValueError as error:
        raise ValueError(f"{name} is not a model that can be loaded: {error}") from error
    return Model(*content)


def _is_open(path):
    """True for an open file; TypeError for what is neither that nor a path."""
    if isinstance(path, (str, bytes, os.PathLike)):
        return False
    if hasattr(path, "read") or hasattr(path, "write"):
        return True
    raise TypeError(
        "path must be a str, bytes, os.PathLike, or a file that is open to read or write bytes, "
        f"got {type(path).__name__}"
    )


def _name(path):
    """What to call a file in messages; of a path, the path as a str."""
    if _is_open(path):
        name = getattr(path, "name", None)
        return os.fsdecode(name) if isinstance(name, (str, bytes)) else f"the {type(path).__name__}"
    return os.fsdecode(path)


def _take(file, size):
    """Pieces of together `size` bytes, less where the file ends before."""
    pieces = []
    while size > 0:
        piece = file.read(min(size, PIECE))
        if not isinstance(piece, (bytes, bytearray)):
            raise TypeError(f'the file must be open to read bytes, mode "rb"; reading gave {type(piece).__name__}')
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return pieces


def _read(file, size=None):
    """The arguments of a Model from an open file, of `size` bytes if known; ValueError for whatever is wrong."""
    start = b"".join(_take(file, 8))
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= MOST_HEADER or size is not None and length > size - 8:
        got = length if len(start) == 8 else "the end of the file"
        raise ValueError(
            f"a safetensors file starts with the length of its header, 2 to {MOST_HEADER} and "
            f"no more than the file has; got {got}"
        )
    header = b"".join(_take(file, length))
    line, ends = _read_header(header)
    version, shape, layers, checksum = _read_line(line)
    # Before the rest is read: its size, or else one byte more than there should be is enough.
    pieces = []
    if size is None:
        pieces = _take(file, ends + 1)
        size = 8 + length + sum(map(len, pieces))
    if size != 8 + length + ends:
        raise ValueError(
            f"it must have {8 + length + ends} bytes, got {size}: copy it again, the copy was "
            "cut off or something was added"
        )
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        tensors = deserialize(b"".join([start, header, *(pieces or _take(file, ends))]))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"safetensors refuses it ({error})") from error
    if crc32(line.rpartition("; ")[0], tensors) != checksum:
        raise ValueError(
            "its CRC-32 is not that of its content: it was changed after it was saved; copy it "
            "again or save the net again"
        )
    scale, shift = tensors.pop("input.scale", None), tensors.pop("input.shift", None)
    if scale is not None and scale.dtype == np.float32 and scale.shape == (1,):
        scale = float(scale[0])
    if version == 1 and scale is not None and not keeps_uint8(scale):
        raise ValueError(
            "in format 1 input.scale must be float32 (1,) and above 0, got "
            + (f"{scale.dtype} {scale.shape}" if np.ndim(scale) else f"{scale}")
        )
    for name in sorted(tensors):
        match = _TENSOR.fullmatch(name)
        if not match or int(match[1]) >= len(layers):
            raise ValueError(
                f"tensors must be named <layer>.<array>, layers 0 to {len(layers) - 1}, or "
                f"input.scale and input.shift; got {name[:80]!r}"
            )
        layers[int(match[1])].arrays[match[2]] = tensors[name]
    return layers, shape, scale, shift


def _read_header(header):
    """(the line of text, the end of the last tensor) from the JSON of a safetensors file."""
    try:
        fields = _files.parse_json(header)
    except ValueError as error:
        raise ValueError(f"it is no safetensors file, or damaged: its header cannot be read ({error})") from error
    try:
        line = fields.pop("__metadata__")["gluon_bnn"]
        ends = max((field["data_offsets"][1] for field in fields.values()), default=0)
        if type(line) is not str or type(ends) is not int or ends < 0:
            raise TypeError("metadata and offsets")
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            "its header is not one that gluon_bnn.runtime.save writes: it must have the "
            'metadata "gluon_bnn" and the data_offsets of each tensor'
        ) from error
    return line, ends


def _read_line(line):
    """(format, shape of one input, layers without their arrays, CRC-32) from the line of text."""
    version = re.match("format ([1-9][0-9]{0,8});", line)
    if not version:
        raise ValueError(f'its metadata must start with "format {FORMATS[0]};", got {line[:40]!r}')
    if int(version[1]) not in FORMATS:
        raise ValueError(
            f"it has format {version[1]}, this version of gluon_bnn reads formats "
            f"{' and '.join(map(str, FORMATS))}: install a later one"
        )
    entries = line.split("; ")
    checksum = re.fullmatch("crc32 ([0-9a-f]{8})", entries[-1])
    if len(entries) < 4 or not checksum:
        raise ValueError(
            "its metadata must be a format, an input, at least one layer and a crc32, separated "
            f'by "; "; got {len(entries)} entries that end in {entries[-1][:40]!r}'
        )
    shape = _INPUT.fullmatch(entries[1])
    if not shape:
        raise ValueError(
            "its metadata must have the shape of an input in second place, like "
            f'"input 1x28x28", got {entries[1][:80]!r}'
        )
    layers = []
    for index, entry in enumerate(entries[2:-1]):
        match = _LAYER.fullmatch(entry)
        if not match:
            raise ValueError(
                f'layer {index} must be "<kind> <inputs> <units> <from> <to> [<function>]", '
                f"kinds {', '.join(KINDS)}, forms float, bits, bits01, functions "
                f"{', '.join(FUNCTIONS)}; got {entry[:80]!r}"
            )
        kind, inputs, units, source, target, function = match.groups()
        layers.append(Layer(kind, int(inputs), int(units), source, target, function, {}))
    return int(version[1]), tuple(map(int, shape[1].split("x"))), layers, int(checksum[1], 16)


def crc32(line, tensors):
    """CRC-32 of the line, then of each tensor's name and bytes, by name."""
    value = zlib.crc32(line.encode("utf-8"))
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name], zlib.crc32(name.encode("utf-8"), value))
    return value
