"""ONNX Runtime: float32 and int8."""

import logging
import os
import tempfile

import numpy as np

from bench import inference
from bench.inference import Call, Conv, LeNet, check, fastest

NEEDS = ("onnx", "onnxruntime")


def has_vnni():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return "vnni" in file.read()
    except OSError:
        return False


class Inference(inference.FloatPeer):
    """Its int8 with scales of the inputs that are found before or at run time."""

    package = "onnxruntime"

    def dense(self, layers, x):
        return self.float_and_int8([], layers, x)

    def lenet(self, model, outputs):
        case = LeNet()
        return case.check(self.float_and_int8(case.convs, case.dense, case.x))

    def float_and_int8(self, convs, layers, x):
        """{name: Call} of the net of convolutions with pools, then dense layers, all [(weight, bias)]."""
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
        for i, (weight, bias) in enumerate(convs):
            arrays = {f"filter{i}": weight, f"offset{i}": bias}
            constants += [onnx.numpy_helper.from_array(array, key) for key, array in arrays.items()]
            nodes += [
                helper.make_node("Conv", [name, *arrays], [f"conv{i}"], kernel_shape=weight.shape[2:]),
                helper.make_node("Relu", [f"conv{i}"], [f"positive{i}"]),
                helper.make_node("MaxPool", [f"positive{i}"], [f"pool{i}"], kernel_shape=(2, 2), strides=(2, 2)),
            ]
            name = f"pool{i}"
        if convs:
            nodes.append(helper.make_node("Flatten", [name], ["flat"]))
            name = "flat"
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
            # Without VNNI it adds products of uint8 and int8 in 16 bits, which overflow where weights have all 8 bits.
            narrow = not has_vnni()
            quantize_dynamic(path, dynamic, weight_type=QuantType.QInt8, reduce_range=narrow)
            quantize_static(
                path,
                static,
                Once(),
                quant_format=QuantFormat.QOperator,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                reduce_range=narrow,
            )
            logging.disable(logging.NOTSET)
            return {"ONNX Runtime float32": call(path), "ONNX Runtime int8": fastest([call(dynamic), call(static)])}

    def conv(self, rows, size, channels):
        """Conv on floats, and QLinearConv whose bytes 0 and 2 with the zero point 1 are the signs."""
        import onnx
        import onnxruntime

        helper, case = onnx.helper, Conv(rows, size, channels)
        x, w = case.channels_first()
        dot, scale = case.dot(), np.float32(8)
        window = dict(kernel_shape=(3, 3), pads=(1, 1, 1, 1))

        def session(node, x, constants, kind):
            graph = helper.make_graph(
                [node],
                "conv",
                [helper.make_tensor_value_info("x", kind, x.shape)],
                [helper.make_tensor_value_info("y", kind, dot.shape)],
                [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return Call(lambda: made.run(None, {"x": x})[0])

        real = session(helper.make_node("Conv", ["x", "w"], ["y"], **window), x, {"w": w}, onnx.TensorProto.FLOAT)
        check("ONNX Runtime float32", real, dot, 1e-5)
        names = "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero"
        one = np.float32(1)
        values = one, np.uint8(1), w.astype(np.int8), one, np.int8(0), scale, np.uint8(128)
        node = helper.make_node("QLinearConv", ["x", *names], ["y"], **window)
        bytes_ = session(node, (x + 1).astype(np.uint8), dict(zip(names, values)), onnx.TensorProto.UINT8)
        check("ONNX Runtime int8", bytes_, np.clip(np.rint(dot / scale) + 128, 0, 255), 0)
        return {"ONNX Runtime float32": real, "ONNX Runtime int8": bytes_}
