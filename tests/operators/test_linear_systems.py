"""Small linear systems against LAPACK (float64 PyTorch), and in every format.

Tests mobile_export/operators/linear_systems.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.graph.capture import trace
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.operators.decompose import OPERATORS
from mobile_export.operators.linear_systems import LARGEST
from mobile_export.parity.compare import compare
from mobile_export.pipeline import export_program
from tests.conftest import make_source, sampled
from tests.operators.test_core import core

linalg = torch.linalg


class Calls(nn.Module):
    """A function of matrices that are computed from the image: (1, 3, 16, 16) to (1, 3, n, m)."""

    def __init__(self, function: Callable[[Tensor], Any], rows: int, columns: int) -> None:
        super().__init__()
        self.function = function
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Any:
        return self.function(x[:, :, : self.rows, : self.columns])


def _positive(x: Tensor) -> Tensor:
    """Symmetric and positive definite."""
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype)


def _regular(x: Tensor) -> Tensor:
    """Far from singular, its largest numbers off the diagonal: rows have to be exchanged."""
    return x + 4 * torch.eye(*x.shape[-2:], dtype=x.dtype).roll(1, 0)


_RIGHT = torch.linspace(-1, 2, 24).reshape(8, 3)


def _right(x: Tensor) -> Tensor:
    return _RIGHT[: x.shape[-1]].to(x.dtype)


def _factor(x: Tensor) -> Any:
    return linalg.lu_factor(_regular(x))


RULES = [
    OPERATORS[target]
    for target in OPERATORS
    if any(part in str(target) for part in ("linalg_", "cholesky", "triangular_solve", "lu_unpack"))
]

CALLS: dict[str, Callable[[Tensor], Any]] = {
    "inv": lambda x: linalg.inv(_regular(x)),
    "det": lambda x: linalg.det(x),
    "slogdet": lambda x: linalg.slogdet(x),
    "solve": lambda x: linalg.solve(_regular(x), _right(x)),
    "solve of vectors": lambda x: linalg.solve(_regular(x), x[..., 0]),
    "solve from the right": lambda x: linalg.solve(_regular(x), _right(x).mT, left=False),
    "solve_triangular": lambda x: linalg.solve_triangular(_positive(x), _right(x), upper=True),
    "solve_triangular, lower": lambda x: linalg.solve_triangular(
        _positive(x), _right(x), upper=False
    ),
    "solve_triangular from the right": lambda x: linalg.solve_triangular(
        _positive(x), _right(x).mT, upper=True, left=False
    ),
    "solve_triangular, unit": lambda x: linalg.solve_triangular(
        x, _right(x), upper=False, unitriangular=True
    ),
    "triangular_solve": lambda x: torch.triangular_solve(
        _right(x).expand(1, 3, -1, -1), _positive(x), upper=False, transpose=True
    )[0],
    "cholesky": lambda x: linalg.cholesky(_positive(x)),
    "cholesky, upper": lambda x: linalg.cholesky(_positive(x), upper=True),
    "cholesky_solve": lambda x: torch.cholesky_solve(_right(x), linalg.cholesky(_positive(x))),
    "cholesky_inverse": lambda x: torch.cholesky_inverse(linalg.cholesky(_positive(x))),
    "lu": lambda x: linalg.lu(x),
    "lu_factor": lambda x: [t.to(x.dtype) for t in linalg.lu_factor(_regular(x))],
    "lu_unpack": lambda x: torch.lu_unpack(*_factor(x)),
    "lu_solve": lambda x: linalg.lu_solve(*_factor(x), _right(x)),
    "lu_solve from the right": lambda x: linalg.lu_solve(*_factor(x), _right(x).mT, left=False),
    "lu_solve of the transpose": lambda x: linalg.lu_solve(*_factor(x), _right(x), adjoint=True),
    "qr": lambda x: linalg.qr(x),
    "qr, complete": lambda x: linalg.qr(x, mode="complete"),
    "qr, r": lambda x: linalg.qr(x, mode="r")[1],
}
SHAPES = [(1, 1), (2, 2), (5, 5), (LARGEST, LARGEST)]
OBLONG = {"lu", "lu_unpack", "lu_factor", "qr", "qr, complete", "qr, r"}


def _flat(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for t in result if t.numel()]


def _hold(module: nn.Module, moved: Callable[[Tensor], Tensor] = lambda x: x) -> None:
    source = make_source(module, (16, 16))
    program = core(trace(source))
    for node in program.exported.graph.nodes:
        rule = OPERATORS.get(node.target)
        assert rule not in RULES, node
    for seed in range(3):
        image = moved(
            torch.randn(source.input.shape, generator=torch.Generator().manual_seed(seed))
        )
        got = _flat(run_float64(program.float64(), image))
        exact = _flat(run_float64(double_copy(source.module), image))
        assert len(got) == len(exact)
        for a, b in zip(got, exact, strict=True):
            assert compare(a.numpy(), b.detach().numpy()).max_rel < 1e-9


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("name", CALLS)
def test_as_lapack(name: str, rows: int, columns: int) -> None:
    _hold(Calls(CALLS[name], rows, columns))


@pytest.mark.parametrize(("rows", "columns"), [(6, 3), (3, 6), (1, 4), (4, 1)])
@pytest.mark.parametrize("name", sorted(OBLONG))
def test_oblong_as_lapack(name: str, rows: int, columns: int) -> None:
    _hold(Calls(CALLS[name], rows, columns))


@pytest.mark.parametrize("name", ["det", "lu", "qr"])
def test_a_column_of_zeros(name: str) -> None:
    """LAPACK does not divide by a pivot of 0, and does not reflect a column of zeros."""

    def moved(image: Tensor) -> Tensor:
        image = image.clone()
        image[..., 1] = 0
        return image

    _hold(Calls(CALLS[name], 4, 4), moved)


@pytest.mark.parametrize("name", ["inv", "lu", "qr", "cholesky"])
def test_large_matrices_are_left(name: str) -> None:
    program = core(trace(make_source(Calls(CALLS[name], LARGEST + 1, LARGEST + 1), (16, 16))))
    assert any("linalg" in str(node.target) for node in program.exported.graph.nodes)


class Homography(nn.Module):
    """A head that solves for four numbers per image, as spatial transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 4, 5, stride=4)

    def forward(self, x: Tensor) -> Any:
        matrix = 5 * self.net(x).mean(1, keepdim=True)[..., :3, :3]
        matrix = _regular(matrix)
        solved = linalg.solve(matrix, _right(matrix))
        return solved, linalg.det(matrix), linalg.cholesky(_positive(matrix)), *linalg.qr(matrix)


@pytest.mark.parametrize(
    "name", sampled([row.name for row in FORMATS], lambda name: name in {"ncnn", "tnn"})
)
def test_in_every_format(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = make_source(Homography().eval(), (16, 16))
    report = export_program(
        lambda: source,
        "homography",
        [get_format(name)],
        ExportConfig(out_dir=tmp_path, precision="fp32"),
    )
    assert not report.failures
    parity = report.artifacts[0].parity
    assert parity.status == "passed", (parity.max_rel, parity.tolerance, parity.worst)
