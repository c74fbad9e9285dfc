"""The workers of bench_inference.py: a process for each library, which meets no threads but its own.

    python bench/inference.py ours 2  # or mxnet, torch, onnx, lce; the number of threads

In one process they would slow each other down: libgomp adds up the threads of all its teams, those of MXNet's
engine too, and once they are more than the processors, threads that wait go to sleep at once, so that every
parallel region, ours too, begins with waking them, at about 12 us.

How they are asked is written in workers.py. `prepare` makes the candidates of a case, checks each and answers their
names; `time` answers the seconds of a call. Every worker draws the same arrays.

Each library runs at its best: where it has several ways to do the same, the fastest takes part. Larq Compute
Engine has a Python of its own (its converter needs TensorFlow 2.14, which wants ml_dtypes 0.2, and ONNX Runtime's
int8 a later one), so on top this file imports nothing but NumPy and workers.py.
"""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from common import interrupt

if __name__ == "__main__":
    interrupt.says("nothing is kept")

import ctypes
import functools
import importlib.metadata
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

from bench.workers import rest, serve

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGES = 100
ALLOWED = {"bfloat16": 0.02, "int8": 0.1}  # how far from float64 a candidate on floats may be; others 1e-5


class Call:
    """A candidate: function() computes, result() gives what it computed as a NumPy array."""

    def __init__(self, function, convert=np.asarray):
        self.function, self.convert = function, convert

    def result(self):
        return self.convert(self.function())

    def times(self):
        """The median seconds of a call in a burst of 20 ms, of 3 to 1000 calls."""
        rest()
        seconds, end = [], time.perf_counter() + 0.02
        while len(seconds) < 3 or len(seconds) < 1000 and time.perf_counter() < end:
            began = time.perf_counter()
            self.function()
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)


def fastest(calls):
    """The fastest of several ways to compute the same."""
    return min(calls, key=lambda call: min(call.times(), call.times()))


def check(name, call, expected, allowed):
    """Leave unless a candidate computes what it should, within `allowed` of the largest number."""
    found = call.result()
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    if found.shape != expected.shape or not difference <= allowed:
        sys.exit(f"{name} differs from what it should compute by {difference:.2g}, allowed is {allowed}")


def check_floats(calls, layers, x):
    """`calls`, each checked to be the net of these layers, [(weight, bias)] with relu between them."""
    expected = x.astype(np.float64)
    for i, (weight, bias) in enumerate(layers):
        expected = (np.maximum(expected, 0) if i else expected) @ weight.T.astype(np.float64) + bias
    for name, call in calls.items():
        check(name, call, expected, ALLOWED.get(name.split()[-1], 1e-5))
    return calls


class Layer:
    """The arrays of one dense layer: signs, alpha, bias, and inputs as floats and as pixels."""

    def __init__(self, rows, units, inputs):
        generator = np.random.default_rng(rows + units + inputs)
        self.signs = generator.choice(np.array([-1, 1], np.float32), (units, inputs))
        self.alpha = generator.uniform(0.01, 0.1, units).astype(np.float32)
        self.bias = generator.standard_normal(units).astype(np.float32)
        self.x = generator.standard_normal((rows, inputs)).astype(np.float32)
        self.pixels = generator.integers(0, 256, (rows, inputs), np.uint8)
        self.dense = [(self.alpha[:, None] * self.signs, self.bias)]

    def dot(self):
        """The products of signs, exact in float32."""
        return np.where(self.x < 0, np.float32(-1), np.float32(1)) @ self.signs.T


def net_inputs(inputs):
    """Images, (IMAGES, inputs) uint8, and the same as floats from 0 to 1."""
    images = np.random.default_rng(2).integers(0, 256, (IMAGES, inputs), np.uint8)
    return images, images.astype(np.float32) * np.float32(1 / 255)


def float_layers(sizes):
    """[(weight, bias)] of a float net of these sizes, batch norm folded in."""
    generator = np.random.default_rng(3)
    return [
        (
            (generator.standard_normal((units, inputs)) * (2 / inputs) ** 0.5).astype(np.float32),
            generator.standard_normal(units).astype(np.float32),
        )
        for inputs, units in zip(sizes, sizes[1:])
    ]


