"""Reads what a net's `export` wrote: `load_exported`, with checks of both files before MXNet gets them."""

import collections
import math
import operator
import os
import re
import struct
import warnings
from typing import Any, Union

import numpy as np

from .. import _files
from .._arrays import gluon_array, require_numbers, takes_np
from .._compat import mx, reason
from ..native import library
from ..nn import parameter  # noqa: F401 (with it SymbolBlock marks the binary weights of a graph)
from ..nn.rows import TakesRows
from .unchecked import Unchecked

MOST_GRAPH = 1 << 26  # bytes; a layer takes about 1,000
MOST_DEEP = 32  # graphs inside of graphs, as loops have them
NUMPY_SHAPES = 0xF993FACA  # the version of arrays that were saved with MXNet's NumPy shapes: () is one number
DTYPES = dict(enumerate(map(np.dtype, ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8", "?"))))  # by MXNet's number
ADDRESSES = "_Native", "_NDArray"  # operators that take a machine address out of the graph and jump to it
RESERVED = "self", "partial"  # names of variables that MXNet's functions of shapes have for arguments of their own
DIVISORS = "num_group", "num_groups", "num_deformable_group", "heads", "repeat", "stride2"  # attributes; 0 is a SIGFPE


class Exported(TakesRows, mx.gluon.SymbolBlock):
    """The SymbolBlock of an export. Its graph is one of `mx.sym` always, since Gluon cannot put one of `mx.np` into
    another graph, and takes arrays and symbols of either kind."""

    def __init__(self, outputs: mx.sym.Symbol, inputs: list[mx.sym.Symbol]) -> None:
        super().__init__(outputs, inputs)
        self._unchecked = Unchecked(outputs)

    @takes_np
    def forward(self, x: Any, *args: Any) -> Any:
        """As Gluon has it: runs the graph on arrays, or makes it part of that of the symbols. ValueError for arrays
        without numbers, and of shapes for which an operator would reach past its buffers: see unchecked.py."""
        for array in (x, *args):
            require_numbers(array)
        if isinstance(x, mx.nd.NDArray):
            names = (symbol.name for symbol in self._cached_graph[0])
            self._unchecked.check_call(self, dict(zip(names, (x, *args))))
        return super().forward(x, *args)


def load_exported(prefix: Union[str, bytes, os.PathLike], epoch: int = 0) -> mx.gluon.SymbolBlock:
    """The SymbolBlock of a net's `export(prefix, epoch)`, frozen or not, with our operators registered.

    Reads prefix-symbol.json and prefix-0000.params (the epoch in four digits). Raises OSError where a file is missing
    or no regular file, or where the graph has operators of our library and it is not there; ValueError, with the
    file and what is wrong with it, where a file is not what it should be, or the two are not of one net: an array of
    the graph is missing, an array is not in the graph, or one has a shape or type that the operators do not take.
    TypeError for another prefix or epoch.

    What the block gets when it is called decides the shapes in the graph, so it looks at these then, before MXNet runs
    anything: see `unchecked.py`. Inside of another net that is hybridized nobody does. This guards against damage, and
    against what is known to end the process; a graph can still compute anything that MXNet can, so load those of
    people you trust.
    """
    prefix = os.fsdecode(prefix)
    try:
        number = operator.index(epoch)
    except TypeError:
        raise TypeError(f"epoch must be a whole number, got {epoch!r:.80}") from None
    graph_file, values_file = f"{prefix}-symbol.json", f"{prefix}-{number:04d}.params"
    with _files.open_regular(graph_file) as file:
        text = file.read(MOST_GRAPH + 1)
    try:
        ours = library_operators(_parse(text))
        if ours and not library.available():
            raise OSError(
                f"{graph_file} holds operators of the native library ({', '.join(ours)}), and "
                f"{library.problem()}. A net frozen with form='float' loads without it"
            )
        if ours:
            library.load_operators()
        symbol, variables = _symbol(text)
    except (ValueError, mx.base.MXNetError) as error:
        raise ValueError(f"{graph_file} must be a graph that MXNet exported: {reason(error)}") from None
    if not os.path.exists(values_file):
        raise FileNotFoundError(f"{values_file} is not there; an export has it next to {graph_file}")
    with _files.open_regular(values_file) as file:
        try:
            places = _index(file)
        except ValueError as error:
            raise ValueError(f"{values_file} must hold parameters that MXNet exported: {error}") from None
        try:
            inputs = _match(symbol, variables, places)
        except ValueError as error:
            raise ValueError(f"{values_file} must hold the parameters of {graph_file}: {error}") from None
        values = {name: _array(file, *place) for name, place in places.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cannot decide type")  # that of the input is open, as it should be
        block = Exported(symbol, [mx.sym.var(name) for name in inputs])
    block.collect_params().load_dict(values, ctx=mx.cpu(), cast_dtype=True, dtype_source="saved")
    return block


def library_operators(graph: dict[str, Any]) -> list[str]:
    """The names of our library's operators in a graph, the JSON of a symbol, and in the graphs inside of it; sorted."""
    found: set[str] = set()
    for node in graph["nodes"]:
        found.update(
            {node["op"]} if node["op"].startswith("gluon_bnn_") else (),
            *map(library_operators, node.get("subgraphs", ())),
        )
    return sorted(found)


def _parse(text):
    """The JSON of a graph; ValueError where it is none."""
    if len(text) > MOST_GRAPH:
        raise ValueError(f"it must have at most {MOST_GRAPH} bytes")
    graph = _files.parse_json(text)
    _check_nodes(graph)
    return graph


def _check_nodes(graph, depth=0):
    """ValueError where MXNet must not be given a graph, or one inside of it; `depth` is in how many it lies."""
    if depth > MOST_DEEP:
        raise ValueError(f"it must have at most {MOST_DEEP} graphs inside of one another")
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(nodes, list) or not nodes:
        raise ValueError("it must have a list of nodes")
    for node in nodes:
        if not isinstance(node, dict) or not all(isinstance(node.get(key), str) for key in ("op", "name")):
            raise ValueError("each of its nodes must have an op and a name")
        if node["op"] in ADDRESSES:
            raise ValueError(f"{node['op']}, the operator of {node['name']!r}, cannot be in a file")
        inner = node.get("subgraphs", [])
        if not isinstance(inner, list):
            raise ValueError(f"the subgraphs of {node['name']!r} must be a list")
        for each in inner:
            _check_nodes(each, depth + 1)


def _check_divisors(graph):
    """ValueError where MXNet would divide by 0 in inferring shapes, or end the process since a split has no parts."""
    for node in graph["nodes"]:
        attributes = node.get("attrs", {})
        for name in DIVISORS:
            if int(attributes.get(name, 1)) < 1:
                raise ValueError(f"{name} of {node['name']!r} must be at least 1, got {attributes[name]}")
        parts = attributes.get("sections", "0"), attributes.get("indices", "")
        if node["op"] == "_split_v2" and int(parts[0]) < 1 and not re.search("[0-9]", parts[1]):
            raise ValueError(f"{node['name']!r} must split into sections or at indices, got neither")
        for inner in node.get("subgraphs", ()):
            _check_divisors(inner)


def _symbol(text):
    """(symbol, {name: attributes} of its variables); "__shape__" is a tuple, 0 where unknown, "__dtype__" a number."""
    symbol = mx.sym.load_json(text.decode("utf-8"))
    graph = _files.parse_json(symbol.tojson(remove_amp_cast=False))  # as MXNet has understood it
    _check_divisors(graph)
    outputs, nodes = graph["node_row_ptr"], graph["nodes"]
    for place, output, *_ in [*graph["heads"], *(entry for node in nodes for entry in node["inputs"])]:
        if output >= outputs[place + 1] - outputs[place]:
            raise ValueError(
                f"{nodes[place]['name']!r} must have an output {output}, and has {outputs[place + 1] - outputs[place]}"
            )
    for node in nodes:
        storage = node.get("attrs", {}).get("__storage_type__", "0")
        if storage != "0":
            raise ValueError(f"the storage type of {node['name']!r} must be 0, default; got {storage[:20]!r}")
    variables = {node["name"]: node.get("attrs", {}) for node in nodes if node["op"] == "null"}
    for name, attributes in variables.items():
        if name in RESERVED:
            raise ValueError(f"a variable cannot have the name {name!r}, which MXNet does not take")
        shape = attributes.get("__shape__", "()")
        if not re.fullmatch(r"[(\[][-0-9, ]{0,999}[)\]]", shape):
            raise ValueError(f"the shape of {name!r} must be like (2, 3), got {shape[:40]!r}")
        attributes["__shape__"] = tuple(map(int, re.findall("-?[0-9]+", shape)))
        attributes["__dtype__"] = int(attributes.get("__dtype__", -1))
    return symbol, variables


def _index(file):
    """{name: (dtype, shape, place of its bytes)} of a file that `mx.nd.save` wrote with names.

    Reads all but the arrays. ValueError where the file does not have exactly the bytes that it says it has.
    """
    size = os.fstat(file.fileno()).st_size

    def take(form):
        content = file.read(struct.calcsize(form))
        if len(content) < struct.calcsize(form):
            raise ValueError("it is cut off")
        return struct.unpack(form, content)

    magic, _, count = take("<3Q")
    if magic != 0x112:
        raise ValueError(f"it must start with the number 0x112, got {magic:#x}")
    places = []
    while len(places) < count:
        version, storage, axes = take("<Iii")
        least = 0 if version == NUMPY_SHAPES else 1
        if version not in (0xF993FAC9, NUMPY_SHAPES) or storage or not least <= axes <= 32:
            raise ValueError(f"array {len(places)} must be one of MXNet 1.x, stored densely, with {least} to 32 axes")
        if axes == 0 and not mx.util.is_np_shape():
            raise ValueError(f"array {len(places)} has no axes, which MXNet takes after mx.npx.set_np() only")
        shape = take(f"<{axes}q")
        _, _, number = take("<3i")  # the first two are the device that it was on
        if number not in DTYPES or min(shape, default=1) < 1:
            raise ValueError(
                f"array {len(places)} must have a type of {sorted(DTYPES)} and no empty axis, got type "
                f"{number} and shape {shape}"
            )
        dtype, place = DTYPES[number], file.tell()
        if math.prod(shape) * dtype.itemsize > size - place:
            raise ValueError("it is cut off")
        places.append((dtype, shape, place))
        file.seek(place + math.prod(shape) * dtype.itemsize)
    found = {}
    (names,) = take("<Q")
    for place in places[:names]:
        (length,) = take("<Q")
        if length > size - file.tell():
            raise ValueError("it is cut off")
        name = file.read(length).decode("utf-8")
        if name[:4] in ("arg:", "aux:"):
            name = name[4:]
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = place
    if names != count or file.tell() != size:
        raise ValueError(
            f"its {count} arrays must have a name each, and nothing may follow; got {names} names and "
            f"{size - file.tell()} more bytes"
        )
    return found


def _array(file, dtype, shape, place):
    file.seek(place)
    return gluon_array(np.fromfile(file, dtype, math.prod(shape)).reshape(shape), dtype=dtype)


def _match(symbol, variables, places):
    """The names of the graph's inputs: variables that have no array. ValueError where an array does not fit."""
    unknown = sorted(set(places) - set(variables))
    if unknown:
        raise ValueError(f"got arrays that are not in it: {', '.join(unknown[:3])}")
    # Gluon writes a factor of the learning rate to each parameter, and to no input.
    states = set(symbol.list_auxiliary_states())
    missing = [
        name for name in variables if name not in places and ("__lr_mult__" in variables[name] or name in states)
    ]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing[:3])}, {len(missing)} in all")
    inputs = [name for name in symbol.list_inputs() if name not in places]
    if not inputs:
        raise ValueError("got an array for each of its variables, so that it has no input")
    for name, (_, shape, _) in places.items():
        wanted = variables[name]["__shape__"]
        if wanted and not (len(wanted) == len(shape) and all(w in (size, 0, -1) for w, size in zip(wanted, shape))):
            raise ValueError(f"{name} must have the shape {wanted} (0 for any), got {shape}")
    _check_types(symbol, variables, inputs, {name: dtype for name, (dtype, _, _) in places.items()})
    _check_shapes(symbol, variables, inputs, {name: shape for name, (_, shape, _) in places.items()})
    return inputs


def _check_types(symbol, variables, inputs, types):
    """ValueError where the operators do not take arrays of these types together.

    The types in the graph are no more than a hint: those of a net that was cast are the ones it had before. Some
    operators, Dropout and SwapAxis among them, must know the type of the input, which is open: that of an
    array will do.
    """
    errors = []
    for given in ({}, *(dict.fromkeys(inputs, dtype) for dtype in dict.fromkeys([*types.values(), DTYPES[0]]))):
        try:
            symbol.infer_type_partial(**types, **given)
            return
        except mx.base.MXNetError as error:
            errors.append(error)
    why = reason(errors[1])  # the first error may only ask for the type of the input
    if types:
        pairs = {name: (variables[name].get("__dtype__"), types[name]) for name in types}
        counts = collections.Counter(pairs.values())
        odd = min(types, key=lambda name: (types[name] == DTYPES.get(pairs[name][0]), counts[pairs[name]]))
        raise ValueError(f"{odd} is {types[odd]}, which the operators do not take here: {why}")
    raise ValueError(why)


def _check_shapes(symbol, variables, inputs, shapes):
    """ValueError where one array has a shape that the others and the operators do not allow.

    A net that was made without in_units leaves sizes open in its graph. MXNet finds them from the shape of the
    input, which is open itself. So a net of dense layers is tried on one row, as wide as its first matrix, and on
    several steps of that width. If all fail, and the row runs with another size of one array, then that one is wrong.
    All shapes are known in these trials: MXNet writes past a buffer where an input of our operators has none.
    """

    def fits(shapes, *steps):
        given = {inputs[0]: (1, *steps, width), **shapes}
        try:
            arguments, _, states = symbol.infer_shape_partial(**given)
        except mx.base.MXNetError:
            return False
        found = zip([*symbol.list_arguments(), *symbol.list_auxiliary_states()], [*arguments, *states])
        return all(given[name] == shape for name, shape in found)

    wanted = {name: variables[name]["__shape__"] for name in shapes}
    wanted = {name: shape for name, shape in wanted.items() if min(shape, default=1) < 1}
    width = next((shapes[name][1] for name in symbol.list_inputs() if len(shapes.get(name, ())) == 2), None)
    if width is None or len(inputs) > 1 or any(len(shape) > 2 for shape in wanted.values()):
        return
    sizes = sorted({size for shape in shapes.values() for size in shape})
    if not wanted or fits(shapes) or any(fits(shapes, size) for size in sizes):
        return
    for name in wanted:
        for size in sizes:
            shape = tuple(size if w < 1 else w for w in wanted[name])
            if fits({**shapes, name: shape}):
                raise ValueError(f"{name} must have the shape {shape}, got {shapes[name]}")
