"""A pipeline of an ML Program and Core ML's own non-maximum suppression.

The ML Program ends with ``raw_confidence`` (N, classes) and ``raw_coordinates`` (N, 4); the second
model (``NonMaximumSuppression.proto``) makes ``confidence`` and ``coordinates`` of them, as Vision
wants an object detector's outputs. An app may override both thresholds by the optional inputs
``iouThreshold`` and ``confidenceThreshold``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...graph.specs import Thresholds

__all__ = ["CONFIDENCE", "COORDINATES", "with_suppression"]

CONFIDENCE = "confidence"
COORDINATES = "coordinates"
_MEANING = {
    CONFIDENCE: "Rows: detections, the surest first; columns: probability of each class",
    COORDINATES: "Rows: detections; columns: centre x, centre y, width, height, in units of the "
    "image's width and height, from its upper left corner",
}


def with_suppression(model: Any, options: Thresholds, labels: Sequence[str]) -> Any:
    """The pipeline, as an ``MLModel``.

    Args:
        model: an ML Program whose outputs are ``raw_confidence`` and ``raw_coordinates``.
        labels: names of the classes.
    """
    import coremltools as ct
    from coremltools.proto import Model_pb2

    program = model.get_spec()
    spec = Model_pb2.Model()
    spec.specificationVersion = program.specificationVersion
    suppression = spec.pipeline.models.add()
    suppression.CopyFrom(_suppression_model(program, options, labels))
    spec.pipeline.models.insert(0, program)
    spec.pipeline.names.extend(["network", "suppression"])
    spec.description.input.extend(program.description.input)
    spec.description.input.extend(
        each for each in suppression.description.input if each.type.isOptional
    )
    spec.description.output.extend(suppression.description.output)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _suppression_model(program: Any, options: Thresholds, labels: Sequence[str]) -> Any:
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.specificationVersion = program.specificationVersion
    spec.description.input.extend(program.description.output)
    thresholds = {
        "iouThreshold": f"Overlap that suppresses; {options.iou_threshold:g} by default",
        "confidenceThreshold": f"Least confidence; {options.score_threshold:g} by default",
    }
    for name, meaning in thresholds.items():
        feature = spec.description.input.add()
        feature.name, feature.shortDescription = name, meaning
        feature.type.doubleType.SetInParent()
        feature.type.isOptional = True
    columns = {CONFIDENCE: len(labels), COORDINATES: 4}
    for name, width in columns.items():
        _add_output(spec, program, name, options.max_detections, width)
    nms = spec.nonMaximumSuppression
    nms.pickTop.perClass = True
    nms.iouThreshold, nms.confidenceThreshold = options.iou_threshold, options.score_threshold
    nms.confidenceInputFeatureName = f"raw_{CONFIDENCE}"
    nms.coordinatesInputFeatureName = f"raw_{COORDINATES}"
    nms.iouThresholdInputFeatureName, nms.confidenceThresholdInputFeatureName = thresholds
    nms.confidenceOutputFeatureName = CONFIDENCE
    nms.coordinatesOutputFeatureName = COORDINATES
    nms.stringClassLabels.vector.extend(labels)
    return spec


def _add_output(spec: Any, program: Any, name: str, rows: int, columns: int) -> None:
    """An output of up to ``rows`` rows, of the type of the input that it is picked from."""
    source = next(f for f in program.description.output if f.name == f"raw_{name}")
    feature = spec.description.output.add()
    feature.name, feature.shortDescription = name, _MEANING[name]
    array = feature.type.multiArrayType
    array.dataType = source.type.multiArrayType.dataType
    for lower, upper in ((0, rows), (columns, columns)):
        extent = array.shapeRange.sizeRanges.add()
        extent.lowerBound, extent.upperBound = lower, upper
