"""XNOR: weights and hidden activations of one bit, a scale for each unit. Expected test error: 1.45%.

The published table has 1.53%. Paper and network: setups/lab.py.

Deviations, after those of setups/lab.py:
3. The gradient to the weights is XNOR-Net's g (1/n + alpha m) (Rastegari et al. 2016, section 3). Its scale of the
   inputs is left out, as in its official code.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="XNOR",
    published="1.45 (1.53)",
    row=8,
    seeds=(0, 1),
    options=dict(
        lab.BINARY, activation="binary", scale="channel", gradient="xnor", clip=1, lr=0.005, lr_steps=lab.STEPS
    ),
)
