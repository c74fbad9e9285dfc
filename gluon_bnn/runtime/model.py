"""A deployed net that is called on NumPy arrays, without MXNet.

A model runs in one call of the compiled library, or, where there is none, in NumPy with the same results. They equal
those of the packed form in MXNet to the bit, up to the first sigmoid, tanh, softrelu, elu, gelu or swish: MXNet and
this package approximate these differently, which changes the last bits.
"""

import functools
from typing import Optional, Union

import numpy as np

from ..graph import engine
from ..graph.check import check
from ..graph.graph import Graph
from ..graph.kinds import KINDS
from ..native import bindings, library
from . import file

_FLOATS, _PIXELS = np.dtype(np.float32), np.dtype(np.uint8)  # to compare with a type takes three times as long


class Model:
    """A net that is ready to run: `model(x)`, `model.predict(x)`, `model.summary()`, `model.input_shape`, and where
    it was saved with them `model.labels` and `model.accuracy`.

    Made by `load`, or from a `graph.graph.Graph`. A net for uint8 inputs has an input_scale, a float or float32
    (inputs,), nowhere 0, and an input_shift, float32 (inputs,): pixel p of input k stands for
    input_scale[k] * p + input_shift[k]. Raises as `graph.check.check` does.

    The arrays must not be changed afterwards. One model may be called from several threads at once. It can be
    pickled and copied; what arrives is checked again.
    """

    def __init__(self, graph: Graph):
        self._make(check(graph))

    def _make(self, graph, content=None):
        """Ready to run a graph that has been checked; `content` is that of its file, where there is one."""
        self.graph, self.input_shape = graph, graph.input_shape
        self.input_scale, self.input_shift = graph.input_scale, graph.input_shift
        self._inputs, self._units = graph.inputs, graph.units
        if library.available():
            native = bindings.Model(content or file.dumps(graph))
            self._run, self._run_u8 = native.run, native.run_u8
        else:
            self._run = self._run_u8 = functools.partial(engine.run, graph)

    @property
    def labels(self) -> Optional[tuple[str, ...]]:
        """The names of the outputs where these are classes, None where the net was saved without."""
        return self.graph.labels

    @property
    def accuracy(self) -> Optional[float]:
        """The share of test inputs that the net gave the right class, from 0 to 1; None where it was saved without."""
        return self.graph.accuracy

    def __getstate__(self):
        """The graph and what the user added."""
        return {name: value for name, value in vars(self).items() if name not in _MADE}

    def __setstate__(self, state):
        Model.__init__(self, state.pop("graph"))
        vars(self).update(state)

    def __repr__(self):
        return f"Model({self._inputs} -> {self._units}, {len(self.graph.nodes)} nodes)"

    def __call__(self, x: np.ndarray, check_finite: bool = False) -> np.ndarray:
        """The net's outputs, float32 (rows, units), for a batch x; (units,) for one input.

        x is float32, or uint8 where the net has an input scale. One input has the shape `input_shape` or
        (inputs,), a batch (rows,) before either; where `input_shape` is (1, inputs), an array of that shape is one
        input. A sign of NaN is +1, all else keeps it; `check_finite` refuses NaN and infinities instead. Raises
        TypeError for another type, ValueError for another shape.
        """
        rows, one = self._rows(x, check_finite)
        if len(rows) == 0:
            y = np.empty((0, self._units), np.float32)
        elif rows.dtype == _PIXELS:
            y = self._run_u8(rows)
        else:
            y = self._run(rows)
        return y[0] if one else y

    def predict(self, x: np.ndarray, check_finite: bool = False) -> Union[int, np.ndarray]:
        """The index of the largest output, the first of several: int64 (rows,), an int for one input."""
        y = self(x, check_finite)
        return int(y.argmax()) if y.ndim == 1 else y.argmax(axis=1)

    def summary(self) -> None:
        """Print one line per node: its number, its name, the nodes whose values it takes, shape and form of what it
        takes and gives, and the bytes of its arrays."""

        def line(*cells):
            print("{:>5}  {:14}  {:12}  {:22}  {:16}{:>12}".format(*cells).rstrip())

        graph = self.graph
        line("node", "kind", "takes", "shape", "form", "bytes")
        for index, (node, gives) in enumerate(zip(graph.nodes, graph.values)):
            taken = graph.taken(index)
            shapes, forms = (
                ", ".join(dict.fromkeys(map(str, of))) for of in ([v.sizes for v in taken], [v.form for v in taken])
            )
            line(
                index,
                KINDS[node.kind].title(node),
                ", ".join(map(str, node.sources)),
                f"{shapes} -> {gives.sizes}" if taken else "x".join(map(str, self.input_shape)),
                f"{forms} -> {gives.form}" if taken else "float32" + " or uint8" * (self.input_scale is not None),
                node.nbytes,
            )
        line("", "total", "", f"{self._inputs} -> {self._units}", "", sum(node.nbytes for node in graph.nodes))

    def _rows(self, x, check_finite):
        """(x as (rows, inputs) in one piece of memory, whether it is one input)."""
        if not isinstance(x, np.ndarray):
            kind = type(x)  # both NumPy and MXNet call theirs ndarray
            raise TypeError(f"x must be a NumPy array of float32 or uint8, got {kind.__module__}.{kind.__qualname__}")
        if x.dtype == _PIXELS:
            if self.input_scale is None:
                raise ValueError(
                    "x must be float32, since this net has no scale for uint8 inputs: give "
                    "input_scale to freeze; got uint8"
                )
        elif x.dtype != _FLOATS:
            raise TypeError(f"x must be float32 or uint8, got {x.dtype}{self._advice(x)}")
        shape, flat = x.shape, (self._inputs,)
        one = shape == self.input_shape or shape == flat
        if not (one or shape[1:] in (flat, self.input_shape)):
            shapes = f"{self.input_shape}" + ("" if self.input_shape == flat else f" or {flat}")
            raise ValueError(
                f"x must have the shape {shapes} of one input, or of a batch, the rows before that; got {shape}"
            )
        if check_finite and x.dtype == np.float32 and not np.isfinite(x).all():
            raise ValueError(f"x must be finite, got {np.count_nonzero(~np.isfinite(x))} numbers that are not")
        x = np.ascontiguousarray(x) if x.flags.aligned else x.copy()
        return x.reshape(-1, self._inputs), one

    def _advice(self, x):
        """How to convert x, of a wrong dtype, so that it keeps its meaning."""
        if x.dtype.kind not in "biufO":
            return ""
        floats = "x.astype(np.float32)"
        if self.input_scale is None:
            return f": {floats} makes it so"
        floats = f"{floats} is for the numbers that pixels stand for, scale * pixel + shift"
        if x.dtype.kind not in "biu":
            return f": x.astype(np.uint8) is for pixels, whole numbers from 0 to 255; {floats}"
        if x.size and not 0 <= int(x.min()) <= int(x.max()) <= 255:
            return f" from {int(x.min())} to {int(x.max())}, and pixels are whole numbers from 0 to 255; {floats}"
        return f": x.astype(np.uint8) makes pixels of it{', 0 and 1' if x.dtype == bool else ''}; {floats}"


_MADE = ("input_shape", "input_scale", "input_shift", "_inputs", "_units", "_run", "_run_u8")  # from the graph


def load(path: file.AnyFile) -> Model:
    """The `Model` in a file that `save` wrote, of this version or an earlier one. Arguments and errors as
    `file.read`."""
    graph, content = file.read(path)
    model = Model.__new__(Model)
    model._make(graph, content)
    return model
