"""Our kernels and the runtime, without MXNet, and the limits of the processor."""

import sys
import tempfile

import numpy as np

from bench.inference import Call, Layer, Worker, check, check_agreement, check_floats, fastest, net_inputs
from bench.roofline import Registers, compile_rooflines


def kernel(name, *arguments, like, kept=None):
    """A function that calls a kernel through ctypes, its result in an array of its own: addresses at hand, as
    a C program has them, and as ONNX Runtime has with its inputs and outputs bound."""
    from gluon_bnn.native import bindings, library

    function, y = getattr(library.handle(), f"gluon_bnn_{name}"), bindings.empty(like.shape, like.dtype)
    y.fill(-1)
    addresses = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in (*arguments, y)]

    def call(kept=(kept, arguments)):  # what the addresses point to
        if function(*addresses):
            sys.exit(library.handle().gluon_bnn_error().decode())
        return y

    return call


class Inference(Worker):
    """The rooflines, our kernels and the runtime, without MXNet."""

    def __init__(self, threads):
        super().__init__(threads)
        from gluon_bnn.native import library

        if not library.available():
            sys.exit(library.problem())
        self.instruction_set = library.instruction_set()
        with tempfile.TemporaryDirectory() as directory:
            self.loops = compile_rooflines(directory)

    def about(self):
        return {"instruction_set": self.instruction_set, "roofline": self.loops.roofline_name().decode()}

    def layer(self, rows, units, inputs):
        from gluon_bnn.graph.check import check as checked
        from gluon_bnn.graph.graph import Graph, Node
        from gluon_bnn.native import bindings
        from gluon_bnn.runtime import file

        case = Layer(rows, units, inputs)
        weight_bits, bits = bindings.pack_weights(case.signs), bindings.pack_inputs(case.x)
        y, to = np.empty((rows, units), np.float32), (weight_bits, case.alpha, case.bias, rows, units, inputs)
        arrays = {"weight_bits": weight_bits, "alpha": case.alpha, "bias": case.bias}
        nodes = (
            Node("input", attributes={"shape": (inputs,)}),
            Node("pack", (0,), {"to": "bits"}),
            Node("binary_dense", (1,), {"units": units, "to": "float"}, arrays),
        )
        net = bindings.Model(file.dumps(checked(Graph(nodes))))  # in one call, as the runtime does it
        on_bits = {
            "xnor_dense": Call(kernel("xnor_dense", bits, *to, like=y)),
            "pack + xnor_dense": Call(kernel("run", net.address, case.x, rows, like=y, kept=net)),
        }
        on_pixels = {"binary_dense_u8": Call(kernel("binary_dense_u8", case.pixels, *to, like=y))}
        on_floats = {"binary_dense": Call(kernel("binary_dense", case.x, *to, like=y))}

        dot = case.dot()
        for name, call in on_bits.items():
            check(name, call, case.alpha * dot + case.bias, 0)
        dot = (case.pixels @ case.signs.T.astype(np.float64)).astype(np.float32)
        for name, call in on_pixels.items():
            check(name, call, case.alpha * dot + case.bias, 0)
        check_floats(on_floats, case.dense, case.x)
        address, words = weight_bits.ctypes.data, weight_bits.nbytes // 8
        read = [Call(lambda n=n: self.loops.roofline_read(address, words, n)) for n in {1, self.threads}]
        # The rooflines come right before what is measured against them.
        return {
            "weights read": fastest(read),
            "registers alone": Registers(self.loops, rows * units * inputs, self.threads),
            **on_bits,
            **on_pixels,
            **on_floats,
        }

    def sizes(self, model):
        """{"sizes": [inputs, units, ...] of the dense layers in a file of runtime.save}, or {"problem": with it}."""
        from gluon_bnn import runtime

        try:
            graph = runtime.load(model).graph
        except (OSError, ValueError) as error:
            return {"problem": str(error)}
        units = [node.attributes["units"] for node in graph.nodes if node.kind in ("binary_dense", "dense")]
        return {"sizes": [graph.inputs, *units]} if units else {"problem": f"{model} has no dense layer"}

    def net(self, sizes, model, outputs):
        from gluon_bnn import runtime
        from gluon_bnn.graph import engine

        model, (images, x) = runtime.load(model), net_inputs(sizes[0])
        one, pixels = x[:1], images[:1]
        expected = np.load(outputs) if outputs else engine.run(model.graph, x)
        check("runtime", Call(lambda: model(x)), expected, 0)
        if outputs:
            check_agreement("uint8", model(images), expected)
        calls = {"runtime": Call(lambda: model(one))}
        if model.input_scale is not None:
            calls["runtime, uint8"] = Call(lambda: model(pixels))
        return calls

    def growth(self, largest):
        """{"kernel axis size": candidate}: each axis doubles from 1 on, the others stay."""
        from gluon_bnn.native import bindings

        calls = {}
        for axis in ("rows", "units", "inputs"):
            for size in (2**i for i in range(largest.bit_length())):
                rows, units, inputs = ({"rows": 64, "units": 1024, "inputs": 1024} | {axis: size}).values()
                x = np.random.default_rng(size).standard_normal((rows, inputs)).astype(np.float32)
                bits = bindings.pack_inputs(x)
                weight_bits = bindings.pack_weights(np.resize(x, (units, inputs)))
                one, zero = np.ones(units, np.float32), np.zeros(units, np.float32)
                to = weight_bits, one, zero, rows, units, inputs
                for name, given in (("xnor_dense", bits), ("binary_dense", x)):
                    y = np.empty((rows, units), np.float32)
                    calls[f"{name} {axis} {size}"] = Call(kernel(name, given, *to, like=y))
        return calls
