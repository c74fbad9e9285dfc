"""The data sets that --dataset knows by name in addition to those of gluon_bnn.data, one file each.

A file has SHAPE, (channels, height, width) of its images; `find(data_dir)`, the directory that it would be read from,
which is in data_dir unless that is None; and `load(data_dir)`, which reads it: the dict that `gluon_bnn.data.load`
returns, with `classes`. Both raise OSError or ValueError where it is not there or damaged. --dataset finds the files of
this folder by itself: to add a data set, add a file. A directory of pictures, or of files as MNIST has them, needs
none.
"""

import importlib
import pkgutil


def names():
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name):
    """The file of this name."""
    return importlib.import_module(f"image_sets.{name}")
