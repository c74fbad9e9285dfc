"""FINN's nets, three hidden layers of one width, in which inputs, weights and hidden activations have one bit.

Paper: Umuroglu et al. 2017, FINN, section 5; figures and training are those of Brevitas, examples/bnn_pynq: signs of
2 pixel - 1, dropout 0.2 of inputs and hidden values, squared hinge loss, batch norm after every hidden layer, Adam with
a rate of 0.02, real weights drawn from U(-1, 1) and held within [-1, 1].

Deviations of all three:
1. 60 epochs, in which the rate falls from 0.01 by a constant factor to a thousandth; theirs are 1000, from 0.02, and it
   halves every 40.
2. Batch norm after the last layer is per class; theirs has one mean and one variance for all classes.
3. 50,000 images to train and 10,000 to choose the epoch. Theirs trains on all 60,000 and reports the epoch that is best
   on the test images, which the record has too.
"""

OPTIONS = dict(
    dataset="mnist",
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
)
