"""Operators in float32 between integers that LiteRT has a kernel of integers for.

LiteRT's converter leaves transposed convolutions in float32, with a DEQUANTIZE before and a
QUANTIZE behind them, and its dialect knows no concatenation of 16 bits. Where what such an operator
reads was widened from integers and what it gives is rounded to them, it is given the integers.

The converter takes biases as float32, which cannot hold all integers above 2^24, nor all products
of smaller ones with a scale: such a bias is a step off, and is found again among the exact ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.editor import GraphEditor
from ...graph.stored_integers import find_weights
from .flatbuffer import add_buffer, pack, unpack
from .weights import stored_integers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...graph.program import Program
    from ...graph.stored_integers import PlannedTable

__all__ = ["Biases", "exact_biases", "with_integer_kernels"]

Biases = Sequence[np.ndarray]
"""(channels,), float64: stored vectors of a program, the biases of its layers among them."""


def exact_biases(program: Program) -> Biases:
    """The stored vectors of a program with a plan in it, before they are rounded to float32."""
    graph = GraphEditor(program)
    found = (graph.exact(node) for node in graph.nodes if graph.is_constant(node))
    return [each.numpy() for each in found if each is not None and each.ndim == 1]


def with_integer_kernels(content: bytes, planned: PlannedTable, biases: Biases) -> bytes:
    """A file of integers whose transposed convolutions and concatenations read integers, too, and
    whose layers of 16-bit activations add exact biases of 64 bits.

    Args:
        planned: the weights that are integers.
        biases: of `exact_biases`.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    for graph in model.subgraphs:
        _Rewriter(model, graph, schema, biases).rewrite(planned)
        _widen_biases(model, graph, schema, biases)
    return pack(model)


@dataclass(frozen=True)
class _Rewriter:
    """One graph of a file.

    Attributes:
        model: of flatbuffers' object API.
        schema: the module that TFLite's schema generates.
        biases: exact ones.
    """

    model: Any
    graph: Any
    schema: Any
    biases: Biases

    def rewrite(self, planned: PlannedTable) -> None:
        """Exchange every operator that is found, and drop what nothing reads any more."""
        builtin = self.schema.BuiltinOperator
        for operator in list(self.graph.operators):
            kind = self._kind(operator)
            if kind not in (builtin.TRANSPOSE_CONV, builtin.CONCATENATION):
                continue
            behind = self._rounded(operator)
            if behind is None:
                continue
            if kind == builtin.CONCATENATION:
                done = self._join(operator, behind)
            else:
                done = self._transposed(operator, behind, planned)
            if done:
                operator.outputs = [behind[-1].outputs[0]]
                gone = {id(each) for each in behind}
                self.graph.operators = [e for e in self.graph.operators if id(e) not in gone]
        self._drop_unread()

    def _kind(self, operator: Any) -> int:
        return int(self.model.operatorCodes[operator.opcodeIndex].builtinCode)

    def _tensor(self, index: Any) -> Any:
        return self.graph.tensors[int(index)]

    def _rounded(self, operator: Any) -> list[Any] | None:
        """The QUANTIZE that alone reads what an operator gives; before it may stand a RELU whose
        zero is the least integer."""
        builtin = self.schema.BuiltinOperator
        first = self._only_user(operator)
        if first is None or self._kind(first) == builtin.QUANTIZE:
            return None if first is None else [first]
        last = self._only_user(first) if self._kind(first) == builtin.RELU else None
        if last is None or self._kind(last) != builtin.QUANTIZE:
            return None
        result = self._tensor(last.outputs[0])
        clamps = result.type == self.schema.TensorType.INT8
        return [first, last] if clamps and int(result.quantization.zeroPoint[0]) == -128 else None

    def _only_user(self, operator: Any) -> Any | None:
        """The operator that alone reads what another gives; None where the graph gives it, too."""
        value = int(operator.outputs[0])
        users = [each for each in self.graph.operators if value in map(int, each.inputs)]
        return None if len(users) != 1 or value in map(int, self.graph.outputs) else users[0]

    def _integers(self, index: Any) -> int | None:
        """The tensor of integers that a DEQUANTIZE makes the one at ``index`` of."""
        for each in self.graph.operators:
            if int(index) in map(int, each.outputs):
                wide = self._kind(each) == self.schema.BuiltinOperator.DEQUANTIZE
                kinds = (self.schema.TensorType.INT8, self.schema.TensorType.INT16)
                source = int(each.inputs[0])
                return source if wide and self._tensor(source).type in kinds else None
        return None

    def _join(self, operator: Any, behind: list[Any]) -> bool:
        """Let a concatenation read integers of one scale."""
        sources = [self._integers(index) for index in operator.inputs]
        if any(source is None for source in sources):
            return False
        result = _grid(self._tensor(behind[-1].outputs[0]))
        if any(_grid(self._tensor(source)) != result for source in sources):
            return False
        operator.inputs = sources
        return True

    def _transposed(self, operator: Any, behind: list[Any], planned: PlannedTable) -> bool:
        """Let a transposed convolution read integers, its weights and its bias too."""
        size, weight, given, *bias = (int(index) for index in operator.inputs)
        source = self._integers(given)
        floats = self._floats(weight)
        found = None if floats is None else find_weights(planned, floats)
        if source is None or found is None or found[2] != 0:
            return False
        scales = found[0].scales.astype(np.float64) * float(
            self._tensor(source).quantization.scale[0]
        )
        added = self._biases(bias[0], scales, found[1].shape[0]) if bias else []
        if added is None:
            return False
        stored = stored_integers(self.model, self._tensor(weight), found)
        operator.inputs = [size, self._added(stored), source, *added]
        return True

    def _biases(self, index: int, scales: np.ndarray, count: int) -> list[int] | None:
        """A bias as int32 in steps of ``scales``; None where it is no whole number of them."""
        floats = self._floats(index)
        if floats is None or floats.size != count:
            return None
        integers = _whole(self.biases, floats, scales)
        if integers is None:
            return None
        old = self._tensor(index)
        tensor = self.schema.TensorT()
        tensor.shape, tensor.name, tensor.type = old.shape, old.name, self.schema.TensorType.INT32
        tensor.quantization = self.schema.QuantizationParametersT()
        tensor.quantization.scale = np.broadcast_to(scales, count).astype(np.float32)
        tensor.quantization.zeroPoint = np.zeros(count, np.int64)
        tensor.buffer = add_buffer(self.model, integers.astype("<i4"))
        return [self._added(tensor)]

    def _floats(self, index: int) -> np.ndarray | None:
        """What a tensor of float32 stores, in its shape."""
        tensor = self._tensor(index)
        data = self.model.buffers[tensor.buffer].data
        if data is None or tensor.type != self.schema.TensorType.FLOAT32:
            return None
        return np.frombuffer(bytes(data), np.float32).reshape([int(n) for n in tensor.shape])

    def _added(self, tensor: Any) -> int:
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _drop_unread(self) -> None:
        """Without DEQUANTIZE operators that nothing reads, and without floats of such tensors."""
        read = {int(i) for each in self.graph.operators for i in each.inputs}
        read |= {int(i) for i in self.graph.outputs}
        widen = self.schema.BuiltinOperator.DEQUANTIZE
        self.graph.operators = [
            each
            for each in self.graph.operators
            if self._kind(each) != widen or int(each.outputs[0]) in read
        ]
        kept = {self._tensor(i).buffer for i in read if i >= 0}
        for index, tensor in enumerate(self.graph.tensors):
            if index not in read and tensor.buffer and tensor.buffer not in kept:
                self.model.buffers[tensor.buffer].data = None


