"""CIFAR-10 as `gluon_bnn.data.load` gives data sets, read by Gluon's own data set where its six files are there."""

import os
from pathlib import Path

import numpy as np

from gluon_bnn._compat import mx

SHAPE = 3, 32, 32
CLASSES = "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"


class _Files(mx.gluon.data.vision.CIFAR10):
    """Gluon's, for which a file that is missing or damaged is an error and not a download."""

    def _get_data(self):
        for name, sha1 in self._train_data + self._test_data:
            path = os.path.join(self._root, name)
            if not os.path.exists(path):
                raise FileNotFoundError(f"{self._root} has no {name}, one of the six files of CIFAR-10")
            if not mx.gluon.utils.check_sha1(path, sha1):
                raise ValueError(f"{path} is no file of CIFAR-10: its SHA-1 must be {sha1}")
        super()._get_data()


def find(data_dir=None):
    """The directory cifar10/ of data_dir, or of the first that has one: GLUON_BNN_DATA, MXNet's own. FileNotFoundError
    where there is none."""
    mxnets = os.path.join(mx.base.data_dir(), "datasets")
    roots = [data_dir] if data_dir else [root for root in (os.environ.get("GLUON_BNN_DATA"), mxnets) if root]
    for root in roots:
        directory = Path(root).expanduser().absolute() / "cifar10"
        if directory.is_dir():
            return directory
    raise FileNotFoundError(
        f"CIFAR-10 is not here: {' and '.join(roots)} must have the folder cifar10/ with data_batch_1.bin and so on, "
        f"the files of cifar-10-binary.tar.gz; mxnet.gluon.data.vision.CIFAR10() downloads them to {mxnets}"
    )


def load(data_dir=None):
    """The dict that `gluon_bnn.data.load` returns; OSError where files are missing, ValueError where one is damaged."""
    directory, found = find(data_dir), {"classes": list(CLASSES)}
    for part in ("train", "test"):
        images, labels = _Files(str(directory), train=part == "train")[:]
        found[f"{part}_data"] = images.asnumpy().transpose(0, 3, 1, 2).astype(np.float32) / 255
        found[f"{part}_label"] = np.asarray(labels)
    return found
