"""Load an ML Program and run it in PyTorch.

Numerics: an operation computes in float32. When its declared output is float16, the result is
rounded to float16 once, overflow becoming infinity; so convolutions, matrix products, reductions,
softmax and the norms accumulate in float32 and round at the end. That is the best a float16 device
can do, not what a particular one does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from ....errors import ArtifactError, ExecutionError, UnsupportedOpError
from . import ops as _ops  # noqa: F401  (fills OPS)
from .findings import Findings
from .table import OPS, Op, Site, Value
from .text import Call, Constant, FormatError, Function, Ref, TensorType, read_package

__all__ = ["MilProgram", "StoredIntegers", "TensorSpec", "Watch", "load_program"]

Watch = Callable[[str, str, str, "torch.Tensor"], None]
"""Called after every operation with (op name, op type, output name, value)."""

_TORCH = {"fp16": torch.float32, "fp32": torch.float32, "fp64": torch.float64, "bool": torch.bool}
_NUMPY = {
    "fp16": np.float16, "fp32": np.float32, "fp64": np.float64, "bool": np.bool_,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
}  # fmt: skip
_WIDE = ("int64", "uint64", "uint32")
_HINT = (
    "Run the package on macOS (coremltools predict), or export for a target whose program uses "
    "other operations; the covered ones are listed in docs/coreml-evaluator.md."
)


@dataclass(frozen=True)
class TensorSpec:
    """One input: ``dtype`` as in MIL (fp16, fp32, int32, …), -1 for a free dimension."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class _Step:
    """A call with everything bound that is known before the run."""

    call: Call
    op: Op | None
    constants: dict[str, Any]
    variables: dict[str, list[Ref | Value]]
    unknown: tuple[str, ...]
    site: Site
    last_uses: tuple[str, ...]


@dataclass(frozen=True)
class StoredIntegers:
    """Integers among the weights: (value - zero_point) · scale, with one scale or one for each
    place on an axis."""

    name: str
    value: np.ndarray
    scales: tuple[float, ...]
    zero_point: int


def load_program(path: Path) -> MilProgram:
    """Load the ML Program of an ``.mlpackage`` directory.

    Raises:
        ArtifactError: ``path`` is not an ML Program package.
    """
    try:
        return MilProgram(read_package(Path(path)))
    except FormatError as error:
        raise ArtifactError(
            f"{path} cannot be read as a Core ML program: {error}.",
            hint="Valid is an .mlpackage directory that holds an ML Program "
            '(coremltools.convert(..., convert_to="mlprogram") followed by save).',
        ) from error


