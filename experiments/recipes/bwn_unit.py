"""BWN with a scale for each unit, as XNOR-Net has it. Expected test error: about 1.20%.

That is the error of one scale per layer, since batch norm takes out what differs between the scales of units; none is
published for this network. Paper, network and deviations: setups/lab.py.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="BWN, one scale per unit",
    published="",
    row=3,
    options=dict(lab.BINARY, scale="channel", lr=0.01, lr_steps=lab.STEPS),
)
