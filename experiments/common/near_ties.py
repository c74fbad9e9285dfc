"""Several backends of one net compared: where the classes of two differ, the proof that this is a near tie."""

from typing import NamedTuple

import numpy as np


class Comparison(NamedTuple):
    """What `compare` finds.

    bound : what rounding explains, see `rounding` there
    near_ties : how many hidden values, or images, are within it, whatever came of them
    differences : {numerics: how its classes and hidden bits differ from those of the net as trained}
    complaints : what no rounding explains, in words
    """

    bound: float
    near_ties: int
    differences: dict
    complaints: list


def compare(found, hidden, reference, binary, rounding):
    """The Comparison of several backends of one net with the first of them, the net as trained.

    found : backends that ran, with name, numerics, outputs (None where there are none) and classes
    hidden : {numerics: values before the first hidden layer's activation}
    reference : (the same hidden values, outputs) in float64
    binary : whether the hidden layers give bits. Those of the first one decide all that follows: from there on
        every form computes the same, to the bit.
    rounding : the bound, measured over all images and backends, must be below this. It is the largest error of a
        hidden value where these become bits, else twice that of an output: a margin has the error of both classes.
    """
    true_hidden, true_outputs = reference
    if binary:
        bound = max(float(np.abs(values - true_hidden).max()) for values in hidden.values())
        near = np.abs(true_hidden) <= bound
    else:
        bound = 2 * max(float(np.abs(b.outputs - true_outputs).max()) for b in found if b.outputs is not None)
        near = np.diff(np.sort(true_outputs)[:, -2:]) <= bound
    complaints, firsts, differences = [], {}, {}
    if not bound < rounding:
        complaints.append(f"errors against float64 make a bound of {bound:.1e}; rounding explains {rounding:.0e}")
    for backend in found:
        first = firsts.setdefault(backend.numerics, backend)
        if not _equal(backend, first):
            complaints.append(f"{backend.name} differs from {first.name}: they must be equal to the bit")
    net = found[0]
    for numerics, backend in firsts.items():
        flipped = ((hidden[numerics] < 0) != (hidden[net.numerics] < 0)) & binary
        if binary and (backend.outputs != net.outputs)[~flipped.any(axis=1)].any():
            complaints.append(f"{backend.name} differs from {net.name} in rows with the same hidden bits")
        rows = []
        for row in map(int, np.flatnonzero(backend.classes != net.classes)):
            classes = [int(net.classes[row]), int(backend.classes[row])]
            if binary:  # the float64 value of each unit whose bit differs
                proof = {f"hidden unit {unit}": float(true_hidden[row, unit]) for unit in np.flatnonzero(flipped[row])}
            else:
                proof = {"margin": float(abs(np.subtract(*true_outputs[row, classes])))}
            rows.append({"row": row, "classes": classes, "near_ties": proof})
            if not proof or max(map(abs, proof.values())) > bound:
                complaints.append(f"{backend.name}, row {row}: a class differs and this is no near tie: {proof}")
        differences[numerics] = {"classes": rows, "hidden_bits": int(flipped.sum())}
    return Comparison(bound, int(near.sum()), differences, complaints)


def _equal(one, other):
    """Whether two backends agree to the bit in their outputs, or in their classes where one has no outputs."""
    if one.outputs is None:
        return np.array_equal(one.classes, other.classes)
    return one.outputs.tobytes() == other.outputs.tobytes()
