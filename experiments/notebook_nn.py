"""Part 1 of the notebook: a real 784-100-10 net, full batch, W ~ N(0, 1), no bias.

    python experiments/notebook_nn.py --dataset mnist

The notebook shows no losses for this part. With a step of 1 the loss falls slowly but steadily.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

from notebook import main

if __name__ == "__main__":
    main(__doc__, is_binary=False, lr=1.0)
