"""`save`: a frozen net as a file, in the form that the suffix of its name says."""

import os
from collections.abc import Callable
from typing import Union

from .. import runtime
from .blocks import Frozen

# {suffix: function of a frozen net and a path}. A new form is a file in this folder and a line here.
FORMS: dict[str, Callable] = {".safetensors": runtime.save}


def save(frozen: Frozen, path: Union[str, bytes, os.PathLike]) -> None:
    """Write a frozen net to a file that runs without Gluon. The suffix of its name chooses the form:

    .safetensors : for `gluon_bnn.runtime`, in Python without MXNet, and for C

    frozen : what `freeze` returns; path : a str, bytes or os.PathLike

    Raises ValueError for another suffix, and where the form does not have one of the net's layers, which is named;
    TypeError for another path, OSError where the file cannot be written.
    """
    suffix = os.path.splitext(os.fsdecode(path))[1]
    if suffix.lower() not in FORMS:
        raise ValueError(f"the name of the file must end in {' or '.join(FORMS)}, got {path!r}")
    FORMS[suffix.lower()](frozen, path)
