"""A deployed net that is called on NumPy arrays, without MXNet.

A model runs in one call of the compiled library, or, where there is none, in NumPy with the same results. They are
those of the packed form in MXNet, to the bit up to the first sigmoid, tanh or softrelu: of these MXNet and this package
have approximations of their own, which differ in the last bits.
"""

import functools

import numpy as np

from ..graph import engine
from ..graph.layers import check
from ..native import bindings, library


class Model:
    """A net that is ready to run: `model(x)`, `model.predict(x)`, `model.summary()`, `model.input_shape`.

    Made by `load`, or from a list of `graph.layers.Layer` and the shape of one input (tuple of int). A net for uint8
    inputs has an input_scale, a float or float32 (inputs,), nowhere 0, and an input_shift, float32 (inputs,), in
    addition: pixel p of input k stands for input_scale[k] * p + input_shift[k]. Raises as `graph.layers.check` does.

    The arrays must not be changed afterwards. One model may be called from several threads at once. It can be
    pickled and copied; what arrives is checked again.
    """

    def __init__(self, layers, input_shape, input_scale=None, input_shift=None):
        layers = tuple(layers)
        check(layers, input_shape, input_scale, input_shift)
        if input_scale is not None and np.ndim(input_scale) == 0:
            input_scale = float(np.float32(input_scale))
        self.layers, self.input_shape = layers, input_shape
        self.input_scale, self.input_shift = input_scale, input_shift
        self._inputs = layers[0].inputs
        if library.available():
            net = bindings.Net(layers)
            self._run, self._run_u8 = net.run, net.run_u8
        else:
            self._run, self._run_u8 = (functools.partial(run, layers) for run in (engine.run, engine.run_u8))

    def __getstate__(self):
        """All but what holds addresses of this process, or is made of the rest."""
        return {name: value for name, value in vars(self).items() if name not in ("_inputs", "_run", "_run_u8")}

    def __setstate__(self, state):
        Model.__init__(self, *(state.pop(name) for name in ("layers", "input_shape", "input_scale", "input_shift")))
        vars(self).update(state)  # what the user added

    def __repr__(self):
        return f"Model({self._inputs} -> {self.layers[-1].units}, {len(self.layers)} layers)"

    def __call__(self, x, check_finite=False):
        """The net's outputs, float32 (rows, units), for a batch x; (units,) for one input.

        x is float32, or uint8 where the net has an input scale. One input has the shape `input_shape` or
        (inputs,), a batch (rows,) before either. A sign of NaN is +1, all else keeps it; `check_finite` refuses
        NaN and infinities instead. Raises TypeError for another type, ValueError for another shape.
        """
        rows, one = self._rows(x, check_finite)
        if len(rows) == 0:
            y = np.empty((0, self.layers[-1].units), np.float32)
        elif rows.dtype == np.uint8:
            y = self._run_u8(rows, self.input_scale, self.input_shift)
        else:
            y = self._run(rows)
        return y[0] if one else y

    def predict(self, x, check_finite=False):
        """The index of the largest output, the first of several: int64 (rows,), an int for one input."""
        y = self(x, check_finite)
        return int(y.argmax()) if y.ndim == 1 else y.argmax(axis=1)

    def summary(self):
        """Print a line a layer, and the bytes of all arrays."""

        def line(*cells):
            print("{:14}{:>22}  {:16}{:>12}".format(*cells).rstrip())

        line("layer", "inputs -> units", "form", "bytes")
        for layer in self.layers:
            line(
                layer.function or layer.kind,
                f"{layer.inputs} -> {layer.units}",
                f"{layer.source} -> {layer.target}",
                layer.nbytes,
            )
        taken = "float32" if self.input_scale is None else "float32 or uint8"
        line("total", f"{self._inputs} -> {self.layers[-1].units}", taken, sum(layer.nbytes for layer in self.layers))

    def _rows(self, x, check_finite):
        """(x as (rows, inputs) in one piece of memory, whether it is one input)."""
        if not isinstance(x, np.ndarray):
            raise TypeError(f"x must be a NumPy array of float32 or uint8, got {type(x).__name__}")
        if x.dtype == np.uint8:
            if self.input_scale is None:
                raise ValueError(
                    "x must be float32, since this net has no scale for uint8 inputs: give "
                    "input_scale to freeze; got uint8"
                )
        elif x.dtype != np.float32:
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
