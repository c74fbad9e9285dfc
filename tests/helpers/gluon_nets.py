"""Gluon nets that tests make, export and load again."""

from gluon_bnn._compat import mx
from gluon_bnn.native import library

FORMS = ("float", "packed") if library.available() else ("float",)  # of a frozen net, for MXNet


def sequential(*blocks):
    net = mx.gluon.nn.HybridSequential()
    net.add(*blocks)
    return net


def export(net, prefix, *inputs, epoch=0):
    """Hybridize a net and export it; its output for the inputs."""
    net.hybridize()
    y = net(*inputs).asnumpy()
    net.export(str(prefix), epoch)
    return y


def imported(prefix, *names, epoch=0):
    """What was exported, loaded by MXNet alone. `names` are those of the inputs, "data" unless given."""
    return mx.gluon.SymbolBlock.imports(
        f"{prefix}-symbol.json", list(names) or ["data"], f"{prefix}-{epoch:04d}.params"
    )
