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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export.graph_signature import TensorArgument

from ...detection.boxes import centre_boxes
from ...detection.contract import BOXES, SCORES, check_detector, class_names
from ...errors import ExportError, UsageError
from ...graph.processing import with_input_dtypes
from ...operators.core import conversion_error, listed
from ...system.coreml_private import divide_by_itself, keep_gelus_apart, keep_whole_quotients
from ...system.torch_private import decompositions
from ..interface import Adapted, Prepared, WriteJob
from .integers import CHANGING, as_stored, target_of
from .mil_passes import add_our_passes, store_blocks, store_palettes
from .nms import CONFIDENCE, COORDINATES, with_suppression
from .session import ACTIVATION_KEY, LABELS_KEY, PREVIEW, PREVIEW_KEY

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import InputSpec
    from ..row import Precision
    from .options import CoreMLOptions

__all__ = ["adapt", "check", "write"]

aten = torch.ops.aten

_INPUT = "image"


def check(program: Program, job: WriteJob) -> None:
    """Refuse images that Core ML's image type cannot hold, and suppression behind no detector."""
    options = job.options
    target_of(options.target, job.precision)
    if job.nms is not None:
        check_detector(program, job.nms)
    if options.image_input and len(program.input.shape) != 4:
        raise UsageError(
            f"`image_input` takes one image; {program.spec} takes a clip of shape "
            f"{program.input.shape}.",
            hint="Leave `image_input` out and pass a multi-array.",
        )
    asked = "image_input" if options.image_input else "classifier"
    if (options.image_input or options.classifier) and program.input.shape[0] != 1:
        raise UsageError(
            f"`{asked}` of Core ML is for one image; {program.spec} takes a batch of "
            f"{program.input.shape[0]}.",
            hint=f"Leave `{asked}` or `batch` out.",
        )
    if (options.image_input or options.classifier) and program.asked.get("dynamic") == "batch":
        raise UsageError(
            f"`{asked}` of Core ML is for one image, and `dynamic` batch for any number.",
            hint=f"Leave `{asked}` or `dynamic` out.",
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
    _respell(decomposed.graph_module)
    _copy_inputs(decomposed)
    expected = functools.partial(_expected, program=program, job=job)
    name = _INPUT if program.input.pixels else program.input.name
    named = replace(program.input, name=name)
    adapted = replace(program, exported=decomposed, input=named)
    return Adapted(as_stored(adapted) if job.precision.integers else adapted, expected)


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
    aten.upsample_bicubic2d.default,
    aten.upsample_bicubic2d.vec,
)
"""Operations that coremltools 9.0 does not know and torch decomposes exactly."""


def _respell(module: torch.fx.GraphModule) -> None:
    """Write the calls that coremltools 9.0 does not take as others that it does."""
    for node in list(module.graph.nodes):
        if node.target is aten.alias.default:  # swin, levit, xcit, ...
            if all(user.op != "output" for user in node.users):
                node.replace_all_uses_with(node.args[0])
                module.graph.erase_node(node)
        elif _bounded_by_whole(node):
            node.args = (node.args[0], *map(_real, node.args[1:]))
        elif node.target in _SCALED and node.kwargs.get("alpha", 1) != 1:
            _scale_first(node)
    module.recompile()


_SCALED: dict[Any, int] = {aten.add.Tensor: 1, aten.sub.Tensor: 1, aten.rsub.Tensor: 0}
"""Sums x + alpha y, and which argument is y: coremltools leaves ``alpha``, a keyword, out."""


def _scale_first(node: torch.fx.Node) -> None:
    """Write a sum with ``alpha`` as a product and a plain sum."""
    place = _SCALED[node.target]
    product: Any
    scaled: Any = node.args[place]
    alpha: Any = node.kwargs["alpha"]
    if isinstance(scaled, torch.fx.Node):
        with node.graph.inserting_before(node):
            product = node.graph.call_function(aten.mul.Tensor, (scaled, alpha))
        product.meta.update(node.meta)
        product.meta["val"] = scaled.meta["val"] * alpha
    else:
        product = scaled * alpha
    node.update_arg(place, product)
    node.kwargs = {name: each for name, each in node.kwargs.items() if name != "alpha"}


def _copy_inputs(exported: torch.export.ExportedProgram) -> None:
    """What is returned as it came in becomes a product with 1: coremltools gives one variable one
    name, and asserts that an input has its own."""
    graph = exported.graph
    output = graph.output_node()
    given = set(exported.graph_signature.user_inputs)
    for node in [each for each in output.all_input_nodes if each.name in given]:
        one = 1.0 if node.meta["val"].is_floating_point() else 1
        with graph.inserting_before(output):
            copy = graph.call_function(aten.mul.Tensor, (node, one))
        copy.meta.update(node.meta)
        output.replace_input_with(node, copy)
        for spec in exported.graph_signature.output_specs:
            if spec.arg.name == node.name:
                spec.arg = TensorArgument(name=copy.name)
    exported.graph_module.recompile()


