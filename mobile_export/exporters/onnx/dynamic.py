"""Weights of integers in a graph of floats, whose layers round what they read while they run.

The converter writes a float graph, whose weights are what the integers of a plan stand for. Here
each layer becomes, in ONNX's own operators:

    q, s, z = DynamicQuantizeLinear(x)          uint8, one scale for all that x holds
    y = Cast(ConvInteger(q, w, z)) * (s * scales of w) + bias

What has no operator of integers (a transposed convolution) reads its weights through
DequantizeLinear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...graph.stored_integers import PlannedTable, PlannedWeights, find_weights
from .rewriter import GraphRewriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["integer_scales", "round_while_running"]

_INTEGER = {"Conv": "ConvInteger", "MatMul": "MatMulInteger", "Gemm": "MatMulInteger"}


class _Rewriter(GraphRewriter):
    """Puts layers of integers in the place of those of floats."""

    def __init__(self, model: onnx.ModelProto, planned: PlannedTable) -> None:
        from onnx.numpy_helper import to_array

        super().__init__(model)
        self.planned = planned
        self.found: dict[str, tuple[PlannedWeights, np.ndarray, int]] = {}
        for name, tensor in self.stored.items():
            values = to_array(tensor)
            found = find_weights(planned, values) if values.dtype == np.float32 else None
            if found is not None:
                self.found[name] = found
        self.rounded: dict[str, tuple[str, str, str]] = {}

    def run(self) -> None:
        """Rewrite all nodes, and store what they read."""
        for node in list(self.graph.node):
            weights = [name for name in node.input if name in self.found]
            if _has_integers(node) and weights == [node.input[1]]:
                self._layer(node, *self.found[weights[0]])
            else:
                for name in weights:
                    self._widen(node, name)
                self.nodes.append(node)
        self.finish()

    def _widen(self, node: onnx.NodeProto, name: str) -> None:
        weights, integers, axis = self.found[name]
        widened = f"{name}_widened"
        if not any(widened in each.output for each in self.nodes):
            scales = weights.scales if len(weights.scales) > 1 else weights.scales[0]
            stored = self.store(f"{name}_integers", integers)
            scale = self.store(f"{name}_scales", np.asarray(scales, np.float32))
            how = {"axis": axis} if len(weights.scales) > 1 else {}
            self.add("DequantizeLinear", [stored, scale], widened, **how)
        for place, given in enumerate(node.input):
            if given == name:
                node.input[place] = widened

    def _rounded(self, name: str) -> tuple[str, str, str]:
        """The integers of a computed tensor, their scale and their zero point."""
        if name not in self.rounded:
            made = (f"{name}_rounded", f"{name}_scale", f"{name}_zero")
            self.add("DynamicQuantizeLinear", [name], *made)
            self.rounded[name] = made
        return self.rounded[name]

    def _layer(
        self, node: onnx.NodeProto, weights: PlannedWeights, integers: np.ndarray, axis: int
    ) -> None:
        from onnx.numpy_helper import to_array

        name, output = node.input[1], node.output[0]
        attributes = {a.name: a for a in node.attribute}
        convolution = node.op_type == "Conv"
        if node.op_type == "Gemm" and attributes["transB"].i:
            integers = integers.T
        q, scale, zero = self._rounded(node.input[0])
        stored = self.store(
            f"{name}_{'columns' if node.op_type == 'Gemm' else 'integers'}", integers
        )
        shape = (1, -1, *[1] * (integers.ndim - 2)) if convolution else (-1,)
        scales = self.store(f"{name}_of_{output}_scales", weights.scales.reshape(shape))
        self.add(_INTEGER[node.op_type], [q, stored, zero], f"{output}_sums")
        if convolution:
            self.nodes[-1].attribute.extend(node.attribute)
        self.add("Cast", [f"{output}_sums"], f"{output}_floats", to=1)
        self.add("Mul", [scale, scales], f"{output}_scales")
        biased = len(node.input) == 3
        real = f"{output}_unbiased" if biased else output
        self.add("Mul", [f"{output}_floats", f"{output}_scales"], real)
        if biased:
            bias = node.input[2]
            if convolution:
                bias = self.store(f"{bias}_of_{output}", to_array(self.stored[bias]).reshape(shape))
            self.add("Add", [real, bias], output)


def _has_integers(node: onnx.NodeProto) -> bool:
    """Whether a layer is one that ONNX has with integers."""
    if node.op_type not in _INTEGER:
        return False
    numbers = {a.name: a.f for a in node.attribute if a.name in ("alpha", "beta")}
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return not turned and all(value == 1 for value in numbers.values())


def round_while_running(model: onnx.ModelProto, planned: PlannedTable) -> None:
    """Put integers in the place of all weights in ``planned``, and let the layers compute with
    them."""
    _Rewriter(model, planned).run()


def integer_scales(model: onnx.ModelProto) -> Iterator[tuple[str, str, str]]:
    """Of each layer of integers in a file: the names of its weights, of their scales, and of their
    zero points ("" where it has none)."""
    from collections import defaultdict

    users = defaultdict(list)
    makers = {}
    for node in model.graph.node:
        for name in node.input:
            users[name].append(node)
        for name in node.output:
            makers[name] = node
    stored = {each.name for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _INTEGER.values() or node.input[1] not in stored:
            continue
        zero = node.input[3] if len(node.input) > 3 else ""
        for scaled in (m for cast in users[node.output[0]] for m in users[cast.output[0]]):
            products = (makers[name] for name in scaled.input if name in makers)
            for product in products:
                for name in product.input:
                    if product.op_type == "Mul" and name in stored:
                        yield node.input[1], name, zero
