"""Every op of the evaluator against an oracle that is not the evaluator."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import mil_cases_elementwise
import mil_cases_image
import mil_cases_nn
import mil_cases_tensor
import numpy as np
import pytest
import torch
from mil_build import Case, coremltools, evaluate, flat_inputs, inferred

from mobile_export.exporters.coreml.evaluator.table import OPS

TABLES = (mil_cases_elementwise, mil_cases_nn, mil_cases_tensor, mil_cases_image)
CASES = [case for table in TABLES for case in table.CASES]
TESTED_ELSEWHERE = {"classify"}  # test_mil_program.py: its outputs are no tensors


def expected(case: Case) -> list[np.ndarray]:
    if case.expect is None:
        return inferred(case)
    if callable(case.expect):
        tensors = {key: torch.from_numpy(array) for key, array in flat_inputs(case).items()}
        positional = "x" in tensors and len(tensors) == 1
        result = case.expect(tensors["x"]) if positional else case.expect(**tensors)
    else:
        result = case.expect
    if isinstance(result, tuple) or (
        isinstance(result, list) and all(isinstance(item, np.ndarray) for item in result)
    ):
        return [np.asarray(item) for item in result]
    return [np.asarray(result)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: Case, tmp_path: Path) -> None:
    wanted = expected(case)
    for results in evaluate(case, tmp_path / "op.mlpackage"):
        assert len(results) == len(wanted)
        for result, want in zip(results, wanted, strict=True):
            assert result.shape == want.shape
            np.testing.assert_allclose(
                result.astype(np.float64), want.astype(np.float64), rtol=case.rtol, atol=case.atol
            )


def test_every_registered_op_has_a_case() -> None:
    assert set(OPS) == {case.op for case in CASES} | TESTED_ELSEWHERE


def _versions(name: str) -> list[Any]:
    coremltools()
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return list(SSAOpRegistry.core_ops[name].values())


@pytest.mark.parametrize("name", sorted(OPS))
def test_parameters_are_those_of_every_version_of_the_op(name: str) -> None:
    """No program that coremltools can write has a parameter that the evaluator does not know."""
    op = OPS[name]
    parameters = inspect.signature(op.function).parameters
    for version in _versions(name):
        for key, kind in version.input_spec.input_types.items():
            assert key in op.converters, f"{version.__module__}: {key}"
            if kind.optional:
                assert parameters[key].default is not inspect.Parameter.empty
