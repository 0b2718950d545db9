"""Core ML: an ML Program through torch.export and coremltools.

Multi-array inputs and outputs are float32 whatever the precision inside, so that an app needs no
float16 arrays. With ``image_input`` the input is of Core ML's image type, and what is left of the
normalisation (`graph.processing`) is kept in float32; Core ML's own ``scale`` and ``bias`` know one
scale for all channels only. With ``classifier`` the class labels are added. With suppression the
package is a pipeline (`nms`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...detection.boxes import centre_boxes
from ...detection.contract import BOXES, SCORES, check_detector, class_names
from ...errors import ExportError, UsageError, summary
from ...graph.processing import with_input_dtypes
from ...operators.core import outside
from ...system.coreml_private import divide_by_itself, keep_whole_quotients
from ...system.torch_private import decompositions
from ..interface import Adapted, Prepared, WriteJob
from .mil_passes import add_our_passes
from .nms import CONFIDENCE, COORDINATES, with_suppression
from .session import ACTIVATION_KEY

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import InputSpec
    from ..row import Precision
    from .options import CoreMLOptions

__all__ = ["adapt", "check", "write"]

_INPUT = "image"


def check(program: Program, job: WriteJob) -> None:
    """Refuse images that Core ML's image type cannot hold, and suppression behind no detector."""
    options = job.options
    if job.nms is not None:
        check_detector(program, job.nms)
    if options.image_input and len(program.input.shape) != 4:
        raise UsageError(
            f"`image_input` takes one image; {program.spec} takes a clip of shape "
            f"{program.input.shape}.",
            hint="Leave `image_input` out and pass a multi-array.",
        )
    if options.image_input and program.input.shape[1] not in (1, 3):
        raise UsageError(
            f"`image_input` needs 1 or 3 channels; {program.spec} takes {program.input.shape[1]}.",
            hint="Leave `image_input` out and pass a multi-array.",
        )


class _CentredBoxes(torch.nn.Module):
    """Arranges a detector's outputs as a suppression takes them: scores (N, classes) and boxes
    (N, 4) as centre and size."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program.module()
        self.names = tuple(output.name for output in program.outputs)
        self.size = program.input.size

    def forward(self, image: torch.Tensor) -> Any:
        outputs = dict(zip(self.names, self.program(image), strict=True))
        coordinates = torch.cat(centre_boxes(outputs[BOXES][0], self.size), -1)
        return outputs[SCORES][0], coordinates


def adapt(program: Program, job: WriteJob) -> Adapted:
    """``program`` in front of a suppression, without operations that coremltools lacks.

    An image is called ``image`` though it takes pixels: that its type is an image says so. Inputs
    have the dtypes that multi-arrays have.
    """
    program = with_input_dtypes(program, _DTYPES)
    exported = program.exported
    if job.nms is not None:
        wrapped = _CentredBoxes(program)
        wrapped.training = False
        with torch.no_grad():
            exported = torch.export.export(wrapped, (program.example,), strict=False)
    decomposed: torch.export.ExportedProgram = exported.run_decompositions(
        decompositions(exported, _UNKNOWN)
    )
    _drop_aliases(decomposed.graph_module)
    expected = functools.partial(_expected, program=program, job=job)
    name = _INPUT if program.input.pixels else program.input.name
    named = replace(program.input, name=name)
    return Adapted(replace(program, exported=decomposed, input=named), expected)


_DTYPES = {"bool": "int32", "int64": "int32", "uint8": "int32"}
"""Core ML's multi-arrays are of float32, float16, float64 or int32 (iOS 15 to 18)."""


def _expected(
    outputs: Sequence[np.ndarray], program: Program, job: WriteJob
) -> Sequence[np.ndarray]:
    """What the outputs of a program become behind it."""
    if job.nms is not None:
        named = {o.name: array for o, array in zip(program.outputs, outputs, strict=True)}
        left, top, right, bottom = np.moveaxis(named[BOXES][0], -1, 0)
        height, width = program.input.size
        centre = ((left + right) / 2 / width, (top + bottom) / 2 / height)
        size = ((right - left) / width, (bottom - top) / height)
        return named[SCORES][0], np.stack((*centre, *size), -1)
    return outputs


_UNKNOWN = (
    torch.ops.aten.addcmul.default,
    torch.ops.aten.upsample_bicubic2d.default,
    torch.ops.aten.upsample_bicubic2d.vec,
)
"""Operations that coremltools 9.0 does not know and torch decomposes exactly."""


def _drop_aliases(module: torch.fx.GraphModule) -> None:
    """Remove ``aten.alias``, a no-op that coremltools does not know (swin, levit, xcit, ...)."""
    for node in list(module.graph.nodes):
        users = list(node.users)
        if node.target is torch.ops.aten.alias.default and all(u.op != "output" for u in users):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.recompile()


def _pass_pipeline() -> Any:
    """coremltools' default passes and ours, without the one that is not exact.

    ``fuse_elementwise_to_batchnorm`` turns a multiplication and an addition into a batch norm whose
    epsilon stays at 1e-5, so the result is 5e-6 off (seen with coremltools 9.0 on mobilevitv2_050).
    """
    import coremltools as ct

    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    add_our_passes(pipeline)
    return pipeline


