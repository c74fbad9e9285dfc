"""Frozen nets for the tests: made at random, and compared in all their forms."""

import numpy as np

from gluon_bnn._compat import mx
from gluon_bnn.deploy import freeze, load_exported
from gluon_bnn.graph import engine
from gluon_bnn.graph.kinds import KINDS

from gluon_nets import FORMS, sequential

gluon = mx.gluon.nn
__all__ = ["FORMS", "agree", "close", "fill", "gluon", "lines", "plus_minus", "randomise", "sequential"]


def randomise(net, rng):
    """Weights, biases, statistics and gammas at random, the last of both signs and some zero."""
    net.initialize(mx.init.Normal(1))
    return fill(net, rng)


def fill(net, rng):
    """The same for a net that is initialised."""
    for name, p in net._collect_params_with_prefix().items():
        v = rng.standard_normal(p.shape)
        if name.endswith("running_var"):
            v = rng.random(p.shape) * 9
        elif name.endswith("gamma"):
            v = np.where(rng.random(p.shape) < 0.2, 0, v)
        elif name.endswith("weight"):
            v = rng.standard_normal(p.shape) * rng.random()
        p.set_data(mx.nd.array(v))
    return net


def agree(net, x, tmp_path, exact=True):
    """Every form runs like `net`, and `layers` on rows; returns the layers as text."""
    expected = net(mx.nd.array(x)).asnumpy()
    for form in FORMS:
        frozen = freeze(net, form, verbose=False)
        for hybridize in (False, True):
            frozen.hybridize(hybridize)
            y = frozen(mx.nd.array(x)).asnumpy()
            (np.testing.assert_array_equal if exact else close)(y, expected)
        frozen.export(str(tmp_path / "net"))
        np.testing.assert_array_equal(load_exported(str(tmp_path / "net"))(mx.nd.array(x)).asnumpy(), y)
    rows = engine.run(frozen.graph, x.reshape(-1, frozen.input_shape[0]))
    close(rows.reshape(expected.shape), expected)
    return lines(frozen.graph)


def lines(graph):
    """One line for each node of a graph except the input: its kind, and the forms that it takes and gives."""
    found = []
    for index, node in enumerate(graph.nodes[1:], 1):
        taken, gives = graph.taken(index), graph.values[index]
        sizes = ", ".join(value.sizes for value in taken)
        found.append(f"{KINDS[node.kind].title(node)} {sizes} -> {gives.sizes} {taken[0].form} {gives.form}")
    return found


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


def plus_minus(rng, *shape):
    return rng.choice([-1, 1], shape).astype(np.float32)
