"""Writes the golden files: models of each format with what they answered when they were made.

    python tests/golden/make_golden.py

A model that was saved once loads for ever, so the files of a format are made once and never again; a new
format gets new ones beside them. For each net, <name>.safetensors is the model and <name>.answers.safetensors
holds x (float32), y, pixels (uint8) and y_uint8. Between them the nets have every kind of layer, every form
and function, more than 256 float inputs, and the three ways in which uint8 inputs enter; those of format 2 have one
negative input scale, and a scale for each input.
"""

import os
import sys

import numpy as np
from safetensors.numpy import save_file

from gluon_bnn import runtime

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "helpers"))
from random_nets import random_net, scales


def nets():
    """{name: net}."""
    rng = np.random.default_rng(1)

    def function(name, size):
        return "activation", size, size, "float", "float", name

    return {
        "format1_binary_dense": random_net(
            rng,
            ("binary_dense", 300, 65, "float", "bits", None, True),
            ("binary_dense", 65, 64, "bits", "bits"),
            ("binary_dense", 64, 40, "bits01", "bits"),
            ("binary_dense", 40, 33, "bits01", "float", None, True),
            ("pack", 33, 33, "float", "bits"),
            ("binary_dense", 33, 300, "bits", "float"),
            function("relu", 300),
            ("batch_norm", 300),
            ("dense", 300, 10),
            input_shape=(1, 15, 20),
        ),
        "format1_pack": random_net(
            rng,
            ("pack", 40, 40, "float", "bits"),
            ("binary_dense", 40, 65, "bits", "bits"),
            ("binary_dense", 65, 3, "bits", "float", None, True),
            input_shape=(40,),
        ),
        "format1_dense": random_net(
            rng,
            ("dense", 12, 48),
            function("softsign", 48),
            ("dense", 48, 33, "float", "float", None, False, False),
            function("sign", 33),
            ("binary_dense", 33, 33),
            function("tanh", 33),
            ("binary_dense", 33, 65),
            function("binary_sigmoid", 65),
            ("dense", 65, 33),
            function("softrelu", 33),
            ("batch_norm", 33),
            function("sigmoid", 33),
            ("dense", 33, 33),
            ("binary_dense", 33, 65, "float", "bits"),
            ("binary_dense", 65, 6, "bits01", "float"),
            input_shape=(3, 4),
        ),
        "format2_binary_dense": random_net(
            rng,
            ("binary_dense", 40, 33, "float", "bits", None, True),
            ("binary_dense", 33, 5, "bits", "float"),
            input_shape=(1, 5, 8),
            scale=-0.0078125,
        ),
        "format2_pack": random_net(
            rng,
            ("pack", 33, 33, "float", "bits"),
            ("binary_dense", 33, 5, "bits", "float", None, True),
            scale=scales(rng, 33),
        ),
    }


def main():
    for name, net in nets().items():
        path = os.path.join(HERE, f"{name}.safetensors")
        if os.path.exists(path):
            continue
        runtime.save(net, path)
        rng = np.random.default_rng(2)
        x = rng.standard_normal((30, *net.input_shape)).astype(np.float32)
        x[rng.random(x.shape) < 0.1] = 0.0
        x[rng.random(x.shape) < 0.1] = -0.0
        pixels = rng.integers(0, 256, x.shape, np.uint8)
        model = runtime.load(path)
        save_file(
            {"x": x, "y": model(x), "pixels": pixels, "y_uint8": model(pixels)},
            os.path.join(HERE, f"{name}.answers.safetensors"),
        )


if __name__ == "__main__":
    main()
