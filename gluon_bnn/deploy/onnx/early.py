"""Graph to graph, before ONNX's nodes are made of it: the same float32 values from fewer operations on fewer numbers.

What follows a product channel by channel, such as batch norm, ReLU and tanh, rises with it or falls, and still does
when it is rounded. So where only the sign of the result is taken, that is one comparison of the product with a
threshold. Bisection finds it, with the functions of the kinds themselves, among all float32 numbers or all integers
that the product can be. And where a max pool follows, the largest result is that of the largest product: the pool comes
first, and the rest is computed on what it leaves. Channels that fall get the opposite weights, which is exact.

All of this holds for finite numbers, as pixels and bits lead to. Integers stay integers, but for a convolution of the
pixels themselves: with so few products in a window, what ONNX Runtime has for float32 is twice as fast as QLinearConv.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Optional

import numpy as np

from ...graph import bits
from ...graph.check import check
from ...graph.graph import Graph, Node
from ...graph.kinds import KINDS
from ...graph.kinds.activation import FUNCTIONS
from ...graph.kinds.batch_norm import NORM
from .. import fold
from .magnitudes import FINITE, magnitudes
from .products import EXACT

FEW = 4  # channels of pixels
PRODUCTS = "binary_dense", "binary_conv2d", "dense", "conv2d"


def early(graph: Graph) -> Graph:
    """The graph with thresholds in the place of what leads to signs, and pools before what is channel by channel."""
    readers: list[list[int]] = [[] for _ in graph.nodes]
    for index, node in enumerate(graph.nodes):
        for source in node.sources:
            readers[source].append(index)
    chains = {chain[-1]: chain for chain in _chains(graph, readers)}
    skipped = {index for chain in chains.values() for index in chain[:-1]}
    most = magnitudes(graph)
    nodes: list[Node] = []
    now: dict[int, int] = {}
    for index in range(len(graph.nodes)):
        if index in skipped:
            continue
        before = [graph.nodes[each] for each in chains.get(index, [index])]
        made = index in chains and _Chain(graph, chains[index], most).made() or before
        sources = tuple(now[source] for source in before[0].sources)
        for node in made:
            nodes.append(dataclasses.replace(node, sources=sources))
            sources = (len(nodes) - 1,)
        now[index] = len(nodes) - 1
    return check(dataclasses.replace(graph, nodes=tuple(nodes), values=()))


def _chains(graph, readers):
    """Lists of nodes, each the only reader of the one before: at first a product, where there is one, then what is
    monotone, or a max pool, up to a pack at most. Or a convolution from pixels to bits, and a max pool."""
    left = set(range(1, len(graph.nodes)))
    for first in range(1, len(graph.nodes)):
        to_bits = _is_few(graph.nodes[first], graph.taken(first)) and not _is_product(graph.nodes[first])
        if first not in left or not (to_bits or _is_product(graph.nodes[first]) or _is_link(graph, first)):
            continue
        chain = [first]
        while len(readers[chain[-1]]) == 1 and graph.nodes[chain[-1]].kind != "pack":
            reader = readers[chain[-1]][0]
            pool = to_bits and len(chain) == 1 and graph.nodes[reader].kind == "max_pool"
            if reader not in left or not (pool or not to_bits and _is_link(graph, reader)):
                break
            chain.append(reader)
        left.difference_update(chain)
        yield chain


def _is_product(node):
    return node.kind in PRODUCTS and node.attributes.get("to", "float") == "float"


def _is_few(node, taken):
    """Whether it is a convolution of pixels of a few channels, whose sums are exact in float32."""
    if node.kind != "binary_conv2d" or not KINDS[node.kind].takes_pixels(node, taken):
        return False
    return taken[0].channels <= FEW and 255 * FEW * math.prod(node.attributes["kernel"]) < EXACT


def _is_link(graph, index):
    """Whether a node takes one float value, and each channel of its value rises or falls with it."""
    node, taken = graph.nodes[index], graph.taken(index)
    if len(taken) != 1 or taken[0].form != "float" or taken[0].pixels:
        return False
    if node.kind == "activation":
        return FUNCTIONS[node.attributes["function"]].rises and (node.arrays.get("slope", np.zeros(1)) >= 0).all()
    if node.kind == "arithmetic":
        return node.attributes["function"] != "divide" or bool((node.arrays["operand"] != 0).all())
    return node.kind in ("batch_norm", "max_pool", "pack")


class _Chain:
    """A product, or None where the first value is made of something else, and the links that follow it.

    inputs : of a product of signs, how many it has
    whole : whether it is of bits or pixels, and so an integer; sums : of 0 and 1, the sums of the signs, else None
    few : whether it is a convolution from a few channels of pixels to bits
    most : a bound of the magnitude of the first value
    """

    def __init__(self, graph: Graph, chain: Sequence[int], most: Sequence[float]) -> None:
        self.product: Optional[Node] = None
        self.links = [graph.nodes[index] for index in chain]
        self.whole, self.sums = False, None
        (self.taken,), source = graph.taken(chain[0]), self.links[0].sources[0]
        self.most = most[source]
        first = self.links[0]
        self.few = _is_few(first, (self.taken,))
        if first.kind in PRODUCTS:
            self.product, self.most = first, most[chain[0]]
            del self.links[0]
            if "weight_bits" in first.arrays:
                self._split(most[source])
        self.channels = graph.values[chain[0]].channels

    def _split(self, most):
        """A product of signs alone, and the scale, bias and batch norm as links of their own."""
        node, arrays = self.product, self.product.arrays
        pixels = KINDS[node.kind].takes_pixels(node, (self.taken,))
        alpha, bias = ("alpha_u8", "bias_u8") if pixels else ("alpha", "bias")
        self.inputs = math.prod(node.attributes.get("kernel", (1,))) * self.taken.channels
        to = node.attributes["to"]
        if to == "float":
            links = [
                _arithmetic(function, arrays[name])
                for function, name, nothing in (("multiply", alpha, 1), ("add", bias, 0))
                if (arrays[name] != nothing).any()
            ]
            if "mean" in arrays:
                links.append(Node("batch_norm", arrays={name: arrays[name] for name in NORM}))
        else:
            least = np.clip(arrays["threshold_u8"], -255 * self.inputs, 255 * self.inputs + 1)
            links = [_arithmetic("subtract", least), Node("pack", attributes={"to": to})]
        self.links = links + self.links
        ones = np.ones_like(arrays["alpha"])
        kept = {name: arrays[name] for name in ("weight_bits", "sums") if name in arrays}
        plain = {"alpha": ones, "bias": 0 * ones}
        if pixels:
            plain.update(alpha_u8=ones, bias_u8=0 * ones)
        self.product = dataclasses.replace(
            node, attributes={**node.attributes, "to": "float"}, arrays={**kept, **plain}
        )
        self.whole, self.sums = pixels or self.taken.form != "float", arrays.get("sums")
        self.most = self.inputs * (255 if pixels else 1.01 * max(1, most) if self.taken.form == "float" else 1)

    def made(self) -> Optional[list[Node]]:
        """Nodes with the same value; None where there is nothing to gain, or not all values are finite."""
        pools = [place for place, node in enumerate(self.links) if node.kind == "max_pool"]
        signs = any(node.kind == "pack" for node in self.links)
        if not self.most < FINITE or not (pools or signs):
            return None
        with np.errstate(all="ignore"):
            low, high = (self._value(len(self.links), np.full(self.channels, end)) for end in (-self.most, self.most))
            if not (np.isfinite(low) & np.isfinite(high)).all():
                return None
            if signs and self.whole and self._takes_threshold() and not self.few:
                return self._with_integers(pools)
            if self.links[-1].kind == "max_pool" and signs:
                return self._pool_of_bits_first()
            one_sign = signs and len(pools) < 2
            if pools and (pools[0] or one_sign):
                return self._pool_first(pools[0], one_sign)
            return self._with_floats() if one_sign else None

    def _value(self, count, first):
        """What the first links make of a value (channels,); NaN where it is too large on the way, inf the end."""
        x = np.asarray(first)
        if self.whole and self.sums is not None:
            x = (x.astype(np.int64) + self.sums) >> 1
        x = x.astype(np.float32)[None]
        finite = np.isfinite(x)
        for node in self.links[:count]:
            if node.kind not in ("max_pool", "pack"):
                x = KINDS[node.kind].run(node, (), x)
                finite = finite & np.isfinite(x)
        return np.where(finite, x, np.nan)[0]

    def _falls(self, count):
        """Where what the first links give falls."""
        return self._value(count, np.full(self.channels, self.most)) < self._value(
            count, np.full(self.channels, -self.most)
        )

    def _takes_threshold(self):
        """Whether the product has a form that gives bits."""
        return self.product is not None and (self.taken.form != "float" or self.product.kind == "binary_conv2d")

    def _threshold(self, falls, to_number, most):
        """(threshold, rises): the bit is [x < threshold], or [-x < threshold] where it does not rise, of x as a whole
        number, of which `to_number` makes a value. NEVER and ALWAYS of `fold` where it is always the same.

        falls : where values are turned over first"""

        def negative(place):
            x = to_number(place)
            return self._value(len(self.links), np.where(falls, -x, x)) < 0

        low, high = np.full(self.channels, -most), np.full(self.channels, most)
        first, last = negative(low), negative(high)
        while (low < high).any():  # the last bit is that of all places from `high` on
            middle = (low + high) >> 1
            same = negative(middle) == last
            low, high = np.where(same, low, middle + 1), np.where(same, middle, high)
        threshold = np.where(last, 1 - high, high)
        constant = first == last
        threshold = np.where(constant, np.where(last, fold.ALWAYS, fold.NEVER), threshold)
        return threshold, ~last | constant

    def _with_integers(self, pools):
        """A product whose integers are compared with thresholds, and pools of bits."""
        most, none = self.inputs * (255 if self.taken.form == "float" else 1), np.zeros(self.channels, bool)
        threshold, rises = self._threshold(none, lambda place: place, most)
        node = self._turned(~rises)
        threshold = threshold.astype(np.int32)
        if self.taken.form == "float":
            arrays = {**node.arrays, "threshold_u8": threshold}
            arrays = {name: array for name, array in arrays.items() if name not in ("alpha_u8", "bias_u8")}
        else:
            arrays = {"weight_bits": node.arrays["weight_bits"], "threshold": threshold}
        attributes = {**node.attributes, "to": self.links[-1].attributes["to"]}
        made = [dataclasses.replace(node, attributes=attributes, arrays=arrays)]
        for place in pools:
            turned = self._falls(place) == rises
            turned &= self._value(place, np.full(self.channels, self.most)) != self._value(
                place, np.full(self.channels, -self.most)
            )
            made.append(dataclasses.replace(self.links[place], arrays={"falls": bits.pack(turned)}))
        return made

    def _turned(self, falls):
        """The product, with the opposite sign in some channels."""
        node, arrays = self.product, dict(self.product.arrays)
        if "weight_bits" in arrays:
            shape = self.channels, self.taken.channels, *node.attributes.get("kernel", ())
            signs = fold.unpack_signs(arrays["weight_bits"], shape, self.taken.form)
            signs = np.where(falls.reshape(-1, *(1,) * (len(shape) - 1)), -signs, signs)
            arrays["weight_bits"] = fold.pack_signs(signs, self.taken.form)
            if "sums" in arrays:
                arrays["sums"] = np.where(falls, -arrays["sums"], arrays["sums"])
        else:
            arrays = {name: np.where(falls, -array, array) for name, array in arrays.items()}
        return dataclasses.replace(node, arrays=arrays)

    def _pool_first(self, place, signs):
        """The pool in this place before all that it followed; what follows is one threshold if it is for signs."""
        falls = self._falls(place)
        if self.product is None and falls.any():
            return None
        made = [] if self.product is None else [self._turned(falls)]
        made.append(self.links[place])
        if signs:
            return made + self._compared(falls)
        if falls.any():
            made.append(_arithmetic("multiply", np.where(falls, -1, 1)))
        return made + self.links[:place] + self.links[place + 1 :]

    def _pool_of_bits_first(self):
        """Of signs that rise with the product."""
        *self.links, pool = self.links
        falls = bits.unpack(pool.arrays.get("falls", np.zeros(bits.words(self.channels), np.int32)), self.channels) < 0
        return [self._turned(falls), dataclasses.replace(pool, arrays={}), *self._compared(falls)]

    def _with_floats(self):
        if not self.few and all(node.kind in ("arithmetic", "pack") for node in self.links) and len(self.links) < 3:
            return None
        falls = np.zeros(self.channels, bool)
        if self.product is None:
            return self._compared(falls)
        falls = ~self._threshold(falls, _number_at, _place_of(np.float32(self.most)))[1]
        return [self._turned(falls), *self._compared(falls)]

    def _compared(self, falls):
        """The signs of a value, some channels of which have been turned over."""
        most = _place_of(np.float32(self.most))
        place, rises = self._threshold(falls, _number_at, most)
        beyond = np.float32(2 * self.most + 1)
        threshold = np.where(place == fold.ALWAYS, beyond, np.where(place == fold.NEVER, -beyond, _number_at(place)))
        made = [] if rises.all() else [_arithmetic("multiply", np.where(rises, 1, -1))]
        return [*made, _arithmetic("subtract", threshold), self.links[-1]]


def _arithmetic(function, operand):
    return Node("arithmetic", attributes={"function": function}, arrays={"operand": operand.astype(np.float32)})


def _place_of(number):
    """The place of a float32 number, not below 0, among all of them in their order; 0.0 has 0."""
    return int(number.view(np.int32))


def _number_at(place):
    """The float32 numbers in these places; -x has the opposite of x's."""
    magnitude = np.abs(place).astype(np.int32).view(np.float32)
    return np.where(place < 0, -magnitude, magnitude)