def _whole(biases: Biases, near: np.ndarray, scales: np.ndarray) -> np.ndarray | None:
    """The integers, in steps of ``scales``, of the exact bias that ``near`` was rounded from; None
    where there is none."""
    for exact in biases:
        if exact.shape != near.shape:
            continue
        steps = exact / scales
        integers: np.ndarray = np.rint(steps)
        whole = np.abs(steps - integers) <= 1e-6 * np.maximum(np.abs(steps), 1)
        close = np.abs(exact - near) <= 2**-22 * np.abs(exact) + scales
        if whole.all() and close.all():
            return integers
    return None


def _grid(tensor: Any) -> tuple[Any, ...]:
    grid = tensor.quantization
    return tensor.type, list(grid.scale), list(grid.zeroPoint)


_BIASES = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""The place of the bias among the inputs of an operator."""


def _widen_biases(model: Any, graph: Any, schema: Any, biases: Biases) -> None:
    """Let layers of 16-bit activations add exact biases of 64 bits.

    The kernels sum in the type of the bias: 32 bits overflow behind 512 products of 16 by 8 bits,
    and the depthwise one refuses them (TensorFlow Lite, kernels/conv.cc and depthwise_conv.cc).
    """
    for tensor in _narrow_biases(model, graph, schema):
        values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), "<i4")
        scales = np.asarray(tensor.quantization.scale, np.float64)
        exact = _whole(biases, values * scales, scales)
        wide = (values if exact is None else exact).astype("<i8")
        tensor.type, tensor.buffer = schema.TensorType.INT64, add_buffer(model, wide)


def _narrow_biases(model: Any, graph: Any, schema: Any) -> Iterator[Any]:
    """Biases of 32 bits beside activations of 16."""
    places = {getattr(schema.BuiltinOperator, word): at for word, at in _BIASES.items()}
    kinds = schema.TensorType
    for operator in graph.operators:
        at = places.get(model.operatorCodes[operator.opcodeIndex].builtinCode, 0)
        row = [int(index) for index in operator.inputs]
        if not at or at >= len(row) or row[at] < 0:
            continue
        wide = any(graph.tensors[index].type == kinds.INT16 for index in row[:at] if index >= 0)
        if wide and graph.tensors[row[at]].type == kinds.INT32:
            yield graph.tensors[row[at]]
