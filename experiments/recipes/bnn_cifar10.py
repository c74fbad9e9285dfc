"""BNN's net for CIFAR-10: all 14,022,016 weights and all hidden activations one bit. Expected test error: 10.15%.

Paper: Courbariaux, Hubara, Soudry, El-Yaniv, Bengio 2016, Binarized Neural Networks, section 2.3: squared hinge loss,
Adam with rates scaled by the size of the layer, weights drawn from U(-1, 1) and held within [-1, 1], batches of 50.

It was not trained here, where the data set is not: no error is claimed.

Deviations:
1. Images are in batches of 100, and moved by up to 2 pixels; theirs are whitened and not moved.
2. 41,667 images to train and 8,333 to choose the epoch; theirs are 45,000 and 5,000.
3. 100 epochs, in which the rate falls to a thousandth by a constant factor; theirs are 500, and it halves every 50.
4. Batch norm's statistics are re-estimated on 10,000 training images before every validation.
"""

from recipes import Recipe

RECIPE = Recipe(
    title="BNN's net for CIFAR-10",
    published="10.15",
    table="nets",
    row=30,
    seeds=(),
    options=dict(
        dataset="cifar10",
        net="vgg",
        batch_size=100,
        epochs=100,
        loss="hinge",
        inputs="signed",
        activation="binary",
        scale=None,
        gradient="ste",
        clip=None,
        optimizer="binaryadam",
        glorot=True,
        initializer="binaryconnect",
        lr=1e-3,
        shift=2,
        reestimate=10000,
    ),
)
