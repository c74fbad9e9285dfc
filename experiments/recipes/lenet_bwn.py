"""LeNet of ternary weight networks with weights of one bit, real activations. Expected test error: 0.95%.

Paper: Li, Zhang, Liu 2016, Ternary Weight Networks, section 4, "BPWN": 99.05% right, 99.35% with three values per
weight, 99.41% with real weights. One scale per layer, batch norm and ReLU, squared hinge loss, SGD with a momentum of
0.9 and a rate of 0.01 that falls to a tenth twice, weight decay 1e-4, batches of 50.

Deviations:
1. Adam with a rate of 1e-3 that falls to a hundredth in 6 epochs, and no weight decay, which Adam makes another thing.
2. Batches of 100. 50,000 images to train and 10,000 to choose the epoch.
3. Batch norm's statistics are re-estimated on 10,000 training images before every validation.
"""

from recipes import Recipe

RECIPE = Recipe(
    title="LeNet, BWN",
    published="0.95",
    table="nets",
    row=26,
    options=dict(
        dataset="mnist",
        net="lenet",
        batch_size=100,
        epochs=6,
        loss="hinge",
        inputs="signed",
        activation="relu",
        scale="layer",
        gradient="xnor",
        clip=1.0,
        optimizer="binaryadam",
        initializer="xavier",
        lr=1e-3,
        lr_end=1e-5,
        reestimate=10000,
    ),
)
