"""The picture of the gradient rules: a panel for each that is registered, with the numbers of the reference."""

import numpy as np
import pytest

from gluon_bnn import quantizers
from gluon_bnn.reference import binary

import draw_rules


@pytest.fixture
def half():
    class Half(quantizers.Rule):
        name, formula, source = "half", "g / 2", "this test"

        def factor(self, F, w, alpha, n, mask):
            return 0 * w + 0.5

    yield quantizers.register(Half())
    quantizers.unregister("half")


@pytest.mark.slow
def test_a_panel_for_each_rule(half):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = draw_rules.draw()
    titles = [axes.get_title() for axes in figure.axes]
    for name in quantizers.names():
        assert f'gradient="{name}"\n{quantizers.rule(name).formula}' in titles
    assert titles[: len(quantizers.names())][-1] == 'gradient="half"\ng / 2'
    assert sum(title != "" for title in titles) == len(quantizers.names()) + 3
    legends = [axes for axes in figure.axes if axes.get_legend()]
    assert len(legends) == 1 and not legends[0].lines  # off the data
    for axes in figure.axes:
        assert not axes.get_title() or axes.get_xlabel() and len({line.get_linestyle() for line in axes.lines}) > 1
    pyplot.close(figure)


@pytest.mark.parametrize("name", binary.GRADIENTS)
def test_curves_are_the_references(name):
    """A weight among nine others whose magnitudes make alpha what the picture says."""
    curves = draw_rules.rule_curves(quantizers.rule(name))
    for place in range(0, len(draw_rules.POINTS), 160):
        w = draw_rules.POINTS[place]
        others = (draw_rules.ALPHA * draw_rules.N - abs(w)) / (draw_rules.N - 1)
        weights = np.full((1, draw_rules.N), others)
        weights[0, 0] = w
        assert np.isclose(curves[0][place], binary.sign_scale(weights)[0][0, 0] * draw_rules.ALPHA)
        for curve, sum_of_others in zip(curves[1:], (0, draw_rules.OTHERS)):
            g = np.full((1, draw_rules.N), sum_of_others / (draw_rules.N - 1))  # their signs are +1
            g[0, 0] = 1
            found = binary.sign_scale_backward(g, weights, "layer", name, draw_rules.CLIP)
            np.testing.assert_allclose(curve[place], found[0, 0], rtol=1e-12)


def test_the_readme_has_the_table(half):
    with open(draw_rules.README, encoding="utf-8") as file:
        text = file.read()
    with_half = draw_rules.readme_with_table(text)
    assert '| `"half"` | g / 2 | this test |' in with_half
    quantizers.unregister("half")
    assert draw_rules.readme_with_table(with_half) == text, "run python experiments/draw_rules.py"
    quantizers.register(half)


def test_the_picture_is_of_these_rules():
    image = pytest.importorskip("PIL.Image")
    with image.open(draw_rules.PICTURE) as picture:
        assert picture.text["Description"] == quantizers.table(), "run python experiments/draw_rules.py"
        assert picture.width >= 850
