"""LeNet of ternary weight networks with weights of one bit, real activations. Expected test error: 0.95%.

Paper: Li, Zhang, Liu 2016, Ternary Weight Networks, section 4, "BPWN": 99.05% right, 99.35% with three values per
weight, 99.41% with real weights. One scale per layer, batch norm and ReLU, squared hinge loss, SGD with a momentum of
0.9 and a rate of 0.01 that falls to a tenth twice, weight decay 1e-4, batches of 50.

Deviations, after those of setups/convolutions.py:
3. Adam with a rate of 1e-3 that falls to a hundredth in 6 epochs, and no weight decay, which Adam makes another thing.
4. Batches of 100.
"""

from recipes import Recipe
from recipes.setups import convolutions

RECIPE = Recipe(
    title="LeNet, BWN",
    published="0.95",
    table="nets",
    row=26,
    seeds=(0, 1, 2),
    options=dict(
        convolutions.MNIST,
        net="lenet",
        batch_size=100,
        epochs=6,
        loss="hinge",
        activation="relu",
        scale="layer",
        gradient="xnor",
        lr=1e-3,
        lr_end=1e-5,
    ),
)
