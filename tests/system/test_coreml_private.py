"""coremltools' private interfaces: a pass of ours runs where it is put."""

from __future__ import annotations

from typing import Any

import pytest

from mobile_export.system.coreml_private import add_graph_pass, builder

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
