"""Images as a net takes them: split, prepared, augmented, and in batches on the device."""

import numpy as np

from gluon_bnn import data, train
from gluon_bnn._compat import mx
from gluon_bnn.data.folders import interleaved

import image_sets
from common.arguments import load_dataset

INPUTS = ("unit", "signed", "centered")
# The deviation, in pixels, of the Gaussian that smooths displacements: what Simard, Steinkraus, Platt 2003 found best.
SMOOTH = 4.0


class Images:
    """The three parts of a data set, x float32 (rows, *shape) and labels int (rows,), and how pixels became x.

    shape : (channels, height, width)
    classes : their number; names : their names, or None; own : whether the images are of a directory, not of a set

    The last sixth of the training images is held out for validation: 50,000 and 10,000 of MNIST's 60,000. Images of a
    directory are interleaved by class first, so that this has about a sixth of each class.
    x = scale * pixel + shift, pixel 0 .. 255: "unit" within [0, 1], "signed" within [-1, 1] (BNN's code),
    "centered" less the mean of each pixel over the training part (BinaryConnect's and LAB's code). The pixels of the
    test images, uint8, are kept as well.
    """

    def __init__(self, dataset, data_dir=None, inputs="unit", image_size=None):
        found = load_dataset(dataset, data_dir, image_size)
        images, labels, test = found["train_data"], found["train_label"].astype(int), found["test_data"]
        self.shape = images.shape[1:]
        self.test_labels, self.names = found["test_label"].astype(int), found.get("classes")
        self.own = dataset not in (*data.SETS, *image_sets.names())
        seen = 1 + int(max(labels.max(), self.test_labels.max()))
        self.classes = len(self.names or range(seen))
        if self.classes < 2:
            raise ValueError(f"{dataset} has images of one class only; there must be at least 2")
        if self.own:
            order = interleaved(labels)
            images, labels = images[order], labels[order]
        held_out = len(images) // 6
        if held_out < 1:
            raise ValueError(f"{dataset} must have at least 6 training images, got {len(images)}: add some")
        self._gain, self.shift = np.float32(1), np.zeros(self.shape, np.float32)
        if inputs == "signed":
            self._gain, self.shift = np.float32(2), self.shift - 1
        elif inputs == "centered":
            # Sums of whole numbers: the same mean on every machine.
            pixels = np.rint(255 * images[:-held_out]).astype(np.int64).sum(axis=0)
            self.shift = (-pixels / (255 * (len(images) - held_out))).astype(np.float32)
        self.scale = self._gain / 255
        self.train, self.train_labels = self._prepared(images[:-held_out]), labels[:-held_out]
        self.validation, self.validation_labels = self._prepared(images[-held_out:]), labels[-held_out:]
        self.test, self.test_pixels = self._prepared(test), np.rint(255 * test).astype(np.uint8)

    def _prepared(self, unit):
        """x from pixels / 255."""
        return self._gain * unit + self.shift


def shifted(images, by, most, fill):
    """Each image (rows, channels, height, width) moved by `by` (rows, 2) less `most` pixels; `fill`, an image, moves
    in."""
    height, width = images.shape[2:]
    padded = np.pad(images - fill, ((0, 0), (0, 0), (most, most), (most, most)))
    out = np.empty_like(images)
    for top in range(2 * most + 1):
        for left in range(2 * most + 1):
            rows = np.flatnonzero((by[:, 0] == top) & (by[:, 1] == left))
            out[rows] = padded[rows, :, top : top + height, left : left + width]
    return out + fill


def _blur(size):
    """A matrix (size, size) that blurs an axis by a Gaussian of SMOOTH pixels. Its rows have norm 1, so blurred
    independent noise keeps its standard deviation, at the edges too."""
    at = np.arange(size)
    blur = np.exp(-(((at[:, None] - at) / SMOOTH) ** 2) / 2)
    return (blur / np.linalg.norm(blur, axis=1, keepdims=True)).astype(np.float32)


def bends(generator, rows, deviation, height, width):
    """Random smooth displacements (rows, pixels, 2) of pixels: normal noise, blurred; `deviation` pixels each."""
    noise = generator.standard_normal((rows, 2, height, width), np.float32)
    return deviation * (_blur(height) @ noise @ _blur(width).T).reshape(rows, 2, -1).transpose(0, 2, 1)


def warped(images, matrix, by, fill):
    """Each image (rows, channels, height, width) turned, scaled and sheared about its middle by `matrix` (rows, 2, 2),
    and moved by `by` pixels, (rows, 1, 2) or for each pixel (rows, pixels, 2), with bilinear interpolation; `fill`, an
    image, moves in."""
    channels, height, width = images.shape[1:]
    middle = (np.array([height, width]) - 1) / 2
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2) - middle
    # Where the values of the new pixels lie in the old image, with a border of one pixel around it.
    at = (grid @ matrix.transpose(0, 2, 1) + by + middle + 1).astype(np.float32)
    at = np.clip(at, 0, np.nextafter(np.array([height + 1, width + 1], np.float32), np.float32(0)))
    whole = at.astype(np.intp)
    down, right = (at - whole.astype(np.float32)).transpose(2, 0, 1)[:, :, None]
    padded = np.pad(images - fill, ((0, 0), (0, 0), (1, 1), (1, 1))).reshape(-1)
    line, area = width + 2, (height + 2) * (width + 2)
    planes = area * np.arange(len(images) * channels).reshape(-1, channels, 1)
    first = (whole[..., 0] * line + whole[..., 1])[:, None] + planes
    top = padded[first] * (1 - right) + padded[first + 1] * right
    low = padded[first + line] * (1 - right) + padded[first + line + 1] * right
    return (top * (1 - down) + low * down).reshape(images.shape) + fill


def batches_of(x, labels, batch_size, fill, shift=0, warp=0.0, bend=0.0):
    """What `train.fit` takes as batches, of images that are moved and bent differently in every epoch.

    fill : an image, the background
    shift : each image is moved by up to so many pixels, drawn in every epoch; by whole pixels without warp and bend
    warp : affine distortion: each image is mapped by the unit matrix plus numbers up to this
    bend : elastic distortion: smooth random displacements with this standard deviation in pixels

    Rows left over, fewer than a batch, are not used in that epoch: batch norm needs batches of one size.
    """
    if not (shift or warp or bend):
        return train.batches(x, labels, batch_size)
    targets = mx.nd.array(labels.astype(np.float32))

    def batches(generator):
        order = generator.permutation(len(x))[: len(x) // batch_size * batch_size]
        # Always drawn, although affine distortion does not use it: the committed records have this random stream.
        by = generator.integers(0, 2 * shift + 1, (len(x), 2)) if shift else None
        labels_of = mx.nd.take(targets, mx.nd.array(order, dtype=np.int32))
        for i in range(0, len(order), batch_size):
            rows = order[i : i + batch_size]
            if warp or bend:
                matrix = np.eye(2) + generator.uniform(-warp, warp, (len(rows), 2, 2))
                moves = generator.uniform(-shift, shift, (len(rows), 1, 2))
                if bend:
                    moves = moves + bends(generator, len(rows), bend, *x.shape[2:])
                batch = warped(x[rows], matrix, moves, fill)
            else:
                batch = shifted(x[rows], by[rows], shift, fill)
            yield mx.nd.array(batch), labels_of[i : i + batch_size]

    return batches
