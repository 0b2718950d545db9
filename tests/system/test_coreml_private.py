"""coremltools' private interfaces: a pass of ours runs where it is put."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobile_export.system.coreml_private import add_graph_pass, builder, integer_type

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
