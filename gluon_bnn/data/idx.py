"""IDX files, the format of MNIST: images and labels in big-endian headers and bytes, gzip-compressed or plain.

Every file may be hostile. No more is decompressed than its header announces, so a small file that unpacks to a huge one
is harmless; no more is read than its content explains, so a huge file of padding is harmless too.
"""

import contextlib
import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
FILES = tuple(f"{part}-idx{3 if 'images' in part else 1}-ubyte.gz" for part in PARTS)
LARGEST_COUNT = 1_000_000  # items per file; EMNIST has 814,255
LARGEST_CONTENT = 784 * LARGEST_COUNT  # bytes of pixels per file, 3 GB as float32
_MAGIC = {"images": (2051, 2052), "labels": (2049,)}  # their last byte is the number of dimensions
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 18
_SLACK = 1 << 19  # bytes of a gzip file that its content need not explain: headers, padding, what gzip reads ahead
_SINGLE = 1 << 16  # bytes that gzip may ask for one by one: padding, a name


def load(directory: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{"train" and "test": (uint8 images (N, channels, height, width), uint8 labels (N,))} from a directory.

    Raises FileNotFoundError that names the missing files, ValueError that names the damaged one.
    """
    files = files_in(directory)
    require([name for part, name in zip(PARTS, FILES) if part not in files], directory)
    names, arrays = [files[part].name for part in PARTS], []
    for part in PARTS:
        with named(files[part]):
            arrays.append(_array(files[part], kind_of(part)))
    check_counts(directory, names, [len(array) for array in arrays])
    train, test = arrays[0], arrays[2]
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{directory}: images of {_described(train)} in {names[0]} but of {_described(test)} in {names[2]}; they "
            "must be equal: replace the file that belongs to another set"
        )
    return {"train": (train, arrays[1]), "test": (test, arrays[3])}


def require(missing: Sequence[str], directory: Path) -> None:
    """FileNotFoundError where files are missing."""
    if missing:
        raise FileNotFoundError(
            f"{directory} lacks {', '.join(missing)}: put what is missing there, or use another directory"
        )


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """A ValueError of the block gets the name of the file that it is about, and what to do."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}. The file was left as it is: replace it, or move it away, and load again"
        ) from error


def check_counts(directory: Path, files: Sequence[str], counts: Sequence[int]) -> None:
    """ValueError unless there are as many labels as images; files and counts in the order of PARTS."""
    for i in (0, 2):
        if counts[i] != counts[i + 1]:
            raise ValueError(
                f"{directory}: {counts[i]} images in {files[i]} but {counts[i + 1]} labels in {files[i + 1]}; there "
                "must be one label for each image: replace the file that belongs to another set"
            )


def _described(images):
    return f"{images.shape[2]} x {images.shape[3]} pixels in {'grey' if images.shape[1] == 1 else 'colour'}"


def kind_of(file: str) -> str:
    """Whether a file of this name holds "images" or "labels"."""
    return "images" if "images" in file else "labels"


def files_in(directory: Path) -> dict[str, Path]:
    """{part: its file} of those of PARTS that a directory has, under MNIST's name with or without .gz."""
    found = {}
    for part in PARTS:
        dimensions = (3, 4) if kind_of(part) == "images" else (1,)
        paths = [directory / f"{part}-idx{n}-ubyte{end}" for n in dimensions for end in (".gz", "")]
        there = [path for path in paths if os.path.lexists(path)]
        if there:
            found[part] = there[0]
    return found


def chunks(path: Path, kind: str, compressed: bool) -> Iterator[bytes]:
    """The header of the IDX file at `path`, of a known `kind`, then its content piece by piece, all of it checked.

    compressed : it must be a gzip file; otherwise it may be

    Raises ValueError that says what is wrong: a wrong header, less or more content than it announces, damage.
    """
    if not path.is_file():
        raise ValueError("is not a regular file")
    try:
        with open(path, "rb") as file:
            source: Any = _Bounded(file)
            compressed = compressed or file.read(2) == _GZIP
            file.seek(0)
            stream = gzip.GzipFile(fileobj=source) if compressed else source
            header = stream.read(4)
            (magic,) = struct.unpack(">I", header) if len(header) == 4 else (None,)
            if magic in _MAGIC[kind]:
                header += stream.read(4 * (magic & 0xFF))
            if magic is None or (magic in _MAGIC[kind] and len(header) < 4 + 4 * (magic & 0xFF)):
                raise ValueError(f"ends inside its header, after {len(header)} bytes")
            if magic not in _MAGIC[kind]:
                allowed = " or ".join(map(str, _MAGIC[kind]))
                raise ValueError(f"starts with {magic}; a file of {kind} starts with {allowed}")
            count, *shape = dimensions(header)
            _check_header(kind, count, shape)
            yield header
            item = math.prod(shape)
            left = count * item
            while left:
                source.allowed += min(left, _CHUNK)  # compression enlarges a chunk by much less than _SLACK at most
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise ValueError(f"announces {count} {kind} but holds only {(count * item - left) // item}")
                yield chunk
                left -= len(chunk)
            source.allowed = _SLACK
            if stream.read(1):  # this also makes gzip compare its checksum
                raise ValueError(f"holds more than the {count} {kind} it announces")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"is not a whole gzip file ({error})") from error


def dimensions(header: bytes) -> tuple[int, ...]:
    """(count, *shape of one item) by a header from `chunks`."""
    return struct.unpack(f">{len(header) // 4 - 1}I", header[4:])


def _check_header(kind, count, shape):
    if not 1 <= count <= LARGEST_COUNT:
        raise ValueError(f"announces {count} {kind}; allowed are 1 to {LARGEST_COUNT}")
    if len(shape) == 3 and shape[2] != 3:
        raise ValueError(f"announces images of {shape[2]} values per pixel; 3, for red, green, blue, can be read")
    if shape and not 1 <= count * math.prod(shape) <= LARGEST_CONTENT:
        raise ValueError(
            f"announces {count} images of {shape[0]} x {shape[1]} pixels; allowed are 1 to {LARGEST_CONTENT} bytes in "
            "all"
        )


def _array(path: Path, kind: str) -> np.ndarray:
    """The content of an IDX file, uint8 (count, channels, height, width) or (count,); raises as `chunks`.

    One whose name ends in .gz must be compressed, another may be.
    """
    pieces = chunks(path, kind, path.suffix == ".gz")
    shape = dimensions(next(pieces))
    content = bytearray()
    for piece in pieces:
        content += piece
    items = np.frombuffer(content, np.uint8).reshape(shape)
    if kind == "labels":
        return items
    return items.transpose(0, 3, 1, 2) if items.ndim == 4 else items[:, None]


class _Bounded:
    """A binary file of which no more than `allowed` bytes can be read, or it is a ValueError.

    gzip reads padding and a name in its header byte by byte, and members without content one by one: gigabytes of
    these would take minutes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._single, self.allowed = file, _SINGLE, _SLACK

    def read(self, size: int) -> bytes:
        found = self._file.read(size)
        self.allowed -= len(found)
        self._single -= size == 1
        if self.allowed < 0 or self._single < 0:
            raise ValueError("holds far more than its content needs, for instance padding")
        return found
