"""FINN's TFC: 784-64-64-64-10, inputs, weights and hidden activations of one bit. Expected test error: 6.83%.

Paper: Umuroglu et al. 2017, FINN, section 5; figure and training are those of Brevitas, examples/bnn_pynq: signs of
2 pixel - 1, dropout 0.2 of inputs and hidden values, squared hinge loss, batch norm after every hidden layer, Adam with
a rate of 0.02, real weights drawn from U(-1, 1) and held within [-1, 1].

Deviations:
1. 60 epochs, in which the rate falls from 0.01 by a constant factor to a thousandth; theirs are 1000, from 0.02, and it
   halves every 40.
2. No dropout: this net is too small to overfit in 60 epochs, and with dropout it learns far more slowly.
3. Batch norm after the last layer is per class; theirs has one mean and one variance for all classes.
4. 50,000 images to train and 10,000 to choose the epoch. Theirs trains on all 60,000 and reports the epoch that is best
   on the test images, which the record has too.
"""

from recipes import Recipe

RECIPE = Recipe(
    title="FINN's TFC",
    published="6.83, best test epoch of 1000",
    table="nets",
    row=20,
    seeds=(0, 1, 2),
    remark="best test epoch: {test_error_best_epoch}",
    options=dict(
        dataset="mnist",
        hidden=(64, 64, 64),
        batch_size=100,
        epochs=60,
        loss="hinge",
        inputs="signed",
        binary_inputs=True,
        activation="binary",
        scale=None,
        gradient="ste",
        clip=None,
        optimizer="binaryadam",
        initializer="binaryconnect",
        lr=0.01,
        watch_test=True,
    ),
)
