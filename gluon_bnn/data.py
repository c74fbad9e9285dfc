"""Finds, downloads and checks the four IDX files that `mx.test_utils.get_mnist` reads.

`get_mnist` checks nothing: a truncated file is an obscure error and a wrong label a wrong result.
So every file is read through once before: gzip integrity, magic number, counts, image size, labels,
and for MNIST the SHA-256 of the content. No file that was found is ever changed.
"""

import gzip
import hashlib
import http.client
import os
import struct
import threading
import urllib.request
import zlib
from pathlib import Path
from typing import Any, Optional, Union

from . import _files
from ._progress import progress_bar

AnyPath = Union[str, os.PathLike]
SETS = ("digits", "mnist")
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# Count and SHA-256 of the decompressed content: the gzip bytes differ between mirrors.
MNIST = {
    "train-images-idx3-ubyte.gz": (60000, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte.gz": (60000, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte.gz": (10000, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte.gz": (10000, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
TIMEOUT = 20  # seconds without a byte from a mirror
LARGEST_DOWNLOAD = 64 << 20  # bytes; MNIST's largest file holds 47 million even uncompressed
LARGEST_COUNT = 1_000_000  # items a file, 3 GB as float32; EMNIST has 814,255
_CHUNK = 1 << 18
_SLACK = 1 << 19  # bytes of a gzip file that its content need not explain: headers, padding, what gzip reads ahead
_SINGLE = 1 << 16  # bytes that gzip may ask for one by one: padding, a name
_PACKAGE = Path(__file__).resolve().parent
_lock = threading.Lock()  # held while mx.test_utils.download is replaced


def load(name: AnyPath, root: Optional[AnyPath] = None) -> dict[str, Any]:
    """The dict that `mx.test_utils.get_mnist()` returns for the set `name`.

    `name` is "digits" (embedded in this package, 1437 + 360 images), "mnist" (60000 + 10000), or a
    directory that holds four files with MNIST's names. The two words always mean the sets; a
    directory of that name is "./digits" or a `pathlib.Path`.

    A set is the directory <root>/<name> of the first of these roots that has one of the four files:

    1. `root`;
    2. the environment variable GLUON_BNN_DATA;
    3. the checkout's data/, when the package is used from one;
    4. the copy inside the package (digits only);
    5. MXNet's own: `mx.base.data_dir()`/datasets.

    MNIST that is found nowhere is downloaded to `root`, else to GLUON_BNN_DATA, else to MXNet's
    own; if some of its files are there already, only the others are. All are checked, see `check`.

    Returns a dict: `train_data` (N, 1, 28, 28) and `test_data` float32 in [0, 1], `train_label` and
    `test_label` (N,), which get_mnist leaves as *read-only int8*: convert them before calculating
    with them or comparing them with an MXNet array.

    Raises ValueError for an unknown name or a damaged file, FileNotFoundError for a missing one,
    and OSError when a download failed on every mirror. Safe to call from several threads; the
    current directory is not changed.

    >>> digits = load("digits")
    >>> digits["train_data"].shape, digits["test_label"].shape
    ((1437, 1, 28, 28), (360,))
    """
    directory = find(name, root)
    if name == "mnist":
        home = _download_root(root) / name
        if directory in (None, home):
            directory = home
            for file in FILES:
                if not os.path.lexists(directory / file):
                    _download(directory, file)
    elif directory is None:
        raise FileNotFoundError(
            f"no files of {name!r} in any of {', '.join(str(r / name) for r in _roots(root))}: "
            "install gluon_bnn again, or give the directory that holds them"
        )
    check(directory, name)
    return _get_mnist(directory)


def find(name: AnyPath, root: Optional[AnyPath] = None) -> Optional[Path]:
    """The directory that `load(name, root)` would read, or None. Downloads and checks nothing.

    A directory with some of the four files counts as found: what is missing is then completed or
    reported, and not looked for in another root. Raises ValueError for a name that is neither a set
    nor a directory, or a directory with a `root`; TypeError for a name that is no path at all; what
    importing MXNet raises, when its own root is asked for and it cannot be imported.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name must be a str or a path, not {type(name).__name__}")
    if name in SETS:
        for directory in (parent / name for parent in _roots(root)):
            if any(os.path.lexists(directory / file) for file in FILES):
                return directory
        return None
    if not os.path.isdir(name):
        raise ValueError(
            f"name must be 'digits', 'mnist' or an existing directory with the files "
            f"{', '.join(FILES)}; {os.fspath(name)!r} is none of these"
        )
    if root is not None:
        raise ValueError(
            f"root says where the sets 'digits' and 'mnist' are; {os.fspath(name)!r} "
            "is a directory and used as it is: leave root out"
        )
    return Path(name).absolute()


def check(directory: AnyPath, name: Optional[AnyPath] = None) -> tuple[int, int]:
    """Read the four files in `directory` and return the counts (train, test).

    Each file must be a whole gzip file with the magic number of its kind, as many items as it
    announces and nothing after them, images of 28 x 28 pixels, labels 0..9, and as many labels as
    images. With `name="mnist"` the counts and the SHA-256 of the contents must be MNIST's.

    Raises FileNotFoundError that names the missing files, ValueError that names the damaged one.
    """
    directory = Path(directory)
    missing = [file for file in FILES if not os.path.lexists(directory / file)]
    if missing:
        raise FileNotFoundError(
            f"{directory} lacks {', '.join(missing)}: put what is missing there, or use another directory"
        )
    counts = {}
    for file in FILES:
        try:
            counts[file] = _read(directory / file, file, MNIST[file] if name == "mnist" else None)
        except ValueError as error:
            raise ValueError(
                f"{directory / file}: {error}. The file was left as it is: replace it, or move it away, and load again"
            ) from error
    for images, labels in (FILES[:2], FILES[2:]):
        if counts[images] != counts[labels]:
            raise ValueError(
                f"{directory}: {counts[images]} images in {images} but "
                f"{counts[labels]} labels in {labels}; there must be one label an "
                "image: replace the file that belongs to another set"
            )
    return counts[FILES[0]], counts[FILES[2]]


def _read(path, file, expected=None):
    """Read the IDX file at `path` and return its count; ValueError says what is wrong.

    `file` is the name it has or will have, `expected` is (count, sha256) or None. No more is
    decompressed than the header announces, so a small file that unpacks to a huge one is harmless;
    no more is read than its content explains, so a huge file of padding is harmless too.
    """
    if not path.is_file():
        raise ValueError("is not a regular file")
    magic, kind, item, fields = (2051, "images", 784, ">IIII") if "images" in file else (2049, "labels", 1, ">II")
    try:
        with open(path, "rb") as source:
            source = _Bounded(source)
            stream = gzip.open(source)
            header = stream.read(struct.calcsize(fields))
            if len(header) < struct.calcsize(fields):
                raise ValueError(f"ends inside its header, after {len(header)} bytes")
            found, count, *size = struct.unpack(fields, header)
            if found != magic:
                raise ValueError(f"starts with {found}, a file of {kind} with {magic}")
            if size and size != [28, 28]:
                raise ValueError(f"announces images of {size[0]} x {size[1]} pixels; only 28 x 28 can be read")
            if not 1 <= count <= LARGEST_COUNT:
                raise ValueError(f"announces {count} {kind}; allowed are 1 to {LARGEST_COUNT}")
            if expected and count != expected[0]:
                raise ValueError(f"announces {count} {kind}; MNIST has {expected[0]} here")
            digest = hashlib.sha256(header)
            left = count * item
            while left:
                source.allowed += min(left, _CHUNK)  # compressed it is no larger, or by much less than the slack
                chunk = stream.read(min(left, _CHUNK))
                if not chunk:
                    raise ValueError(f"announces {count} {kind} but holds only {(count * item - left) // item}")
                if kind == "labels" and max(chunk) > 9:
                    raise ValueError(f"has a label {max(chunk)}; allowed are 0 to 9")
                digest.update(chunk)
                left -= len(chunk)
            source.allowed = _SLACK
            if stream.read(1):  # this also makes gzip compare its checksum
                raise ValueError(f"holds more than the {count} {kind} it announces")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"is not a whole gzip file ({error})") from error
    if expected and digest.hexdigest() != expected[1]:
        raise ValueError(
            f"is well formed but not MNIST: its content has the SHA-256 {digest.hexdigest()}, MNIST's {expected[1]}"
        )
    return count


class _Bounded:
    """A binary file of which no more than `allowed` bytes can be read, or it is a ValueError.

    gzip reads padding and a name in its header byte by byte, and members without content one by one: gigabytes of
    these would take minutes.
    """

    def __init__(self, file):
        self._file, self._single, self.allowed = file, _SINGLE, _SLACK

    def read(self, size):
        found = self._file.read(size)
        self.allowed -= len(found)
        self._single -= size == 1
        if self.allowed < 0 or self._single < 0:
            raise ValueError("holds far more than its content needs, for instance padding")
        return found


def _download(directory, file):
    """Fetch one file of MNIST from the first mirror that has it right; OSError if none has."""
    directory.mkdir(parents=True, exist_ok=True)
    _files.remove_unfinished(str(directory / file))
    failures = []
    for mirror in MIRRORS:
        try:
            with (
                urllib.request.urlopen(mirror + file, timeout=TIMEOUT) as response,
                _files.new_file(str(directory / file)) as out,
                progress_bar(desc=file, unit="B", unit_scale=True, total=getattr(response, "length", None)) as bar,
            ):
                while chunk := response.read(_CHUNK):
                    out.write(chunk)
                    bar.update(len(chunk))
                    if out.tell() > LARGEST_DOWNLOAD:
                        raise ValueError(f"sends more than {LARGEST_DOWNLOAD} bytes")
                out.flush()
                _read(Path(out.name), file, MNIST[file])
                os.replace(out.name, directory / file)  # several processes may download at once; the last one wins
                return
        except (OSError, http.client.HTTPException, ValueError) as error:
            failures.append(f"  {mirror}{file}: {error}")
    raise OSError(
        "\n".join(
            [
                f"MNIST is not complete in {directory} and could not be downloaded:",
                *failures,
                f"Without a network, put these four files there by hand: {', '.join(FILES)}",
            ]
        )
    )


def _given_roots(root):
    return [Path(given).absolute() for given in (root, os.environ.get("GLUON_BNN_DATA")) if given]


def _mxnet_root():
    from ._compat import mx  # here, so that importing this file does not import MXNet

    return Path(mx.base.data_dir(), "datasets").absolute()


def _download_root(root):
    return (_given_roots(root) or [_mxnet_root()])[0]


def _roots(root):
    """Where sets are looked for, in order; MXNet is not imported before its turn comes."""
    yield from _given_roots(root)
    if (_PACKAGE.parent / "setup.py").is_file():
        yield _PACKAGE.parent / "data"
    yield _PACKAGE / "_data"
    yield _mxnet_root()


def _get_mnist(directory):
    """`mx.test_utils.get_mnist()` over the files in `directory`.

    get_mnist looks up `mx.test_utils.download` for each file. Changing the current directory would
    do as well, but that belongs to every thread; the replacement answers this thread only.
    """
    from ._compat import mx

    with _lock:
        download, thread = mx.test_utils.download, threading.get_ident()

        def local(url, *args, **kwargs):
            file = url.rsplit("/", 1)[-1]
            if file in FILES and threading.get_ident() == thread:
                return str(directory / file)
            return download(url, *args, **kwargs)

        mx.test_utils.download = local
        try:
            return mx.test_utils.get_mnist()
        finally:
            mx.test_utils.download = download