class Worker:
    """What all share. Its cases are methods: they return {name: candidate}, checked; a candidate has times()."""

    package = None  # the distribution whose version belongs into the record

    def __init__(self, threads):
        self.threads, self.calls = threads, {}

    def about(self):
        return {self.package: importlib.metadata.version(self.package)} if self.package else {}

    def prepare(self, case, *arguments):
        self.calls = {}  # frees the case before
        self.calls = getattr(self, case)(*arguments)
        return list(self.calls)

    def time(self, name):
        return self.calls[name].times()

    def net(self, sizes, model, outputs):
        """One image through a whole net: the float net of these sizes, or a 1-bit net, the one in the file
        `model`; its outputs for all images are in the file `outputs` where that is not None."""
        return {}


def compile_rooflines(directory):
    """roofline.cc for this machine, as a ctypes library."""
    path = os.path.join(directory, "roofline.so")
    command = [
        os.environ.get("CXX", "g++"),
        "-O3",
        "-march=native",
        "-fopenmp",
        "-shared",
        "-fPIC",
        "-o",
        path,
        os.path.join(HERE, "roofline.cc"),
    ]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"roofline.cc needs a C++ compiler, g++ or the one named in CXX: {error}")
    loops = ctypes.CDLL(path)
    loops.roofline_name.restype = ctypes.c_char_p
    loops.roofline_xnor.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int
    loops.roofline_xnor.restype = ctypes.c_int64
    loops.roofline_read.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    loops.roofline_read.restype = ctypes.c_uint64
    return loops


class Registers:
    """A candidate: the seconds that so many bits take by the best of the loops on registers."""

    def __init__(self, loops, bits, threads):
        self.loops, self.bits, self.threads = loops, bits, threads

    def times(self):
        rest()
        return min(
            statistics.median(self.seconds(variant) for _ in range(5))
            for variant in range(self.loops.roofline_variants())
        )

    def seconds(self, variant, steps=1000):
        """Seconds for `bits`, from a run of at least a millisecond."""
        while True:
            began = time.perf_counter()
            counted = self.loops.roofline_xnor(variant, steps, self.threads)
            taken = time.perf_counter() - began
            if taken > 0.001:
                return taken * self.bits / counted
            steps *= 4


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


