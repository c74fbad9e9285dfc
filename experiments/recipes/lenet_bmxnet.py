"""BMXNet's LeNet: first and last layer real, no scale. Expected test error: 3%.

Paper: Yang, Fritzsche, Bartz, Meinel 2017, BMXNet, section 3: 97% right with binary weights and activations, 99% with
real ones, trained on all 60,000 images. Tanh after the first layer, batch norm before or after each binary product,
Adam, cross-entropy.

Deviations, after those of setups/convolutions.py:
3. The paper has no rate, batch size or number of epochs. Here the rate is 1e-3 and falls to a hundredth in 4 epochs;
   batches have 100 images.
"""

from recipes import Recipe
from recipes.setups import convolutions

RECIPE = Recipe(
    title="BMXNet's LeNet",
    published="3",
    table="nets",
    row=25,
    seeds=(0, 1, 2),
    options=dict(
        convolutions.MNIST,
        net="lenet_bmxnet",
        batch_size=100,
        epochs=4,
        loss="crossentropy",
        activation="binary",
        real_ends=True,
        scale=None,
        gradient="ste",
        lr=1e-3,
        lr_end=1e-5,
    ),
)
