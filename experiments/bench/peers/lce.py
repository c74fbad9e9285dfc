"""Larq Compute Engine, as a 1x1 convolution of signs.

It runs in a Python environment of its own: its converter needs TensorFlow 2.14, which needs ml_dtypes 0.2, and ONNX
Runtime's int8 needs a later one. Therefore nothing beyond NumPy may be imported at the top of this file.
"""

import os

from bench import inference
from bench.inference import Call, Layer, check, fastest

NEEDS = ("larq_compute_engine",)


class Inference(inference.Worker):
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
