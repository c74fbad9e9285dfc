"""Our kernels and the runtime, without MXNet, and the limits of the processor."""

import sys
import tempfile

import numpy as np

from bench.inference import Call, Layer, LeNet, Worker, check, check_agreement, check_floats, fastest, net_inputs
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


def conv_net(size, channels, pad, layers):
    """A graph of so many 3x3 convolutions from bits to bits, behind one of pixels that makes the bits."""
    from gluon_bnn.graph import bits
    from gluon_bnn.graph.check import check as checked
    from gluon_bnn.graph.graph import Graph, Node

    generator = np.random.default_rng(channels)

    def conv(source, kernel, inputs, **arrays):
        signs = generator.choice([-1.0, 1.0], (kernel * kernel, channels, inputs))
        arrays["weight_bits"] = np.ascontiguousarray(np.concatenate([bits.pack_weights(tap) for tap in signs], axis=1))
        attributes = dict(channels=channels, kernel=(kernel, kernel), strides=(1, 1), padding=(kernel // 2,) * 2)
        return Node("binary_conv2d", (source,), dict(attributes, dilation=(1, 1), pad=pad, to="bits"), arrays)

    zeros, ones = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    around = generator.integers(-256, 256, channels).astype(np.int32)
    nodes = [
        Node("input", (), {"shape": (1, size, size)}, {"scale": ones[:1], "shift": np.zeros(size * size, np.float32)}),
        Node("image", (0,), {"shape": (size, size, 1)}),
        conv(1, 1, 1, alpha=ones, bias=zeros, threshold_u8=around),
    ]
    for _ in range(layers):
        nodes.append(conv(len(nodes) - 1, 3, channels, threshold=(around // 32) | 1))
    whole = dict(kernel=(size, size), strides=(size, size), padding=(0, 0), rounding="floor")
    signs = bits.pack_weights(generator.choice([-1.0, 1.0], (10, channels)))
    nodes.append(Node("max_pool", (len(nodes) - 1,), whole))
    nodes.append(Node("flatten", (len(nodes) - 1,)))
    last = {"weight_bits": signs, "alpha": np.ones(10, np.float32), "bias": np.zeros(10, np.float32)}
    nodes.append(Node("binary_dense", (len(nodes) - 1,), dict(units=10, to="float"), last))
    return checked(Graph(tuple(nodes)))


class Layers:
    """A candidate: a layer that a net has several times, timed as the difference to the net without these layers."""

    def __init__(self, deep, shallow, layers):
        self.deep, self.shallow, self.layers = deep, shallow, layers

    def times(self):
        return max(1e-9, (self.deep.times() - self.shallow.times()) / self.layers)


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

    def registers(self, loop, products):
        return Registers(
            getattr(self.loops, f"roofline_{loop}"), self.loops.roofline_variants(), products, self.threads
        )

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
            "registers alone": self.registers("xnor", rows * units * inputs),
            "bytes alone": self.registers("bytes", rows * units * inputs),
            **on_bits,
            **on_pixels,
            **on_floats,
        }

    def conv(self, rows, size, channels):
        from gluon_bnn.graph import engine
        from gluon_bnn.native import bindings
        from gluon_bnn.runtime import file

        pixels = np.random.default_rng(size).integers(0, 256, (rows, size * size), np.uint8)

        def net(pad, layers):
            graph = conv_net(size, channels, pad, layers)
            model, y = bindings.Model(file.dumps(graph)), np.empty((rows, graph.units), np.float32)
            call = Call(kernel("run_u8", model.address, pixels, rows, like=y, kept=model))
            few = Call(lambda: call.result()[:2])
            check(f"binary_conv2d, {pad}", few, engine.run(graph, pixels[:2]), 0)
            return call

        layers = 8
        calls = {
            name: Layers(net(pad, layers), net(pad, 0), layers)
            for name, pad in (("binary_conv2d", "zero"), ("binary_conv2d, +1 outside", "plus"))
        }
        case = Layer(rows * size * size, channels, 9 * channels)
        weight_bits, bits = bindings.pack_weights(case.signs), bindings.pack_inputs(case.x)
        threshold, dot = np.zeros(channels, np.int32), case.dot()
        expected = bindings.pack_inputs(dot)
        to = weight_bits, threshold, len(case.x), channels, 9 * channels
        dense = Call(kernel("xnor_dense_bits", bits, *to, like=expected))
        check("xnor_dense_bits", dense, expected, 0)
        registers = self.registers("xnor", dot.size * 9 * channels)
        return {"registers alone": registers, "dense product": dense, **calls}

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

    def lenet(self, model, outputs):
        from gluon_bnn import runtime

        net, pixels = runtime.load(model), LeNet().pixels
        call = Call(lambda: net(pixels))
        check("runtime, uint8", call, np.load(outputs), 0)
        return {"runtime, uint8": call}

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
