"""The net that a run of train_mnist.py left in its --save-dir, as it was trained.

As a program it is a form for `gluon_bnn.prove`, in a process of its own, with the options of `nets.make` in JSON:

    python experiments/common/trained.py OPTIONS NET.params INPUTS.npy OUTPUTS.npy
"""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import contextlib
import json
import time

from safetensors import safe_open

from gluon_bnn import mx
from gluon_bnn.prove import Form
from gluon_bnn.prove.classify import classify

import nets
from common.images import INPUTS
from common.run_directory import checkpoint_in

NET = "mlp"  # of checkpoints from before --net existed


@contextlib.contextmanager
def _checkpoint(directory):
    """The file, open; ValueError for whatever is wrong with it, as it may hold anything."""
    path = checkpoint_in(directory)
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except Exception as error:
        raise ValueError(f"{path} cannot be used ({type(error).__name__}: {error})") from None


def read_settings(directory):
    """The settings of the run, those checked that this and `common.images.Images` need."""
    with _checkpoint(directory) as file:
        settings = json.loads(file.metadata()["gluon_bnn"])["settings"]
        settings.setdefault("net", NET)
        known = dict(net=nets.names(), weights=nets.WEIGHTS, activation=[*nets.ACTIVATIONS], inputs=INPUTS)
        for name, allowed in known.items():
            if settings[name] not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {settings[name]!r}")
        if not isinstance(settings["dataset"], str):
            raise ValueError(f"dataset must be a string, got {settings['dataset']!r}")
        size = settings.get("image_size")
        if size is not None and not (len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
            raise ValueError(f"image_size must be a height and a width, got {size!r}")
        return settings


def options_of(settings, images):
    """The options of `nets.make` for the net of a run on these images."""
    given = {name: settings[name] for name in nets.OPTIONS if name in settings}
    return {**given, "shape": images.shape, "classes": images.classes}


def load(directory, options):
    """The net, with the parameters of the best epoch."""
    with _checkpoint(directory) as file:
        net = nets.make(**options)
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(mx.nd.array(file.get_tensor(f"best/{name}")))
        return net


def form(options, parameters):
    """The net in Gluon, by the file of its parameters, for `gluon_bnn.prove.prove`."""
    command = sys.executable, "-W", "ignore", os.path.abspath(__file__), json.dumps(options), parameters
    return Form("MXNet, as trained", "float32", (parameters,), command, exact=False)


def main(options, parameters, inputs, outputs):
    imported, net = time.time(), nets.make(**json.loads(options))
    net.load_parameters(parameters)
    net.hybridize(static_alloc=True, static_shape=True)
    classify(imported, lambda x: net(mx.nd.array(x)).asnumpy(), inputs, outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