def _bounded_by_whole(node: Any) -> bool:
    """Whether a tensor of real numbers is bounded or bent by a whole number, which must be of the
    tensor's type."""
    if node.target not in _BOUNDS or not any(type(each) is int for each in node.args[1:]):
        return False
    return bool(node.meta["val"].is_floating_point())


def _real(number: Any) -> Any:
    return float(number) if type(number) is int else number


_BOUNDS = (
    aten.clamp_min.default,
    aten.clamp_max.default,
    aten.hardtanh.default,
    aten.leaky_relu.default,
    aten.elu.default,
)


def _pass_pipeline(precision: Precision) -> Any:
    """coremltools' default passes and ours, without the one that is not exact.

    ``fuse_elementwise_to_batchnorm`` turns a multiplication and an addition into a batch norm whose
    epsilon stays at 1e-5, so the result is 5e-6 off (seen with coremltools 9.0 on mobilevitv2_050).
    Scales and zero points of a plan stay as they are.
    """
    import coremltools as ct

    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    if precision.integers:
        pipeline.remove_passes(set(CHANGING))
    add_our_passes(pipeline)
    if precision.palette:
        store_palettes(pipeline, precision.bits)
    if precision.block is not None:
        store_blocks(pipeline, precision.bits, precision.block)
    return pipeline


def _compute_precision(precision: Precision, options: CoreMLOptions) -> Any:
    import coremltools as ct

    if precision.bits == 32 or precision.arithmetic == "fp32":
        return ct.precision.FLOAT32

    places: dict[Any, bool] = {}
    indices: dict[Any, bool] = {}

    def in_float16(op: Any) -> bool:
        """False for what is left of the normalisation, arithmetic on the pixels themselves, and for
        places in an image and what becomes whole numbers: float16 has steps of 1/8 of a pixel at
        128 and beyond."""
        if _found(op, _makes_places, places) or _found(op, _becomes_whole, indices):
            return False
        return not (options.image_input and op.op_type in _ARITHMETIC and _of_pixels(op.x))

    return ct.transform.FP16ComputePrecision(op_selector=in_float16)


_ARITHMETIC = ("add", "mul", "sub")
_PLACING = ("resample",)
_ELEMENTS = """
    abs add ceil clip concat expand_dims floor floor_div maximum minimum mod mul real_div
    reshape round select sign slice_by_index slice_by_size split squeeze stack sub transpose
"""
_ELEMENTWISE = frozenset(_ELEMENTS.split())
_Answer = Callable[[Any, Sequence[Any], dict[Any, bool]], bool]


def _found(op: Any, answer: _Answer, known: dict[Any, bool]) -> bool:
    """``answer`` for an operation, which may ask for those of its users.

    A network may be thousands of operations deep: nothing here calls itself.

    Args:
        known: what was found so far.
    """
    waiting = [] if op in known else [op]
    while waiting:
        users = [user for value in waiting[-1].outputs for user in value.child_ops]
        unknown = [each for each in users if each not in known]
        if unknown:
            waiting += unknown
            continue
        last = waiting.pop()
        known[last] = answer(last, users, known)
    return known[op]


def _makes_places(op: Any, users: Sequence[Any], known: dict[Any, bool]) -> bool:
    """Whether an operation takes values at computed places, or makes nothing but such places."""
    if op.op_type in _PLACING or op.op_type == "const":
        return bool(op.op_type != "const")
    return bool(users) and all(_takes_places(user, op, known) for user in users)


def _takes_places(user: Any, op: Any, known: dict[Any, bool]) -> bool:
    if user.op_type in _PLACING:
        return any(user.inputs.get("coordinates") is value for value in op.outputs)
    return known[user]


def _becomes_whole(op: Any, users: Sequence[Any], known: dict[Any, bool]) -> bool:
    """Whether what an operation makes of single elements is cut to whole numbers in the end."""
    if op.op_type not in _ELEMENTWISE:
        return bool(op.op_type == "cast" and "int" in str(op.dtype.val))
    return any(known[user] for user in users)


def _of_pixels(value: Any) -> bool:
    """Whether a value is the input, or the input less a constant, times one."""
    op = value.op
    return op is None or (op.op_type in _ARITHMETIC and _of_pixels(op.x))


