"""What the official code says of SeaFormer: names and shapes of its checkpoints, and outputs.

``data/seaformer.json`` holds the official state dicts' keys and shapes, ``golden_seaformer.json``
sampled outputs of the official code in float64 for the weights and the input of ``fill.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.models import table
from tests.models.fill import fill_input, fill_state_dict

__all__ = ["GOLDEN", "SHAPES", "check_outputs", "check_state_dict"]

DATA = Path(__file__).parents[1] / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_seaformer.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = json.loads((DATA / "seaformer.json").read_text())


def check_state_dict(name: str) -> None:
    with torch.device("meta"):
        state = table.get(name).build().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == SHAPES[name]
    assert list(state) == list(SHAPES[name]), "same order, too"


def check_outputs(name: str) -> None:
    golden = GOLDEN[name]
    module = table.get(name).build()
    values = fill_state_dict(SHAPES[name])
    module.load_state_dict({key: torch.from_numpy(value) for key, value in values.items()})
    assert sum(p.numel() for p in module.parameters()) == golden["params"]
    image = torch.from_numpy(fill_input(golden["input_shape"])).double()
    with torch.no_grad():
        output = module.eval().double()(image)
    assert list(output.shape) == golden["output_shape"]
    expected = torch.tensor(golden["values"], dtype=torch.float64)
    torch.testing.assert_close(output.flatten()[golden["indices"]], expected, rtol=0, atol=1e-9)
    assert float(output.abs().mean()) == pytest.approx(golden["mean_abs"], abs=1e-9)
    assert float(output.abs().max()) == pytest.approx(golden["max_abs"], abs=1e-9)
