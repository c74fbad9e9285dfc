"""BinaryConnect, deterministic: weights of one bit, no scale. Expected test error: 1.28% (LAB's table).

The record also has the errors with the real weights.

Paper: Courbariaux, Bengio, David 2015, BinaryConnect, and its code: Adam with rates scaled by the size of the layer,
weights drawn from U(-1, 1) and held within [-1, 1], squared hinge loss, batch norm after every layer. Network:
setups/lab.py.

Deviations, after those of setups/lab.py:
3. 50 epochs, as the other methods here; the code's 250 give about 1.15%, with real weights. The rate falls from 1e-3
   to 3e-6 in these.
"""

from recipes import Recipe
from recipes.setups import lab

RECIPE = Recipe(
    title="BinaryConnect",
    published="1.28",
    row=4,
    remark="real weights: {test_error_real_weights}, re-estimated {test_error_real_weights_own_averages}",
    options=dict(
        lab.NETWORK,
        scale=None,
        gradient="ste",
        clip=None,
        optimizer="binaryadam",
        glorot=True,
        initializer="binaryconnect",
        lr=1e-3,
        lr_end=3e-6,
    ),
)
