"""Gates behind 3x3 convolutions: Winograd's form is switched off where it rounds too much."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.exporters.ncnn.session import describe

pytest.importorskip("ncnn")


class ConvGru(nn.Module):
    """Three steps of a convolutional GRU (arXiv 1511.06432)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.gates = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.state = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image)
        h = torch.zeros_like(x)
        for _ in range(3):
            z, r = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
            h = (1 - z) * h + z * torch.tanh(self.state(torch.cat([x, r * h], 1)))
        return h


def exported(module: nn.Module, folder: Path) -> tuple[Path, tuple[str, ...]]:
    options = {"size": 32, "precision": "fp32", "name": "m"}
    (file,) = mobile_export.export(module.eval(), ("ncnn",), folder, **options).artifacts
    assert file.parity.status == "passed"
    assert file.path is not None
    return file.path, file.parity.notes


def test_it_is_switched_off_where_the_file_is_wrong_with_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, notes = exported(ConvGru(16), tmp_path)
    assert any("Winograd" in note for note in notes)
    lines = path.read_text().splitlines()
    convolutions = [line for line in lines if line.startswith("Convolution ")]
    assert convolutions
    assert all(" 31=64" in line for line in convolutions)
    assert describe(path)["layers_kept_in_fp32"] == 0


def test_it_stays_elsewhere(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, notes = exported(nn.Conv2d(3, 16, 3, padding=1), tmp_path)
    assert notes == ()
    assert "31=" not in path.read_text()
