"""Pictures as arrays, read and prepared in the same way for training and for `predict`.

Pillow reads them. What a file holds is never trusted: whatever is wrong with it is a ValueError that names it.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any, Union

import numpy as np

from . import _files

AnyPath = Union[str, os.PathLike]
LARGEST = 100_000_000  # pixels, as the largest cameras have; a small file may unpack to far more
LARGEST_SIDE = 4096  # pixels per side of the array that `read` returns
# Pillow passes EPS to Ghostscript, which would execute the file as a program.
_REFUSED = {"EPS"}
_TURNED = (5, 6, 7, 8)  # orientations of EXIF in which rows and columns change places
_CANNOT = "Pillow reads PNG, JPEG, GIF, TIFF, WebP, BMP and others: convert it to one of these, or take it away"


def read(path: AnyPath, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture in a file as uint8 (channels, height, width), which is `shape`.

    channels : 1 for grey, the luma of a coloured picture (ITU-R 601); 3 for red, green, blue

    A picture of another size is stretched to this one, whatever its proportions, with Pillow's bilinear filter, which
    widens with the reduction and so antialiases; one of this size keeps its pixels. Before that it is turned as its
    EXIF orientation says, and transparent parts are laid over white. Of an animation the first frame is read. White is
    65535 in a grey picture of more than 8 bits, and in one of floats the smallest of 1, 255 and 65535 that no value
    exceeds. A JPEG of more than eight times this size is decoded at a half, a quarter or an eighth of its own, which is
    faster.

    Raises FileNotFoundError for a missing file, OSError for one that cannot be opened, ValueError for one that holds
    no picture, a damaged one or one of more than 100 million pixels, and ImportError where Pillow is missing.
    """
    channels, height, width = shape
    if channels not in (1, 3) or not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise ValueError(
            f"a picture is read as (1 or 3 channels, height, width) of at most {LARGEST_SIDE} pixels per side, got "
            f"{tuple(shape)}"
        )
    with _opened(path) as image:
        from PIL import Image, ImageOps

        image.draft(None, (4 * max(height, width),) * 2)  # does nothing in formats other than JPEG
        image = ImageOps.exif_transpose(image)
        image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))


def size(path: AnyPath) -> tuple[int, int]:
    """(height, width) of the picture in a file, turned as `read` turns it. Reads its header only; raises as `read`."""
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(0x0112) in _TURNED else (height, width)


def is_named_as_one(path: AnyPath) -> bool:
    """Whether a file's name ends as those of pictures do."""
    return os.path.splitext(os.fsdecode(path))[1].lower() in _pillow().registered_extensions()


@contextlib.contextmanager
def _opened(path: AnyPath) -> Iterator[Any]:
    """The file as a PIL.Image whose pixels are not read yet; ValueError for whatever Pillow raises in the block."""
    Image, name = _pillow(), os.fsdecode(path)
    if os.path.isdir(name):
        raise ValueError(f"{name} is a directory, not a picture: name the files in it")
    try:
        file = _files.open_regular(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "there is no such picture", name) from None
    with file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError(f"{name} is empty: take it away, or put the picture there again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are refused below, and of odd metadata
            try:
                image = Image.open(file, formats=[kind for kind in Image.ID if kind not in _REFUSED])
            except Image.DecompressionBombError as error:
                raise ValueError(f"{name} is too large: at most {LARGEST} pixels can be read ({error})") from error
            except Exception as error:  # of a damaged header Pillow raises errors of many kinds
                raise ValueError(f"{name} is no picture that can be read; {_CANNOT}") from error
            width, height = image.size
            if width * height > LARGEST:
                raise ValueError(
                    f"{name} has {width} x {height} pixels; at most {LARGEST} can be read: make it smaller"
                )
            try:
                yield image
            except Exception as error:
                raise ValueError(
                    f"{name} cannot be read whole: {error}; put it there again, or take it away"
                ) from error


def _pillow():
    """PIL.Image, with all formats registered."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading pictures needs Pillow ({error}): pip install pillow") from error
    Image.init()
    return Image


def _eight_bits(image: Any) -> Any:
    """The picture with 8 bits per channel and nothing transparent."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        low, high = values.min(), values.max()
        whites = (1, 255, 65535) if image.mode == "F" else (65535,)
        white = next((white for white in whites if low >= 0 and high <= white), None)  # None with a NaN too
        if white is None:
            raise ValueError(
                f"its values go from {low:g} to {high:g}; whites of {whites} can be read, and no less than 0"
            )
        return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image
