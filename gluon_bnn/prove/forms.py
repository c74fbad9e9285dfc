"""The forms that `prove` runs.

A form is a function that writes its files and says how a process of it is started; a new one is a function here and its
name in `forms_of`.
"""

import dataclasses
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ..graph.graph import Graph
from ..native import library

HERE = os.path.dirname(os.path.abspath(__file__))
WEB = os.path.join(os.path.dirname(os.path.dirname(HERE)), "experiments", "deploy_web", "classify.mjs")
CFLAGS = "-O2", "-std=c99"  # with other options for C floats need not be rounded after each operation


class Absent(Exception):
    """What a form lacks on this machine; `form` is its name."""

    def __init__(self, form: str, why: str):
        super().__init__(why)
        self.form = form


@dataclasses.dataclass(frozen=True)
class Form:
    """A form on one kind of inputs.

    inputs : "float32" or "uint8"; files : whose bytes count
    command : of a process that takes INPUTS.npy and OUTPUTS.npy as its last arguments, and prints a line of JSON
    exact : whether it sums in the engine's order, and so has its bits
    """

    name: str
    inputs: str
    files: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    exact: bool = True


Maker = Callable[[], list[Form]]


def forms_of(graph: Graph, directory: str, exported: dict[str, str]) -> list[Maker]:
    """A function for each form, that makes it, or raises Absent; the engine in NumPy, which the others are compared
    with, is the first."""
    return [
        *(functools.partial(make, graph, directory) for make in (_runtime, _onnx, _c, _javascript)),
        *(functools.partial(_mxnet, name, parameters) for name, parameters in exported.items()),
    ]


def _python(form: str, path: str) -> tuple[str, ...]:
    return sys.executable, "-W", "ignore", os.path.join(HERE, "classify.py"), form, path


def _inputs(graph):
    return ["float32"] + ["uint8"] * (graph.input_scale is not None)


def _model(graph, directory):
    from .. import runtime

    path = os.path.join(directory, "net.safetensors")
    if not os.path.exists(path):
        runtime.save(graph, path)
    return path


def _runtime(graph, directory):
    path = _model(graph, directory)
    numpy = [Form("runtime, NumPy alone", inputs, (path,), _python("numpy", path)) for inputs in _inputs(graph)]
    return numpy + [
        Form(f"runtime, {isa}", inputs, (path,), _python("runtime", path), {"GLUON_BNN_ISA": isa})
        for isa in library.instruction_sets()
        for inputs in _inputs(graph)
    ]


def _onnx(graph, directory):
    name, path = "ONNX Runtime", os.path.join(directory, "net.onnx")
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise Absent(name, f"{package} is not installed: pip install 'gluon_bnn[onnx]'")
    from ..deploy import forms

    try:
        forms.save(graph, path)
    except ValueError as error:
        raise Absent(name, str(error)) from None
    return [Form(name, _inputs(graph)[-1], (path,), _python("onnx", path), exact=False)]


def _c(graph, directory):
    name, path = "C, the header alone", os.path.join(directory, "net.h")
    compiler = os.environ.get("CC", "cc")
    if not shutil.which(compiler):
        raise Absent(name, f"there is no C compiler {compiler}; the environment variable CC names another")
    from ..deploy import forms

    try:
        forms.save(graph, path)
    except ValueError as error:
        raise Absent(name, str(error)) from None
    program, inputs = os.path.join(directory, "classify"), _inputs(graph)[-1]
    type_ = {"uint8": "uint8_t", "float32": "float"}[inputs]
    source = os.path.join(HERE, "classify.c")
    built = subprocess.run(
        [compiler, *CFLAGS, f"-DINPUT={type_}", f"-I{directory}", source, "-o", program], capture_output=True, text=True
    )
    if built.returncode:
        raise RuntimeError(f"{name} does not compile: {built.stderr.strip()}")
    return [Form(name, inputs, (path,), (program,))]


def _javascript(graph, directory):
    name = "JavaScript, Node"
    if not os.path.exists(WEB):
        raise Absent(name, "it is a part of a checkout, experiments/deploy_web")
    if not shutil.which("node"):
        raise Absent(name, "Node is not installed: https://nodejs.org, or apt-get install nodejs")
    path = _model(graph, directory)
    return [Form(name, inputs, (path,), ("node", WEB, path)) for inputs in _inputs(graph)]


def _mxnet(name, parameters):
    """An export for MXNet. Its sums of real numbers are in MXNet's order, but for those of our operators."""
    if importlib.util.find_spec("mxnet") is None:
        raise Absent(name, "MXNet is not installed")
    symbol = f"{parameters.rpartition('-')[0]}-symbol.json"
    return [Form(name, "float32", (symbol, parameters), _python("mxnet", parameters), exact=False)]


def in_mxnet(prefix: str, epoch: int, directory: str, **options: Any) -> tuple[Graph, dict[str, str]]:
    """(the graph of an exported net, {name: the file of parameters of an export for MXNet}): of the net as it was
    exported, and frozen in each form and exported to the directory.

    options : those of `freeze`; raises as `load_exported` and `freeze`
    """
    from .._compat import mx
    from ..deploy import freeze, load_exported

    exported = {"MXNet, as exported": f"{prefix}-{epoch:04}.params"}
    for form in ("float", "packed") if library.available() else ("float",):
        frozen = freeze(load_exported(prefix, epoch), form, **options, verbose=False)
        frozen.hybridize()
        frozen(mx.nd.zeros((1, *frozen.input_shape)))
        frozen.export(os.path.join(directory, form))
        exported[f"MXNet, {form}"] = os.path.join(directory, f"{form}-0000.params")
    return frozen.graph, exported
