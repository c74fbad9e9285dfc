"""FINN's LFC: 784-1024-1024-1024-10, inputs, weights and hidden activations of one bit. Expected test error: 1.12%.

Paper and training: setups/finn.py.

Deviations, after those of setups/finn.py:
4. Training images are moved by up to a pixel, differently in every epoch, in place of dropout, as in sfc.py.
"""

from recipes import Recipe
from recipes.setups import finn

RECIPE = Recipe(
    title="FINN's LFC",
    published="1.12, best test epoch of 1000",
    table="nets",
    row=22,
    remark="best test epoch: {test_error_best_epoch}",
    options=dict(finn.OPTIONS, hidden=(1024, 1024, 1024), shift=1),
)
