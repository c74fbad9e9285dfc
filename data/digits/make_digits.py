"""Writes the embedded digits set: scikit-learn's 8x8 digits as the four IDX files of MNIST.

    python data/digits/make_digits.py

Needed only to regenerate the files in its directory, and the only script here that needs scikit-learn. All arithmetic
is on integers and the random stream is NumPy's frozen one, so every machine writes the same content; it prints the
SHA-256 that README.md lists.
"""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

SEED = 0


def enlarge(images):
    """(N, 8, 8) integers 0..16 -> (N, 28, 28) uint8 0..255, by bilinear interpolation.

    The centre of pixel i lies at (i + 1/2) * 8/28 - 1/2 = (4i - 5)/14 source pixels, so every weight is a multiple of
    1/14 and every value one of 1/196: nothing is rounded before the end. There it is rounded to the 17 levels of the
    source, which halves the compressed files.
    """
    weights = np.zeros((28, 8), dtype=np.int64)
    for row, position in enumerate(range(-5, 4 * 28 - 5, 4)):
        source, part = divmod(position, 14)
        weights[row, max(source, 0)] += 14 - part
        weights[row, min(source + 1, 7)] += part
    levels = (weights @ images @ weights.T + 98) // 196
    return ((levels * 255 + 8) // 16).astype(np.uint8)


def split(labels):
    """Indices (train, test), each shuffled; every fifth image in order of class is for testing."""
    random = np.random.RandomState(SEED)
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    test = by_class[::5]
    train = np.setdiff1d(by_class, test)
    return random.permutation(train), random.permutation(test)


def build():
    """The decompressed content of the four files: a dict from file name to bytes."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = enlarge(source.images.astype(np.int64)), source.target.astype(np.uint8)
    files = {}
    for part, index in zip(("train", "t10k"), split(labels)):
        files[f"{part}-images-idx3-ubyte.gz"] = struct.pack(">IIII", 2051, len(index), 28, 28) + images[index].tobytes()
        files[f"{part}-labels-idx1-ubyte.gz"] = struct.pack(">II", 2049, len(index)) + labels[index].tobytes()
    return files


def main():
    for name, content in build().items():
        # No name and no time in the gzip header: with the same zlib the same bytes come out.
        with (
            open(Path(__file__).with_name(name), "wb") as out,
            gzip.GzipFile("", "wb", compresslevel=9, fileobj=out, mtime=0) as stream,
        ):
            stream.write(content)
        print(f"| `{name}` | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |")


if __name__ == "__main__":
    main()
