"""LAB2: LAB with hidden activations of one bit. Expected test error: 1.38%.

Paper, network and deviations: setups/lab.py.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="LAB2",
    published="1.38",
    row=9,
    options=dict(lab.BINARY, activation="binary", scale="loss", lr=0.005, lr_steps=lab.STEPS),
)
