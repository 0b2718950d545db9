"""Build one-op ML Programs with coremltools, save them, and run them in the evaluator.

coremltools plays two independent parts: it writes the package that the evaluator reads, and its own
``value_inference`` (constant folding in numpy) is the oracle of the cases that name no other.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobile_export.exporters.coreml.evaluator import MilProgram, load_program
from mobile_export.exporters.coreml.evaluator.text import read_package
from mobile_export.system.quiet import quiet

Array = np.ndarray
_SPARSE = ("constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale")
_IN_INT32 = ("int8", "uint8", "int16", "uint16")


@functools.cache
def coremltools() -> Any:
    with quiet():
        import coremltools
    # ct.convert ends in gc.collect(), which walks all of coremltools and TensorFlow: 0.2 s each.
    gc.freeze()
    return coremltools


@dataclass(frozen=True)
class Case:
    """One test of one op.

    Attributes:
        op: the MIL op type.
        inputs: parameters that are fed at run time; a list of arrays is a tuple of tensors.
        constants: parameters that are constants of the program.
        expect: the oracle. None: coremltools' value inference. A function of the ``inputs`` (torch
            tensors) and nothing else, or literal values worked out by hand.
        target: the deployment target, which chooses the version of the op.
        rtol, atol: of the comparison in float32.
    """

    op: str
    inputs: dict[str, Any]
    constants: dict[str, Any] = field(default_factory=dict)
    expect: Callable[..., Any] | Sequence[Any] | Array | float | None = None
    target: str = "iOS15"
    note: str = ""
    rtol: float = 1e-5
    atol: float = 1e-6

    def __str__(self) -> str:
        return "-".join(part for part in (self.op, self.note, self.target) if part)


def flat_inputs(case: Case) -> dict[str, Array]:
    flat = {}
    for key, value in case.inputs.items():
        if isinstance(value, list):
            flat |= {f"{key}_{i}": np.asarray(item) for i, item in enumerate(value)}
        else:
            flat[key] = np.asarray(value)
    return flat


def call(case: Case, arguments: dict[str, Any]) -> Any:
    """Add the case's op to the program under construction."""
    builder = coremltools().converters.mil.mil.Builder
    return getattr(builder, case.op)(**arguments, **case.constants)


def grouped(case: Case, flat: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [flat[f"{key}_{i}"] for i in range(len(value))]
        if isinstance(value, list)
        else flat[key]
        for key, value in case.inputs.items()
    }


def program_of(
    body: Callable[..., Any],
    arrays: dict[str, Array],
    path: Path,
    target: str = "iOS15",
    **options: Any,
) -> MilProgram:
    """Convert ``body`` (a function of MIL variables) and load the package in the evaluator."""
    ct = coremltools()
    mb = ct.converters.mil.mil.Builder
    types = ct.converters.mil.mil.types
    version = getattr(ct.target, target)
    spec = []
    for array in arrays.values():
        builtin = {"float16": types.fp16, "float32": types.fp32}.get(array.dtype.name, types.int32)
        spec.append(mb.TensorSpec(shape=array.shape or (1,), dtype=builtin))
    names = list(arrays)

    def with_names(*variables: Any) -> Any:
        typed = {}
        for name, variable in zip(names, variables, strict=True):
            dtype = arrays[name].dtype.name
            if dtype == "bool" or dtype in _IN_INT32:
                variable = mb.cast(x=variable, dtype=dtype)
            typed[name] = variable if arrays[name].shape else mb.squeeze(x=variable)
        results = body(**typed)
        listed = list(results) if isinstance(results, (list, tuple)) else [results]
        return [_outputable(mb, types, item) for item in listed]

    # mb.program reads the parameter names of the function to name the inputs.
    source = f"def f({', '.join(names)}): return g({', '.join(names)})"
    scope: dict[str, Any] = {"g": with_names}
    exec(source, scope)
    with quiet():
        program = mb.program(input_specs=spec, opset_version=version)(scope["f"])
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=version,
            compute_precision=options.pop("compute_precision", ct.precision.FLOAT32),
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
            **options,
        )
        model.save(str(path))
    return load_program(path)


def _outputable(mb: Any, types: Any, variable: Any) -> Any:
    """Core ML has no outputs of narrow integers or truth values."""
    narrow = (types.bool, types.int8, types.uint8, types.int16, types.uint16)
    return mb.cast(x=variable, dtype="int32") if variable.dtype in narrow else variable


def feed(inputs: dict[str, Array]) -> dict[str, Array]:
    return {name: array.reshape(array.shape or (1,)) for name, array in inputs.items()}


def evaluate(case: Case, path: Path) -> list[list[Array]]:
    """The outputs of the case's op in the evaluator, twice.

    The second program is the same without the parameters that the case leaves out: coremltools
    writes their default values into the package, another producer need not.
    """
    flat = flat_inputs(case)
    fed = flat or {"unused": np.zeros((1,), np.float32)}

    def body(**variables: Any) -> Any:
        if flat:
            return call(case, grouped(case, variables))
        mb = coremltools().converters.mil.mil.Builder
        results = call(case, {})
        if case.op in _SPARSE:
            mask, values = results
            results = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)
        listed = results if isinstance(results, (list, tuple)) else [results]
        # The result of an op without inputs cannot be an output as it is.
        kept = [mb.identity(x=variables["unused"])]
        for result in listed:
            kept.append(mb.add(x=mb.cast(x=result, dtype="fp32"), y=np.float32(0.0)))
        return kept

    programs = (program_of(body, fed, path, case.target), without_defaults(case, path))
    results = []
    for program in programs:
        outputs = program.run(feed(fed))
        listed = [outputs[name] for name in program.outputs]
        results.append(listed if flat else listed[1:])
    return results


def without_defaults(case: Case, path: Path) -> MilProgram:
    """The program of a package, whose case op has only the parameters that the case gives."""
    function = read_package(path)
    given = case.inputs.keys() | case.constants.keys()
    calls = tuple(
        dataclasses.replace(call, inputs={k: v for k, v in call.inputs.items() if k in given})
        if call.type == case.op
        else call
        for call in function.calls
    )
    return MilProgram(dataclasses.replace(function, calls=calls))


def inferred(case: Case) -> list[Array]:
    """The same op on constants, as coremltools folds it."""
    ct = coremltools()
    mb = ct.converters.mil.mil.Builder
    found: list[Any] = []

    def body(x: Any) -> Any:
        constants = {key: mb.const(val=value) for key, value in flat_inputs(case).items()}
        result = call(case, grouped(case, constants))
        listed = list(result) if isinstance(result, (list, tuple)) else [result]
        for variable in listed:
            value = variable.val
            if value is None and case.op.startswith("constexpr_"):
                materialized = variable.op.materialized_val_inference()
                values = materialized if isinstance(materialized, tuple) else (materialized,)
                value = values[listed.index(variable)]
            assert value is not None, f"coremltools does not infer {case.op}"
            found.append(np.asarray(value))
        return mb.identity(x=x)

    with quiet():
        spec = [mb.TensorSpec(shape=(1,))]
        mb.program(input_specs=spec, opset_version=getattr(ct.target, case.target))(body)
    return found