def _compute_precision(precision: Precision, options: CoreMLOptions) -> Any:
    import coremltools as ct

    if precision.bits == 32:
        return ct.precision.FLOAT32

    known: dict[Any, bool] = {}

    def in_float16(op: Any) -> bool:
        """False for what is left of the normalisation, arithmetic on the pixels themselves, and for
        places in an image: float16 has steps of 1/8 of a pixel at 128 and beyond."""
        if _makes_places(op, known):
            return False
        return not (options.image_input and op.op_type in _ARITHMETIC and _of_pixels(op.x))

    return ct.transform.FP16ComputePrecision(op_selector=in_float16)


_ARITHMETIC = ("add", "mul", "sub")
_PLACING = ("resample",)


def _makes_places(op: Any, known: dict[Any, bool]) -> bool:
    """Whether an operation takes values at computed places, or makes nothing but such places.

    Args:
        known: what was found so far.
    """
    if op not in known:
        users = [user for value in op.outputs for user in value.child_ops]
        only = bool(users) and all(_takes_places(user, op, known) for user in users)
        known[op] = op.op_type in _PLACING or (only and op.op_type != "const")
    return known[op]


def _takes_places(user: Any, op: Any, known: dict[Any, bool]) -> bool:
    if user.op_type in _PLACING:
        return any(user.inputs.get("coordinates") is value for value in op.outputs)
    return _makes_places(user, known)


def _of_pixels(value: Any) -> bool:
    """Whether a value is the input, or the input less a constant, times one."""
    op = value.op
    return op is None or (op.op_type in _ARITHMETIC and _of_pixels(op.x))


def _input_type(spec: InputSpec, options: CoreMLOptions) -> Any:
    import coremltools as ct

    if options.image_input:
        layouts = {"RGB": ct.colorlayout.RGB, "BGR": ct.colorlayout.BGR}
        layout = layouts.get(spec.channel_order, ct.colorlayout.GRAYSCALE)
        return ct.ImageType(name=spec.name, shape=spec.shape, color_layout=layout)
    return ct.TensorType(name=spec.name, shape=spec.shape, dtype=np.dtype(spec.dtype).type)


def _output_names(program: Program, job: WriteJob) -> list[str]:
    if job.nms is not None:
        return [f"raw_{CONFIDENCE}", f"raw_{COORDINATES}"]
    return [output.name for output in program.outputs]


def write(prepared: Prepared, path: Path, job: WriteJob) -> None:
    """Write a program to ``path`` (a ``.mlpackage`` folder).

    Raises:
        ExportError: coremltools refused the program.
    """
    import coremltools as ct

    program, options = prepared.program, job.options
    extra: dict[str, Any] = {}
    if options.classifier:
        assert program.labels is not None
        extra["classifier_config"] = ct.ClassifierConfig(list(program.labels))
    else:
        extra["outputs"] = [
            ct.TensorType(name=name, dtype=np.float32) for name in _output_names(program, job)
        ]
    divide_by_itself()
    keep_whole_quotients()
    try:
        model = ct.convert(
            program.exported,
            inputs=[_input_type(each, options) for each in program.inputs],
            minimum_deployment_target=getattr(ct.target, options.target.replace("ios", "iOS")),
            compute_precision=_compute_precision(job.precision, options),
            convert_to="mlprogram",
            pass_pipeline=_pass_pipeline(),
            skip_model_load=True,
            **extra,
        )
    except Exception as error:  # coremltools raises whatever its op handlers raise
        raise ExportError(
            f"coremltools cannot convert {program.spec}: {summary(error)}.{outside(program)}",
            hint="Run again with `verbose=True` for the converter's own report.",
        ) from error
    if job.nms is not None:
        model = with_suppression(model, job.nms, class_names(program))
    _describe(model, program, options)
    model.save(str(path))


_PREVIEW = "com.apple.coreml.model.preview."
"""Metadata by which Xcode's preview knows a segmenter (coremltools' guide, "Xcode Model Preview
Types"); classifiers and detectors it knows by the types of their outputs."""


def _describe(model: Any, program: Program, options: CoreMLOptions) -> None:
    from ... import __version__

    model.short_description = f"{program.spec} ({program.weights.describe()})"
    model.version = __version__
    facts = {
        "mobile_export.source": program.spec,
        "mobile_export.mean": json.dumps(program.input.mean),
        "mobile_export.std": json.dumps(program.input.std),
        "mobile_export.channel_order": program.input.channel_order,
    }
    if program.activation is not None:
        facts[ACTIVATION_KEY] = program.activation
    if not options.classifier and program.labels is not None:  # a classifier has them in its output
        facts["mobile_export.labels"] = json.dumps(program.labels)
        if options.image_input and program.task == "segmentation":
            facts |= {_PREVIEW + "type": "imageSegmenter"}
            facts |= {_PREVIEW + "params": json.dumps({"labels": program.labels})}
    for key, value in facts.items():
        model.user_defined_metadata[key] = value