class MilProgram:
    """An ML Program, parsed once, that can be run any number of times.

    Attributes:
        inputs: what ``run`` has to be given.
        outputs: the names of what it returns.
        opset: "CoreML5" (iOS 15) … "CoreML8" (iOS 18).
        precision: "fp16" when an operation other than a cast computes in float16.
        compressed: what the weights are compressed to, such as "int8-weights" or "palette4", the
            fewest bits of all; "int8" where results in between are integers, too; else None.
        classes: the labels of a classifier in the order of its probabilities, else None.
        stored: the integers that an operation widens by scales, where these are on one axis.
        looked_up: what an operation makes of indices and a table, or of blocks of integers.
        findings: what the runs so far showed: float16 that overflowed, unsettled operations.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    opset: str
    precision: Literal["fp16", "fp32"]
    classes: tuple[str, ...] | tuple[int, ...] | None

    def __init__(self, function: Function) -> None:
        self.inputs = tuple(
            TensorSpec(name, type_.shape, type_.dtype)
            for name, type_ in function.inputs
            if type_.kind == "tensor"
        )
        self.outputs = function.outputs
        self.opset = function.opset
        computing = [call for call in function.calls if not _is_constant(call)]
        self._counts = Counter(call.type for call in computing)
        half = any(_is_half(call) for call in computing if call.type != "cast")
        self.precision = "fp16" if half else "fp32"
        self._constants: dict[str, Value] = {}
        for call in function.calls:
            if call.type == "const":
                if "val" not in call.inputs or not call.outputs:
                    raise FormatError(f"the constant {call.name} has no value")
                self._constants[call.outputs[0][0]] = _load(call.inputs["val"][0])
        self.stored: list[StoredIntegers] = []
        self.looked_up: list[np.ndarray] = []
        self._kept: set[tuple[int, str]] = set()
        self._pending = self._decompress(function)
        self.compressed = None
        if self._kept:
            self.compressed = "int8" if self._counts["quantize"] else min(self._kept)[1]
        self._steps = _plan(function, computing, self._constants)
        self.classes = _classes(computing)
        self.findings = Findings()

    def op_counts(self) -> Counter[str]:
        """How often each operation is used; constants are not counted."""
        return Counter(self._counts)

    def parameter_count(self) -> int:
        """Number of floating-point constants: weights, and a few scalars of the operations."""
        values = self._constants.values()
        return sum(
            v.numel() for v in values if isinstance(v, torch.Tensor) and v.is_floating_point()
        )

    def output_types(self) -> dict[str, TensorType]:
        """Declared type of every output that is a tensor."""
        made = dict(output for step in self._steps for output in step.call.outputs)
        return {name: made[name] for name in self.outputs if name in made}

    def dependencies(self) -> dict[str, tuple[str, ...]]:
        """For every value that ``watch`` may see, the values (no constants) it is computed from."""
        return {
            name: tuple(
                value.name
                for bound in step.variables.values()
                for value in bound
                if isinstance(value, Ref)
            )
            for step in self._steps
            for name, _ in step.call.outputs
        }

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and content of every constant of floats."""
        for name, value in self._constants.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                yield name, value.numpy()

    def stored_floats(self) -> Iterator[np.ndarray]:
        """Every constant of floats with one axis, and what is computed from such when it is loaded:
        biases."""
        for value in self._constants.values():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() == 1:
                yield value.numpy()

    def quantizers(self) -> dict[str, tuple[float, int]]:
        """The scale and the zero point of each output of ``quantize`` that has one of them, as
        int8 has it: uint8 is 128 more."""
        found = {}
        for step in self._steps:
            scale, zero = (step.constants.get(key) for key in ("scale", "zero_point"))
            if step.call.type != "quantize" or scale is None or scale.numel() != 1:
                continue
            point = 0 if zero is None else int(zero)
            unsigned = step.constants.get("output_dtype") == "uint8"
            found[step.call.outputs[0][0]] = (float(scale), point - 128 * unsigned)
        return found

    def unsupported(self) -> tuple[str, ...]:
        """The operations of this program that ``run`` cannot execute."""
        steps = [*self._steps, *self._pending]
        return tuple(sorted({step.call.type for step in steps if step.op is None or step.unknown}))

    def run(
        self, inputs: Mapping[str, npt.ArrayLike], *, watch: Watch | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Execute the program.

        Args:
            inputs: one array per input name. An image input takes its pixels as [1, C, H, W].
            watch: called after every operation; intermediate values are then kept to the end.

        Returns:
            One array per output name. A classifier's label is a 0-d array, its dictionary the array
            of probabilities in the order of ``classes``.

        Raises:
            UnsupportedOpError: an operation has no implementation here.
            ExecutionError: an input is missing or of another shape, or an operation failed.
        """
        for step in (*self._steps, *self._pending):
            _require_support(step)
        values: dict[str, Value] = dict(self._feed(inputs))
        with torch.inference_mode():
            for step in self._steps:
                results = _execute(step, values, self._constants, self.findings)
                for (name, _), result in zip(step.call.outputs, results, strict=True):
                    values[name] = result
                    if watch is not None and isinstance(result, torch.Tensor):
                        watch(step.call.name, step.call.type, name, result)
                if watch is None:
                    for name in step.last_uses:
                        values.pop(name, None)
        types = {name: type_ for step in self._steps for name, type_ in step.call.outputs}
        types |= {spec.name: TensorType(spec.dtype, spec.shape) for spec in self.inputs}
        return {
            name: _export(_look_up(name, values, self._constants), types.get(name))
            for name in self.outputs
        }

    def _feed(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, torch.Tensor]:
        expected = {spec.name: spec for spec in self.inputs}
        if set(inputs) != set(expected):
            raise ExecutionError(
                f"The program was given the inputs {sorted(inputs)}.",
                hint=f"Valid are exactly {sorted(expected)}.",
            )
        fed = {}
        for name, spec in expected.items():
            array = np.asarray(inputs[name])
            if len(array.shape) != len(spec.shape) or any(
                want not in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
            ):
                raise ExecutionError(
                    f"Input {name!r} was given the shape {tuple(array.shape)}.",
                    hint=f"Valid is {spec.shape} ({spec.dtype}).",
                )
            fed[name] = _conform(torch.from_numpy(np.array(array)), spec.dtype)
        return fed

    def _decompress(self, function: Function) -> list[_Step]:
        """Evaluate the ``constexpr_*`` operations, compressed weights; return the unknown ones."""
        calls = [call for call in function.calls if call.type.startswith("constexpr_")]
        pending = []
        for step in _plan(function, calls, self._constants):
            if step.op is None or step.unknown:
                pending.append(step)
                continue
            if any(
                isinstance(value, Ref) and value.name not in self._constants
                for bound in step.variables.values()
                for value in bound
            ):
                continue  # it reads one that is pending
            with torch.inference_mode():
                results = _execute(step, {}, self._constants)
            stored = _widened(step)
            self.stored += stored
            self._kept |= _kept(step, stored)
            if step.call.type in ("constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"):
                self.looked_up += [each.numpy() for each in results if torch.is_tensor(each)]
            for (name, _), result in zip(step.call.outputs, results, strict=True):
                self._constants[name] = result
        return pending


_WIDENING = {
    "constexpr_affine_dequantize": ("quantized_data", "scale", "zero_point"),
    "constexpr_blockwise_shift_scale": ("data", "scale", "offset"),
}


def _kept(step: _Step, stored: list[StoredIntegers]) -> set[tuple[int, str]]:
    """Bits and precision of the weights that an operation widens: ``stored``, or a table's."""
    if step.call.type == "constexpr_lut_to_dense" and "lut" in step.constants:
        table = step.constants["lut"]
        packed = step.constants.get("shape") is not None
        bits = max(1, math.ceil(math.log2(table.numel() if packed else table.shape[-2])))
        return {(bits, f"palette{bits}")}
    if not stored:
        return set()
    low, high = int(stored[0].value.min()), int(stored[0].value.max())
    small = step.call.type == "constexpr_blockwise_shift_scale" and high - low < 2**4
    return {(4, "int4-weights")} if small else {(8, "int8-weights")}


def _widened(step: _Step) -> list[StoredIntegers]:
    """What an operation of `_WIDENING` reads."""
    if step.call.type not in _WIDENING:
        return []
    value, scale, zero = (step.constants.get(key) for key in _WIDENING[step.call.type])
    if value is None or scale is None:
        return []
    zeros = [0] if zero is None else zero.reshape(-1).tolist()
    point = int(max(zeros, key=abs))
    scales = tuple(scale.reshape(-1).tolist())
    return [StoredIntegers(step.call.outputs[0][0], value.numpy(), scales, point)]


def _plan(function: Function, calls: list[Call], constants: Mapping[str, Value]) -> list[_Step]:
    """Bind the constants of every call, and find where each intermediate value is read last."""
    last: dict[str, int] = {}
    for index, call in enumerate(calls):
        for name, _ in call.outputs:
            last[name] = index
        for bound in call.inputs.values():
            last.update({value.name: index for value in bound if isinstance(value, Ref)})
    ends: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in function.outputs:
            ends.setdefault(index, []).append(name)

    steps = []
    for index, call in enumerate(calls):
        op = OPS.get(call.type)
        fixed: dict[str, Any] = {}
        variable: dict[str, list[Ref | Value]] = {}
        for key, bound in call.inputs.items():
            values = [_resolve(value, constants) for value in bound]
            known: list[Value] = [value for value in values if not isinstance(value, Ref)]
            if op is not None and key in op.converters and len(known) == len(values):
                fixed[key] = _bind(call, key, op, known)
            else:
                variable[key] = values
        unknown = () if op is None else tuple(k for k in call.inputs if k not in op.converters)
        types = tuple(type_ for _, type_ in call.outputs)
        site = Site(function.opset, call.name, types)
        steps.append(_Step(call, op, fixed, variable, unknown, site, tuple(ends.get(index, ()))))
    return steps


def _bind(call: Call, key: str, op: Op, values: list[Value]) -> Any:
    try:
        return op.converters[key](values)
    except (RuntimeError, TypeError, ValueError) as error:
        raise FormatError(f"{key!r} of {call.name!r} ({call.type}) is wrong: {error}") from error


def _execute(
    step: _Step,
    values: Mapping[str, Value],
    constants: Mapping[str, Value],
    findings: Findings | None = None,
) -> list[Value]:
    assert step.op is not None
    try:
        arguments = dict(step.constants)
        for key, bound in step.variables.items():
            present = [
                _look_up(value.name, values, constants) if isinstance(value, Ref) else value
                for value in bound
            ]
            arguments[key] = step.op.converters[key](present)
        if step.op.wants_site:
            arguments["site"] = step.site
        result = step.op.function(**arguments)
        results = list(result) if isinstance(result, tuple) else [result]
        if len(results) != len(step.site.outputs):
            raise ValueError(f"{len(results)} results for {len(step.site.outputs)} outputs")
        if findings is not None:
            _note(step, arguments, results, findings)
        return [_checked(r, type_) for r, type_ in zip(results, step.site.outputs, strict=True)]
    except (ArithmeticError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ExecutionError(
            f"Operation {step.call.name!r} ({step.call.type}, {step.site.opset}) failed: {error}"
        ) from error


def _note(
    step: _Step, arguments: Mapping[str, Any], results: list[Any], findings: Findings
) -> None:
    """Tell ``findings`` of an unsettled operation, and of float16 results before rounding."""
    assert step.op is not None
    reason = None if step.op.unsettled is None else step.op.unsettled(**arguments)
    if reason is not None:
        findings.see_unsettled(step.call.type, step.call.name, reason)
    for result, (name, type_) in zip(results, step.call.outputs, strict=True):
        if type_.dtype == "fp16":
            findings.see_result(step.call.type, name, result, arguments.values())


def _look_up(name: str, values: Mapping[str, Value], constants: Mapping[str, Value]) -> Value:
    return values[name] if name in values else constants[name]


def _checked(value: Value, declared: TensorType) -> Value:
    """The value in its declared type; a shape that differs from the declared one is an error."""
    if not isinstance(value, torch.Tensor) or declared.kind != "tensor":
        return value
    if declared.is_static and tuple(value.shape) != declared.shape:
        raise ValueError(f"the result has shape {tuple(value.shape)}, declared is {declared.shape}")
    return _conform(value, declared.dtype)


def _conform(value: torch.Tensor, dtype: str) -> torch.Tensor:
    """Round to the declared type; float16 is kept as float32 that holds float16 values."""
    if dtype == "fp16":
        return value.to(torch.float16).to(torch.float32)
    target = _TORCH.get(dtype, torch.int64 if dtype in _WIDE else torch.int32)
    return value if value.dtype == target else value.to(target)


def _export(value: Value, declared: TensorType | None) -> npt.NDArray[Any]:
    if not isinstance(value, torch.Tensor):
        return np.array(value)
    dtype = _NUMPY.get(declared.dtype) if declared is not None else None
    array: npt.NDArray[Any] = value.numpy()
    return array.copy() if dtype is None else array.astype(dtype)


def _load(constant: Ref | Constant) -> Value:
    if isinstance(constant, Ref):
        raise FormatError(f"the constant {constant.name} is defined by a reference")
    if isinstance(constant, np.ndarray):
        name = constant.dtype.name
        array = np.array(constant)  # torch wants memory that it may write to
        if name == "float16":
            return torch.from_numpy(array.astype(np.float32))
        if name in ("float32", "float64", "bool"):
            return torch.from_numpy(array)
        return torch.from_numpy(array.astype(np.int64 if name in _WIDE else np.int32))
    if isinstance(constant, list):
        return [_plain(item) for item in constant]
    return constant


def _plain(item: Constant) -> Any:
    return item.item() if isinstance(item, np.ndarray) else item


def _resolve(value: Ref | Constant, constants: Mapping[str, Value]) -> Ref | Value:
    if isinstance(value, Ref):
        return constants.get(value.name, value)
    return _load(value)


def _classes(calls: list[Call]) -> tuple[str, ...] | tuple[int, ...] | None:
    for call in calls:
        if call.type == "classify":
            labels = _load(call.inputs["classes"][0])
            return tuple(labels) if isinstance(labels, list) else None
    return None


def _is_constant(call: Call) -> bool:
    return call.type == "const" or call.type.startswith("constexpr_")


def _is_half(call: Call) -> bool:
    return any(type_.dtype == "fp16" for _, type_ in call.outputs)


def _require_support(step: _Step) -> None:
    call, opset = step.call, step.site.opset
    if step.op is None:
        raise UnsupportedOpError(
            f"The evaluator of ML Programs has no operation {call.type!r} "
            f"(used as {call.name!r}, opset {opset}).",
            hint=_HINT,
        )
    if step.unknown:
        raise UnsupportedOpError(
            f"The evaluator of ML Programs does not know the parameters {sorted(step.unknown)} of "
            f"{call.type!r} (used as {call.name!r}, opset {opset}).",
            hint=_HINT,
        )
