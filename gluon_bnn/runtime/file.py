"""The file of a deployed net, safetensors: `save` writes one, `read` makes the graph of it.

Format 2: tensors "<node>.<array>", little-endian float32 and int32; in the metadata, under "gluon_bnn", one line:

    format 2; input shape=1x28x28; binary_dense 0 units=64 to=bits; binary_dense 1 units=10 to=float; crc32 0123abcd

that is the nodes in order, each as its kind, the nodes whose values it takes, joined by commas, and its attributes in
the order in which the kind declares them, several numbers joined by x as in kernel=3x3; and the CRC-32 of the line
before "; crc32" and then of each tensor, by name: its name in UTF-8 and its bytes. Accuracy and labels, where a net has
them, are further lines before "; crc32":

    ...; binary_dense 1 units=2 to=float
    accuracy 0.9771
    label cat
    label dog; crc32 0123abcd

Format 1 (format1.py) is read, too.
"""

import io
import math
import os
import re
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Union

import numpy as np

from .. import _files
from ..graph.check import check
from ..graph.graph import MOST_NODES, Graph, Node
from ..graph.kinds import KINDS
from ..graph.kinds.kind import PLACE, PLACES, SIZE, SIZES
from . import format1

FORMATS = 1, 2
MOST_HEADER = 1 << 24  # bytes; a node takes about 500
MOST_TENSOR_AXES = 8
PIECE = 1 << 24  # bytes that are asked for at a time: what a file only claims to hold takes no memory

_DTYPES = {"F32": "<f4", "I32": "<i4"}
_NUMBER = "(?:0|[1-9][0-9]{0,9})"
# How the values of attributes are written, and read; of a choice among words, any word.
_WRITTEN: dict[object, str] = dict.fromkeys((SIZE, PLACE), _NUMBER)
_WRITTEN.update(dict.fromkeys((SIZES, PLACES), f"{_NUMBER}(?:x{_NUMBER}){{0,30}}"))
_READ: dict[object, Callable] = dict.fromkeys((SIZE, PLACE), int)
_READ.update(dict.fromkeys((SIZES, PLACES), lambda text: tuple(map(int, text.split("x")))))
_PATTERNS = {
    name: re.compile(
        name
        + (f" (?P<_sources>{_NUMBER}(?:,{_NUMBER})*)" if kind.sources[1] else "")
        + "".join(f" {name}=(?P<{name}>{_WRITTEN.get(value, '[a-z0-9_]+')})" for name, value in kind.attributes.items())
    )
    for name, kind in KINDS.items()
}
_TENSOR = re.compile("(0|[1-9][0-9]{0,8})\\.([a-z0-9_]+)")
_ACCURACY = re.compile("accuracy (1\\.0|0\\.[0-9]{1,400})")  # the smallest float has 324 decimals


AnyFile = Union[str, bytes, os.PathLike, BinaryIO]


def save(net: Any, path: AnyFile, labels: Any = None, accuracy: Any = None) -> None:
    """Write a net to one file, under a temporary name first; an OSError leaves an old file whole.

    net : a Graph, or what has one as its `graph`, like a frozen net or a `Model`
    path : a str, bytes, os.PathLike, or a file that is open to write bytes, which gets all in one call
    labels : a list of str, the name of each output where these are classes; None keeps those of the net, if it has some
    accuracy : the share of test inputs that the net gave the right class, from 0 to 1; None keeps that of the net

    Raises what `graph.check.check` raises, TypeError for another net or path, and OSError.
    """
    content = dumps(graph_of(net).described(labels, accuracy))
    if isinstance(path, (str, bytes, os.PathLike)):
        _files.replace(_name(path), content)
    elif isinstance(path, io.TextIOBase):
        raise TypeError(f'the file must be open to write bytes, mode "wb"; got text, {path!r}')
    elif _is_open(path):
        written = path.write(content)
        if written not in (None, len(content)):
            raise OSError(f"{_name(path)} took {written} of {len(content)} bytes")


def graph_of(net: Any) -> Graph:
    """The graph of what `save` takes; TypeError for anything else, as a net that is not frozen yet."""
    graph = net if isinstance(net, Graph) else getattr(net, "graph", None)
    if not isinstance(graph, Graph):
        raise TypeError(
            "what is saved must be a frozen net, a runtime.Model or a graph.graph.Graph; for a net that was trained it "
            f"is what gluon_bnn.freeze returns; got {type(net).__name__}"
        )
    return graph


