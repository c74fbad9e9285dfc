"""1-bit inference without MXNet: `save` writes a frozen net to one safetensors file, `load` makes a `Model`.

Needs NumPy and safetensors. A model runs in one call of the compiled library, or, where there is none, in
NumPy with the same results. They are those of the packed form in MXNet, to the bit up to the first sigmoid, tanh or
softrelu: of these MXNet and this package have approximations of their own, which differ in the last bits.

The file, format 1: tensors "<layer>.<array>", and "input.scale" (1,), above 0, and "input.shift" (inputs,) where
uint8 inputs are taken; in the metadata, under "gluon_bnn", one line that a C program can read with sscanf:

    format 1; input 1x28x28; binary_dense 784 64 float bits; binary_dense 64 10 bits float; crc32 0123abcd

that is the shape of one input, each layer as `kind inputs units from to [function]`, and the CRC-32 of the
line before "; crc32" and then of each tensor, by name: its name in UTF-8 and its bytes. Format 2 is for what format 1
cannot say: an input.scale below 0, or of (inputs,). The first layer then has no array for uint8 inputs.
"""
import functools
import io
import os
import re
import zlib

import numpy as np

from . import _files
from .layers import FUNCTIONS, KINDS, Layer, check, keeps_uint8
from .native import fallback, kernels, library

FORMATS = 1, 2
MOST_HEADER = 1 << 24  # bytes; a layer takes about 500
PIECE = 1 << 24        # bytes that are asked for at a time: what a file only claims to hold takes no memory

_SIZE = "[1-9][0-9]{0,9}"
_INPUT = re.compile(f"input ({_SIZE}(?:x{_SIZE}){{0,30}})")
_LAYER = re.compile(f"({'|'.join(KINDS)}) ({_SIZE}) ({_SIZE}) (float|bits|bits01) (float|bits)"
                    f"(?: ({'|'.join(FUNCTIONS)}))?")
_TENSOR = re.compile("(0|[1-9][0-9]{0,8})\\.([a-z0-9_]+)")


class Model:
    """A net that is ready to run: `model(x)`, `model.predict(x)`, `model.summary()`, `model.input_shape`.

    Made by `load`, or from a list of `layers.Layer` and the shape of one input (tuple of int). A net that takes uint8
    inputs has an input_scale, a float or float32 (inputs,), nowhere 0, and an input_shift, float32 (inputs,), in
    addition: pixel p of input k stands for input_scale[k] * p + input_shift[k]. Raises what `layers.check` raises.

    The arrays must not be changed afterwards. One model may be called from several threads at once. It can be
    pickled and copied; what arrives is checked again.
    """

    def __init__(self, layers, input_shape, input_scale=None, input_shift=None):
        layers = tuple(layers)
        check(layers, input_shape, input_scale, input_shift)
        if input_scale is not None and np.ndim(input_scale) == 0:
            input_scale = float(np.float32(input_scale))
        self.layers, self.input_shape = layers, input_shape
        self.input_scale, self.input_shift = input_scale, input_shift
        self._inputs = layers[0].inputs
        if library.available():
            net = kernels.Net(layers)
            self._run, self._run_u8 = net.run, net.run_u8
        else:
            self._run, self._run_u8 = (functools.partial(run, layers)
                                       for run in (fallback.run, fallback.run_u8))

    def __getstate__(self):
        """All but what holds addresses of this process, or is made of the rest."""
        return {name: value for name, value in vars(self).items() if name not in ("_inputs", "_run", "_run_u8")}

    def __setstate__(self, state):
        Model.__init__(self, *(state.pop(name) for name in ("layers", "input_shape", "input_scale", "input_shift")))
        vars(self).update(state)  # what the user added

    def __repr__(self):
        return f"Model({self._inputs} -> {self.layers[-1].units}, {len(self.layers)} layers)"

    def __call__(self, x, check_finite=False):
        """The net's outputs, float32 (rows, units), for a batch x; (units,) for one input.

        x is float32, or uint8 where the net has an input scale. One input has the shape `input_shape` or
        (inputs,), a batch (rows,) before either. A sign of NaN is +1, all else keeps it; `check_finite` refuses
        NaN and infinities instead. Raises TypeError for another type, ValueError for another shape.
        """
        rows, one = self._rows(x, check_finite)
        if len(rows) == 0:
            y = np.empty((0, self.layers[-1].units), np.float32)
        elif rows.dtype == np.uint8:
            y = self._run_u8(rows, self.input_scale, self.input_shift)
        else:
            y = self._run(rows)
        return y[0] if one else y

    def predict(self, x, check_finite=False):
        """The index of the largest output, the first of several: int64 (rows,), an int for one input."""
        y = self(x, check_finite)
        return int(y.argmax()) if y.ndim == 1 else y.argmax(axis=1)

    def summary(self):
        """Print a line a layer, and the bytes of all arrays."""
        def line(*cells):
            print("{:14}{:>22}  {:16}{:>12}".format(*cells).rstrip())
        line("layer", "inputs -> units", "form", "bytes")
        for layer in self.layers:
            line(layer.function or layer.kind, f"{layer.inputs} -> {layer.units}",
                 f"{layer.source} -> {layer.target}", layer.nbytes)
        taken = "float32" if self.input_scale is None else "float32 or uint8"
        line("total", f"{self._inputs} -> {self.layers[-1].units}", taken,
             sum(layer.nbytes for layer in self.layers))

    def _rows(self, x, check_finite):
        """(x as (rows, inputs) in one piece of memory, whether it is one input)."""
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array of float32 or uint8, got {type(x).__name__}")
        if x.dtype == np.uint8:
            if self.input_scale is None:
                raise ValueError("x must be float32, since this net has no scale for uint8 inputs: give "
                                 "input_scale to freeze; got uint8")
        elif x.dtype != np.float32:
            raise TypeError(f"x must be float32 or uint8, got {x.dtype}{self._advice(x)}")
        shape, flat = x.shape, (self._inputs,)
        one = shape == self.input_shape or shape == flat
        if not (one or shape[1:] in (flat, self.input_shape)):
            shapes = f"{self.input_shape}" + ("" if self.input_shape == flat else f" or {flat}")
            raise ValueError(f"x must have the shape {shapes} of one input, or of a batch, the rows before that; "
                             f"got {shape}")
        if check_finite and x.dtype == np.float32 and not np.isfinite(x).all():
            raise ValueError(f"x must be finite, got {np.count_nonzero(~np.isfinite(x))} numbers that are "
                             "not")
        x = np.ascontiguousarray(x) if x.flags.aligned else x.copy()
        return x.reshape(-1, self._inputs), one

    def _advice(self, x):
        """How to convert x, of a wrong dtype, so that it keeps its meaning."""
        if x.dtype.kind not in "biufO":
            return ""
        floats = "x.astype(np.float32)"
        if self.input_scale is None:
            return f": {floats} makes it so"
        floats = f"{floats} is for the numbers that pixels stand for, scale * pixel + shift"
        if x.dtype.kind not in "biu":
            return f": x.astype(np.uint8) is for pixels, whole numbers from 0 to 255; {floats}"
        if x.size and not 0 <= int(x.min()) <= int(x.max()) <= 255:
            return f" from {int(x.min())} to {int(x.max())}, and pixels are whole numbers from 0 to 255; {floats}"
        return f": x.astype(np.uint8) makes pixels of it{', 0 and 1' if x.dtype == bool else ''}; {floats}"


