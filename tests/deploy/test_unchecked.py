"""What MXNet runs without a check, and writes past its buffers by or divides by 0, is refused before it runs.

Without the check the process of these tests ends.
"""

import pickle
import re

import numpy as np
import pytest

from gluon_bnn import nn
from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.deploy.unchecked import Unchecked

from gluon_nets import FORMS, export, sequential

X, W = mx.sym.var("data"), mx.sym.var("w")
WRONG = "must keep the number of elements, which MXNet does not check: it makes "


def to(x, *shape):
    return mx.sym.Reshape(x, shape=shape)


def loaded(symbol, directory):
    """A graph of the input (4, 5) and the parameter w (4, 5) as an export."""
    symbol.save(str(directory / "net-symbol.json"))
    mx.nd.save(str(directory / "net-0000.params"), {"arg:w": mx.nd.ones((4, 5))})
    return load_exported(directory / "net")


def in_a_loop(*shape):
    return mx.sym.contrib.foreach(lambda row, _: (to(mx.sym.broadcast_add(row, mx.sym.sum(W)), *shape), []), X, [])[0]


def in_a_while_loop(*shape):
    variables = mx.sym.zeros((1,)), X + W
    return mx.sym.contrib.while_loop(lambda i, x: i < 2, lambda i, x: (to(x, *shape), (i + 1, x)), variables, 3)[0]


def in_a_branch(*shape):
    return mx.sym.contrib.cond(mx.sym.sum(X) > 0, lambda: to(X + W, *shape), lambda: to(W, *shape))


# Functions of the target, in which 20 elements are reshaped, or in the first loop the 5 of a row.
PLACES = {
    "an input": (lambda *shape: mx.sym.broadcast_add(to(X, *shape), mx.sym.sum(W)), (2, 10), "(4, 5)"),
    "one of several outputs": (lambda *shape: to(mx.sym.split(X + W, num_outputs=5)[1], *shape), (2, 2), "(4, 1)"),
    "a loop": (in_a_loop, (5, 1), "(5,)"),
    "a while loop": (in_a_while_loop, (2, 10), "(4, 5)"),
    "a branch": (in_a_branch, (2, 10), "(4, 5)"),
}


@pytest.mark.parametrize("place", PLACES)
def test_of_what_is_loaded(tmp_path, place):
    make, right, old = PLACES[place]
    x = mx.nd.ones((4, 5))
    for shape in ((1,), (3, -1), (40,)):
        with pytest.raises(ValueError, match="reshape.* " + re.escape(f"{WRONG}") + f".* of {re.escape(old)}$"):
            loaded(make(*shape), tmp_path)(x)
    net = loaded(make(*right), tmp_path)
    for batch in (x, x.as_np_ndarray(), x):
        assert type(net(batch)) is type(batch)


