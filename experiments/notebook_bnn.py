"""Part 2 of the notebook: the 784-100-10 net with binary weights mean|W| * sign(W).

    python experiments/notebook_bnn.py --dataset mnist --engine numpy --seeds 10
    python experiments/notebook_bnn.py --dataset mnist --gradient xnor --lr 1

Expected: with the notebook's gradient and its step of 100 the loss falls slowly and the net hardly learns; with the
"xnor" rule and a step of 1 it does.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

from notebook import main

if __name__ == "__main__":
    main(__doc__, is_binary=True, lr=1e2)