def _input_type(
    spec: InputSpec,
    options: CoreMLOptions,
    sizes: Sequence[tuple[int, int]] = (),
    shapes: Sequence[Sequence[int]] = (),
) -> Any:
    """
    Args:
        sizes: all of them, of an image that has several.
        shapes: that it was executed in, where all between them are taken: from the smallest extent
            of each axis to the largest.
    """
    import coremltools as ct

    shape: Any = spec.shape
    if shapes:
        extents = [(min(row), max(row)) for row in zip(*shapes, strict=True)]
        shape = ct.Shape(
            [
                now if low == high else ct.RangeDim(low, high, default=now)
                for now, (low, high) in zip(spec.shape, extents, strict=True)
            ]
        )
    if sizes:
        shapes = [(*spec.shape[:-2], *size) for size in sizes]
        shape = ct.EnumeratedShapes(shapes=shapes, default=spec.shape)
    if options.image_input:
        layouts = {"RGB": ct.colorlayout.RGB, "BGR": ct.colorlayout.BGR}
        layout = layouts.get(spec.channel_order, ct.colorlayout.GRAYSCALE)
        return ct.ImageType(name=spec.name, shape=shape, color_layout=layout)
    return ct.TensorType(name=spec.name, shape=shape, dtype=np.dtype(spec.dtype).type)


def _output_names(program: Program, job: WriteJob) -> list[str]:
    if job.nms is not None:
        return [f"raw_{CONFIDENCE}", f"raw_{COORDINATES}"]
    return [output.name for output in program.outputs]


_WORDS = (
    *("any", "bool", "dict", "false", "func", "list", "program", "state", "string", "tensor"),
    *("true", "tuple", "bf16", "fp16", "fp32", "fp64", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)
"""Of the text of an ML Program: coremltools gives another name to what is called so."""


def _require_names(program: Program, outputs: Sequence[str]) -> None:
    """Refuse names that the file would not have.

    Raises:
        ExportError: it names them.
    """
    words = [name for name in (*(each.name for each in program.inputs), *outputs) if name in _WORDS]
    if words:
        raise ExportError(
            f"{program.spec} has an input or output called {', '.join(words)}, which is a word of "
            "Core ML's own language; coremltools would write another name.",
            hint="Call it otherwise in forward, or in what it returns.",
        )


def write(prepared: Prepared, path: Path, job: WriteJob) -> None:
    """Write a program to ``path`` (a ``.mlpackage`` folder).

    Raises:
        ExportError: coremltools refused the program.
    """
    import coremltools as ct

    program, options = prepared.program, job.options
    _require_names(program, _output_names(program, job))
    exported = program.exported
    if job.precision.integers:
        exported = program.in_float32().exported  # proven with the exact values of biases
    target = target_of(options.target, job.precision)
    extra: dict[str, Any] = {}
    if options.classifier:
        assert program.labels is not None
        extra["classifier_config"] = ct.ClassifierConfig(list(program.labels))
    else:
        extra["outputs"] = [
            ct.TensorType(name=name, dtype=np.float32) for name in _output_names(program, job)
        ]
    divide_by_itself()
    keep_gelus_apart()
    keep_whole_quotients()
    try:
        model = ct.convert(
            exported,
            inputs=[
                _input_type(each, options, prepared.sizes, prepared.shapes)
                for each in program.inputs
            ],
            minimum_deployment_target=getattr(ct.target, target.replace("ios", "iOS")),
            compute_precision=_compute_precision(job.precision, options),
            convert_to="mlprogram",
            pass_pipeline=_pass_pipeline(job.precision),
            skip_model_load=True,
            **extra,
        )
    except Exception as error:  # coremltools raises whatever its op handlers raise
        raise _refusal(program, error) from error
    if job.nms is not None:
        model = with_suppression(model, job.nms, class_names(program))
    _describe(model, program, options)
    model.save(str(path))


_MOST_AXES = 5


def _refusal(program: Program, error: BaseException) -> ExportError:
    """What to raise where coremltools failed."""
    if "rank <=" not in str(error):
        return conversion_error(program, "Core ML", "coremltools", error)
    high = [
        node
        for node in program.exported.graph.nodes
        if len(getattr(node.meta.get("val"), "shape", ())) > _MOST_AXES
    ]
    return ExportError(
        f"Core ML's tensors have {_MOST_AXES} axes at most, and {program.spec} has more at "
        f"{listed(high)}.",
        hint="Join neighbouring axes with reshape, or return fewer.",
    )


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
        facts[LABELS_KEY] = json.dumps(program.labels)
        if options.image_input and program.task == "segmentation":
            facts |= {PREVIEW + "type": "imageSegmenter"}
            facts |= {PREVIEW_KEY: json.dumps({"labels": program.labels})}
    for key, value in facts.items():
        model.user_defined_metadata[key] = value
