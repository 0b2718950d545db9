"""Attention that OpenVINO 2026.4.1 (CPU) gets wrong, with one more axis.

It takes MatMul, Softmax, MatMul and what stands around them for one kernel.

- Where the values have three axes and the result is added to something whose sum has two readers
  (attention of a single head and its residual, as in SegFormer's first stage), the process dies
  (SIGSEGV).
- Where the values have four axes, of as many heads as tokens, and only one of queries and result is
  transposed (heads, tokens to tokens, heads), the kernel has that transpose in it and writes its
  result over the queries, whose shape is the same, before it has read them all: EdgeViT at 64x64.

With an axis of length 1 in front it computes the same with another one, which has neither the sum
nor transposes in it. To onnxruntime the forms are one: ``Unsqueeze`` and ``Squeeze`` move nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rewriter import GraphRewriter
from .values import readers_of, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx

__all__ = ["attend_in_another_axis"]

_ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
"""May stand between the first product and the softmax: a scale, a mask."""


def attend_in_another_axis(model: onnx.ModelProto) -> int:
    """Give such attention an axis of length 1 in front; return how many have it.

    The elements and their order are the same (ONNX operators Unsqueeze, MatMul, Softmax). Values
    whose shapes are not known to the file stay as they are.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph)
    returned = {value.name for value in graph.output}
    found = []
    for last in graph.node:
        inner = list(_up_to_first_product(last, made)) if last.op_type == "MatMul" else []
        if inner and all(
            len(readers[node.output[0]]) == 1 and node.output[0] not in returned for node in inner
        ):
            found.append([*inner, last])
    shapes = shapes_of(model) if found else {}
    chosen = [nodes for nodes in found if _is_chosen(nodes, readers, shapes)]
    if chosen:
        _widen(model, chosen)
    return len(chosen)


def _is_chosen(
    nodes: list[onnx.NodeProto],
    readers: Mapping[str, list[onnx.NodeProto]],
    shapes: Mapping[str, list[int]],
) -> bool:
    """Whether attention, from its softmax on as in `_widen`, is one of those two."""
    softmax, first, last = nodes[0], nodes[-2], nodes[-1]
    ranks = {len(shapes.get(node.output[0], ())) for node in nodes}
    if len(ranks) != 1 or _axis(softmax) not in (-1, max(ranks) - 1):
        return False
    if ranks == {3}:
        return [node.op_type for node in readers[last.output[0]]] == ["Add"]
    queries, result = shapes.get(first.input[0]), shapes.get(last.output[0])
    return ranks == {4} and queries == result and result is not None and 1 < result[1] == result[2]


def _up_to_first_product(
    last: onnx.NodeProto, made: dict[str, onnx.NodeProto]
) -> Iterator[onnx.NodeProto]:
    """The softmax in front of a product, what is in front of that, and the product there; nothing
    where there are not these."""
    softmax = made.get(last.input[0])
    if softmax is None or softmax.op_type != "Softmax":
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
    """Let the products read and compute another axis, and their result have as many as before.

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
