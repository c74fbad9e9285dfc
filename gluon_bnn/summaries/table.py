"""What a summary holds and how it is shown: `Summary`, with a `Layer` for each of its lines. It needs no NumPy."""

import dataclasses
import math
import textwrap
from collections.abc import Iterator
from typing import Any, Optional

from .. import _table

PRODUCTS = "1x1", "1x8", "1x32", "32x32"  # the bits of weights and of inputs
WIDTH = 100  # characters of a line
HEADS = "layer", "type", "inputs", "output", "1-bit", "32-bit", "bytes", "MACs"
RIGHT = range(4, 8)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One line of a summary.

    name, type : of the layer, or in a graph the number of the node and what it computes
    input_bits : 1 for signs, or for zeros and ones; 8 where pixels are taken as uint8; else 32
    output_shape : of one output, without the batch axis
    weights_1bit, weights_32bit : the numbers that it holds when deployed, by their bits; of weights that several layers
        share, those of the first
    nbytes : the bytes of these in memory when deployed
    macs : the multiply-accumulates of one input, None where they are not known
    weight_bits : 1 or 32, those of the weights that are multiplied; None without a product
    """

    name: str
    type: str
    input_bits: int
    output_shape: tuple[int, ...]
    weights_1bit: int = 0
    weights_32bit: int = 0
    nbytes: int = 0
    macs: Optional[int] = 0
    weight_bits: Optional[int] = None

    @property
    def product(self) -> Optional[str]:
        """The bits of weights and of inputs, one of "1x1", "1x8", "1x32", "32x32"; None without a product."""
        if not self.weight_bits:
            return None
        return f"1x{self.input_bits}" if self.weight_bits == 1 else "32x32"


class Summary:
    """What `gluon_bnn.summary` returns: `print` it, or let Jupyter show it.

    layers : a tuple with a `Layer` for each line
    input_shape : the shape of one input, without the batch axis
    """

    def __init__(self, layers: "tuple[Layer, ...]", input_shape: Any):
        self.layers, self.input_shape = layers, input_shape

    @property
    def weights_1bit(self) -> int:
        """The number of 1-bit weights."""
        return sum(layer.weights_1bit for layer in self.layers)

    @property
    def weights_32bit(self) -> int:
        """The number of all other numbers that are deployed: biases, batch norm, thresholds, float weights."""
        return sum(layer.weights_32bit for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """The bytes of all weights in memory when deployed."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def float32_nbytes(self) -> int:
        """The bytes of as many weights in float32."""
        return 4 * (self.weights_1bit + self.weights_32bit)

    @property
    def compression(self) -> float:
        """The bytes in float32 divided by those when deployed; NaN for a net without weights."""
        return self.float32_nbytes / self.nbytes if self.nbytes else math.nan

    @property
    def macs(self) -> dict[str, int]:
        """The multiply-accumulates of one input by the bits of weights and of inputs: "1x1", "1x8", "1x32", "32x32"."""
        return {name: sum(layer.macs or 0 for layer in self.layers if layer.product == name) for name in PRODUCTS}

    @property
    def binary_share(self) -> float:
        """The share of multiply-accumulates whose weights and inputs are bits, 0 to 1; NaN for a net without any."""
        total = sum(self.macs.values())
        return self.macs["1x1"] / total if total else math.nan

    @property
    def unknown(self) -> list[str]:
        """The names of the layers whose multiply-accumulates are not known, and are not in `macs`."""
        return [layer.name for layer in self.layers if layer.macs is None]

    def to_json(self) -> dict[str, Any]:
        """Everything as a dict that `json.dumps` takes; a ratio that is not a number is None."""
        totals = {
            name: getattr(self, name) for name in ("weights_1bit", "weights_32bit", "nbytes", "float32_nbytes", "macs")
        }
        for name in ("compression", "binary_share"):
            totals[name] = None if math.isnan(getattr(self, name)) else getattr(self, name)
        shapes = self.input_shape if isinstance(self.input_shape, list) else [self.input_shape]
        listed = list(map(list, shapes))
        return {
            "input_shape": listed if isinstance(self.input_shape, list) else listed[0],
            "layers": [
                {**dataclasses.asdict(layer), "output_shape": list(layer.output_shape)} for layer in self.layers
            ],
            "totals": totals,
        }

    def _cells(self) -> list[tuple[str, ...]]:
        """The rows of the table: the heads, the layers, the totals."""
        cells: list[tuple[str, ...]] = [HEADS]
        for layer in self.layers:
            numbers = (layer.weights_1bit, layer.weights_32bit, layer.nbytes)
            macs = "?" if layer.macs is None else f"{layer.macs:,}"
            cells.append(
                (
                    layer.name,
                    layer.type,
                    f"{layer.input_bits} bit",
                    "x".join(map(str, layer.output_shape)),
                    *(f"{number:,}" for number in numbers),
                    macs,
                )
            )
        totals = (self.weights_1bit, self.weights_32bit, self.nbytes, sum(self.macs.values()))
        cells.append(("total", "", "", "", *(f"{number:,}" for number in totals)))
        return cells

    def _notes(self) -> Iterator[str]:
        """What stands below the table."""
        if self.nbytes:
            ratio = f"{self.compression:.1f} times as many"
            yield f"{self.nbytes:,} bytes deployed, {self.float32_nbytes:,} in float32, {ratio}"
        macs, total = self.macs, sum(self.macs.values())
        if total:
            # Spaces at which no line breaks: a share stays next to its count.
            parts = (f"{name}\xa0{count:,}\xa0({count / total:.1%})" for name, count in macs.items() if count)
            yield f"MACs by bits of weights x inputs: {', '.join(parts)}"
        if self.unknown:
            yield f"MACs that are not known, and not in the total: {', '.join(self.unknown)}"

    def __str__(self) -> str:
        table = _table.text(self._cells(), right=RIGHT, width=WIDTH, cut=(0, 1, 3))
        notes = (line.replace("\xa0", " ") for note in self._notes() for line in textwrap.wrap(note, WIDTH))
        return "\n".join((table, *notes))

    def __repr__(self) -> str:
        return f"Summary({len(self.layers)} layers, {self.weights_1bit:,} 1-bit weights, {self.nbytes:,} bytes)"

    def _repr_html_(self) -> str:
        return _table.to_html(self._cells(), right=RIGHT, notes=list(self._notes()))
