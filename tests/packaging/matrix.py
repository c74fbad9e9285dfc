"""What .ci/matrix tries on each Python with the installed wheel: `matrix.py runtime` without MXNet, `matrix.py mxnet`.

A program and no test module: it runs where neither pytest nor the checkout is installed.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np


def doctor(expected):
    command = [sys.executable, "-W", "ignore", "-m", "gluon_bnn", "doctor"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stdout.rstrip().endswith(expected), done.stdout


def runtime():
    """A net of bits from NumPy arrays: saved, loaded and run, on the compiled library and in NumPy."""
    from gluon_bnn import runtime
    from gluon_bnn.graph import engine
    from gluon_bnn.graph.graph import Graph, Node
    from gluon_bnn.native import library

    assert "mxnet" not in sys.modules and library.available(), library.problem()
    rng = np.random.default_rng(0)
    weight_bits = rng.integers(-(2**31), 2**31, (1, 3, 16), np.int64).astype(np.int32)
    weight_bits[:, -1] &= 1  # 65 inputs
    arrays = {"weight_bits": weight_bits, "alpha": np.ones(16, np.float32), "bias": np.zeros(16, np.float32)}
    nodes = (
        Node("input", (), {"shape": (65,)}),
        Node("pack", (0,), {"to": "bits"}),
        Node("binary_dense", (1,), {"units": 16, "to": "float"}, arrays),
    )
    model, x = runtime.Model(Graph(nodes)), rng.standard_normal((7, 65)).astype(np.float32)
    np.testing.assert_array_equal(model(x), engine.run(model.graph, x))
    doctor("all is well, runtime only")


def mxnet():
    """The import both ways, a step of training, export and reload, freeze, save and run."""
    import gluon_bnn  # first: with it MXNet can be imported on any NumPy

    import mxnet  # isort: skip
    from gluon_bnn import mx, nn, train  # isort: skip

    assert mx is mxnet and mx.nd.ones(tuple(np.array([2, 3]))).shape == (2, 3)
    data = gluon_bnn.data.load("digits")
    x, labels = data["train_data"].reshape(-1, 784), data["train_label"].astype(np.float32)
    net = mx.gluon.nn.HybridSequential()
    net.add(
        nn.BinaryDense(32, in_units=784, scale="channel"),
        nn.BatchNorm(),
        nn.BinaryActivation(),
        nn.BinaryDense(10, in_units=32),
    )
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", {"learning_rate": 0.01}, kvstore=None)
    loss, losses = gluon_bnn.loss.SquaredHingeLoss(), []
    for _ in range(20):
        with mx.autograd.record():
            each = loss(net(mx.nd.array(x)), mx.nd.array(labels))
        each.backward()
        trainer.step(len(x))
        losses.append(float(each.mean().asscalar()))
    assert losses[-1] < losses[0] / 2, losses
    expected = train.predict(net, x)
    assert gluon_bnn.check_net(net, mx.nd.array(x[:50])).ok
    with tempfile.TemporaryDirectory() as directory:
        prefix = os.path.join(directory, "net")
        net.export(prefix)
        np.testing.assert_array_equal(train.predict(gluon_bnn.load_exported(prefix), x), expected)
        frozen = gluon_bnn.freeze(net, verbose=False)
        gluon_bnn.runtime.save(frozen, prefix)
        np.testing.assert_array_equal(gluon_bnn.runtime.load(prefix)(x), expected)
    doctor("all is well")
    print(f"NumPy {np.__version__}, loss {losses[0]:.4f} to {losses[-1]:.4f}")


if __name__ == "__main__":
    {"runtime": runtime, "mxnet": mxnet}[sys.argv[1]]()
