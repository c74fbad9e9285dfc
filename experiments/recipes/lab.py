"""LAB: weights of one bit, one scale per layer, weighted by the curvature of the loss. Expected test error: 1.17%.

The published table has 1.18%. Paper, network and deviations: setups/lab.py.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="LAB", published="1.17 (1.18)", row=6, options=dict(lab.BINARY, scale="loss", lr=0.01, lr_steps=lab.STEPS)
)