def save(frozen, path):
    """Write a frozen net to one file, under a temporary name first; an OSError leaves an old file whole.

    `path` is a str, bytes, os.PathLike, or a file that is open to write bytes, which gets all in one call.
    `frozen` has layers (a list of `layers.Layer`), input_shape, input_scale and input_shift as `Model` takes
    them. Raises what `layers.check` raises, TypeError for another path, and OSError.
    """
    layers, shape, scale = list(frozen.layers), frozen.input_shape, frozen.input_scale
    check(layers, shape, scale, frozen.input_shift)
    tensors = {f"{index}.{name}": array for index, layer in enumerate(layers)
               for name, array in layer.arrays.items()}
    if scale is not None:
        tensors.update({"input.scale": np.array(scale, np.float32).reshape(-1), "input.shift": frozen.input_shift})
    line = "; ".join([f"format {1 if scale is None or keeps_uint8(scale) else 2}",
                      f"input {'x'.join(map(str, shape))}",
                      *(" ".join(map(str, filter(None, (layer.kind, layer.inputs, layer.units, layer.source,
                                                        layer.target, layer.function))))
                        for layer in layers)])
    from safetensors.numpy import save as serialize
    content = serialize(tensors, metadata={"gluon_bnn": f"{line}; crc32 {_crc32(line, tensors):08x}"})
    if not _is_open(path):
        _files.replace(_name(path), content)
    elif isinstance(path, io.TextIOBase):
        raise TypeError(f"the file must be open to write bytes, mode \"wb\"; got text, {path!r}")
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
    raise TypeError("path must be a str, bytes, os.PathLike, or a file that is open to read or write bytes, "
                    f"got {type(path).__name__}")


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
            raise TypeError(f"the file must be open to read bytes, mode \"rb\"; reading gave {type(piece).__name__}")
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return pieces


