"""MNIST as a net takes it: split, prepared, augmented, and in batches on the device."""

import numpy as np

from gluon_bnn._compat import mx

from common.arguments import load_dataset

SIZE = 28
INPUTS = ("unit", "signed", "centered")
# The deviation, in pixels, of the Gaussian that smooths displacements: what Simard, Steinkraus, Platt 2003 found best.
SMOOTH = 4.0


class Images:
    """The three parts of a data set, x float32 (rows, 784) and labels int (rows,), and how pixels became x.

    The last sixth of the training images is held out for validation: 50,000 and 10,000 of MNIST's 60,000.
    x = scale * pixel + shift, pixel 0 .. 255: "unit" within [0, 1], "signed" within [-1, 1] (BNN's code),
    "centered" less the mean of each pixel over the training part (BinaryConnect's and LAB's code). The pixels of the
    test images, uint8, are kept as well.
    """

    def __init__(self, dataset, data_dir=None, inputs="unit"):
        data = load_dataset(dataset, data_dir)
        images, labels = data["train_data"].reshape(-1, SIZE * SIZE), data["train_label"].astype(int)
        held_out = len(images) // 6
        if held_out < 1:
            raise ValueError(f"{dataset} must have at least 6 training images, got {len(images)}")
        self._gain, self.shift = np.float32(1), np.zeros(SIZE * SIZE, np.float32)
        if inputs == "signed":
            self._gain, self.shift = np.float32(2), self.shift - 1
        elif inputs == "centered":
            # Sums of whole numbers: the same mean on every machine.
            pixels = np.rint(255 * images[:-held_out]).astype(np.int64).sum(axis=0)
            self.shift = (-pixels / (255 * (len(images) - held_out))).astype(np.float32)
        self.scale = self._gain / 255
        self.train, self.train_labels = self._prepared(images[:-held_out]), labels[:-held_out]
        self.validation, self.validation_labels = self._prepared(images[-held_out:]), labels[-held_out:]
        test = data["test_data"].reshape(-1, SIZE * SIZE)
        self.test, self.test_pixels = self._prepared(test), np.rint(255 * test).astype(np.uint8)
        self.test_labels = data["test_label"].astype(int)

    def _prepared(self, unit):
        """x from pixels / 255."""
        return self._gain * unit + self.shift


def shifted(images, by, most, fill):
    """Each image (rows, 784) moved by `by` (rows, 2) less `most` pixels; `fill` (784,) moves in."""
    padded = np.pad((images - fill).reshape(-1, SIZE, SIZE), ((0, 0), (most, most), (most, most)))
    out = np.empty((len(images), SIZE, SIZE), images.dtype)
    for top in range(2 * most + 1):
        for left in range(2 * most + 1):
            rows = np.flatnonzero((by[:, 0] == top) & (by[:, 1] == left))
            out[rows] = padded[rows, top : top + SIZE, left : left + SIZE]
    return out.reshape(len(images), -1) + fill


def bends(generator, rows, deviation):
    """Random smooth displacements (rows, 784, 2) of pixels: normal noise, blurred; `deviation` pixels each."""
    at = np.arange(SIZE)
    blur = np.exp(-(((at[:, None] - at) / SMOOTH) ** 2) / 2)
    blur /= np.linalg.norm(blur, axis=1, keepdims=True)  # independent noise keeps its deviation, at the edges too
    noise = generator.standard_normal((rows, 2, SIZE, SIZE), np.float32)
    blur = blur.astype(np.float32)
    return deviation * (blur @ noise @ blur.T).reshape(rows, 2, -1).transpose(0, 2, 1)


def warped(images, matrix, by, fill):
    """Each image (rows, 784) turned, scaled and sheared about its middle by `matrix` (rows, 2, 2), and moved by `by`
    pixels, (rows, 1, 2) or for each pixel (rows, 784, 2), with bilinear interpolation; `fill` (784,) moves in."""
    rows, middle = len(images), (SIZE - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij"), axis=-1).reshape(-1, 2) - middle
    # Where the values of the new pixels lie in the old image, with a border of one pixel around it.
    at = (grid @ matrix.transpose(0, 2, 1) + by + middle + 1).astype(np.float32)
    at = np.clip(at, 0, np.nextafter(np.float32(SIZE + 1), np.float32(0)))
    whole = at.astype(np.int32)
    part = at - whole.astype(np.float32)
    padded = np.pad((images - fill).reshape(-1, SIZE, SIZE), ((0, 0), (1, 1), (1, 1))).reshape(-1)
    first = whole[..., 0] * (SIZE + 2) + whole[..., 1] + np.arange(rows, dtype=np.int32)[:, None] * (SIZE + 2) ** 2
    top = padded[first] * (1 - part[..., 1]) + padded[first + 1] * part[..., 1]
    low = padded[first + SIZE + 2] * (1 - part[..., 1]) + padded[first + SIZE + 3] * part[..., 1]
    return top * (1 - part[..., 0]) + low * part[..., 0] + fill


def batches_of(x, labels, batch_size, fill, shift=0, warp=0.0, bend=0.0):
    """A function of a generator to whole batches in random order, from data that lies on the device.

    fill : (784,), the background
    shift : each image is moved by up to so many pixels, drawn in every epoch; by whole pixels without warp and bend
    warp : affine distortion: each image is mapped by the unit matrix plus numbers up to this
    bend : elastic distortion: smooth random displacements with this standard deviation in pixels

    Rows left over, fewer than a batch, are not used in that epoch: batch norm needs batches of one size.
    """
    augmented = shift or warp or bend
    images, targets = None if augmented else mx.nd.array(x), mx.nd.array(labels.astype(np.float32))

    def batches(generator):
        order = generator.permutation(len(x))[: len(x) // batch_size * batch_size]
        # Always drawn, although affine distortion does not use it: the committed records have this random stream.
        by = generator.integers(0, 2 * shift + 1, (len(x), 2)) if shift else None
        # Shuffled once an epoch: a batch is then a view of consecutive rows, at no cost.
        index = mx.nd.array(order, dtype=np.int32)
        shuffled, labels_of = None if augmented else mx.nd.take(images, index), mx.nd.take(targets, index)
        for i in range(0, len(order), batch_size):
            rows = order[i : i + batch_size]
            if warp or bend:
                matrix = np.eye(2) + generator.uniform(-warp, warp, (len(rows), 2, 2))
                moves = generator.uniform(-shift, shift, (len(rows), 1, 2))
                if bend:
                    moves = moves + bends(generator, len(rows), bend)
                batch = mx.nd.array(warped(x[rows], matrix, moves, fill))
            elif shift:
                batch = mx.nd.array(shifted(x[rows], by[rows], shift, fill))
            else:
                batch = shuffled[i : i + batch_size]
            yield batch, labels_of[i : i + batch_size]

    return batches
