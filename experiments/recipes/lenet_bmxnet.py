"""BMXNet's LeNet: first and last layer real, no scale. Expected test error: 3%.

Paper: Yang, Fritzsche, Bartz, Meinel 2017, BMXNet, section 3: 97% right with binary weights and activations, 99% with
real ones. Tanh after the first layer, batch norm before or after each binary product, Adam, cross-entropy.

Deviations:
1. The paper has no rate, batch size or number of epochs. Here the rate is 1e-3 and falls to a hundredth in 4 epochs;
   batches have 100 images.
2. 50,000 images to train and 10,000 to choose the epoch; theirs trains on all 60,000.
3. Batch norm's statistics are re-estimated on 10,000 training images before every validation.
"""

from recipes import Recipe

RECIPE = Recipe(
    title="BMXNet's LeNet",
    published="3",
    table="nets",
    row=25,
    options=dict(
        dataset="mnist",
        net="lenet_bmxnet",
        batch_size=100,
        epochs=4,
        loss="crossentropy",
        inputs="signed",
        activation="binary",
        real_ends=True,
        scale=None,
        gradient="ste",
        clip=1.0,
        optimizer="binaryadam",
        initializer="xavier",
        lr=1e-3,
        lr_end=1e-5,
        reestimate=10000,
    ),
)