def _read(file, size=None):
    """The arguments of a Model from an open file, of `size` bytes if that is known; ValueError for whatever is wrong.
    """
    start = b"".join(_take(file, 8))
    length = int.from_bytes(start, "little")
    if len(start) < 8 or not 2 <= length <= MOST_HEADER or size is not None and length > size - 8:
        got = length if len(start) == 8 else "the end of the file"
        raise ValueError(f"a safetensors file starts with the length of its header, 2 to {MOST_HEADER} and "
                         f"no more than the file has; got {got}")
    header = b"".join(_take(file, length))
    line, ends = _read_header(header)
    version, shape, layers, crc32 = _read_line(line)
    # Before the rest is read: its size, or else one byte more than there should be is enough.
    pieces = []
    if size is None:
        pieces = _take(file, ends + 1)
        size = 8 + length + sum(map(len, pieces))
    if size != 8 + length + ends:
        raise ValueError(f"it must have {8 + length + ends} bytes, got {size}: copy it again, the copy was "
                         "cut off or something was added")
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize
    try:
        tensors = deserialize(b"".join([start, header, *(pieces or _take(file, ends))]))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"safetensors refuses it ({error})") from error
    if _crc32(line.rpartition("; ")[0], tensors) != crc32:
        raise ValueError("its CRC-32 is not that of its content: it was changed after it was saved; copy it "
                         "again or save the net again")
    scale, shift = tensors.pop("input.scale", None), tensors.pop("input.shift", None)
    if scale is not None and scale.dtype == np.float32 and scale.shape == (1,):
        scale = float(scale[0])
    if version == 1 and scale is not None and not keeps_uint8(scale):
        raise ValueError("in format 1 input.scale must be float32 (1,) and above 0, got "
                         + (f"{scale.dtype} {scale.shape}" if np.ndim(scale) else f"{scale}"))
    for name in sorted(tensors):
        match = _TENSOR.fullmatch(name)
        if not match or int(match[1]) >= len(layers):
            raise ValueError(f"tensors must be named <layer>.<array>, layers 0 to {len(layers) - 1}, or "
                             f"input.scale and input.shift; got {name[:80]!r}")
        layers[int(match[1])].arrays[match[2]] = tensors[name]
    return layers, shape, scale, shift


def _read_header(header):
    """(the line of text, the end of the last tensor) from the JSON of a safetensors file."""
    try:
        fields = _files.parse_json(header)
    except ValueError as error:
        raise ValueError("it is no safetensors file, or damaged: its header cannot be read "
                         f"({error})") from error
    try:
        line = fields.pop("__metadata__")["gluon_bnn"]
        ends = max((field["data_offsets"][1] for field in fields.values()), default=0)
        if type(line) is not str or type(ends) is not int or ends < 0:
            raise TypeError("metadata and offsets")
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError("its header is not one that gluon_bnn.runtime.save writes: it must have the "
                         "metadata \"gluon_bnn\" and the data_offsets of each tensor") from error
    return line, ends


def _read_line(line):
    """(format, shape of one input, layers without their arrays, CRC-32) from the line of text."""
    version = re.match("format ([1-9][0-9]{0,8});", line)
    if not version:
        raise ValueError(f"its metadata must start with \"format {FORMATS[0]};\", got {line[:40]!r}")
    if int(version[1]) not in FORMATS:
        raise ValueError(f"it has format {version[1]}, this version of gluon_bnn reads formats "
                         f"{' and '.join(map(str, FORMATS))}: install a later one")
    entries = line.split("; ")
    crc32 = re.fullmatch("crc32 ([0-9a-f]{8})", entries[-1])
    if len(entries) < 4 or not crc32:
        raise ValueError("its metadata must be a format, an input, at least one layer and a crc32, separated "
                         f"by \"; \"; got {len(entries)} entries that end in {entries[-1][:40]!r}")
    shape = _INPUT.fullmatch(entries[1])
    if not shape:
        raise ValueError("its metadata must have the shape of an input in second place, like "
                         f"\"input 1x28x28\", got {entries[1][:80]!r}")
    layers = []
    for index, entry in enumerate(entries[2:-1]):
        match = _LAYER.fullmatch(entry)
        if not match:
            raise ValueError(f"layer {index} must be \"<kind> <inputs> <units> <from> <to> [<function>]\", "
                             f"kinds {', '.join(KINDS)}, forms float, bits, bits01, functions "
                             f"{', '.join(FUNCTIONS)}; got {entry[:80]!r}")
        kind, inputs, units, source, target, function = match.groups()
        layers.append(Layer(kind, int(inputs), int(units), source, target, function, {}))
    return int(version[1]), tuple(map(int, shape[1].split("x"))), layers, int(crc32[1], 16)


def _crc32(line, tensors):
    """CRC-32 of the line, then of each tensor's name and bytes, by name."""
    value = zlib.crc32(line.encode("utf-8"))
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name], zlib.crc32(name.encode("utf-8"), value))
    return value
