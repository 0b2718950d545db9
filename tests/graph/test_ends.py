"""Operators at the ends of outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.graph.capture import trace
from mobile_export.graph.ends import ends_in
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source


class _Head(nn.Module):
    """Boxes and probabilities, joined and taken apart again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.conv(x).flatten(2)
        joined = torch.cat([found[:, :4].exp(), found[:, 4:].sigmoid()], 1).transpose(1, 2)
        return {"scores": joined[..., 4:], "doubled": joined * 2, "logits": found}


class _Split(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.split(x.sigmoid(), 1, 1))


@pytest.mark.parametrize(
    ("module", "wanted"),
    [(_Head(), [{"sigmoid"}, set(), set()]), (_Split(), [{"sigmoid"}] * 3)],
)
def test_an_output_ends_with_what_is_only_moved_behind_it(
    module: nn.Module, wanted: list[Any]
) -> None:
    program = trace(load_source(ModelRequest.of(module.eval(), size=8)))
    assert list(ends_in(program, {"sigmoid"})) == wanted
