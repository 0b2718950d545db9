"""Whole numbers that float32 does not hold are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export import api
from mobile_export.errors import ExportError
from mobile_export.parity.whole_numbers import LARGEST_WHOLE, require_whole_numbers
from tests.conftest import need
from tests.passes.graphs import program_of


class Coded(nn.Module):
    """The place of the largest element, from 1 up, times a number; returned, or its remainder."""

    def __init__(self, factor: int, *, returned: bool) -> None:
        super().__init__()
        self.factor, self.returned = factor, returned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coded = (x.flatten(1).argmax(1) + 1) * self.factor
        return coded if self.returned else (coded % 7).float()


def test_float32_holds_each_whole_number_up_to_the_largest() -> None:
    largest = torch.tensor(LARGEST_WHOLE, dtype=torch.int64)
    assert torch.equal(largest.float().long(), largest)
    assert not torch.equal((largest + 1).float().long(), largest + 1)


@pytest.mark.parametrize("returned", [False, True])
@pytest.mark.parametrize("returned_only", [False, True])
@pytest.mark.parametrize("factor", [LARGEST_WHOLE // 3, LARGEST_WHOLE // 2])
def test_what_is_refused(returned: bool, returned_only: bool, factor: int) -> None:
    program = program_of(Coded(factor, returned=returned).eval(), (1, 1, 2, 2))
    given = [torch.tensor([0.0, 1.0, 3.0, 2.0]).reshape(1, 1, 2, 2)]  # the largest is at 2

    def look() -> None:
        require_whole_numbers(program, given, "Title", returned_only=returned_only)

    if factor * 3 <= LARGEST_WHOLE or (returned_only and not returned):
        look()
        return
    with pytest.raises(ExportError, match=rf"aten.mul.*test_whole_numbers.* up to {factor * 3}"):
        look()


@pytest.mark.parametrize("name", ["coreml", "ncnn", "tnn"])
def test_files(name: str, tmp_path: Path) -> None:
    need(name)
    options: dict[str, Any] = {"name": "net", "size": 32, "channels": 1}
    with pytest.raises(ExportError, match=r"aten.mul.*2\^24"):
        api.export(Coded(LARGEST_WHOLE + 1, returned=True).eval(), [name], tmp_path, **options)
    assert not list(tmp_path.iterdir())
