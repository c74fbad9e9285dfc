"""The pictures of a training run, where its numbers or its classes are unusual."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from common import pictures


@pytest.fixture
def figure(monkeypatch):
    """What a function of `pictures` draws, open in place of saved: figure(function, *arguments) without the path."""
    drawn = []
    monkeypatch.setattr(pictures, "save_figure", lambda figure, path: drawn.append(figure))

    def draw(function, *arguments):
        function(*arguments, None)
        drawn[-1].canvas.draw()
        return drawn[-1]

    yield draw
    plt.close("all")


def labels_of(axis):
    """The labels that are seen, as boxes in pixels."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]


@pytest.mark.parametrize(
    "loss, error",
    [
        ([0.7], [0.5]),
        ([5.51, 5.49, 5.48], [0.996, 0.992, 0.996]),
        ([3.0, 0.2, 0.01], [0.9, 0.1, 0.001]),
        ([0.0], [0.0]),
    ],
    ids=["one epoch", "hardly any change", "much change", "zero"],
)
def test_curves_have_ticks_that_do_not_collide(figure, loss, error):
    history = {"loss": loss, "error": error, "validation_error": error, "best_epoch": 0}
    for axes in figure(pictures.curves, history, False).axes:
        assert len(labels_of(axes.yaxis)) >= 2 and labels_of(axes.xaxis)
        for axis in (axes.xaxis, axes.yaxis):
            assert not any(a.overlaps(b) for a, b in itertools.combinations(labels_of(axis), 2))
        if len(loss) == 1:  # a line through one point is not seen
            assert all(line.get_marker() not in ("None", "", None) for line in axes.lines)


@pytest.mark.parametrize("classes", [2, 10, 11, 26, 30])
def test_names_of_classes_do_not_collide(figure, classes):
    labels = np.arange(classes)
    boxes = labels_of(figure(pictures.confusion_matrix, labels, labels, labels).axes[0].xaxis)
    assert len(boxes) == classes
    assert all(left.x1 + 1 < right.x0 for left, right in zip(boxes, boxes[1:]))


def test_methods_of_one_kind(figure, recwarn):
    """The panel of the other kind is empty, without a legend."""
    record = {"settings": {"activation": "binary"}, "curve": {"val_error": [0.5, 0.2]}, "best_epoch": 2}
    left, right = figure(pictures.methods, {"LAB2": {**record, "test_error": 0.2}}).axes
    assert left.get_legend() is None and right.get_legend() is not None and not recwarn.list
