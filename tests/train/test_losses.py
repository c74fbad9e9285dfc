"""The losses of ten training steps, as they were recorded: training has not drifted.

    python tests/train/test_losses.py    # records them again, where a change of the results is meant

To the bit on the instruction set of the record; others round sums of the weights' gradients differently.
"""

import json
import os

import numpy as np
import pytest

from gluon_bnn import loss, nn, ops
from gluon_bnn._compat import mx
from gluon_bnn.data import load
from gluon_bnn.native import library

RECORD = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden", "losses.json")
STEPS, BATCH = 10, 50
# Options of the layers, and the activation between them.
NETS = {
    "BWN": (dict(scale="layer"), "relu"),
    "BWN, a scale a unit": (dict(scale="channel"), "relu"),
    "exact": (dict(scale="layer", gradient="exact"), "sign"),
    "notebook": (dict(scale="channel", gradient="notebook"), "sigmoid"),
    "LAB": (dict(scale="loss"), "relu"),
    "BNN": (dict(scale=None), "sign"),
    "BNN, no clip": (dict(scale=None, clip=None, use_bias=False), "sign"),
}
ACTIVATIONS = {"relu": lambda: nn.Activation("relu"), "sign": nn.BinaryActivation, "sigmoid": nn.BinarySigmoid}


def losses(name, hybridize):
    """The mean loss of each step, float32."""
    options, activation = NETS[name]
    generator = np.random.default_rng(1)
    net = mx.gluon.nn.HybridSequential()
    for inputs, units in ((784, 65), (65, 33), (33, 10)):
        net.add(nn.BinaryDense(units, in_units=inputs, **options), nn.BatchNorm(in_channels=units))
        if units > 10:
            net.add(ACTIVATIONS[activation]())
    net.initialize()
    for block in net:
        if isinstance(block, nn.BinaryDense):
            block.weight.set_data(mx.nd.array(generator.uniform(-1.2, 1.2, block.weight.shape)))
    net.hybridize(hybridize)
    trainer = mx.gluon.Trainer(net.collect_params(), "binaryadam", {"learning_rate": 0.01}, kvstore=None)
    digits = load("digits")
    measure, found = loss.SquaredHingeLoss(), []
    for step in range(STEPS):
        x, y = (
            mx.nd.array(a[step * BATCH : (step + 1) * BATCH]) for a in (digits["train_data"], digits["train_label"])
        )
        with mx.autograd.record():
            value = measure(net(x), y)
        value.backward()
        trainer.step(BATCH)
        found.append(float(np.mean(value.asnumpy(), dtype=np.float64)))
    return found


def recorded():
    with open(RECORD, encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_native(name, hybridize, instruction_set):
    record = recorded()
    found, expected = losses(name, hybridize), record["losses"][name]
    if instruction_set == record["instruction_set"]:
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_composed(name):
    """MXNet's own operators add in another order; with signs between the layers a rounding may turn a bit."""
    with ops.use("composed"):
        found = losses(name, True)
    expected = recorded()["losses"][name]
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found == pytest.approx(expected, rel=0.05)


if __name__ == "__main__":
    if not library.available():
        raise SystemExit(library.problem())
    with open(RECORD, "w", encoding="utf-8") as file:
        json.dump(
            {"instruction_set": library.instruction_set(), "losses": {name: losses(name, True) for name in NETS}},
            file,
            indent=1,
        )
        file.write("\n")
