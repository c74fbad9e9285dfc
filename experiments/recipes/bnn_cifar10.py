"""BNN's net for CIFAR-10: all 14,022,016 weights and all hidden activations one bit. Expected test error: 10.15%.

Paper: Courbariaux, Hubara, Soudry, El-Yaniv, Bengio 2016, Binarized Neural Networks, section 2.3: squared hinge loss,
Adam with rates scaled by the size of the layer, weights drawn from U(-1, 1) and held within [-1, 1], batches of 50,
45,000 images to train and 5,000 to choose the epoch.

Deviations, after those of setups/convolutions.py, which says that this was not trained here:
3. Images are in batches of 100, and moved by up to 2 pixels; theirs are whitened and not moved.
4. 100 epochs, in which the rate falls to a thousandth by a constant factor; theirs are 500, and it halves every 50.
"""

from recipes import Recipe
from recipes.setups import convolutions

RECIPE = Recipe(
    title="BNN's net for CIFAR-10",
    published="10.15",
    table="nets",
    row=30,
    seeds=(),
    options=dict(
        convolutions.CIFAR10,
        net="vgg",
        loss="hinge",
        scale=None,
        gradient="ste",
        clip=None,
        glorot=True,
        initializer="binaryconnect",
    ),
)
