"""Values that are reshaped for one reader and transposed for a convolution.

OpenVINO 2026.4.1 (CPU, float32) makes neither a ``Reshape`` nor the ``Transpose`` in front of a
convolution a copy: both share the memory of the value they read. Where one value has both, it is
overwritten before the convolution has read it, and nothing is said: EMO's classes, whose
normalised values go both ways in stage 4, were 4.8 to 6.5 % off. With the value shaped back from
the view, ``Reshape`` → ``Reshape`` → ``Transpose``, all is right. On another processor OpenVINO
chose other kernels, and the form that went wrong was right, too. To onnxruntime the forms are one:
a reshape moves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .values import readers_of, shapes_of

if TYPE_CHECKING:
    from collections import defaultdict

    import onnx

__all__ = ["separate_views"]


def separate_views(model: onnx.ModelProto) -> int:
    """Let a convolution's ``Transpose`` read no value that is also reshaped; return how many did.

    It reads the reshaped value instead, shaped back. The elements and their order are the same
    (ONNX operator Reshape). Values whose shape is not known to the file stay as they are.
    """
    graph = model.graph
    readers = readers_of(graph)
    found = []
    for value, reading in list(readers.items()):
        views = [node for node in reading if node.op_type == "Reshape" and node.input[0] == value]
        turned = [node for node in reading if _feeds_convolution(node, readers)]
        if views and turned:
            found.append((value, views[0], turned))
    shapes = shapes_of(model) if found else {}
    known = [each for each in found if shapes.get(each[0]) and all(shapes[each[0]])]
    for value, view, turned in known:
        _shape_back(graph, view, turned, shapes[value])
    return sum(len(turned) for _, _, turned in known)


def _feeds_convolution(
    node: onnx.NodeProto, readers: defaultdict[str, list[onnx.NodeProto]]
) -> bool:
    if node.op_type != "Transpose":
        return False
    return any(reader.op_type == "Conv" for reader in readers[node.output[0]])


def _shape_back(
    graph: onnx.GraphProto, view: onnx.NodeProto, turned: list[onnx.NodeProto], shape: list[int]
) -> None:
    """Let ``turned`` read ``view``, shaped back to ``shape``; ``view`` moves in front of them."""
    import numpy as np
    import onnx

    sizes = onnx.numpy_helper.from_array(np.array(shape), f"{view.output[0]}_shape_back")
    back = onnx.helper.make_node(
        "Reshape",
        [view.output[0], sizes.name],
        [f"{view.output[0]}_back"],
        name=f"{view.name}_back",
        allowzero=1,
    )
    back.metadata_props.extend(turned[0].metadata_props)
    graph.initializer.append(sizes)
    for node in turned:
        node.input[0] = back.output[0]
    moved = type(view).FromString(view.SerializeToString())
    graph.node.remove(view)
    first = min(list(graph.node).index(node) for node in turned)
    graph.node.insert(first, back)
    graph.node.insert(first, moved)
