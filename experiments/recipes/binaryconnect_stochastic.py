"""BinaryConnect, stochastic: signs drawn for every batch. Expected test error: 1.18% in the paper.

The paper's error is with the real weights (its section 2.6), of a net half as wide, trained for 1000 epochs. The record
has the errors with real and with binary weights; the epoch is chosen with the real ones.

Paper and deviations: binaryconnect.py.
"""

from recipes import Recipe, binaryconnect

RECIPE = Recipe(
    title="BinaryConnect, stochastic",
    published="1.18, half as wide, 1000 epochs",
    row=5,
    error="test_error_real_weights",
    remark="re-estimated: {test_error_real_weights_own_averages}; binary weights: {test_error}",
    options=dict(binaryconnect.RECIPE.options, weights="stochastic"),
)
