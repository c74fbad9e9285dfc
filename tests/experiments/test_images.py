"""How the training script prepares, moves, warps and batches images."""

import numpy as np
import pytest

from common.images import INPUTS, SMOOTH, Images, batches_of, bends, shifted, warped


def test_parts_and_inputs():
    unit, signed, centered = (Images("digits", inputs=how) for how in INPUTS)
    assert [len(part) for part in (unit.train, unit.validation, unit.test)] == [1198, 239, 360]
    assert unit.train.min() == 0 and unit.train.max() == 1 and unit.train.dtype == np.float32
    np.testing.assert_allclose(signed.test, 2 * unit.test - 1, atol=1e-7)
    np.testing.assert_allclose(centered.train.mean(axis=0, dtype=float), 0, atol=1e-6)
    np.testing.assert_allclose(centered.test, unit.test - unit.train.mean(axis=0, dtype=float), atol=1e-6)
    for images in (unit, signed, centered):
        pixels = np.rint(255 * unit.validation)
        np.testing.assert_allclose(images.validation, images.scale * pixels + images.shift, atol=1e-6)
        for part in (images.train, images.validation, images.test):
            assert part.dtype == np.float32


SHAPES = [(1, 28, 28), (3, 7, 12), (1, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shifted(rng, shape):
    height, width = shape[1:]
    images, fill = rng.random((9, *shape), np.float32), rng.random(shape, np.float32)
    by = np.stack(np.meshgrid(np.arange(3), np.arange(3)), axis=-1).reshape(-1, 2)
    for image, (top, left), found in zip(images, by, shifted(images, by, 1, fill)):
        expected, moves_in = fill.copy(), image - fill
        for i in range(height):
            for j in range(width):
                if 0 <= i + top - 1 < height and 0 <= j + left - 1 < width:
                    expected[:, i, j] += moves_in[:, i + top - 1, j + left - 1]
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_warped_is_scipys_affine_transform(rng, shape):
    from scipy.ndimage import affine_transform

    middle = (np.array(shape[1:]) - 1) / 2
    images, fill = rng.random((40, *shape), np.float32), rng.random(shape, np.float32)
    matrix, by = np.eye(2) + rng.uniform(-0.3, 0.3, (40, 2, 2)), rng.uniform(-3, 3, (40, 1, 2))
    found = warped(images, matrix, by, fill)
    assert found.dtype == np.float32
    for image, m, b, moved in zip(images, matrix, by, found):
        expected = [
            affine_transform(plane, m, middle + b[0] - m @ middle, order=1, mode="grid-constant")
            for plane in (image - fill).astype(float)
        ]
        np.testing.assert_allclose(moved, expected + fill, atol=2e-5)
    same = warped(images, np.tile(np.eye(2), (40, 1, 1)), np.zeros((40, 1, 2)), np.zeros(shape, np.float32))
    assert (same == images).all()


def test_warped_moves_each_pixel(rng):
    from scipy.ndimage import map_coordinates

    images, fill = rng.random((40, 1, 28, 28), np.float32), rng.random((1, 28, 28), np.float32)
    by = rng.uniform(-3, 3, (40, 784, 2))
    found = warped(images, np.tile(np.eye(2), (40, 1, 1)), by, fill)
    grid = np.stack(np.meshgrid(np.arange(28), np.arange(28), indexing="ij"), axis=-1).reshape(-1, 2)
    for image, b, moved in zip(images, by, found):
        expected = map_coordinates((image - fill)[0].astype(float), (grid + b).T, order=1, mode="grid-constant")
        np.testing.assert_allclose(moved, expected.reshape(1, 28, 28) + fill, atol=2e-5)


def test_bends_are_smooth_and_of_the_deviation_asked_for(rng):
    found = bends(rng, 4000, 1.5, 28, 28)
    assert found.shape == (4000, 784, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found.std(axis=0), 1.5, rtol=0.06)  # 1 / sqrt(8000) = 0.011 is one deviation
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.12)
    middle = found.reshape(-1, 28, 28, 2)[:, 14, 14]
    assert bends(rng, 3, 1.5, 5, 9).shape == (3, 45, 2)
    for step in (1, 4, 8):  # the correlation of a Gaussian blur at this distance, along either axis
        expected = np.exp(-((step / (2 * SMOOTH)) ** 2))
        for other in found.reshape(-1, 28, 28, 2)[:, 14 + step, 14], found.reshape(-1, 28, 28, 2)[:, 14, 14 + step]:
            np.testing.assert_allclose((middle * other).mean(axis=0) / 1.5**2, expected, atol=0.08)


@pytest.mark.parametrize(
    "options", [{}, {"shift": 1}, {"shift": 1, "warp": 0.1}, {"bend": 1.0}, {"shift": 1, "warp": 0.1, "bend": 1.0}]
)
def test_batches(rng, options):
    labels = np.arange(250)
    x = np.tile(labels[:, None, None, None], (1, 1, 28, 28)).astype(np.float32)  # an image is its label, everywhere
    batches = batches_of(x, labels, 100, np.zeros((1, 28, 28), np.float32), **options)
    first, again = ([(x.asnumpy(), y.asnumpy()) for x, y in batches(np.random.default_rng(3))] for _ in range(2))
    assert len(first) == 2 and len(set(np.concatenate([y for _, y in first]))) == 200
    for (x, y), (same_x, same_y) in zip(first, again):
        assert (x == same_x).all() and (y == same_y).all() and x.dtype == np.float32
        np.testing.assert_allclose(x[:, 0, 14, 14], y, rtol=1e-6)  # the middle moves nowhere out
    other = [y.asnumpy() for _, y in batches(np.random.default_rng(4))]
    assert not (np.concatenate(other) == np.concatenate([y for _, y in first])).all()
