"""FINN's TFC: 784-64-64-64-10, inputs, weights and hidden activations of one bit. Expected test error: 6.83%.

Paper and training: setups/finn.py.

Deviations, after those of setups/finn.py:
4. No dropout: this net is too small to overfit in 60 epochs, and with dropout it learns far more slowly.
"""

from recipes import Recipe
from recipes.setups import finn

RECIPE = Recipe(
    title="FINN's TFC",
    published="6.83, best test epoch of 1000",
    table="nets",
    row=20,
    seeds=(0, 1, 2),
    remark="best test epoch: {test_error_best_epoch}",
    options=dict(finn.OPTIONS, hidden=(64, 64, 64)),
)