def dumps(graph: Graph) -> bytes:
    """The content of the graph's file, the same for the same graph. Raises what `graph.check.check` raises."""
    from safetensors.numpy import save as serialize

    graph = check(graph)
    nodes = graph.nodes
    tensors = {f"{index}.{name}": array for index, node in enumerate(nodes) for name, array in node.arrays.items()}
    line = "\n".join(["; ".join(["format 2", *map(_entry, nodes)]), *_description(graph)])
    content = serialize(tensors, metadata={"gluon_bnn": f"{line}; crc32 {crc32(line, tensors):08x}"})
    length = int.from_bytes(content[:8], "little")
    if length > MOST_HEADER:
        raise ValueError(
            f"the header of a file may have {MOST_HEADER} bytes, this net's has {length}: it has too many nodes, or "
            "its labels are too long"
        )
    return content


def loads(content: bytes) -> Graph:
    """The graph of a file's content, checked; ValueError, with what is wrong, where it is none."""
    return _read(io.BytesIO(content), len(content))[0]


def read(path: AnyFile) -> tuple[Graph, bytes]:
    """(the graph, checked, and the content) of a file that `save` wrote, of this version or an earlier one.

    `path` is a str, bytes, os.PathLike, or a file that is open to read bytes, which is read from where it stands to
    its end. Nothing of the file is mapped or kept. Raises OSError where it cannot be read, TypeError for another
    path, and ValueError, with what is wrong, where it is no model file, is damaged, or is of a later format.
    """
    name = _name(path)
    try:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return _read(path)
        with _files.open_regular(path) as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:
        raise ValueError(f"{name} is not a model that can be loaded: {error}") from error


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
    """(graph, content) from an open file, of `size` bytes if known; ValueError for whatever is wrong."""
    start = b"".join(_take(file, 8))
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= MOST_HEADER or size is not None and length > size - 8:
        got = length if len(start) == 8 else "the end of the file"
        raise ValueError(
            f"a safetensors file starts with the length of its header, 2 to {MOST_HEADER} and "
            f"no more than the file has; got {got}"
        )
    header = b"".join(_take(file, length))
    line, places, ends = _read_header(header)
    version, nodes, description, checksum = _read_line(line)
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
    data = b"".join(pieces or _take(file, ends))
    if len(data) != ends:
        raise ValueError(f"it must have {8 + length + ends} bytes, and was cut off while it was read")
    tensors = {}
    for name, (dtype, shape, begin) in places.items():
        tensors[name] = np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape)
    if crc32(line.rpartition("; ")[0], tensors) != checksum:
        raise ValueError(
            "its CRC-32 is not that of its content: it was changed after it was saved; copy it "
            "again or save the net again"
        )
    if version == 1:
        format1.check_scale(tensors)
        tensors = {format1.name_of(name): array for name, array in tensors.items()}
    for name in sorted(tensors):
        match = _TENSOR.fullmatch(name)
        if not match or int(match[1]) >= len(nodes):
            raise ValueError(f"tensors must be named <node>.<array>, nodes 0 to {len(nodes) - 1}; got {name[:80]!r}")
        nodes[int(match[1])].arrays[match[2]] = tensors[name]
    return check(Graph(tuple(nodes)).described(*description)), b"".join([start, header, data])


def _read_header(header):
    """(line of text, {name: (dtype, shape, where it begins)} of the tensors, the end of the last)."""
    try:
        fields = _files.parse_json(header)
        if header[:1] != b"{":
            raise ValueError('it must start with "{"')
    except ValueError as error:
        raise ValueError(f"it is no safetensors file, or damaged: its header cannot be read ({error})") from error
    metadata = fields.pop("__metadata__", None)
    if (
        not isinstance(metadata, dict)
        or "gluon_bnn" not in metadata
        or not all(isinstance(value, str) and _is_unicode(name + value) for name, value in metadata.items())
    ):
        raise ValueError(
            'its header is not one that gluon_bnn.runtime.save writes: it must have the metadata "gluon_bnn", and '
            "metadata must be text"
        )
    places, ends = {}, 0
    for name, field in sorted(fields.items(), key=lambda item: _begin(*item)):
        dtype, shape, (begin, end) = field["dtype"], field["shape"], field["data_offsets"]
        if begin != ends or end - begin != 4 * math.prod(shape):
            raise ValueError(
                f"tensors must follow one another, 4 bytes a number: {name[:80]!r}, {shape}, must have the "
                f"data_offsets [{ends}, {ends + 4 * math.prod(shape)}], got [{begin}, {end}]"
            )
        places[name], ends = (_DTYPES[dtype], tuple(shape), begin), end
    return metadata["gluon_bnn"], places, ends


