"""gluon_bnn._pictures: every kind of picture becomes the pixels that one sees, and what is no picture is named."""

import io
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from gluon_bnn import _pictures


def saved(path, pixels, mode=None, **options):
    """A file with these pixels: an array, or a PIL.Image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_pixels_of_the_size_asked_for_are_kept(tmp_path, rng):
    colour, grey = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), rng.integers(0, 256, (5, 7), dtype=np.uint8)
    for suffix in (".png", ".bmp", ".tif", ".ppm"):
        found = _pictures.read(saved(tmp_path / f"c{suffix}", colour), (3, 5, 7))
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, colour.transpose(2, 0, 1))
    np.testing.assert_array_equal(_pictures.read(saved(tmp_path / "g.png", grey), (1, 5, 7)), grey[None])
    np.testing.assert_array_equal(_pictures.read(tmp_path / "g.png", (3, 5, 7)), np.stack([grey] * 3))
    luma = _pictures.read(tmp_path / "c.png", (1, 5, 7))[0]
    assert np.abs(luma - colour @ [0.299, 0.587, 0.114]).max() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    """What lies at the top left is there after the camera's turn, and in `size` too."""
    upright = np.zeros((4, 6), np.uint8)
    upright[0, 0], upright[0, 5] = 255, 128
    turns = [
        lambda a: a,
        np.fliplr,
        lambda a: np.rot90(a, 2),
        np.flipud,
        np.transpose,
        lambda a: np.rot90(a, 1),
        lambda a: np.rot90(a, 2).T,
        lambda a: np.rot90(a, -1),
    ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "p.png", np.ascontiguousarray(turns[orientation - 1](upright)), exif=exif)
    assert _pictures.size(path) == (4, 6)
    np.testing.assert_array_equal(_pictures.read(path, (1, 4, 6))[0], upright)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 257, 65535]], np.uint16), [0, 1, 255]),
        (np.array([[0, 257 * 100, 65535]], np.int32), [0, 100, 255]),
        (np.array([[0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0, 2, 255]], np.float32), [0, 2, 255]),
        (np.array([[0, 257, 65535]], np.float32), [0, 1, 255]),
    ],
)
def test_greys_of_more_than_eight_bits(tmp_path, values, expected):
    assert _pictures.read(saved(tmp_path / "p.tif", values), (1, 1, 3)).tolist() == [[expected]]
    if values.dtype == np.uint16:
        assert _pictures.read(saved(tmp_path / "p.png", values), (1, 1, 3)).tolist() == [[expected]]


@pytest.mark.parametrize("values", [[-1.0, 3], [0, 1e6], [np.nan, 1], [0, np.inf]])
def test_greys_of_no_known_white(tmp_path, values):
    path = saved(tmp_path / "p.tif", np.array([values], np.float32))
    with pytest.raises(ValueError, match=r"p\.tif.*whites of"):
        _pictures.read(path, (1, 1, 2))


def test_what_is_transparent_lies_over_white(tmp_path):
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    expected = [[200, 0, 0], [255, 255, 255], [204, 204, 204]]
    found = _pictures.read(saved(tmp_path / "p.png", rgba), (3, 1, 3))
    assert found.transpose(1, 2, 0)[0].tolist() == expected
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert _pictures.read(saved(tmp_path / "q.gif", palette), (3, 1, 2))[:, 0].T.tolist() == [
        [10, 20, 30],
        [40, 50, 60],
    ]
    found = _pictures.read(saved(tmp_path / "q.png", palette, transparency=1), (3, 1, 2))
    assert found[:, 0].T.tolist() == [[10, 20, 30], [255] * 3]
    grey = np.array([[7, 9]], np.uint8)
    assert _pictures.read(saved(tmp_path / "g.png", grey, transparency=9), (1, 1, 2)).tolist() == [[[7, 255]]]


def test_the_first_frame(tmp_path):
    frames = [Image.new("L", (3, 2), grey) for grey in (10, 200, 100)]
    frames[0].save(tmp_path / "p.gif", save_all=True, append_images=frames[1:])
    assert (_pictures.read(tmp_path / "p.gif", (1, 2, 3)) == 10).all()


def test_one_bit_and_cmyk(tmp_path):
    assert _pictures.read(saved(tmp_path / "p.png", np.array([[True, False]])), (1, 1, 2)).tolist() == [[[255, 0]]]
    white = Image.new("CMYK", (8, 8), 0)
    assert (_pictures.read(saved(tmp_path / "p.jpg", white), (3, 8, 8)) == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_reduced_without_aliases(tmp_path, suffix):
    """Stripes one pixel wide become grey; a filter of the old pixels nearby alone would leave black and white."""
    stripes = np.tile(np.array([0, 255], np.uint8), (512, 256))
    found = _pictures.read(saved(tmp_path / f"p{suffix}", stripes), (1, 8, 10))
    assert np.abs(found.astype(int) - 127.5).max() < 5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_grey_picture_saved_in_colour_is_as_grey(tmp_path, rng, suffix):
    grey = rng.integers(0, 256, (40, 50), dtype=np.uint8)
    one = _pictures.read(saved(tmp_path / f"g{suffix}", grey), (1, 9, 7))
    found = _pictures.read(saved(tmp_path / f"c{suffix}", grey, "RGB"), (3, 9, 7))
    assert (found == found[:1]).all() and np.abs(found[:1].astype(int) - one).max() <= (suffix == ".jpg")
    np.testing.assert_array_equal(_pictures.read(tmp_path / f"c{suffix}", (1, 9, 7)), found[:1])


def png_of(width, height):
    """A PNG that announces this size."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def content(kind):
    png = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(png, "PNG")
    return {
        "empty": b"",
        "text": b"no picture at all",
        "truncated": png.getvalue()[:-40],
        "header": png.getvalue()[:20],
        "bomb": png_of(60000, 60000),
        "large": png_of(12000, 9000),
        "short": png_of(500, 500),
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "header", "bomb", "large", "short"])
def test_what_is_no_picture_is_named(tmp_path, kind):
    path = tmp_path / "bäd.png"
    path.write_bytes(content(kind))
    with pytest.raises(ValueError, match=r"bäd\.png .*(take it away|make it smaller|at most)"):
        _pictures.read(path, (3, 8, 8))
    assert path.read_bytes() == content(kind)


def test_programs_are_not_run(tmp_path):
    """Pillow gives EPS to Ghostscript."""
    path = saved(tmp_path / "p.eps", Image.new("L", (4, 4)))
    assert Image.open(path).format == "EPS"
    with pytest.raises(ValueError, match=r"p\.eps is no picture that can be read"):
        _pictures.read(path, (1, 4, 4))


def test_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such picture.*none\.png"):
        _pictures.read(tmp_path / "none.png", (1, 2, 2))
    with pytest.raises(ValueError, match="is a directory"):
        _pictures.read(tmp_path, (1, 2, 2))
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(OSError, match=r"fifo\.png"):
        _pictures.read(tmp_path / "fifo.png", (1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 0, 4), (3, 4, 10**6)])
def test_shapes_of_no_picture(tmp_path, shape):
    with pytest.raises(ValueError, match="1 or 3 channels"):
        _pictures.read(saved(tmp_path / "p.png", Image.new("L", (4, 4))), shape)


def test_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        _pictures.read(tmp_path / "p.png", (1, 2, 2))
