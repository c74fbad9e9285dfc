"""BNN: weights and hidden activations of one bit, no scale. Expected test error: 1.47%.

Paper, network and deviations: setups/lab.py.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="BNN",
    published="1.47",
    row=7,
    seeds=(0, 1, 2),
    options=dict(lab.BINARY, activation="binary", scale=None, lr=0.005, lr_steps=lab.STEPS),
)
