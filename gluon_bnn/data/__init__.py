"""Data sets as `mx.test_utils.get_mnist` gives them: digits and MNIST, IDX files, and folders of pictures.

`load` reads one, `find` says where it would, `check` looks at IDX files without keeping them.
"""

import os
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from . import folders, idx, mnist
from .idx import FILES

__all__ = ["FILES", "SETS", "check", "find", "has_pictures", "load"]


def __dir__():
    return __all__


AnyPath = Union[str, os.PathLike]
SETS = ("digits", "mnist")
_PACKAGE = Path(__file__).resolve().parent.parent


def load(
    name: AnyPath, root: Optional[AnyPath] = None, image_size: Optional[folders.ImageSize] = None
) -> dict[str, Any]:
    """The dict that `mx.test_utils.get_mnist()` returns, for the set `name` or for one's own data.

    `name` is "digits" (embedded in this package, 1437 + 360 images), "mnist" (60000 + 10000), or a directory. The two
    words always mean the sets; a directory of that name is "./digits" or a `pathlib.Path`. A directory holds

    - four IDX files with MNIST's names, compressed or without .gz: images (N, height, width) of any size,
      or (N, height, width, 3) in colour, and labels from 0 to 255; or
    - a folder of pictures for each class, 2 to 256 of them, in whatever format Pillow reads
      (`pip install pillow`). Where it has the folders train/ and test/, these hold the class folders. Else one picture
      in five of every class, at least one, is for the test: which ones follows from the names of folder and file, so
      they are the same in every run and everywhere. Pictures are grey where all of them are. They are read as
      `image_size`, a side or (height, width) in pixels; by default as their own size where all have the same of
      at most 64 x 64, else as 28 x 28. Hidden files, __MACOSX and Thumbs.db are left out; any other file must be a
      picture.

    A set is the directory <root>/<name> of the first of these roots that has one of the four files:

    1. `root`;
    2. the environment variable GLUON_BNN_DATA;
    3. the checkout's data/, when the package is used from one;
    4. the copy inside the package (digits only);
    5. MXNet's own: `mx.base.data_dir()`/datasets.

    MNIST that is found nowhere is downloaded to `root`, else to GLUON_BNN_DATA, else to MXNet's own; if some of its
    files are there already, only the others are. All are checked, see `check`.

    Returns a dict: `train_data` (N, channels, height, width) and `test_data` float32 in [0, 1], `train_label` and
    `test_label` (N,), and for folders `classes`, their names in the order of the labels. Labels are int32; those of
    the two sets are as get_mnist leaves them, *read-only int8*: convert them before calculating with them or comparing
    them with an MXNet array.

    Raises ValueError for an unknown name or a damaged file, FileNotFoundError for a missing one, and OSError when a
    download failed on every mirror; ImportError for pictures without Pillow. Safe to call from several threads; the
    current directory is not changed.

    >>> digits = load("digits")
    >>> digits["train_data"].shape, digits["test_label"].shape
    ((1437, 1, 28, 28), (360,))
    """
    directory = find(name, root)
    if name in SETS:
        if image_size is not None:
            raise ValueError(f"image_size is for folders of pictures, not for {name!r}")
        return _load_set(name, directory, root)
    assert directory is not None  # which it is for sets alone
    if not has_pictures(directory):
        if image_size is not None:
            raise ValueError(f"image_size is for folders of pictures; {directory} has IDX files, which have a size")
        return _as_get_mnist(idx.load(directory))
    parts, classes = folders.load(directory, image_size)
    return {**_as_get_mnist(parts), "classes": classes}


def find(name: AnyPath, root: Optional[AnyPath] = None) -> Optional[Path]:
    """The directory that `load(name, root)` would read, or None. Downloads and checks nothing.

    A directory with some of the four files counts as found: what is missing is then completed or reported, and not
    looked for in another root. Raises ValueError for a name that is neither a set nor a directory, or a directory with
    a `root`; TypeError for a name that is no path at all; what importing MXNet raises, when its own root is asked for
    and it cannot be imported.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name must be a str or a path, got {type(name).__name__}")
    if name in SETS:
        for directory in (parent / name for parent in _roots(root)):
            if any(os.path.lexists(directory / file) for file in FILES):
                return directory
        return None
    if not os.path.isdir(name):
        raise ValueError(
            "name must be 'digits', 'mnist' or an existing directory, with IDX files or with a folder of pictures for "
            f"each class; {os.fspath(name)!r} is none of these"
        )
    if root is not None:
        raise ValueError(
            f"root says where the sets 'digits' and 'mnist' are; {os.fspath(name)!r} "
            "is a directory and used as it is: leave root out"
        )
    return Path(name).absolute()


def has_pictures(directory: AnyPath) -> bool:
    """Whether `load` takes a directory for folders of pictures: it does where there is no IDX file."""
    return not idx.files_in(Path(directory))


def check(directory: AnyPath, name: Optional[AnyPath] = None) -> tuple[int, int]:
    """Read the four IDX files in `directory` and return the counts (train, test).

    Each file must be whole, with the magic number of its kind, as many items as it announces and nothing after them,
    images of one size, and as many labels as images. With the `name` of a set all must be gzip files of 28 x 28 pixels
    and labels 0..9; with "mnist" the counts and the SHA-256 of the contents must be MNIST's.

    Raises FileNotFoundError that names the missing files, ValueError that names the damaged one.
    """
    if name in SETS:
        return mnist.check(Path(directory), is_mnist=name == "mnist")
    parts = idx.load(Path(directory))
    return len(parts["train"][1]), len(parts["test"][1])


def _load_set(name, directory, root):
    if name == "mnist":
        home = _download_root(root) / name
        if directory in (None, home):
            directory = home
            for file in FILES:
                if not os.path.lexists(directory / file):
                    mnist.download(directory, file)
    elif directory is None:
        raise FileNotFoundError(
            f"no files of {name!r} in any of {', '.join(str(r / name) for r in _roots(root))}: "
            "install gluon_bnn again, or give the directory that holds them"
        )
    check(directory, name)
    return mnist.get_mnist(directory)


def _as_get_mnist(parts):
    """The dict of `parts`, {"train" and "test": (uint8 images, labels)}."""
    found = {}
    for part, (images, labels) in parts.items():
        found[f"{part}_data"] = np.ascontiguousarray(images, np.float32)
        found[f"{part}_data"] /= 255
        found[f"{part}_label"] = labels.astype(np.int32)
    return found


def _given_roots(root):
    return [Path(given).absolute() for given in (root, os.environ.get("GLUON_BNN_DATA")) if given]


def _mxnet_root():
    from .._compat import mx  # here, so that importing this file does not import MXNet

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
