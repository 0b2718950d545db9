"""Attention on values of three axes, whose result is added to something else.

OpenVINO 2026.4.1 (CPU) takes MatMul, Softmax, MatMul and the Add behind them for one kernel, and
the process dies (SIGSEGV) where the values have three axes and the sum has two readers: attention
of a single head and its residual, as in SegFormer's first stage. With an axis of length 1 in front
it computes the same in four axes, and the Add stays outside. To onnxruntime the forms are one:
``Unsqueeze`` and ``Squeeze`` move nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rewriter import GraphRewriter
from .values import readers_of, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["attend_in_four_axes"]

_ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
"""May stand between the first product and the softmax: a scale, a mask."""


def attend_in_four_axes(model: onnx.ModelProto) -> int:
    """Give such attention an axis of length 1 in front; return how many have it.

    The elements and their order are the same (ONNX operators Unsqueeze, MatMul, Softmax). Values
    whose number of axes is not known to the file stay as they are.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    returned = {value.name for value in graph.output}
    found = []
    for last in graph.node:
        inner = list(_up_to_first_product(last, made)) if last.op_type == "MatMul" else []
        alone = all(
            len(readers[node.output[0]]) == 1 and node.output[0] not in returned for node in inner
        )
        added = [node.op_type for node in readers[last.output[0]]] == ["Add"]
        if inner and alone and added:
            found.append([*inner, last])
    shapes = shapes_of(model) if found else {}
    widened = [
        nodes for nodes in found if {len(shapes.get(node.output[0], ())) for node in nodes} == {3}
    ]
    if widened:
        _widen(model, widened)
    return len(widened)


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


def _widen(model: onnx.ModelProto, found: list[list[onnx.NodeProto]]) -> None:
    """Let the products read and compute four axes, and their result have three.

    Args:
        found: of each attention the softmax first, then what is in front of it up to the first
            product, and the second product.
    """
    import numpy as np
    import onnx

    firsts = {nodes[-2].output[0] for nodes in found}
    lasts = {nodes[-1].output[0] for nodes in found}
    wide = {name for nodes in found for node in nodes[:-1] for name in node.output}
    for softmax, *_ in found:
        del softmax.attribute[:]
        softmax.attribute.append(onnx.helper.make_attribute("axis", -1))
    graph = GraphRewriter(model)
    axis = graph.store("attention_axis", np.array([0]))

    def add(operator: str, given: str, made: str, like: onnx.NodeProto) -> None:
        graph.add(operator, [given, axis], made, name=f"{like.name}_{made}")
        graph.nodes[-1].metadata_props.extend(like.metadata_props)

    for node in list(graph.graph.node):
        result = node.output[0] if node.output else ""
        for place in (0, 1) if result in firsts else (1,) if result in lasts else ():
            given = f"{result}_of_{place}"
            add("Unsqueeze", node.input[place], given, node)
            node.input[place] = given
        graph.nodes.append(node)
        if result in lasts:
            node.output[0] = f"{result}_wide"
            add("Squeeze", node.output[0], result, node)
    kept = [value for value in graph.graph.value_info if value.name not in wide]
    graph.finish()
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(kept)
