"""TFLite's detection post-processing, appended to a flatbuffer.

``TFLite_Detection_PostProcess`` (tensorflow/lite/kernels/detection_postprocess.cc) is a custom
operation that every TFLite runtime has. Of encodings (y, x, h, w) and anchors it makes boxes

    centre = encoding / scale * anchor size + anchor centre
    size = exp(encoding / scale) * anchor size

and suppresses them. It does not cut them at the image's border, nor bound their size, so a model's
own decoding is not the operation's. Here the boxes arrive decoded, as the anchors of encodings that
are zero, and the formula gives them back as they are.

``use_regular_nms`` suppresses within each class; without it a box suppresses those of any class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .flatbuffer import pack, unpack

if TYPE_CHECKING:
    from ...graph.specs import Thresholds

__all__ = ["append_suppression"]

_OP = b"TFLite_Detection_PostProcess"
_CUSTOM = 32
"""``BuiltinOperator.CUSTOM`` of TFLite's schema."""


def append_suppression(
    content: bytes, options: Thresholds, *, anchors: str, scores: str, classes: int
) -> bytes:
    """The flatbuffer ``content`` with detections as its outputs.

    Args:
        anchors: output of boxes (N, 4): centre y, centre x, height, width.
        scores: output (1, N, classes).
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    graph = model.subgraphs[0]
    signature = model.signatureDefs[0]
    tensors = {output.name.decode(): output.tensorIndex for output in signature.outputs}
    rows = int(graph.tensors[tensors[anchors]].shape[0])

    def add(name: str, shape: list[int], data: np.ndarray | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = name, np.array(shape, dtype=np.int32)
        tensor.type = schema.TensorType.FLOAT32
        buffer = schema.BufferT()
        buffer.data = None if data is None else np.frombuffer(data.tobytes(), dtype=np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    zeros = add("nms_encodings", [1, rows, 4], np.zeros((1, rows, 4), dtype="<f4"))
    limit = options.max_detections
    made = {
        "boxes": add("boxes", [1, limit, 4]),
        "classes": add("classes", [1, limit]),
        "scores": add("scores", [1, limit]),
        "count": add("count", [1]),
    }
    code = schema.OperatorCodeT()
    code.deprecatedBuiltinCode = code.builtinCode = _CUSTOM
    code.customCode, code.version = _OP, 1
    model.operatorCodes.append(code)
    op = schema.OperatorT()
    op.opcodeIndex = len(model.operatorCodes) - 1
    op.inputs = np.array([zeros, tensors[scores], tensors[anchors]], dtype=np.int32)
    op.outputs = np.array(list(made.values()), dtype=np.int32)
    op.customOptions = np.frombuffer(_options(options, classes), dtype=np.uint8)
    graph.operators.append(op)
    graph.outputs = op.outputs
    signature.outputs = [_tensor_map(schema, name, index) for name, index in made.items()]
    return pack(model)


def _options(options: Thresholds, classes: int) -> bytes:
    from flatbuffers import flexbuffers

    return bytes(
        flexbuffers.Dumps(
            {
                "max_detections": options.max_detections,
                "max_classes_per_detection": 1,
                "detections_per_class": options.max_detections,
                "use_regular_nms": True,
                "nms_score_threshold": options.score_threshold,
                "nms_iou_threshold": options.iou_threshold,
                "num_classes": classes,
                "y_scale": 1.0,
                "x_scale": 1.0,
                "h_scale": 1.0,
                "w_scale": 1.0,
            }
        )
    )


def _tensor_map(schema: Any, name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
