"""The sets with MNIST's files: their check, MNIST's download, and `mx.test_utils.get_mnist` over a directory.

`get_mnist` checks nothing: a truncated file is an obscure error and a wrong label a wrong result. So every file is read
once before it, to check gzip integrity, magic number, counts, image size, labels, and for MNIST the SHA-256 of the
content. No file that was found is ever changed.
"""

import hashlib
import http.client
import os
import threading
import urllib.request
from pathlib import Path
from typing import Any

from .. import _files
from .._progress import progress_bar
from . import idx
from .idx import FILES

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
_CHUNK = 1 << 18
_lock = threading.Lock()  # held while mx.test_utils.download is replaced


def check(directory: Path, is_mnist: bool) -> tuple[int, int]:
    """The counts (train, test) of a set whose four files are checked, as `gluon_bnn.data.check` says."""
    idx.require([file for file in FILES if not os.path.lexists(directory / file)], directory)
    counts = []
    for file in FILES:
        with idx.named(directory / file):
            counts.append(_check_file(directory / file, file, MNIST[file] if is_mnist else None))
    idx.check_counts(directory, FILES, counts)
    return counts[0], counts[2]


def _check_file(path, file, expected):
    """The number of items in the file at `path`, whose name is or will be `file`; ValueError where something is wrong.

    expected : (count, SHA-256) that the content must have, None for any
    """
    kind = idx.kind_of(file)
    pieces = idx.chunks(path, kind, compressed=True)
    header = next(pieces)
    count, *shape = idx.dimensions(header)
    if shape not in ([], [28, 28]):
        raise ValueError(f"announces images of {shape[0]} x {shape[1]} pixels; this set has 28 x 28, in grey")
    if expected and count != expected[0]:
        raise ValueError(f"announces {count} {kind}; MNIST has {expected[0]} here")
    digest = hashlib.sha256(header)
    for piece in pieces:
        if kind == "labels" and max(piece) > 9:
            raise ValueError(f"has a label {max(piece)}; allowed are 0 to 9")
        digest.update(piece)
    if expected and digest.hexdigest() != expected[1]:
        raise ValueError(
            f"is well formed but not MNIST: its content has the SHA-256 {digest.hexdigest()}, MNIST's {expected[1]}"
        )
    return count


def download(directory: Path, file: str) -> None:
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
                _check_file(Path(out.name), file, MNIST[file])
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


def get_mnist(directory: Path) -> dict[str, Any]:
    """`mx.test_utils.get_mnist()` over the files in `directory`.

    get_mnist looks up `mx.test_utils.download` for each file. Changing the current directory would do as well, but that
    belongs to every thread; the replacement answers this thread only.
    """
    from .._compat import mx  # here, so that importing this file does not import MXNet

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
