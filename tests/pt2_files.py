"""Saved programs for the tests: good ones, and good ones with members replaced."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"

Edit = bytes | Callable[[bytes], bytes]


class Small(nn.Module):
    """(1, 3, H, W) -> (1, classes); has parameters, buffers and a lifted constant."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.norm(self.conv(x)), approximate="tanh")
        y: torch.Tensor = self.head(x.mean((2, 3)) * torch.tensor([1.0, 2.0, 3.0, 4.0]))
        return y


def save_program(path: Path, module: nn.Module | None = None, *shape: int, **kwargs: Any) -> Path:
    """Export a module on a random input of this shape (1, 3, 8, 12) and save it."""
    example = torch.randn(shape or (1, 3, 8, 12))
    program = torch.export.export((module or Small()).eval(), (example,), **kwargs)
    torch.export.save(program, path)
    return path


def edited(path: Path, edits: dict[str, Edit], name: str = "edited.pt2") -> Path:
    """Copy an archive with members replaced, changed by a function, or added."""
    target = path.with_name(name)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        top = source.namelist()[0].partition("/")[0]
        present = {member.removeprefix(f"{top}/") for member in source.namelist()}
        for member in sorted(present | set(edits)):
            content = source.read(f"{top}/{member}") if member in present else b""
            edit = edits.get(member, content)
            copy.writestr(f"{top}/{member}", edit if isinstance(edit, bytes) else edit(content))
    return target


def json_edit(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """An edit of a JSON member in place."""

    def edit(content: bytes) -> bytes:
        value = json.loads(content)
        change(value)
        return json.dumps(value).encode()

    return edit
