"""Attention on values of three axes, whose result is added to something else.

OpenVINO 2026.4.1 (CPU) takes MatMul, Softmax, MatMul and the Add behind them for one kernel, and
the process dies (SIGSEGV) where the values have three axes and the sum has two readers: attention
of a single head and its residual, as in SegFormer's first stage. With an axis of length 1 in front
it computes the same in four axes, and the Add stays outside. To onnxruntime the forms are one:
``Unsqueeze`` and ``Squeeze`` move nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["attend_in_four_axes"]

_ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
"""May stand between the first product and the softmax: a scale, a mask."""

_AXIS = "attention_axis"


def attend_in_four_axes(model: onnx.ModelProto) -> int:
    """Give such attention an axis of length 1 in front; return how many have it.

    The elements and their order are the same (ONNX operators Unsqueeze, MatMul, Softmax). Values
    whose number of axes is not known to the file stay as they are.
    """
    import onnx

    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    returned = {value.name for value in graph.output}
    ranks = _ranks(onnx.shape_inference.infer_shapes(model))
    found = []
    for last in graph.node:
        inner = list(_up_to_first_product(last, made)) if last.op_type == "MatMul" else []
        if not inner or [node.op_type for node in readers[last.output[0]]] != ["Add"]:
            continue
        alone = all(
            len(readers[node.output[0]]) == 1 and node.output[0] not in returned for node in inner
        )
        if alone and {ranks.get(node.output[0]) for node in (last, *inner)} == {3}:
            found.append((inner, last))
    for inner, last in found:
        _widen(graph, inner, last)
    return len(found)


def _up_to_first_product(
    last: onnx.NodeProto, made: dict[str, onnx.NodeProto]
) -> Iterator[onnx.NodeProto]:
    """The softmax in front of a product, what is in front of that, and the product there; nothing
    where there are not these."""
    softmax = made.get(last.input[0])
    if softmax is None or softmax.op_type != "Softmax" or _axis(softmax) not in (-1, 2):
        return
    inner, node = [softmax], made.get(softmax.input[0])
    while node is not None and node.op_type in _ELEMENTWISE:
        inner.append(node)
        computed = [made[name] for name in node.input if name in made]
        node = computed[0] if len(computed) == 1 else None
    if node is not None and node.op_type == "MatMul":
        yield from (*inner, node)


def _axis(softmax: onnx.NodeProto) -> int:
    return next((each.i for each in softmax.attribute if each.name == "axis"), -1)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in model.graph.value_info
        if value.type.tensor_type.HasField("shape")
    }


def _widen(graph: onnx.GraphProto, inner: list[onnx.NodeProto], last: onnx.NodeProto) -> None:
    """Let the products read and compute four axes, and their result have three."""
    import numpy as np
    import onnx

    softmax, first = inner[0], inner[-1]
    if all(each.name != _AXIS for each in graph.initializer):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), _AXIS))
    del softmax.attribute[:]
    softmax.attribute.append(onnx.helper.make_attribute("axis", -1))
    for node, places in ((first, (0, 1)), (last, (1,))):
        for place in places:
            name = f"{last.output[0]}_{'of' if node is last else 'from'}_{place}"
            _insert(graph, node, "Unsqueeze", node.input[place], name)
            node.input[place] = name
    result = last.output[0]
    last.output[0] = f"{result}_wide"
    _insert(graph, last, "Squeeze", last.output[0], result, behind=True)
    stale = {name for node in (*inner, last) for name in node.output}
    kept = [value for value in graph.value_info if value.name not in stale]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _insert(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    kind: str,
    source: str,
    result: str,
    *,
    behind: bool = False,
) -> None:
    """A node of ``kind`` in front of ``node``, or behind it, that came from the same module."""
    import onnx

    new = onnx.helper.make_node(kind, [source, _AXIS], [result], name=f"{node.name}_{result}")
    new.metadata_props.extend(node.metadata_props)
    place = next(i for i, each in enumerate(graph.node) if each is node or each == node)
    graph.node.insert(place + behind, new)
