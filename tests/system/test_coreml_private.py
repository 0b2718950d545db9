"""coremltools' private interfaces: a pass of ours runs where it is put."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mobile_export.system.coreml_private import (
    add_graph_pass,
    builder,
    integer_type,
    keep_gelus_apart,
)

ct = pytest.importorskip("coremltools")


def test_a_pass_runs_on_every_function_behind_the_one_named() -> None:
    mb = builder()

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))])  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return mb.relu(x=x)

    seen: list[list[str]] = []

    def look(function: Any) -> None:
        seen.append([op.op_type for op in function.operations])

    pipeline = ct.PassPipeline.EMPTY
    pipeline.append_pass("common::dead_code_elimination")
    add_graph_pass(pipeline, "look_once", look, behind="common::dead_code_elimination")
    assert list(pipeline.passes)[-1] == "mobile_export::look_once"
    ct.convert(program, convert_to="mlprogram", pass_pipeline=pipeline, skip_model_load=True)
    assert ["relu"] in seen


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_have_as_many_bits_as_asked_for(bits: int) -> None:
    """What is written is read back by coremltools' own types."""
    from coremltools.converters.mil.mil import types

    values = np.array([-3, 0, 7], np.int8).astype(integer_type(bits))
    assert types.numpy_type_to_builtin_type(values.dtype).get_bitwidth() == bits
    assert values.astype(np.int32).tolist() == [-3, 0, 7]


@pytest.mark.parametrize(
    ("approximate", "mode"), [("tanh", "TANH_APPROXIMATION"), ("none", "EXACT")]
)
def test_a_gelu_is_written_with_the_approximation_that_it_names(
    approximate: str, mode: str
) -> None:
    """The words are those of the MIL operation ``gelu``."""
    keep_gelus_apart()
    module = torch.nn.GELU(approximate=approximate).eval()
    exported = torch.export.export(module, (torch.zeros(1, 4),), strict=False)
    program = ct.convert(exported.run_decompositions({}), convert_to="milinternal")
    (found,) = (op for op in program.functions["main"].operations if op.op_type == "gelu")
    assert found.mode.val == mode
