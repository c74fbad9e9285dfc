"""Folders of pictures, one folder per class, as training and test images.

Everything in a class's folder must be a picture, except for hidden files and what operating systems put there
(IGNORED): nobody would notice a file that was left out silently.
"""

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Optional, Union

import numpy as np

from .. import _pictures
from .._progress import progress_bar
from .idx import LARGEST_CONTENT

IGNORED = {"__macosx", "thumbs.db", "desktop.ini", "@eadir"}
MOST_CLASSES = 256
SIZE = 28  # pixels, of pictures whose sizes differ or are larger than LARGEST_OWN
LARGEST_OWN = 64  # pixels per side
TEST_SHARE = 5  # one picture in five is for the test, where there are no folders train/ and test/
_LAYOUT = "pictures lie in DIRECTORY/CLASS/, or in DIRECTORY/train/CLASS/ and DIRECTORY/test/CLASS/"

ImageSize = Union[int, tuple[int, int]]


def load(
    directory: Path, image_size: Optional[ImageSize] = None
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """{"train" and "test": (uint8 images (N, channels, height, width), int32 labels)} and the names of the classes.

    Raises ValueError, which names what is wrong and where, and what else `_pictures.read` raises.
    """
    if not any(os.path.isdir(path) for path in _entries(directory)):
        raise ValueError(f"{directory} has no folders of pictures: {_LAYOUT}")
    parts = _given_parts(directory) or _split(_classes(directory))
    names = list(parts["train"])
    listed = [(part, path, names.index(name)) for part in parts for path, name in _mixed(parts[part])]
    height, width = _checked_size(image_size) or _own_size([path for _, path, _ in listed])
    if len(listed) * 3 * height * width > LARGEST_CONTENT:
        raise ValueError(
            f"{directory} has {len(listed)} pictures, which are too many for one array of {height} x {width} pixels "
            f"each; at most {LARGEST_CONTENT // (3 * height * width)} fit"
        )
    pixels = np.empty((len(listed), 3, height, width), np.uint8)
    for i, (_, path, _) in enumerate(_with_bar("reading pictures", listed)):
        pixels[i] = _pictures.read(path, (3, height, width))
    if (pixels[:, 1:] == pixels[:, :1]).all():
        pixels = pixels[:, :1]  # the same pixels as reading them in grey would give
    labels = np.array([label for _, _, label in listed], np.int32)
    of_train = np.array([part == "train" for part, _, _ in listed])
    return {"train": (pixels[of_train], labels[of_train]), "test": (pixels[~of_train], labels[~of_train])}, names


def interleaved(labels: np.ndarray) -> np.ndarray:
    """An order of rows in which every stretch has about as much of each class as the whole; within a class as before.

    >>> interleaved(np.array([0, 0, 0, 0, 1, 1])).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.argsort(place, kind="stable")


def _given_parts(directory):
    """{"train" and "test": what `_classes` finds there}; None where there are no two folders of these names."""
    folders = {path.name: path for path in _entries(directory) if path.is_dir()}
    if not {"train", "test"} <= set(folders):
        return None
    others = sorted(set(folders) - {"train", "test"})
    if others:
        raise ValueError(
            f"{directory} has train/, test/ and {others[0]}/: move what is in {others[0]}/ to one of the two, or take "
            "it away"
        )
    parts = {part: _classes(folders[part], 2 if part == "train" else 1) for part in ("train", "test")}
    unknown = sorted(set(parts["test"]) - set(parts["train"]))
    if unknown:
        raise ValueError(
            f"{folders['test'] / unknown[0]}: there is no class {unknown[0]!r} in {folders['train']}, which has "
            f"{_some(parts['train'])}"
        )
    return parts


def _split(classes):
    """The test part has one picture in TEST_SHARE of every class, at least one; `_draw` decides which."""
    parts = {"train": {}, "test": {}}
    for name, paths in classes.items():
        if len(paths) < 2:
            raise ValueError(
                f"{paths[0].parent} has one picture only; a class needs at least two, one to train and one to test"
            )
        tested = max(1, len(paths) // TEST_SHARE)
        drawn = sorted(paths, key=_draw)
        parts["test"][name], parts["train"][name] = drawn[:tested], drawn[tested:]
    return parts


def _draw(path):
    """A sort key that is as good as random and the same on every machine: a hash of the names of folder and file."""
    return hashlib.sha256(os.fsencode(f"{_composed(path.parent.name)}/{_composed(path.name)}")).digest()


def _mixed(classes):
    """(path, class) of all pictures: each class in the order of `_draw`, and the classes interleaved."""
    listed = [(path, name) for name, paths in classes.items() for path in sorted(paths, key=_draw)]
    names = list(classes)
    return [listed[i] for i in interleaved(np.array([names.index(name) for _, name in listed]))]


def _classes(directory, least=2):
    """{name of a class, composed (NFC): the paths of its pictures} of the folders in a directory, in order."""
    folders = []
    for path in _entries(directory):
        if path.is_dir():
            folders.append(path)
        elif _pictures.is_named_as_one(path):
            raise ValueError(f"{path} lies in no class's folder: {_LAYOUT}")
    if not least <= len(folders) <= MOST_CLASSES:
        raise ValueError(
            f"{directory} has {len(folders)} class folder(s), {_some([path.name for path in folders])}; allowed are "
            f"{least} to {MOST_CLASSES}: {_LAYOUT}"
        )
    names = {}
    for path in folders:
        name = _composed(path.name)
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise ValueError(f"{directory} has the class folder {path.name!r}, a name that cannot be shown: rename it")
        same = names.setdefault(name.casefold(), path)
        if same is not path:
            raise ValueError(
                f"{directory} has two classes whose names differ in case or accents' encoding only, {same.name!r} and "
                f"{path.name!r}; other systems take them for one: rename or merge them"
            )
    return dict(sorted((_composed(path.name), _pictures_in(path)) for path in folders))


def _pictures_in(folder):
    paths = list(_entries(folder))
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{folder} is a class's folder and has the folder {path.name!r} in it: {_LAYOUT}")
    if not paths:
        raise ValueError(f"{folder} has no pictures: put some there, or take the folder away")
    return paths


def _entries(directory):
    """The paths of what is in a directory, sorted by name, without what is ignored."""
    names = (name for name in os.listdir(directory) if not name.startswith(".") and name.lower() not in IGNORED)
    return [Path(directory, name) for name in sorted(names)]


def _own_size(paths):
    """The size that all pictures have, where they have one and it is small; SIZE otherwise."""
    found = set()
    for path in _with_bar("looking at pictures", paths):
        found.add(_pictures.size(path))
        if len(found) > 1 or max(max(found)) > LARGEST_OWN:
            return SIZE, SIZE
    return found.pop()


def _checked_size(image_size):
    """(height, width), None for None."""
    if image_size is None:
        return None
    pair = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
    if len(pair) != 2 or not all(
        isinstance(side, (int, np.integer)) and 1 <= side <= _pictures.LARGEST_SIDE for side in pair
    ):
        raise ValueError(
            f"image_size must be a side or (height, width), whole numbers from 1 to {_pictures.LARGEST_SIDE}, got "
            f"{image_size!r}"
        )
    return int(pair[0]), int(pair[1])


def _with_bar(what, items):
    """The items, with a progress bar over them in a terminal."""
    with progress_bar(desc=what, total=len(items), leave=False) as bar:
        for item in items:
            yield item
            bar.update()


def _composed(name):
    """A name as most systems write it; macOS writes its accents as characters of their own."""
    return unicodedata.normalize("NFC", name)


def _some(names):
    names = [repr(name) for name in names]
    return ", ".join(names[:6] + ["..."] * (len(names) > 6)) or "none"
