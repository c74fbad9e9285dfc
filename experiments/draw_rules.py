"""Draws every gradient rule and every binary activation with its gradient, gluon_bnn/rules.png, and writes the table of
the rules into gluon_bnn/README.md.

    python experiments/draw_rules.py

The rules come from the registry, so a new one is there as well. A panel shows what a weight W, or an input x, becomes
in the forward pass, and what reaches it in the backward pass, as a multiple of g, the gradient to what it became.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("rules.png and README.md are whole, old or new")

import argparse
import os

import numpy as np

from gluon_bnn import mx, nn, quantizers

from common import tables
from common.palette import LINES
from common.record import replace, save_figure, writable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PICTURE = os.path.join(ROOT, "gluon_bnn", "rules.png")
README = os.path.join(ROOT, "gluon_bnn", "README.md")
ALPHA, N, CLIP = 0.6, 10, 1.0  # of the layer that is drawn
OTHERS = 3  # the sum of g_j s_j over all other weights, in units of g, for rules whose gradient goes through alpha
COLUMNS = 3
LABELS = "forward: alpha sign(W), sign(x)", "backward: gradient / g", f"the same, where others' g s sum to {OTHERS} g"
POINTS = np.linspace(-2, 2, 1601)


def rule_curves(rule):
    """What a rule makes of POINTS, a curve for each of LABELS; the last for a rule through alpha only."""
    alpha = 1.0 if tuple(rule.scales) == (None,) else ALPHA
    signs, mask = np.where(POINTS < 0, -1.0, 1.0), (np.abs(POINTS) <= CLIP).astype(float)
    own = rule.factor(np, POINTS, np.full_like(POINTS, alpha), N, mask)
    curves = [alpha * signs, own]
    if rule.through_alpha:
        own += signs * signs / N  # g s of the weight itself is in the sum
        curves.append(own + signs * OTHERS / N)
    return curves


def activation_curves(block):
    """The same of a binary activation, as the block itself computes it."""
    x = mx.nd.array(POINTS)
    x.attach_grad()
    with mx.autograd.record():
        y = block(x)
    y.backward()
    return [y.asnumpy(), x.grad.asnumpy()]


def panels():
    """{(title, formula): curves}: the rules in the order of the registry, then the activations."""
    activations = {
        ("BinaryActivation()", "g 1[|x| <= 1]"): nn.BinaryActivation(),
        ("BinaryActivation(clip=None)", "g"): nn.BinaryActivation(clip=None),
        ("BinarySigmoid()", "g s (1 - s), s = sigmoid(x)"): nn.BinarySigmoid(),
    }
    rules = map(quantizers.rule, quantizers.names())
    return {
        **{(f'gradient="{rule.name}"', rule.formula): rule_curves(rule) for rule in rules},
        **{title: activation_curves(block) for title, block in activations.items()},
    }


def draw():
    """The figure; the last of its axes holds the legend."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = panels()
    rows = -(-(len(found) + 1) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(8.5, 2.55 * rows), sharex=True, sharey=True, squeeze=False)
    handles = {}
    for axes, ((title, formula), curves) in zip(grid.flat, found.items()):
        for numbers, style, label in zip(curves, LINES, LABELS):
            jumps = np.abs(np.diff(numbers, prepend=numbers[0])) > 0.05  # a line across would be no part of it
            (handles[label],) = axes.plot(POINTS, np.where(jumps, np.nan, numbers), linewidth=1.8, **style)
        axes.set_title(f"{title}\n{formula}", fontsize=9)
        axes.set(
            ylim=(-1.25, 1.25), xlabel="x" if title.startswith("Binary") else "W", yticks=(-1, -ALPHA, 0, ALPHA, 1)
        )
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=9, labelbottom=True, labelleft=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("forward; gradient / g")
    empty = list(grid.flat)[len(found) :]
    for axes in empty:
        axes.set_axis_off()
    legend = empty[0].legend(handles.values(), handles, loc="center left", fontsize=9, frameon=False, borderaxespad=0)
    legend.set_in_layout(False)  # it may be wider than a panel
    figure.suptitle(f"a layer of n = {N} weights, alpha = {ALPHA}, clip = {CLIP:g}", fontsize=10)
    figure.tight_layout()
    return figure


def readme_with_table(text):
    """The text of the package's README with the rules of the registry."""
    rules = map(quantizers.rule, quantizers.names())
    rows = [(f'`"{rule.name}"`', rule.formula.replace("|", "\\|"), rule.source) for rule in rules]
    table = tables.markdown(("gradient", "dL/dW", "source"), rows, "lll")
    return tables.placed(text, "rules", table, "draw_rules.py")


def main():
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    for path in PICTURE, README:
        writable(os.path.dirname(path), os.path.basename(path), what="the package's directory")
    save_figure(draw(), PICTURE, dpi=200, metadata={"Description": quantizers.table()})
    with open(README, encoding="utf-8") as file:
        text = readme_with_table(file.read())
    replace(README, text.encode())
    print(f"{PICTURE}\n{README}")


if __name__ == "__main__":
    main()
