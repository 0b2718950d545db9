"""TFLite: through litert-torch, with an NHWC image input unless asked otherwise.

The signature ``serving_default`` takes the program's inputs and gives its outputs by name; with an
NHWC image, rank-4 outputs are NHWC as well, and a video clip is (N, T, H, W, C). A detector may end
with TFLite's detection post-processing (`nms`). With precision
fp16 the weights are stored as float16 and widened when the file is loaded (ai-edge-quantizer's
``float_casting``): arithmetic stays float32 on CPUs, GPU delegates compute in float16.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...detection.boxes import centre_boxes
from ...detection.contract import BOXES, SCORES, check_detector, class_names
from ...errors import ExportError
from ...graph.processing import with_bytes, with_input_dtypes
from ...graph.stored_integers import PlannedTable, as_floats, planned_weights
from ...operators.core import calls_of, conversion_error
from ...operators.ordering import LARGEST
from ...system.litert_private import know_layouts, static_quantization
from ..interface import Adapted, Prepared, WriteJob
from .adapt import avoid_gaps
from .blocks import with_block_weights
from .flatbuffer import LAYOUT, with_entries
from .inputs import is_plain
from .inputs import turned as turned_inputs
from .integers import with_float_ends, with_stored_floats
from .kernels import Biases, exact_biases, with_integer_kernels
from .metadata import has_metadata, with_metadata
from .mixed import mark_float_layers, without_marks
from .nms import append_suppression
from .signatures import FIRST, signature_at, with_signatures
from .weights import with_integer_weights

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["adapt", "check", "write", "signature_of", "write_sizes"]

_ANCHORS = "anchors"


def check(program: Program, job: WriteJob) -> None:
    """Refuse suppression behind what is no detector."""
    if job.nms is not None:
        check_detector(program, job.nms)


def adapt(program: Program, job: WriteJob) -> Adapted:
    """``program`` without what litert-torch lacks or writes slowly (`adapt`); bytes if wanted.

    What the model takes as int64 the file takes as int32, which litert-torch would do by itself.
    """
    if job.precision.calibrated:
        program = with_stored_floats(mark_float_layers(program))
    program = with_input_dtypes(avoid_gaps(program), {"int64": "int32"})
    return Adapted(with_bytes(program) if job.options.input_dtype == "uint8" else program)


class _NamedIO(torch.nn.Module):
    """Gives a program the input layout and the output names of the file."""

    __module__ = "mobile_export.exporters.tflite"  # litert-torch writes it into every tensor's name

    def __init__(self, program: Program, *, nhwc: bool) -> None:
        super().__init__()
        self.program = program.module()
        self.names = tuple(output.name for output in program.outputs)
        self.nhwc = nhwc
        self.training = False

    def forward(
        self, image: torch.Tensor | None = None, pixels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Takes one of the two, by the name of the program's input."""
        image = pixels if image is None else image
        assert image is not None
        return self.named(self.program(_channels_first(image) if self.nhwc else image))

    def named(self, result: Any) -> dict[str, torch.Tensor]:
        """What the program returns, by the names and in the layout of the file."""
        tensors = (result,) if isinstance(result, torch.Tensor) else result
        if self.nhwc:
            tensors = tuple(_channels_last(t) if t.ndim == 4 else t for t in tensors)
        return dict(zip(self.names, tensors, strict=True))


def _channels_first(image: torch.Tensor) -> torch.Tensor:
    return image.permute((0, image.ndim - 1, *range(1, image.ndim - 1)))


def _channels_last(image: torch.Tensor) -> torch.Tensor:
    """In 32 bits on the way: LiteRT's TRANSPOSE has no integers of 16."""
    if image.dtype == torch.int16:
        return image.to(torch.int32).permute(0, 2, 3, 1).to(image.dtype)
    return image.permute(0, 2, 3, 1)


