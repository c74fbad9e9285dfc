"""Every form of a deployed net that this machine can run, each in a process of its own, over the same inputs.

`prove` compares their answers with those of the NumPy engine, to the bit; where a form sums products of real numbers in
an order of its own, an answer may differ within what `graph.bounds` leaves open, and no further.
"""

import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np

from .. import _table
from ..graph import bounds
from ..graph.graph import Graph
from ..graph.kinds import KINDS
from .forms import MAKERS, Absent, Form, in_mxnet, of_export

__all__ = ["Form", "Report", "in_mxnet", "inputs_of", "of_export", "prove"]


def __dir__():
    return __all__


# Bounds take time: they are found for each row whose class differs, and for so many whose outputs differ most.
FURTHEST = 200
ROWS = 100  # at a time


@dataclasses.dataclass(frozen=True)
class Report:
    """What `prove` found.

    rows : for each form a dict: form, inputs ("float32" or "uint8"), bytes of its files, import_seconds where it runs
        in Python, load_seconds, seconds_per_image {"batch", "one_by_one"} where they were taken, not_equal, the rows
        that are not equal to the bit, and near_ties, those of them whose class is another: {row, classes, scores}
    absent : {form: why this machine cannot run it}
    complaints : what no rounding explains, in words; none where all is well
    classes : of each row, int (rows,), as all forms have them but for near ties
    """

    rows: list[dict[str, Any]]
    absent: dict[str, str]
    complaints: list[str]
    classes: np.ndarray

    @property
    def ok(self) -> bool:
        """Whether no answer differs but by a near tie."""
        return not self.complaints

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"rows": self.rows, "absent": self.absent, "complaints": self.complaints}

    def __str__(self):
        cells = [
            (
                "form",
                "inputs",
                "bytes",
                "import s",
                "load s",
                "us in batches",
                "one by one",
                "other bits",
                "other class",
            )
        ]
        for row in self.rows:
            each = row["seconds_per_image"]
            cells.append(
                (
                    row["form"],
                    row["inputs"],
                    f"{row['bytes']:,}" if row["bytes"] else "",
                    *(f"{row[key]:.2f}" if key in row else "" for key in ("import_seconds", "load_seconds")),
                    *(f"{1e6 * each[key]:.3g}" if key in each else "" for key in ("batch", "one_by_one")),
                    f"{row['not_equal']:,}",
                    str(len(row["near_ties"])),
                )
            )
        lines = [_table.text(cells, right=range(2, len(cells[0])))]
        for row in self.rows:
            for tie in row["near_ties"]:
                one, other = tie["classes"]
                scores = " and ".join(f"from {low:.7g} to {high:.7g}" for low, high in tie["scores"])
                lines.append(
                    f"{row['form']}, row {tie['row']}: {other}, not {one}; a near tie, the order of sums leaves their "
                    f"scores {scores}"
                )
        if any(row["not_equal"] for row in self.rows) and self.ok:
            lines += [
                "Other bits: inputs whose scores are not equal to the bit, where real numbers were added in another "
                "order.",
                f"The furthest of them, up to {FURTHEST} in each form, differ within what rounding explains.",
            ]
        lines += [f"{form}: not tried, {why}" for form, why in self.absent.items()]
        ties = sum(len(row["near_ties"]) for row in self.rows)
        same = f"Every form gives every input the same class{f', but for {ties} near ties' if ties else ''}."
        return "\n".join([*lines, *(self.complaints or [same])])


def prove(
    graph: Graph,
    x: np.ndarray,
    pixels: Optional[np.ndarray] = None,
    *,
    also: Sequence[Form] = (),
    done: Optional[Callable[[str], None]] = None,
) -> Report:
    """Run every form of the net and compare.

    x : float32 (rows, ...), the inputs; pixels : uint8 of the same shape, for a net with an input scale
    also : forms of the same net that the caller has made, which run too
    done : called with the name of each form once it has run

    Raises ValueError for pixels of a net without an input scale; RuntimeError, with what a form printed, where it does
    not run or compile. A form that this machine lacks, or that does not have one of the net's layers, is in
    Report.absent.
    """
    if pixels is not None and graph.input_scale is None:
        raise ValueError("pixels must be None for this net, which has no input scale")
    rows: list[dict[str, Any]] = []
    complaints: list[str] = []
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, array in (("float32", x), ("uint8", pixels)):
            if array is not None:
                np.save(os.path.join(directory, f"{name}.npy"), array.reshape(len(array), *graph.input_shape))
        expected: dict[str, np.ndarray] = {}
        inputs = {"float32": x, "uint8": pixels}
        kinds = [name for name, array in inputs.items() if array is not None]
        for make in (*MAKERS, lambda *_: list(also)):
            try:
                found = make(graph, directory)
            except Absent as error:
                absent[error.form] = str(error)
                continue
            for form in found:
                if form.inputs not in kinds:
                    continue
                row, outputs = _run(form, directory)
                expected.setdefault(form.inputs, outputs)  # of the engine in NumPy, which is the first
                rows.append({**row, **_compared(form, graph, inputs[form.inputs], outputs, expected, complaints)})
                if done is not None:
                    done(form.name)
        if pixels is not None:  # a row of the table as well: pixels against the floats that they stand for
            form = Form("pixels against floats", "float32", (), (), exact=False)
            compared = _compared(form, graph, x, expected["uint8"], expected, complaints)
            rows.append({"form": form.name, "inputs": "both", "bytes": 0, "seconds_per_image": {}, **compared})
    return Report(rows, absent, complaints, expected[kinds[-1]].argmax(axis=1))


