"""LAB's network and budget, 784-2048-2048-2048-10 in 50 epochs, on which the methods are compared.

Paper: Hou, Yao, Kwok 2017, Loss-aware Binarization of Deep Networks, section 4.1, and its code: 50,000 images to train
and 10,000 to choose the epoch, squared hinge loss, Adam, batch norm after every layer; weights behind binary ones are
held within [-1, 1] after every step.

Deviations of all methods:
1. Batch norm divides by sqrt(var + 1e-5), as Gluon does; theirs divides by the standard deviation plus 1e-4.
2. Of several epochs with the lowest validation error the first counts; theirs is the last.
"""

NETWORK = dict(dataset="mnist", hidden=(2048, 2048, 2048), batch_size=100, epochs=50, loss="hinge", inputs="centered")

# With binary weights; the rate is 0.01 with real activations, and 0.005 with binary ones.
BINARY = dict(NETWORK, gradient="ste", clip=None, optimizer="binaryadam", initializer="lab")

STEPS = (15, 25)  # of the rate: a tenth after 15 epochs, a hundredth after 25