def test_each_shape_is_looked_at(tmp_path):
    net = loaded(mx.sym.broadcast_add(to(X, -1, 10), mx.sym.sum(W)), tmp_path)
    for rows in (4, 6, 4, 2):
        assert net(mx.nd.ones((rows, 5))).shape == (rows // 2, 10)
    with pytest.raises(ValueError, match=re.escape(f"{WRONG}(1, 10) of (3, 5)")):
        net(mx.nd.ones((3, 5)))


def test_hidden_outputs_and_open_shapes():
    """The mean of a batch norm is an output that the symbol does not list; a state takes its rows from the input."""
    mean = mx.sym.BatchNorm(X, *(mx.sym.var(name, shape=(5,)) for name in "gbmv"), output_mean_var=True)
    shapes = {"data": (4, 5)}
    with pytest.raises(ValueError, match=WRONG + r"\(1,\) of \(5,\)"):
        Unchecked(mx.sym.broadcast_add(mean[0], to(mean[1], 1))).check(shapes)
    state = mx.sym.zeros((0, 5))
    Unchecked(to(X + state, -1, 2)).check(shapes)
    with pytest.raises(ValueError, match=WRONG + r"\(2, 7\) of \(4, 5\)"):
        Unchecked(mx.sym.broadcast_add(X + state, mx.sym.sum(to(state, -1, 7)))).check(shapes)


def test_beside_states_and_parameters_that_are_not_used(tmp_path):
    """MXNet infers nothing where it gets the shape of a variable that the graph does not have."""
    states = {name: mx.nd.ones(5) for name in ("gamma", "beta", "mean", "var")}
    norm = mx.sym.BatchNorm(mx.sym.broadcast_add(X, mx.sym.sum(W)), *map(mx.sym.var, states))
    to(norm, 1).save(str(tmp_path / "net-symbol.json"))
    prefixes = {"gamma": "arg:", "beta": "arg:", "mean": "aux:", "var": "aux:"}
    arrays = {prefixes[name] + name: state for name, state in states.items()}
    mx.nd.save(str(tmp_path / "net-0000.params"), {**arrays, "arg:w": mx.nd.ones((4, 5))})
    with pytest.raises(ValueError, match=WRONG):
        load_exported(tmp_path / "net")(mx.nd.ones((4, 5)))
    with pytest.raises(ValueError, match=WRONG):
        Unchecked(to(X, 1)).check({"data": (4, 5), "other": (7,), "none": None})


@pytest.mark.parametrize("shape, right", [((4, 5), True), ((4,), True), ((4, 1), False), ((1, 1, 3), False)])
def test_conditions(tmp_path, shape, right):
    """MXNet reads past those that are too small."""
    condition = mx.sym.ones(shape)
    net = loaded(mx.sym.where(condition, X, W), tmp_path)
    if right:
        assert (net(2 * mx.nd.ones((4, 5))) == 2).asnumpy().all()
        return
    words = "must have a condition of the shape (4, 5) or (4,), which MXNet does not check: got "
    with pytest.raises(ValueError, match=re.escape(f"{words}{shape}")):
        net(mx.nd.ones((4, 5)))


def test_what_is_known_only_while_it_runs(tmp_path):
    """How many rows boolean_mask gives depends on values, so nobody can say it before."""
    net = loaded(to(mx.sym.contrib.boolean_mask(X + W, mx.sym.sum(X, axis=1)), 1), tmp_path)
    with pytest.raises(ValueError, match="no shape before the graph runs.*SymbolBlock.imports"):
        net(mx.nd.ones((4, 5)))


def test_names_that_stand_twice():
    other = mx.sym.var("data")
    with pytest.raises(ValueError, match="different names"):
        Unchecked(to(X + other, 1))


def test_what_mxnet_refuses_is_left_to_it(tmp_path):
    with pytest.raises(mx.base.MXNetError):
        loaded(to(X, 1) + W, tmp_path)(mx.nd.ones((4, 5)))


def test_in_what_freeze_computes(tmp_path):
    """Parameters alone go through it, so freeze runs it."""
    dense = mx.sym.FullyConnected(X, W, no_bias=True, num_hidden=4) + to(W, 1)
    with pytest.raises(ValueError, match=WRONG + r"\(1,\) of \(4, 5\)"):
        freeze(loaded(dense, tmp_path), verbose=False)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(-1, 12), (0, 12), (-1, 3, 4)])
def test_in_frozen_nets(tmp_path, form, shape):
    """A reshape in a net of one's own, which fits images of 12 pixels only."""
    net = sequential(mx.gluon.nn.HybridLambda(lambda F, x: F.reshape(x, shape)), nn.BinaryDense(5, in_units=12))
    net.initialize()
    frozen = freeze(net, form, verbose=False)
    x, wrong = mx.nd.ones((2, 12)), mx.nd.ones((2, 15))
    expected = frozen(x).asnumpy()
    words = WRONG if shape[0] else "12"  # of (0, 12) nothing is left but the layer's own check
    copied = [pickle.loads(pickle.dumps(frozen))] if len(shape) == 2 else []  # a SymbolBlock cannot be pickled
    for each in (frozen, *copied):
        for _ in range(2):
            np.testing.assert_array_equal(each(x).asnumpy(), expected)
            with pytest.raises((ValueError, mx.base.MXNetError), match=words):
                each(wrong)
            each.hybridize()
    export(frozen, tmp_path / "net", x)
    with pytest.raises((ValueError, mx.base.MXNetError), match=words):
        load_exported(tmp_path / "net")(wrong)
