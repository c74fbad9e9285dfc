"""What bench_inference.py times: how a call is timed, and the other libraries' dense layers.

A peer runs in the benchmark's own process. Larq Compute Engine runs in a child, under a Python of its own:
its converter needs TensorFlow 2.14, which wants ml_dtypes 0.2, and ONNX Runtime's int8 a later one. This file
is that child's script too, so on top it imports nothing but NumPy.

Each peer runs at its best: where a library has several ways to do the same, the fastest takes part.
"""
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np


def rest(longest=1.0):
    """Wait until every thread of this process sleeps: pools spin for a while after a call, and would take the
    cores from the next candidate."""
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.003)
        if time.process_time() - before < 0.001:
            return
    sys.exit("bench_inference.py: threads keep spinning between calls; unset OMP_WAIT_POLICY and the like")


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


def torch_peers(layers, x, threads):
    """{name: Call} for the net of these layers, [(weight, bias)] with relu between them."""
    try:
        import torch
        from torch.utils import mkldnn
    except ImportError:
        return {}
    torch.set_num_threads(threads)
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
        return fastest([Call(lambda: net(x), lambda y: y.float().numpy()),
                        Call(lambda: onednn(x.to_mkldnn()).to_dense(), lambda y: y.float().numpy())])
    x = torch.from_numpy(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        int8 = torch.ao.quantization.quantize_dynamic(build(), {torch.nn.Linear}, torch.qint8)
    return {"PyTorch float32": calls(build(), x, torch.float),
            "PyTorch bfloat16": calls(build().bfloat16(), x.bfloat16(), torch.bfloat16),
            "PyTorch int8": Call(lambda: int8(x), lambda y: y.numpy())}


def onnx_peers(layers, x, threads):
    """The same for ONNX Runtime; int8 with scales of the inputs found before or at run time."""
    try:
        import onnx
        import onnxruntime
        from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic,
                                              quantize_static)
    except ImportError:
        return {}
    helper, units = onnx.helper, layers[-1][0].shape[0]
    nodes, constants, name = [], [], "x"
    for i, (weight, bias) in enumerate(layers):
        constants += [onnx.numpy_helper.from_array(weight, f"weight{i}"),
                      onnx.numpy_helper.from_array(bias, f"bias{i}")]
        last = i == len(layers) - 1
        nodes.append(helper.make_node("Gemm", [name, f"weight{i}", f"bias{i}"], ["y" if last else f"dense{i}"],
                                      transB=1))
        if not last:
            name = f"relu{i}"
            nodes.append(helper.make_node("Relu", [f"dense{i}"], [name]))
    graph = helper.make_graph(nodes, "net",
                              [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (len(x), units))],
                              constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    class Once(CalibrationDataReader):
        def __init__(self):
            self.left = [{"x": x}]

        def get_next(self):
            return self.left.pop() if self.left else None

    def session(path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def call(path):
        plain, bound = session(path), session(path)
        binding = bound.io_binding()
        binding.bind_cpu_input("x", x)
        y = onnxruntime.OrtValue.ortvalue_from_shape_and_type((len(x), units), np.float32)
        binding.bind_ortvalue_output("y", y)
        return fastest([Call(lambda: plain.run(None, {"x": x})[0]),
                        Call(lambda: bound.run_with_iobinding(binding), lambda _: y.numpy())])
    logging.disable(logging.WARNING)  # advice about images
    with tempfile.TemporaryDirectory() as directory:
        path, dynamic, static = (os.path.join(directory, name) for name in ("float", "dynamic", "static"))
        onnx.save(model, path)
        quantize_dynamic(path, dynamic, weight_type=QuantType.QInt8)
        quantize_static(path, static, Once(), quant_format=QuantFormat.QOperator,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
        logging.disable(logging.NOTSET)
        return {"ONNX Runtime float32": call(path),
                "ONNX Runtime int8": fastest([call(dynamic), call(static)])}


class Larq:
    """A Call in a child process: a 1x1 convolution of signs by Larq Compute Engine."""

    def __init__(self, python, signs, x, threads):
        self.directory = tempfile.TemporaryDirectory()
        self.path, log = (os.path.join(self.directory.name, name) for name in ("y.npy", "log"))
        np.savez(os.path.join(self.directory.name, "in.npz"), signs=signs, x=x)
        with open(log, "w", encoding="utf-8") as errors:
            self.child = subprocess.Popen([python, os.path.abspath(__file__), self.directory.name, str(threads)],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        if self.child.stdout.readline() != "ready\n":
            with open(log, encoding="utf-8") as errors:
                raise OSError(f"Larq Compute Engine does not run under {python}: {errors.read()[-300:]}")

    def result(self):
        return np.load(self.path)

    def times(self):
        rest()
        self.child.stdin.write("time\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def close(self):
        self.child.communicate()
        self.directory.cleanup()


def larq_child(directory, threads):
    """The child: converts the layer, then answers each line with the seconds of a call."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TensorFlow writes to both
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import larq
    import larq_compute_engine
    import tensorflow as tf
    from larq_compute_engine.tflite.python.interpreter import Interpreter
    given = np.load(os.path.join(directory, "in.npz"))
    signs, (rows, inputs) = given["signs"], given["x"].shape
    layer = larq.layers.QuantConv2D(len(signs), 1, input_quantizer="ste_sign", kernel_quantizer="ste_sign",
                                    kernel_constraint="weight_clip", use_bias=False)
    image = tf.keras.Input((rows, 1, inputs), batch_size=1)
    model = tf.keras.Model(image, layer(image))
    layer.set_weights([signs.T.reshape(1, 1, inputs, -1)])
    converted = larq_compute_engine.convert_keras_model(model)
    x = [given["x"].reshape(1, rows, 1, inputs)]

    def call(indirect):
        interpreter = Interpreter(converted, num_threads=threads, use_indirect_bgemm=indirect).interpreter
        return Call(lambda: interpreter.predict(x), lambda y: y[0].reshape(rows, -1))
    best = fastest([call(False), call(True)])
    np.save(os.path.join(directory, "y.npy"), best.result())
    rest()
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        seconds = best.times()
        rest()
        print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    larq_child(sys.argv[1], int(sys.argv[2]))
