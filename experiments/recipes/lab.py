"""LAB: weights of one bit, one scale per layer, weighted by the curvature of the loss. Expected test error: 1.17%.

The published table has 1.18%.

Paper: Hou, Yao, Kwok 2017, Loss-aware Binarization of Deep Networks, section 4.1, and its code: 50,000 images to train
and 10,000 to choose the epoch, squared hinge loss, Adam, batch norm after every layer, the weights held within [-1, 1]
after every step.

Deviations:
1. Batch norm divides by sqrt(var + 1e-5), as Gluon does; theirs divides by the standard deviation plus 1e-4.
2. Of several epochs with the lowest validation error the first counts; theirs is the last.
"""

from recipes import Recipe

RECIPE = Recipe(
    title="LAB",
    published="1.17 (1.18)",
    row=6,
    options=dict(
        dataset="mnist",
        hidden=(2048, 2048, 2048),
        batch_size=100,
        epochs=50,
        loss="hinge",
        inputs="centered",
        scale="loss",
        gradient="ste",
        clip=None,
        optimizer="binaryadam",
        initializer="lab",
        lr=0.01,
        lr_steps=(15, 25),  # a tenth after 15 epochs, a hundredth after 25
    ),
)
