"""ONNX: torch.onnx's own exporter, then onnxsim, then names, metadata and the checker.

The file is self-contained (weights inside), has static shapes, and inputs and outputs named as in
the program, or the detections of a detector (`nms`). Every node carries the path
of the PyTorch module it came from as the metadata property ``module`` (Netron shows it,
``verify --layers`` uses it); paths of the machine that exported are left out.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...detection.contract import check_detector
from ...errors import ExportError, summary
from ...graph.processing import with_bytes
from ...graph.quantized import is_quantization
from ...graph.stored_integers import as_floats, planned_weights
from ...operators.core import conversion_error
from ..interface import Adapted, Prepared, WriteJob
from .attention import attend_in_another_axis
from .blocks import store_blocks
from .dynamic import round_while_running
from .integers import fold_pads, keep_products_floating, separate_zero_points, with_kernels
from .nms import append_suppression
from .scalars import keep_small_numbers
from .session import LABELS_KEY
from .views import separate_views

if TYPE_CHECKING:
    import onnx

    from ...graph.program import Program

__all__ = ["adapt", "check", "write"]

_SCOPES = "pkg.torch.onnx.name_scopes"


def check(program: Program, job: WriteJob) -> None:
    """Refuse suppression behind what is no detector."""
    if job.nms is not None:
        check_detector(program, job.nms)


def adapt(program: Program, job: WriteJob) -> Adapted:
    """``program`` as it is, since the converter takes all of it, but for numbers near 0 and 1; with
    bytes where asked for, and integers of activations in the form that onnxruntime has kernels for.
    """
    program = keep_small_numbers(program)
    if job.precision.calibrated:
        program = with_kernels(program)
    return Adapted(with_bytes(program) if job.options.input_dtype == "uint8" else program)


def write(prepared: Prepared, path: Path, job: WriteJob) -> None:
    """Write a program to ``path`` as one self-contained ONNX file.

    Raises:
        ExportError: torch.onnx or onnxsim refused the program.
    """
    import onnx
    import torch

    program, planned = prepared.program, None
    if job.precision.dynamic:
        planned = planned_weights(program)
        program = as_floats(program).in_float32()
    try:
        converted = torch.onnx.export(
            program.exported,
            input_names=[each.name for each in program.inputs],
            output_names=[output.name for output in program.outputs],
            verbose=job.verbose,
            opset_version=_opset(program, job),
        )
    except Exception as error:  # torch.onnx raises many types, some of them private
        raise conversion_error(program, "ONNX", "torch.onnx", error, said=_cause(error)) from error
    assert converted is not None
    modules = _module_paths(converted)
    model = _checked(converted.model_proto, program)
    model = _simplify(model, program.spec)
    if planned is not None:
        round_while_running(model, planned)
    if job.precision.calibrated:
        fold_pads(model)
    if job.precision.block is not None:
        store_blocks(model, job.precision.bits, job.precision.block)
    if job.precision.integers:
        separate_zero_points(model)
        keep_products_floating(model)
    _name_axes(model, program)
    _describe(model, program)
    for node in model.graph.node:
        _tag(node, modules)
    separate_views(model)
    attend_in_another_axis(model)
    if job.nms is not None:
        append_suppression(model, job.nms)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


_OPSET_OF_OTHER_INTEGERS = 21
"""Of QuantizeLinear and DequantizeLinear with integers of 16 and of 4 bits."""


def _opset(program: Program, job: WriteJob) -> int | None:
    """The version of ONNX's operators; None: torch.onnx's default."""
    other = job.precision.block is not None or _has_16_bits(program)
    return _OPSET_OF_OTHER_INTEGERS if other else None


def _has_16_bits(program: Program) -> bool:
    """Whether some computed tensor is integers of 16 bits."""
    import torch

    return any(
        is_quantization(node) and torch.int16 in node.args for node in program.exported.graph.nodes
    )


def _name_axes(model: onnx.ModelProto, program: Program) -> None:
    """Call the free axes of images by what they are, also in extents that follow from them."""
    if program.input.role != "image":
        return
    given = model.graph.input[0].type.tensor_type.shape.dim
    last = len(given) - (1 if program.input.channels_last else 0)
    image = zip(given[max(last - 2, 0) : last], ("height", "width"), strict=False)
    named = [(given[0], "batch"), *image]
    names = {axis.dim_param: name for axis, name in named if axis.dim_param}
    if not names:
        return
    old_names = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for extent in value.type.tensor_type.shape.dim:
            if extent.dim_param:
                extent.dim_param = old_names.sub(lambda m: names[m[0]], extent.dim_param)


def _checked(model: onnx.ModelProto, program: Program) -> onnx.ModelProto:
    """``model``, whose shapes fit together.

    Raises:
        ExportError: torch.onnx has written nodes that ONNX's shape inference refuses.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise conversion_error(program, "ONNX", "torch.onnx", error) from error
    return model


def _simplify(model: onnx.ModelProto, spec: str) -> onnx.ModelProto:
    import onnxsim

    simplified, same = onnxsim.simplify(model)
    if not same:
        raise ExportError(
            f"onnxsim changed what {spec} computes and its result was discarded.",
            hint="Please report the model; no file was written.",
        )
    return simplified


def _module_paths(converted: Any) -> dict[str, str]:
    """Name of every value that the converter made -> path of the module it came from."""
    paths: dict[str, str] = {}
    for node in converted.model.graph:
        scopes = node.metadata_props.get(_SCOPES)
        if not scopes:
            continue
        named = [scope for scope in json.loads(scopes.replace("'", '"'))[:-1] if scope]
        for output in node.outputs:
            paths[output.name] = named[-1] if named else ""
    return paths


def _tag(node: onnx.NodeProto, modules: dict[str, str]) -> None:
    node.doc_string = ""
    del node.metadata_props[:]
    path = next((modules[name] for name in node.output if name in modules), None)
    if path is not None:
        node.metadata_props.add(key="module", value=path)


def _describe(model: onnx.ModelProto, program: Program) -> None:
    from ... import __version__

    model.producer_name = "mobile-export"
    model.producer_version = __version__
    model.doc_string = ""
    del model.metadata_props[:]
    facts = {
        "source": program.spec,
        "weights": program.weights.describe(),
        "weights_sha256": program.weights.sha256,
        "channel_order": program.input.channel_order,
        "mean": json.dumps(program.input.mean),
        "std": json.dumps(program.input.std),
        LABELS_KEY: json.dumps(program.labels) if program.labels else None,
    }
    for key, value in facts.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)


def _cause(error: BaseException) -> str:
    """The innermost message of a chain of exceptions, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return summary(error)
