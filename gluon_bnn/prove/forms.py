"""The forms that `prove` runs.

A form is a function that writes its files and says how a process of it is started; a new one is a function here and its
name in MAKERS. `in_mxnet` and `of_export` are for those who have the net in MXNet, too.
"""

import dataclasses
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ..graph.graph import Graph
from ..native import library

HERE = os.path.dirname(os.path.abspath(__file__))
WEB = os.path.join(os.path.dirname(os.path.dirname(HERE)), "experiments", "deploy_web", "classify.mjs")
CFLAGS = "-O2", "-std=c99"  # without a standard, floats on 32-bit x86 are not rounded after each operation


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


def _save(form, graph, path):
    from ..deploy import forms

    try:
        forms.save(graph, path)
    except ValueError as error:
        raise Absent(form, str(error)) from None


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
    _save(name, graph, path)
    return [Form(name, _inputs(graph)[-1], (path,), _python("onnx", path), exact=False)]


def _c(graph, directory):
    name, path, inputs = "C, the header alone", os.path.join(directory, "net.h"), _inputs(graph)[-1]
    compiler = _compiler(name)
    _save(name, graph, path)
    return [Form(name, inputs, (path,), (_compiled(name, compiler, directory, inputs, f"-I{directory}"), path))]


def _c_library(graph, directory):
    """The library's C interface, as a program of the user's calls it."""
    name, compiler = "C, our library", _compiler("C, our library")
    if not library.available():
        raise Absent(name, library.problem())
    path, where = _model(graph, directory), os.path.dirname(os.path.abspath(library.path()))
    linked = f"-I{where}/include", f"-L{where}", "-lgluon_bnn", "-Xlinker", "-rpath", "-Xlinker", where
    runs = {"float32": "gluon_bnn_run", "uint8": "gluon_bnn_run_u8"}
    forms = []
    for inputs in _inputs(graph):
        run = f"-DRUN={runs[inputs]}"
        program = _compiled(name, compiler, directory, inputs, run, *linked)
        forms.append(Form(name, inputs, (path,), (program, path)))
    return forms


def _compiler(form):
    """The command of the C compiler, with the options that CC may have, as in make."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if not shutil.which(command[0]):
        raise Absent(form, f"there is no C compiler {command[0]}; the environment variable CC names another")
    return command


def _compiled(form, compiler, directory, inputs, *options):
    """The path of classify.c as a program that takes these inputs."""
    program = os.path.join(directory, f"{form}, {inputs}")
    type_ = {"uint8": "uint8_t", "float32": "float"}[inputs]
    source = os.path.join(HERE, "classify.c")
    built = subprocess.run(
        [*compiler, *CFLAGS, f"-DINPUT={type_}", source, *options, "-o", program], capture_output=True, text=True
    )
    if built.returncode:
        raise RuntimeError(f"{form} does not compile: {built.stderr.strip()}")
    return program


def _javascript(graph, directory):
    name = "JavaScript, Node"
    if not os.path.exists(WEB):
        raise Absent(name, "it is a part of a checkout, experiments/deploy_web")
    if not shutil.which("node"):
        raise Absent(name, "Node is not installed: https://nodejs.org, or apt-get install nodejs")
    path = _model(graph, directory)
    return [Form(name, inputs, (path,), ("node", WEB, path)) for inputs in _inputs(graph)]


Maker = Callable[[Graph, str], list[Form]]

# The forms of every net, each made of a graph and a directory for its files, or Absent. The engine in NumPy, which the
# others are compared with, is the first.
MAKERS: tuple[Maker, ...] = _runtime, _onnx, _c, _c_library, _javascript


def _mxnet(name, parameters):
    """An export for MXNet. Its sums of real numbers are in MXNet's order, but for those of our operators."""
    symbol = f"{parameters.rpartition('-')[0]}-symbol.json"
    return Form(name, "float32", (symbol, parameters), _python("mxnet", parameters), exact=False)


def in_mxnet(net: Any, directory: str, **options: Any) -> tuple[Graph, list[Form]]:
    """(the graph of a net, its forms in MXNet): frozen in each form, and exported to the directory as float-* and
    packed-*.

    options : those of `freeze`; raises as it does
    """
    from .._compat import mx
    from ..deploy import freeze

    forms = []
    for form in ("float", "packed") if library.available() else ("float",):
        frozen = freeze(net, form, **options, verbose=False)
        frozen.hybridize()
        frozen(mx.nd.zeros((1, *frozen.input_shape)))
        frozen.export(os.path.join(directory, form))
        forms.append(_mxnet(f"MXNet, {form}", os.path.join(directory, f"{form}-0000.params")))
    return frozen.graph, forms


def of_export(prefix: str, epoch: int, directory: str, **options: Any) -> tuple[Graph, list[Form]]:
    """`in_mxnet` of a net that MXNet exported, which is one of the forms as it is; raises as `load_exported`, too."""
    from ..deploy import load_exported

    graph, forms = in_mxnet(load_exported(prefix, epoch), directory, **options)
    return graph, [_mxnet("MXNet, as exported", f"{prefix}-{epoch:04}.params"), *forms]
