"""The same code run on arrays of mx.nd and, as after npx.set_np(), on those of mx.np."""

import contextlib

from gluon_bnn._compat import mx

KINDS = "nd", "np"


@contextlib.contextmanager
def arrays(kind):
    """Gluon computes with arrays of this kind; gives the function that makes one."""
    if kind == "np":
        mx.npx.set_np()
    try:
        yield mx.np.array if kind == "np" else mx.nd.array
    finally:
        mx.npx.reset_np()


def is_np(*values):
    return all(isinstance(value, mx.np.ndarray) for value in values)


def numbers(net):
    """{name: NumPy array} of the parameters, and of their gradients."""
    parameters = net._collect_params_with_prefix()
    found = {name: p.data().asnumpy() for name, p in parameters.items()}
    return {**found, **{f"{name}.grad": p.grad().asnumpy() for name, p in parameters.items() if p.grad_req != "null"}}
