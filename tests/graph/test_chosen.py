"""Outputs as models return them, and those that the user chose.

Tests `mobile_export/graph/chosen.py`, and of `capture.py` what dataclasses and named tuples are.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.errors import SourceError, UsageError
from mobile_export.graph.capture import trace
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source


@dataclasses.dataclass
class Found:
    map: torch.Tensor
    score: torch.Tensor
    note: str = "not a tensor"


class Best(NamedTuple):
    value: torch.Tensor
    place: torch.Tensor


class Everything(nn.Module):
    """A dataclass, a named tuple and a list in a dict, and the image as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        y = self.look(x)
        values, places = y.flatten(1).topk(3, 1)
        return {
            "found": Found(y, y.mean((2, 3))),
            "best": Best(values, places),
            "features": [y * 2, y * 3],
            "given": x,
        }


NAMES = ["found_map", "found_score", "best_value", "best_place", "features_0", "features_1"]


def test_names_of_fields_are_kept() -> None:
    model = Everything().eval()
    program = trace(load_source(ModelRequest.of(model, size=8, outputs=NAMES)))
    assert [output.name for output in program.outputs] == NAMES


def test_what_is_not_computed_is_an_output_beside_what_is() -> None:
    program = trace(load_source(ModelRequest.of(Everything().eval(), size=8)))
    assert [output.name for output in program.outputs] == [*NAMES, "given"]
    with pytest.raises(SourceError, match="computes nothing") as problem:
        trace(load_source(ModelRequest.of(Everything().eval(), size=8, outputs=["given"])))
    assert "`outputs`" in str(problem.value.hint)


@pytest.mark.parametrize("names", [["boxes"], ["found_map", "boxes"]])
def test_a_name_that_the_model_lacks_is_answered_with_those_it_has(names: list[str]) -> None:
    with pytest.raises(UsageError, match="found_map, found_score, best_value"):
        trace(load_source(ModelRequest.of(Everything().eval(), size=8, outputs=names)))


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""]])
def test_what_is_no_choice(names: list[str]) -> None:
    if names:
        with pytest.raises(UsageError, match="different names"):
            ModelRequest.of(Everything(), outputs=names)
    else:
        with pytest.raises(UsageError, match="different names"):
            ModelRequest.of(Everything(), outputs=[""])


def test_a_file_has_the_chosen_outputs_in_their_order(tmp_path: Path) -> None:
    import onnxruntime

    torch.manual_seed(0)
    model = Everything().eval()
    names = ["best_place", "found_score"]
    report = mobile_export.export(model, "onnx", out_dir=tmp_path, size=8, outputs=names)
    assert report.artifacts[0].parity.status == "passed"
    session = onnxruntime.InferenceSession(str(report.artifacts[0].path))
    assert [output.name for output in session.get_outputs()] == names
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    place, score = session.run(None, {"image": image.numpy()})
    exact = model.double()(image.double())
    assert place.dtype == np.int64
    np.testing.assert_array_equal(place, exact["best"].place.numpy())
    np.testing.assert_allclose(score, exact["found"].score.detach().numpy(), atol=1e-6)