class Ours(Worker):
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
        from gluon_bnn.graph import layers
        from gluon_bnn.native import bindings

        case = Layer(rows, units, inputs)
        weight_bits, bits = bindings.pack_weights(case.signs), bindings.pack_inputs(case.x)
        y, to = np.empty((rows, units), np.float32), (weight_bits, case.alpha, case.bias, rows, units, inputs)
        packed = [
            layers.Layer("pack", inputs, inputs, "float", "bits"),
            layers.Layer(
                "binary_dense",
                inputs,
                units,
                "bits",
                "float",
                arrays={"weight_bits": weight_bits, "alpha": case.alpha, "bias": case.bias},
            ),
        ]
        net = bindings.Net(packed)  # in one call, as the runtime does it
        on_bits = {
            "xnor_dense": Call(kernel("xnor_dense", bits, *to, like=y)),
            "pack + xnor_dense": Call(kernel("run", net.address, net.count, case.x, rows, like=y, kept=net)),
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
            layers = runtime.load(model).layers
        except (OSError, ValueError) as error:
            return {"problem": str(error)}
        dense = [layer for layer in layers if layer.kind in ("binary_dense", "dense")]
        return (
            {"sizes": [dense[0].inputs] + [layer.units for layer in dense]}
            if dense
            else {"problem": f"{model} has no dense layer"}
        )

    def net(self, sizes, model, outputs):
        from gluon_bnn import runtime
        from gluon_bnn.graph import engine

        model, (images, x) = runtime.load(model), net_inputs(sizes[0])
        one, pixels = x[:1], images[:1]
        expected = np.load(outputs) if outputs else engine.run(model.layers, x)
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


def check_agreement(name, found, expected):
    """Leave unless the largest outputs are mostly the same: sums of floats differ in their last bits, and signs of
    those near 0, see "equal" in the documentation."""
    same = (found.argmax(1) == expected.argmax(1)).mean()
    if same < 0.9:
        sys.exit(f"{name} and the frozen net agree on {same:.0%} of the images")


def engine(function):
    """A call through MXNet's engine, until its result is there."""

    def call():
        y = function()
        y.wait_to_read()
        return y

    return Call(call, lambda y: y.asnumpy())


def binary_net(sizes):
    """An initialised net with binary weights and activations, batch norm over a batch of images."""
    from gluon_bnn import nn
    from gluon_bnn._compat import mx

    net = mx.gluon.nn.HybridSequential()
    for inputs, units in zip(sizes, sizes[1:]):
        net.add(
            nn.BinaryDense(units, in_units=inputs),
            mx.gluon.nn.BatchNorm(in_channels=units, momentum=0),
            nn.BinaryActivation(),
        )
    net._children.popitem()  # no activation after the last
    net.initialize(mx.init.Xavier())
    with mx.autograd.record():
        net(mx.nd.array(net_inputs(sizes[0])[1]))
    mx.nd.waitall()
    return net


class MXNet(Worker):
    """MXNet's own layers, and ours within MXNet."""

    def __init__(self, threads):
        super().__init__(threads)
        from gluon_bnn._compat import mx
        from gluon_bnn.native import library

        library.load_operators()
        self.mx = mx

    def layer(self, rows, units, inputs):
        from gluon_bnn.native import bindings

        nd, case = self.mx.nd, Layer(rows, units, inputs)
        x, bits, weight, *packed = (
            nd.array(a, dtype=a.dtype)
            for a in (
                case.x,
                bindings.pack_inputs(case.x),
                case.dense[0][0],
                bindings.pack_weights(case.signs),
                case.alpha,
                case.bias,
            )
        )
        packed_dense = functools.partial(nd.gluon_bnn_packed_dense, units=units, in_units=inputs)
        xnor = engine(lambda: packed_dense(bits, *packed, source="bits"))
        check("operator xnor", xnor, case.alpha * case.dot() + case.bias, 0)
        return {
            "operator xnor": xnor,
            **check_floats(
                {
                    "operator binary": engine(lambda: packed_dense(x, *packed, source="float")),
                    "MXNet float32": engine(lambda: nd.FullyConnected(x, weight, packed[-1], num_hidden=units)),
                },
                case.dense,
                case.x,
            ),
        }

    def freeze(self, sizes, model, outputs):
        """Make the 1-bit net of these sizes, with random weights; write it, and its outputs, to these files."""
        from gluon_bnn import deploy, runtime

        net, x = binary_net(sizes), self.mx.nd.array(net_inputs(sizes[0])[1])
        self.packed = deploy.freeze(net, input_scale=1 / 255, verbose=False)
        runtime.save(self.packed, model)
        expected = self.packed(x).asnumpy()
        np.save(outputs, expected)
        check_agreement("the net as trained", net(x).asnumpy(), expected)
        self.packed.hybridize(static_alloc=True, static_shape=True)

    def net(self, sizes, model, outputs):
        nn, nd, layers = self.mx.gluon.nn, self.mx.nd, float_layers(sizes)
        one = net_inputs(sizes[0])[1][:1]
        plain, x = nn.HybridSequential(), nd.array(one)
        for weight, bias in layers:
            last = bias is layers[-1][1]
            block = nn.Dense(weight.shape[0], in_units=weight.shape[1], activation=None if last else "relu")
            block.initialize()
            block.weight.set_data(nd.array(weight))
            block.bias.set_data(nd.array(bias))
            plain.add(block)
        plain.hybridize(static_alloc=True, static_shape=True)
        return {
            "MXNet packed": engine(lambda: self.packed(x)),
            **check_floats({"MXNet float32": engine(lambda: plain(x))}, layers, one),
        }


class Peer(Worker):
    """Another library's float32 and int8: `dense` makes {name: Call} for the net of these layers, [(weight, bias)]
    with relu between them."""

    def layer(self, rows, units, inputs):
        case = Layer(rows, units, inputs)
        return check_floats(self.dense(case.dense, case.x), case.dense, case.x)

    def net(self, sizes, model, outputs):
        layers, x = float_layers(sizes), net_inputs(sizes[0])[1][:1]
        return check_floats(self.dense(layers, x), layers, x)


class Torch(Peer):
    package = "torch"

    def dense(self, layers, x):
        import torch
        from torch.utils import mkldnn

        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)

        def build():
            blocks = []
            for weight, bias in layers:
                linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
                blocks += [linear, torch.nn.ReLU()]
            return torch.nn.Sequential(*blocks[:-1]).eval()

        def calls(net, x, dtype):
            onednn = mkldnn.to_mkldnn(net, dtype)  # its weights in oneDNN's own layout
            return fastest(
                [
                    Call(lambda: net(x), lambda y: y.float().numpy()),
                    Call(lambda: onednn(x.to_mkldnn()).to_dense(), lambda y: y.float().numpy()),
                ]
            )

        x = torch.from_numpy(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            int8 = torch.ao.quantization.quantize_dynamic(build(), {torch.nn.Linear}, torch.qint8)
        return {
            "PyTorch float32": calls(build(), x, torch.float),
            "PyTorch bfloat16": calls(build().bfloat16(), x.bfloat16(), torch.bfloat16),
            "PyTorch int8": Call(lambda: int8(x), lambda y: y.numpy()),
        }


class OnnxRuntime(Peer):
    """Its int8 with scales of the inputs that are found before or at run time."""

    package = "onnxruntime"

    def dense(self, layers, x):
        import onnx
        import onnxruntime
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_dynamic,
            quantize_static,
        )

        helper, units = onnx.helper, layers[-1][0].shape[0]
        nodes, constants, name = [], [], "x"
        for i, (weight, bias) in enumerate(layers):
            constants += [
                onnx.numpy_helper.from_array(weight, f"weight{i}"),
                onnx.numpy_helper.from_array(bias, f"bias{i}"),
            ]
            last = i == len(layers) - 1
            nodes.append(
                helper.make_node("Gemm", [name, f"weight{i}", f"bias{i}"], ["y" if last else f"dense{i}"], transB=1)
            )
            if not last:
                name = f"relu{i}"
                nodes.append(helper.make_node("Relu", [f"dense{i}"], [name]))
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (len(x), units))],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

        class Once(CalibrationDataReader):
            def __init__(self):
                self.left = [{"x": x}]

            def get_next(self):
                return self.left.pop() if self.left else None

        def session(path):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def call(path):
            plain, bound = session(path), session(path)
            binding = bound.io_binding()
            binding.bind_cpu_input("x", x)
            y = onnxruntime.OrtValue.ortvalue_from_shape_and_type((len(x), units), np.float32)
            binding.bind_ortvalue_output("y", y)
            return fastest(
                [
                    Call(lambda: plain.run(None, {"x": x})[0]),
                    Call(lambda: bound.run_with_iobinding(binding), lambda _: y.numpy()),
                ]
            )

        logging.disable(logging.WARNING)  # advice about images
        with tempfile.TemporaryDirectory() as directory:
            path, dynamic, static = (os.path.join(directory, name) for name in ("float", "dynamic", "static"))
            onnx.save(model, path)
            quantize_dynamic(path, dynamic, weight_type=QuantType.QInt8)
            quantize_static(
                path,
                static,
                Once(),
                quant_format=QuantFormat.QOperator,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            logging.disable(logging.NOTSET)
            return {"ONNX Runtime float32": call(path), "ONNX Runtime int8": fastest([call(dynamic), call(static)])}


class Larq(Worker):
    """A 1x1 convolution of signs."""

    package = "larq-compute-engine"

    def layer(self, rows, units, inputs):
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import larq
        import larq_compute_engine
        import tensorflow as tf
        from larq_compute_engine.tflite.python.interpreter import Interpreter

        case = Layer(rows, units, inputs)
        layer = larq.layers.QuantConv2D(
            units,
            1,
            input_quantizer="ste_sign",
            kernel_quantizer="ste_sign",
            kernel_constraint="weight_clip",
            use_bias=False,
        )
        image = tf.keras.Input((rows, 1, inputs), batch_size=1)
        model = tf.keras.Model(image, layer(image))
        layer.set_weights([case.signs.T.reshape(1, 1, inputs, units)])
        converted = larq_compute_engine.convert_keras_model(model)
        x = [case.x.reshape(1, rows, 1, inputs)]

        def call(indirect):
            interpreter = Interpreter(converted, num_threads=self.threads, use_indirect_bgemm=indirect).interpreter
            return Call(lambda: interpreter.predict(x), lambda y: y[0].reshape(rows, units))

        best = fastest([call(False), call(True)])
        check("Larq Compute Engine", best, case.dot(), 0)
        return {"Larq Compute Engine": best}


if __name__ == "__main__":
    serve({"ours": Ours, "mxnet": MXNet, "torch": Torch, "onnx": OnnxRuntime, "lce": Larq}, __doc__)
