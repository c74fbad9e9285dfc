"""Larq Compute Engine: a convolution of signs, 1x1 for a dense layer.

It runs in a Python environment of its own: its converter needs TensorFlow 2.14, which needs ml_dtypes 0.2, and ONNX
Runtime's int8 needs a later one. Therefore nothing beyond NumPy may be imported at the top of this file.
"""

import os

from bench import inference
from bench.inference import Call, Conv, Layer, check, fastest

NEEDS = ("larq_compute_engine",)


class Inference(inference.Worker):
    """Its faster way to convolve; what packs float inputs into bits is a part of each call."""

    package = "larq-compute-engine"

    def layer(self, rows, units, inputs):
        case = Layer(rows, units, inputs)
        call = self.fastest_conv(case.x.reshape(1, rows, 1, inputs), case.signs.T.reshape(1, 1, inputs, units))
        best = Call(call.function, lambda y: call.convert(y).reshape(rows, units))
        check("Larq Compute Engine", best, case.dot(), 0)
        return {"Larq Compute Engine": best}

    def conv(self, rows, size, channels):
        """+1 outside of the image: with zeros there it takes longer."""
        case = Conv(rows, size, channels)
        call = self.fastest_conv(case.x, case.w.transpose(1, 2, 0).reshape(3, 3, channels, channels))
        best = Call(call.function, lambda y: call.convert(y).transpose(0, 3, 1, 2))
        check("Larq Compute Engine", best, case.dot(outside=1), 0)
        return {"Larq Compute Engine": best}

    def fastest_conv(self, x, weight):
        """The convolution of the signs of x (rows, height, width, channels) with `weight`, as it is laid out there."""
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import larq
        import larq_compute_engine
        import tensorflow as tf
        from larq_compute_engine.tflite.python.interpreter import Interpreter

        layer = larq.layers.QuantConv2D(
            weight.shape[-1],
            weight.shape[0],
            padding="same",
            pad_values=1.0,
            input_quantizer="ste_sign",
            kernel_quantizer="ste_sign",
            kernel_constraint="weight_clip",
            use_bias=False,
        )
        image = tf.keras.Input(x.shape[1:], batch_size=len(x))
        model = tf.keras.Model(image, layer(image))
        layer.set_weights([weight])
        converted = larq_compute_engine.convert_keras_model(model)

        def call(indirect):
            interpreter = Interpreter(converted, num_threads=self.threads, use_indirect_bgemm=indirect).interpreter
            return Call(lambda: interpreter.predict([x]), lambda y: y[0])

        return fastest([call(False), call(True)])
