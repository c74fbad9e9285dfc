"""`python -m gluon_bnn predict`: classifies pictures. Needs neither MXNet nor the compiled library."""

import argparse
import json
import math
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Optional

from . import add_json, fail, line_of, models, printable, whole_number

if TYPE_CHECKING:
    import numpy as np

    from ..runtime import Model

HELP = "classify pictures"
DESCRIPTION = """Classifies pictures: prints for each its file, its class, and the scores of the best few classes, which
are the net's outputs. Pillow reads the pictures; they are resized to the model's input, in grey or colour as the model
takes them. The exit code is 1 where a picture cannot be read: it is named, and the others are classified all the
same."""

MOST_INPUT = 1 << 28  # bytes of a picture from standard input


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models.add_model(parser)
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", help="a picture: PNG, JPEG and others; - is standard input"
    )
    parser.add_argument("--top", metavar="N", type=whole_number, default=3, help="scores to print (default: 3)")
    parser.add_argument(
        "--invert",
        action="store_true",
        help="for dark ink on white paper: the net mnist was trained on white digits on black, in the middle of a "
        "square picture, with a margin of a seventh on each side",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    model = models.load(args.model)
    try:
        shape = picture_shape(model)
    except ValueError as error:
        fail(f"{args.model}: {error}")
    answers, failed = [], False
    for image in args.images:
        try:
            pixels = read(image, shape)
        except (OSError, ValueError) as error:
            print(line_of(error), file=sys.stderr)
            failed = True
            continue
        except ImportError as error:  # of Pillow: no other picture can be read either
            fail(error)
        answer = classify(model, 255 - pixels if args.invert else pixels, args.top)
        answers.append({"image": image, **answer})
        if not args.json:
            scores = ", ".join(f"{each['class']} {_text(each['score'])}" for each in answer["scores"])
            print(printable(f"{image}: {answer['class']} ({scores})"))
    if args.json:
        print(json.dumps(answers, indent=1, allow_nan=False))
    return int(failed)


def picture_shape(model: "Model") -> tuple[int, int, int]:
    """(channels, height, width) of the pictures that a model takes, with 1 or 3 channels.

    Two axes are those of a grey picture, and one axis whose size is a perfect square is a square grey picture. Raises
    ValueError for any other model, and for one without an input scale.
    """
    if model.input_scale is None:
        raise ValueError(
            "the model does not say what pixels stand for, so it takes no pictures: save it with an input_scale in "
            "gluon_bnn.freeze, as 1 / 255 for inputs from 0 to 1"
        )
    shape, side = model.input_shape, round(model.graph.inputs**0.5)
    if len(shape) == 1 and side * side == shape[0]:
        return 1, side, side
    if len(shape) == 2:
        return 1, *shape
    if len(shape) == 3 and shape[0] in (1, 3):
        return shape
    raise ValueError(
        f"the inputs of the model, {shape}, are no picture's: save it with an input_shape of (channels, height, width) "
        "in gluon_bnn.freeze, with 1 or 3 channels"
    )


def read(image: str, shape: tuple[int, int, int]) -> "np.ndarray":
    """A picture, or that of standard input for "-", as uint8 of this shape. Raises as `_pictures.read`."""
    from .. import _pictures

    if image != "-":
        return _pictures.read(image, shape)
    content = sys.stdin.buffer.read(MOST_INPUT + 1) if sys.stdin else b""
    if len(content) > MOST_INPUT:
        raise ValueError(f"standard input must be a picture of at most {MOST_INPUT} bytes")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "picture")
        with open(path, "wb") as file:
            file.write(content)
        try:
            return _pictures.read(path, shape)
        except (OSError, ValueError) as error:
            raise ValueError(str(error).replace(path, "standard input")) from error


def classify(model: "Model", pixels: "np.ndarray", top: int) -> dict[str, Any]:
    """{"class": the label of the largest output, or its index where there are no labels; "scores": the `top` largest
    outputs with their classes, the largest first}. NaN comes before all numbers, as for `Model.predict`. NaN and
    infinities, which JSON does not have, are None."""
    outputs = model(pixels.reshape(model.input_shape)).tolist()
    names = model.labels or range(len(outputs))
    order = sorted(range(len(outputs)), key=lambda index: (not math.isnan(outputs[index]), -outputs[index]))
    return {
        "class": names[order[0]],
        "scores": [{"class": names[index], "score": _finite(outputs[index])} for index in order[:top]],
    }


def _finite(score: float) -> Optional[float]:
    return score if math.isfinite(score) else None


def _text(score: Optional[float]) -> str:
    return "-" if score is None else f"{score:.2f}"
