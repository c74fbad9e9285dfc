"""A ResNet-18 whose convolutions have weights and inputs of one bit, and a shortcut each. Expected test error: none.

Paper: Liu, Wu, Luo, Yang, Liu, Cheng 2018, Bi-Real Net, sections 3.1 and 3.3, in which the net is for ImageNet and no
error for CIFAR-10 is published. Real weights in the first convolution, the shortcuts and the last layer.

Deviations, after those of setups/convolutions.py, which says that this was not trained here:
3. The sign has the straight-through gradient; theirs is that of a piecewise polynomial.
4. For images of 32x32 the first convolution is 3x3 with a stride of 1, and no pool follows.
"""

from recipes import Recipe
from recipes.setups import convolutions

RECIPE = Recipe(
    title="ResNet-18 with shortcuts",
    published="",
    table="nets",
    row=31,
    seeds=(),
    options=dict(
        convolutions.CIFAR10, net="resnet", loss="crossentropy", real_ends=True, scale="channel", gradient="xnor"
    ),
)
