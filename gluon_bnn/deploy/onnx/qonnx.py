"""The form QONNX, which FINN and hls4ml read: float32 throughout, and a BipolarQuant wherever there are signs.

BipolarQuant(x, scale) is scale where x >= 0 and -scale elsewhere. The scale is 1; what a layer scales by follows its
product. Pixels are whole numbers in float32. A sign of NaN, which is +1 elsewhere, is -1 here.
"""

from typing import Any

import numpy as np
import onnx

from .builder import Builder, Tensor

DOMAIN = "qonnx.custom_op.general"
ONE = np.array(1, np.float32)


class QonnxBuilder(Builder):
    """What the form QONNX does in another way than ONNX: weights, signs and products."""

    integers = False

    def weights(self, negative: np.ndarray, real: bool) -> str:
        """The weights themselves, 4 bytes each: QONNX has no packed ones."""
        signs = self.constant(np.where(negative, np.float32(-1), np.float32(1)), "weight")
        return self.add("BipolarQuant", signs, ONE, domain=DOMAIN)

    def signs(self, y: str, least: Any, to: str, finite: bool) -> Tensor:
        if isinstance(least, str) or least:
            y = self.add("Sub", y, least)
        bipolar = self.add("BipolarQuant", y, ONE, domain=DOMAIN)
        if to == "bits":
            return Tensor(bipolar)
        return Tensor(self.add("Mul", self.add("Add", bipolar, ONE), np.float32(0.5)))

    def as_it_is(self, y: str) -> str:
        return y


def annotate(graph: onnx.GraphProto, name: str) -> None:
    """Say that an input holds pixels."""
    note = graph.quantization_annotation.add(tensor_name=name)
    note.quant_parameter_tensor_names.add(key="finn_datatype", value="UINT8")
