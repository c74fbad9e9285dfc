"""What the scripts' command lines share."""

import argparse
import os
import pathlib

import image_sets

LARGEST_SEED = 2**31 - 1  # MXNet's generators take 32 bits with a sign, NumPy's without


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults where there are any, lists as they are typed."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False:
            return action.help
        if isinstance(action.default, (list, tuple)):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


def number(kind, above=None, least=None, below=float("inf"), most=None):
    """An argparse type: a number of this kind, int or float, within these limits; NaN is within none."""

    def parse(text):
        value = kind(text)
        if not (
            (above is None or value > above)
            and (least is None or value >= least)
            and value < below
            and (most is None or value <= most)
        ):
            raise argparse.ArgumentTypeError(f"must be {_limits(above, least, below, most)}, got {text}")
        return value

    parse.__name__ = "whole number" if kind is int else "number"  # argparse: "invalid whole number value: 'x'"
    return parse


def _limits(above, least, below, most):
    limits = [
        f"{word} {limit}"
        for word, limit in (("above", above), ("at least", least), ("at most", most), ("below", below))
        if limit not in (None, float("inf"))
    ]
    return " and ".join(limits)


def positive(kind, most=None):
    """An argparse type: a finite number of this kind above zero."""
    return number(kind, above=0, most=most)


SEED = number(int, least=0, most=LARGEST_SEED)
RATE = number(float, least=1e-30, most=1e30)  # of an optimiser of MXNet, which takes float32


def none_or(kind):
    """An argparse type: "none" or what `kind` takes."""

    def parse(text):
        return None if text == "none" else kind(text)

    parse.__name__ = f"{kind.__name__} or none"
    return parse


def image_size(text):
    """An argparse type: 28x32 or 28, as [height, width]."""
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = [0]
    if len(sides) > 2 or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"must be like 28 or 28x32, height first, got {text!r:.40}")
    return sides * (3 - len(sides))


def add_dataset(parser, default="digits"):
    """Add --dataset and --data-dir, whose values are for `load_dataset`. Where None is the default, it stands for
    digits."""
    parser.add_argument(
        "--dataset",
        default=default,
        help=f"digits (embedded in the package), mnist, {', '.join(image_sets.names())}, or a directory: with IDX "
        "files, or with a folder of pictures for each class" + ("; default: digits" if default is None else ""),
    )
    add_data_dir(parser, "digits/, mnist/ and so on")


def add_data_dir(parser, sets):
    """Add --data-dir, for these sets."""
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"the directory that holds {sets}; default: GLUON_BNN_DATA, data/, ...; MNIST that is in none of them is "
        "downloaded",
    )


def find_dataset(dataset, data_dir=None):
    """Where the set of --dataset is, or will be downloaded to (None). ValueError where an option is wrong, OSError
    where the set is not there."""
    from gluon_bnn import data

    sets = [*data.SETS, *image_sets.names()]
    if dataset not in sets:
        if not os.path.isdir(dataset):
            raise ValueError(
                f"--dataset must be {', '.join(sets)} or an existing directory with IDX files or folders of pictures, "
                f"got {dataset!r}"
            )
        if data_dir is not None:
            raise ValueError(
                f"--data-dir says where {', '.join(sets[:-1])} and {sets[-1]} are; --dataset {dataset!r} is a "
                "directory itself: leave --data-dir out"
            )
        return data.find(dataset)
    if dataset not in data.SETS:
        return image_sets.load(dataset).find(data_dir)
    found = data.find(dataset, data_dir)
    wanted = data_dir is not None and pathlib.Path(data_dir).absolute() / dataset
    if wanted and (found is None or pathlib.Path(found).absolute() != wanted):
        raise ValueError(
            f"--data-dir must be a directory that holds {dataset}/ with {data.FILES[0]} and so on, got "
            f"{data_dir!r}; a directory that holds these files itself goes to --dataset"
        )
    return found


def load_dataset(dataset, data_dir=None, image_size=None):
    """gluon_bnn.data.load for --dataset, --data-dir and --image-size; ValueError, OSError or ImportError in the words
    of these options."""
    from gluon_bnn import data

    find_dataset(dataset, data_dir)
    is_set = dataset in (*data.SETS, *image_sets.names())
    if image_size is not None and (is_set or not data.has_pictures(dataset)):
        raise ValueError(f"--image-size is for folders of pictures; the images of {dataset} have a size")
    if dataset in image_sets.names():
        return image_sets.load(dataset).load(data_dir)
    return data.load(dataset, root=data_dir, image_size=image_size)


def require_mnists_shape(dataset, shape, classes):
    """ValueError unless images have this shape and these classes: for scripts that are about MNIST's net."""
    if (tuple(shape), classes) != ((1, 28, 28), 10):
        raise ValueError(
            "this takes grey images of 28 x 28 pixels in 10 classes, as digits and mnist have, got --dataset "
            f"{dataset} with {'x'.join(map(str, shape))} in {classes}; train_mnist.py takes it"
        )
