"""BWN: weights of one bit, one scale for each layer. Expected test error: 1.20%.

The published table has 1.31%. Paper, network and deviations: setups/lab.py.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="BWN, one scale per layer",
    published="1.20 (1.31)",
    row=2,
    seeds=(0, 1, 2),
    options=dict(lab.BINARY, scale="layer", lr=0.01, lr_steps=lab.STEPS),
)