def _is_unicode(text):
    """False where a half of a surrogate pair stands alone, which UTF-8 cannot hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _begin(name, field):
    """Where a tensor begins; ValueError unless its entry in the header is well formed."""

    def sizes(value, least, most):
        return isinstance(value, list) and least <= len(value) <= most and all(type(n) is int and n >= 0 for n in value)

    if not (
        isinstance(field, dict)
        and field.keys() == {"dtype", "shape", "data_offsets"}
        and isinstance(field["dtype"], str)
        and field["dtype"] in _DTYPES
        and sizes(field["shape"], 0, MOST_TENSOR_AXES)
        and 0 not in field["shape"]
        and sizes(field["data_offsets"], 2, 2)
    ):
        raise ValueError(
            f"tensor {name[:80]!r} must have a dtype, {' or '.join(_DTYPES)}, a shape of at most {MOST_TENSOR_AXES} "
            f"sizes from 1 on, two data_offsets, and no more; got {str(field)[:200]}"
        )
    return field["data_offsets"][0]


def _read_line(text):
    """(format, nodes without their arrays, (labels, accuracy), CRC-32) from the metadata."""
    content, _, end = text.rpartition("; ")
    line, *description = content.split("\n")
    entries = line.split("; ")
    version = re.fullmatch("format ([1-9][0-9]{0,8})", entries[0])
    if not version:
        raise ValueError(f'its metadata must start with "format {FORMATS[-1]}; ", got {text[:40]!r}')
    if int(version[1]) not in FORMATS:
        raise ValueError(
            f"it has format {version[1]}, this version of gluon_bnn reads formats "
            f"{' and '.join(map(str, FORMATS))}: install a later one"
        )
    checksum = re.fullmatch("crc32 ([0-9a-f]{8})", end)
    if not 3 <= len(entries) <= MOST_NODES + 1 or not checksum:
        raise ValueError(
            f"its metadata must be a format, an input, 1 to {MOST_NODES - 1} other nodes and a crc32, separated "
            f'by "; "; got {len(entries) + 1} entries that end in {end[:40]!r}'
        )
    if version[1] == "1":
        nodes = format1.nodes(entries[1:])
    else:
        nodes = [_node(index, entry) for index, entry in enumerate(entries[1:])]
    return int(version[1]), nodes, _read_description(description), int(checksum[1], 16)


def _description(graph):
    """The lines of a graph's accuracy and labels."""
    accuracy = () if graph.accuracy is None else (graph.accuracy,)
    return [
        *(f"accuracy {np.format_float_positional(value, trim='0')}" for value in accuracy),
        *(f"label {label}" for label in graph.labels or ()),
    ]


def _read_description(lines):
    """(labels, accuracy), None where there are none, from their lines."""
    accuracy = _ACCURACY.fullmatch(lines[0]) if lines else None
    labels = lines[1:] if accuracy else lines
    for line in labels:
        if not line.startswith("label "):
            raise ValueError(
                'behind its nodes its metadata may have a line "accuracy <0.0 to 1.0>", then lines "label <text>", '
                f"got {line[:80]!r}"
            )
    return [line[len("label ") :] for line in labels] or None, float(accuracy[1]) if accuracy else None


def _entry(node):
    """A node in the line of text."""
    attributes = [f"{name}={_text(node.attributes[name])}" for name in KINDS[node.kind].attributes]
    return " ".join([node.kind, *filter(None, [",".join(map(str, node.sources))]), *attributes])


def _text(attribute):
    return "x".join(map(str, attribute)) if isinstance(attribute, tuple) else str(attribute)


def _node(index, entry):
    """A node from the line of text, without its arrays."""
    name = entry.partition(" ")[0]
    if name not in KINDS:
        raise ValueError(f"node {index} must be of a kind of {', '.join(KINDS)}; got {entry[:80]!r}")
    match = _PATTERNS[name].fullmatch(entry)
    if not match:
        kind = KINDS[name]
        form = [name, *["<sources>"] * (kind.sources[1] > 0), *(f"{attribute}=<...>" for attribute in kind.attributes)]
        raise ValueError(f'node {index} must be "{" ".join(form)}", got {entry[:80]!r}')
    groups = match.groupdict()
    sources = groups.pop("_sources", None)
    attributes = {key: _READ.get(KINDS[name].attributes[key], str)(text) for key, text in groups.items()}
    return Node(name, tuple(map(int, sources.split(","))) if sources else (), attributes)


def crc32(line: str, tensors: dict[str, Any]) -> int:
    """CRC-32 of the line, then of each tensor's name and bytes, by name."""
    value = zlib.crc32(line.encode("utf-8"))
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name], zlib.crc32(name.encode("utf-8"), value))
    return value