def inputs_of(graph: Graph, images: np.ndarray) -> tuple[np.ndarray, Optional[np.ndarray]]:
    """(float32 inputs, their pixels where the net takes those): flat rows, of images from 0 to 1, as `data.load` has.

    ValueError for images of another size than the net takes.
    """
    rows = images.reshape(len(images), -1)
    if rows.shape[1] != graph.inputs:
        takes, given = ("x".join(map(str, shape)) for shape in (graph.input_shape, images.shape[1:]))
        raise ValueError(f"the net takes inputs of {takes}, the images are {given}")
    if graph.input_scale is None:
        return rows, None
    pixels = np.rint(255 * rows).astype(np.uint8)
    return KINDS["input"].run(graph.nodes[0], (), pixels), pixels


def _run(form: Form, directory: str) -> tuple[dict[str, Any], np.ndarray]:
    """What a form's process printed, and its outputs."""
    outputs = os.path.join(directory, "outputs.npy")
    command = [*form.command, os.path.join(directory, f"{form.inputs}.npy"), outputs]
    environment = {**os.environ, **form.environment, "BEGAN": str(time.time())}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ran.returncode:
        raise RuntimeError(f"{form.name} does not run: {ran.stderr.strip() or f'it ended with {ran.returncode}'}")
    found = json.loads(ran.stdout.splitlines()[-1])
    row = {"form": form.name, "inputs": form.inputs, "bytes": sum(map(os.path.getsize, form.files)), **found}
    return row, np.load(outputs)


def _compared(form, graph, x, outputs, expected, complaints):
    """How many rows of a form's outputs are not those of the reference, and which of them have another class."""
    reference_outputs = expected[form.inputs]
    if outputs.shape != reference_outputs.shape or outputs.dtype != np.float32:
        complaints.append(f"{form.name} gives {outputs.dtype} {outputs.shape}, not float32 {reference_outputs.shape}")
        return {"not_equal": len(x), "near_ties": []}
    both_nan = np.isnan(outputs) & np.isnan(reference_outputs)  # which processors give any sign
    differs = ((outputs.view(np.int32) != reference_outputs.view(np.int32)) & ~both_nan).any(axis=1)
    if form.exact and differs.any():
        complaints.append(
            f"{form.name} differs in {np.count_nonzero(differs)} rows, the first is {differs.argmax()}: "
            "all must be equal to the bit"
        )
    classes = np.stack([reference_outputs.argmax(axis=1), outputs.argmax(axis=1)], axis=1)
    others, ties = np.flatnonzero(classes[:, 0] != classes[:, 1]), []
    if not form.exact:
        explain = np.union1d(others, bounds.furthest(outputs, reference_outputs)[:FURTHEST])
        for rows in np.array_split(explain, -(-len(explain) // ROWS)) if len(explain) else ():
            low, high = bounds.run(graph, x[rows].reshape(len(rows), -1))
            outside = ~bounds.within(outputs[rows], low, high).all(axis=1)
            if outside.any():
                complaints.append(
                    f"{form.name}: the outputs of {np.count_nonzero(outside)} rows, the first is {rows[outside][0]}, "
                    "differ by more than rounding explains"
                )
            for place, row in enumerate(rows):
                if row in others and not outside[place]:
                    # JSON has no infinity: the largest float stands for it.
                    scores = [np.nan_to_num([low[place, c], high[place, c]]).tolist() for c in classes[row]]
                    ties.append({"row": int(row), "classes": classes[row].tolist(), "scores": scores})
    return {"not_equal": int(np.count_nonzero(differs)), "near_ties": ties}
