"""Larq's tutorial CNN: 93,088 weights of one bit, and nothing but these and batch norm. Expected test error: 2.0%.

Source: Larq's documentation, "Introduction to BNNs with Larq", mnist.ipynb, which says about 98% right; the run that it
shows has 97.62% (2.38% wrong). Pixels within [-1, 1], signs with a straight-through gradient within [-1, 1] of weights
and activations, weights held within [-1, 1], Adam with a rate of 1e-3, cross-entropy, batches of 64, 6 epochs.

Deviations:
1. 50,000 images to train and 10,000 to choose the epoch; theirs trains on all 60,000 and keeps the last epoch.
2. Batch norm's statistics are re-estimated on 10,000 training images before every validation. Theirs are running
   averages with a momentum of 0.99. Epsilon is 1e-5, theirs 1e-3.
"""

from recipes import Recipe

RECIPE = Recipe(
    title="Larq's tutorial CNN",
    published="2.0",
    table="nets",
    row=23,
    seeds=(0, 1, 2),
    options=dict(
        dataset="mnist",
        net="larq",
        batch_size=64,
        epochs=6,
        loss="crossentropy",
        inputs="signed",
        activation="binary",
        scale=None,
        gradient="ste",
        clip=1.0,
        optimizer="binaryadam",
        initializer="xavier",
        lr=1e-3,
        lr_end=1e-3,
        reestimate=10000,
    ),
)
