"""Nets with convolutions: pixels within [-1, 1], Adam, weights held within [-1, 1] after every step.

Deviations of all nets:
1. Batch norm's statistics are re-estimated on 10,000 training images before every validation.
2. A sixth of the training images chooses the epoch: of MNIST 50,000 train and 10,000 choose, of CIFAR-10 41,667 and
   8,333.

The nets for CIFAR-10 were not trained here, where the data set is not: no error is claimed for them.
"""

MNIST = dict(dataset="mnist", inputs="signed", clip=1.0, optimizer="binaryadam", initializer="xavier", reestimate=10000)

# The rate falls to a thousandth by a constant factor; images are moved by up to 2 pixels.
CIFAR10 = dict(MNIST, dataset="cifar10", activation="binary", batch_size=100, epochs=100, lr=1e-3, shift=2)
