"""The network with real weights, to compare with. Expected test error: 1.19%.

Paper, network and deviations: setups/lab.py.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="real weights",
    published="1.19",
    row=1,
    options=dict(
        lab.NETWORK,
        weights="real",
        optimizer="binaryadam",  # Adam itself where no weight is binary, on all cores
        initializer="xavier",
        lr=0.01,
        lr_steps=lab.STEPS,
    ),
)