class _SeveralIO(_NamedIO):
    """The same for any inputs, by their names in the order of the program's."""

    __module__ = _NamedIO.__module__

    def __init__(self, program: Program, *, nhwc: bool) -> None:
        super().__init__(program, nhwc=bool(turned_inputs(program)) and nhwc)
        self.inputs = tuple(each.name for each in program.inputs)
        self.turned = turned_inputs(program) if nhwc else ()

    def forward(self, **given: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Takes each input by its name."""
        row = [
            _channels_first(given[name]) if name in self.turned else given[name]
            for name in self.inputs
        ]
        return self.named(self.program(*row))


class _AnchorIO(_NamedIO):
    """Gives a detector's boxes as anchors of the post-processing: centre y and x, height, width."""

    __module__ = _NamedIO.__module__

    best_only = False
    """Whether the scores of all but the best class of each box are 0."""

    def __init__(self, program: Program, *, nhwc: bool) -> None:
        super().__init__(program, nhwc=nhwc)
        self.size = program.input.size

    def forward(
        self, image: torch.Tensor | None = None, pixels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        outputs = super().forward(image, pixels)
        both = torch.cat(centre_boxes(outputs[BOXES][0], self.size), -1)
        x, y, width, height = torch.split(both, 1, -1)
        scores = outputs[SCORES]
        if self.best_only:
            best = scores.argmax(-1, keepdim=True)
            scores = scores * (best == torch.arange(scores.shape[-1])).to(scores.dtype)
        return {_ANCHORS: torch.cat([y, x, height, width], -1), SCORES: scores}


class _BestAnchorIO(_AnchorIO):
    """The same for suppression among the best class of each box alone: the first of equal ones."""

    __module__ = _NamedIO.__module__

    best_only = True


def write(prepared: Prepared, path: Path, job: WriteJob) -> None:
    """Write a program to ``path``.

    Raises:
        ExportError: litert-torch refused the program.
    """
    write_sizes([prepared], path, job)


def write_sizes(prepared: Sequence[Prepared], path: Path, job: WriteJob) -> None:
    """Write one program at several sizes to ``path``: a signature for each.

    Raises:
        ExportError: litert-torch refused one of them.
    """
    program = prepared[0].program
    contents = {
        signature_at(each.program.input.size): _converted(each.program, job)
        for each in prepared[1:]
    }
    content = with_signatures(_converted(program, job), contents)
    nhwc = job.options.layout == "nhwc"
    turned = turned_inputs(program) if nhwc else ()
    if program.others and turned:
        content = with_entries(content, {LAYOUT: " ".join(["nhwc", *turned]).encode()})
    elif turned and len(set(program.example.shape[1:])) == 1:
        content = with_entries(content, {LAYOUT: b"nhwc"})
    if has_metadata(program, nhwc=nhwc):
        content = with_metadata(content, program, suppressed=job.nms is not None)
    path.write_bytes(content)


def signature_of(index: int, size: tuple[int, int]) -> str:
    """The signature for the size at ``index``."""
    return signature_at(size) if index else FIRST


def _converted(program: Program, job: WriteJob) -> bytes:
    """A file of one size, without metadata."""
    import litert_torch

    nhwc = job.options.layout == "nhwc"
    planned = planned_weights(program) if job.precision.integers else {}
    if job.precision.integers and not job.precision.calibrated:
        program = as_floats(program)
    biases = exact_biases(program) if job.precision.calibrated else ()
    if job.precision.integers:
        program = program.in_float32()  # proven with the exact values of stored integers
    wrap = _NamedIO if is_plain(program) else _SeveralIO
    if job.nms is not None:
        wrap = _BestAnchorIO if job.nms.best_class_only else _AnchorIO
    turned = turned_inputs(program) if nhwc else ()
    examples = {
        spec.name: each.movedim(1, -1).contiguous() if spec.name in turned else each
        for spec, each in zip(program.inputs, program.examples, strict=True)
    }
    know_layouts()
    try:
        converted = litert_torch.convert(
            wrap(program, nhwc=nhwc),
            sample_kwargs=examples,
            quant_config=static_quantization() if job.precision.calibrated else None,
        )
    except Exception as error:  # litert-torch raises whatever its lowerings raise
        raise conversion_error(program, "TFLite", "litert-torch", error) from error
    content: bytes = converted.model_content()
    _require_kernels(program, content)
    return _finished(content, program, job, planned, biases)


def _finished(
    content: bytes, program: Program, job: WriteJob, planned: PlannedTable, biases: Biases
) -> bytes:
    """What the converter wrote, with what it does not write: stored integers, suppression."""
    if job.precision.calibrated:
        content = with_integer_kernels(without_marks(content, program), planned, biases)
        content = with_float_ends(content)
    elif job.precision.block is not None:
        content = with_block_weights(content, job.precision.bits, job.precision.block)
    elif planned:
        content = with_integer_weights(content, planned, hybrid=job.precision.dynamic)
    if job.precision.bits == 16:
        content = _store_weights_as_float16(content)
    if job.nms is not None:
        content = append_suppression(
            content,
            job.nms,
            anchors=_ANCHORS,
            scores=SCORES,
            classes=len(class_names(program)),
        )
    return content


_SORTING = ("sort", "topk", "argsort", "msort")
_MISSING = re.compile(r"find op for builtin opcode '(\w+)'")


def _require_kernels(program: Program, content: bytes) -> None:
    """Refuse a file with an operation that litert-torch writes and LiteRT does not have.

    Raises:
        ExportError: it names the calls, where they are known.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    model = schema.Model.GetRootAs(content, 0)
    codes = {model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())}
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    if not any(names.get(code, "").startswith("STABLEHLO_") for code in codes):
        return  # LiteRT has all others
    try:
        Interpreter(model_content=content)
    except (RuntimeError, ValueError) as error:
        found = _MISSING.search(str(error))
        if found is None:
            return  # the check of the written file says it
        calls = calls_of(program, _SORTING) if found[1] == "STABLEHLO_SORT" else ""
        raise ExportError(
            f"LiteRT has no kernel for {found[1]}, which litert-torch writes for "
            f"{calls or program.spec}.",
            hint=f"At most {LARGEST} comparisons (elements times length of the axis) are written "
            "with other operators: sort or choose among fewer elements."
            if calls
            else "Run again with `verbose=True` for the converter's own report.",
        ) from error


def _store_weights_as_float16(content: bytes) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer

    job = quantizer.Quantizer(content)
    job.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        algorithm_key="float_casting",
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
    )
    return bytes(job.quantize().quantized_model)
