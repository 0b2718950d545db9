"""Small linear systems and factorisations, as plain PyTorch of the operators' own schemas.

Every step of LAPACK's unblocked routines is written out, so it is for matrices of `LARGEST` rows
at most. A row is exchanged by products with zeros and ones where it depends on values which one
(partial pivoting: getrf). Matrices are the last two axes, whatever is before them.

Source: LAPACK Users' Guide, 3rd edition: getrf, potrf, geqrf, trtrs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .indexing import diagonal
from .sums import prod_along

__all__ = [
    "LARGEST",
    "cholesky_ex",
    "cholesky_inverse",
    "cholesky_solve",
    "det",
    "inv_ex",
    "lu",
    "lu_factor_ex",
    "lu_solve",
    "lu_unpack",
    "qr",
    "slogdet",
    "solve_ex",
    "solve_triangular",
    "triangular_solve",
]

LARGEST = 8
"""Rows and columns of a matrix; each is one step, of about 20 operators where it pivots."""


def _is_left(*matrices: Tensor) -> bool:
    """Whether a call is left as it is: its matrices are large, empty, or hold no floats."""
    return any(
        not x.is_floating_point() or not x.numel() or max(x.shape[-2:]) > LARGEST for x in matrices
    )


def _rows(x: Tensor, start: int, end: int) -> Tensor:
    return x.narrow(-2, start, end - start)


def _columns(x: Tensor, start: int, end: int) -> Tensor:
    return x.narrow(-1, start, end - start)


def _identity(like: Tensor, size: int) -> Tensor:
    """Of the matrices before the last two axes of ``like``, one each."""
    return torch.eye(size, dtype=like.dtype).expand(*like.shape[:-2], size, size)


def _stacked(parts: list[Tensor], dim: int) -> Tensor:
    filled = [part for part in parts if part.shape[dim]]
    return filled[0] if len(filled) == 1 else torch.cat(filled, dim)


def _nonzero(x: Tensor) -> Tensor:
    """A pivot to divide by: a column of zeros is left as it is, as in LAPACK."""
    return torch.where(x == 0, torch.ones_like(x), x)


def _exchanged(x: Tensor, k: int, chosen: Tensor) -> Tensor:
    """Row ``k`` of ``x`` exchanged with the one that ``chosen`` marks among the rows from ``k``."""
    below = _rows(x, k, x.shape[-2])
    zeros = torch.zeros_like(below)
    pivot = torch.where(chosen, below, zeros).sum(-2, keepdim=True)
    moved = torch.where(chosen, _rows(x, k, k + 1), below)
    return _stacked([_rows(x, 0, k), pivot, _rows(moved, 1, moved.shape[-2])], -2)


def _largest(column: Tensor) -> Tensor:
    """Which of the rows of a column holds the largest magnitude: the first of equal ones."""
    size = column.shape[-2]
    magnitude = column.abs()
    marks = (magnitude == magnitude.amax(-2, keepdim=True)).to(column.dtype)
    earlier = torch.tril(torch.ones(size, size, dtype=column.dtype), -1)
    return (marks - torch.matmul(earlier, marks)) > 0.5


def _place(chosen: Tensor) -> Tensor:
    """The index of the row that is marked; in floats."""
    size = chosen.shape[-2]
    index = torch.arange(size, dtype=torch.float32).reshape(size, 1)
    return torch.where(chosen, index, torch.zeros_like(index)).sum(-2, keepdim=True)


def _factored(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """L below the diagonal and U, and which row was chosen at each step: getrf (getf2)."""
    rows, columns = x.shape[-2:]
    chosen = []
    for k in range(min(rows, columns)):
        marked = _largest(_columns(_rows(x, k, rows), k, k + 1))
        chosen.append(marked)
        if k + 1 == rows:
            break
        x = _exchanged(x, k, marked)
        top, below = _rows(x, k, k + 1), _rows(x, k + 1, rows)
        factor = _columns(below, k, k + 1) / _nonzero(_columns(top, k, k + 1))
        rest = _columns(below, k + 1, columns) - factor * _columns(top, k + 1, columns)
        below = _stacked([_columns(below, 0, k), factor, rest], -1)
        x = torch.cat([_rows(x, 0, k + 1), below], -2)
    return x, chosen


def _permuted(x: Tensor, chosen: list[Tensor], back: bool = False) -> Tensor:
    """The exchanges of `_factored`, of the rows of ``x``; ``back``: the last one first."""
    steps = list(enumerate(chosen))
    for k, marked in reversed(steps) if back else steps:
        if k + 1 < x.shape[-2]:
            x = _exchanged(x, k, marked)
    return x


def _substituted(a: Tensor, b: Tensor, upper: bool, unit: bool) -> Tensor:
    """X of A X = B for a triangular A; what is on the other side of its diagonal is not read."""
    size = a.shape[-1]
    done: list[Tensor] = []
    for i in reversed(range(size)) if upper else range(size):
        row = _rows(b, i, i + 1)
        if done:
            first = i + 1 if upper else 0
            known = _columns(_rows(a, i, i + 1), first, first + len(done))
            row = row - torch.matmul(known, _stacked(done, -2))
        if not unit:
            row = row / _columns(_rows(a, i, i + 1), i, i + 1)
        done = [row, *done] if upper else [*done, row]
    return _stacked(done, -2)


def _expanded(b: Tensor, a: Tensor) -> Tensor:
    """A right side for each matrix of ``a``."""
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    return b.expand(*shape, *b.shape[-2:])


def _solved(packed: Tensor, b: Tensor) -> Tensor:
    """X of L U X = B."""
    lower = _substituted(packed, b, upper=False, unit=True)
    return _substituted(packed, lower, upper=True, unit=False)


def _sign_of(chosen: list[Tensor], like: Tensor) -> Tensor:
    """-1 for an odd number of exchanges; of the shape of a determinant."""
    sign = torch.ones(like.shape[:-2], dtype=like.dtype)
    for marked in chosen:
        stays = _rows(marked, 0, 1).squeeze(-1).squeeze(-1)
        sign = torch.where(stays, sign, -sign)
    return sign


def _pivots_of(chosen: list[Tensor]) -> Tensor:
    """LAPACK's row numbers, from 1."""
    numbers = [_place(marked).squeeze(-1) + float(k + 1) for k, marked in enumerate(chosen)]
    return torch.cat(numbers, -1).to(torch.int32)


def _chosen_of(pivots: Tensor, rows: int) -> list[Tensor]:
    """`_factored`'s marks, from LAPACK's row numbers."""
    numbers = pivots.to(torch.float32)
    chosen = []
    for k in range(pivots.shape[-1]):
        index = torch.arange(k + 1, rows + 1, dtype=torch.float32).reshape(-1, 1)
        chosen.append(index == numbers.narrow(-1, k, 1).unsqueeze(-1))
    return chosen


def _no_info(x: Tensor) -> Tensor:
    """That nothing went wrong; of one number for each matrix."""
    return torch.zeros(x.shape[:-2], dtype=torch.int32)


def _as_matrices(a: Tensor, b: Tensor) -> tuple[Tensor, bool]:
    """The right side as matrices, and whether it holds vectors (`torch.linalg.solve`'s rule)."""
    vector = b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])
    return (b.unsqueeze(-1) if vector else b), vector


def inv_ex(a: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse: the system of the identity matrix."""
    if _is_left(a):
        return NotImplemented
    packed, chosen = _factored(a)
    right = _permuted(_identity(a, a.shape[-1]), chosen)
    return _solved(packed, right), _no_info(a)


def solve_ex(a: Tensor, b: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """A X = B, or X A = B."""
    if _is_left(a) or not b.numel():
        return NotImplemented
    right, vector = _as_matrices(a, b)
    packed, chosen = _factored(a if left else a.mT)
    right = right if left else right.mT
    solved = _solved(packed, _permuted(_expanded(right, a), chosen))
    solved = solved if left else solved.mT
    if vector:
        solved = solved.squeeze(-1)
    return solved, packed, _pivots_of(chosen), _no_info(a)


def det(a: Tensor) -> Any:
    """The product of U's diagonal; its sign changes with each exchange of rows."""
    if _is_left(a):
        return NotImplemented
    packed, chosen = _factored(a)
    result = prod_along(diagonal(packed, 0, -2, -1), -1) * _sign_of(chosen, a)
    return result, packed, _pivots_of(chosen)


def slogdet(a: Tensor) -> Any:
    """The determinant's sign, and the logarithm of its magnitude."""
    if _is_left(a):
        return NotImplemented
    packed, chosen = _factored(a)
    pivots = diagonal(packed, 0, -2, -1)
    sign = prod_along(torch.sign(pivots), -1) * _sign_of(chosen, a)
    return sign, torch.log(pivots.abs()).sum(-1), packed, _pivots_of(chosen)


def lu_factor_ex(a: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U in one matrix, and which rows were exchanged."""
    if _is_left(a) or not pivot:
        return NotImplemented
    packed, chosen = _factored(a)
    return packed, _pivots_of(chosen), _no_info(a)


def lu(a: Tensor, *, pivot: bool = True) -> Any:
    """P, L and U of A = P L U."""
    if _is_left(a) or not pivot:
        return NotImplemented
    packed, chosen = _factored(a)
    return _permuted(_identity(a, a.shape[-2]), chosen, back=True), *_unpacked(packed)


def _unpacked(packed: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = packed.shape[-2:]
    size = min(rows, columns)
    unit = torch.eye(rows, size, dtype=packed.dtype)
    return torch.tril(_columns(packed, 0, size), -1) + unit, torch.triu(_rows(packed, 0, size))


def lu_unpack(
    packed: Tensor, pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """P, L and U of what `lu_factor_ex` returns."""
    if _is_left(packed) or not (unpack_data and unpack_pivots):
        return NotImplemented
    rows = packed.shape[-2]
    order = _permuted(_identity(packed, rows), _chosen_of(pivots, rows), back=True)
    return order, *_unpacked(packed)


def lu_solve(
    packed: Tensor, pivots: Tensor, b: Tensor, *, left: bool = True, adjoint: bool = False
) -> Any:
    """A X = B of a factored A; X A = B for ``left=False``, and A's transpose for ``adjoint``."""
    if _is_left(packed) or not b.numel():
        return NotImplemented
    right = _expanded(b if left else b.mT, packed)
    chosen = _chosen_of(pivots, packed.shape[-1])
    if left != adjoint:
        solved = _solved(packed, _permuted(right, chosen))
    else:  # (P L U)^T X = U^T L^T P^T X
        lower = _substituted(packed.mT, right, upper=False, unit=False)
        solved = _substituted(packed.mT, lower, upper=True, unit=True)
        solved = _permuted(solved, chosen, back=True)
    return solved if left else solved.mT


def solve_triangular(
    a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """A X = B, or X A = B, for a triangular A."""
    if _is_left(a) or not b.numel():
        return NotImplemented
    if left:
        return _substituted(a, _expanded(b, a), upper, unitriangular)
    return _substituted(a.mT, _expanded(b.mT, a), not upper, unitriangular).mT


def triangular_solve(
    b: Tensor, a: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """The older spelling: the right side first; A's triangle is returned, too."""
    if _is_left(a) or not b.numel():
        return NotImplemented
    triangle = torch.triu(a) if upper else torch.tril(a)
    matrix = triangle.mT if transpose else triangle
    return _substituted(matrix, b, upper != transpose, unitriangular), triangle


def cholesky_ex(a: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """L of A = L Lᵀ, column by column: potrf. A's lower triangle is read, or its upper one."""
    if _is_left(a):
        return NotImplemented
    size = a.shape[-1]
    rest = a.mT if upper else a
    columns = []
    for k in range(size):
        column = _columns(rest, 0, 1) / torch.sqrt(_columns(_rows(rest, 0, 1), 0, 1))
        zeros = torch.zeros(*a.shape[:-2], k, 1, dtype=a.dtype)
        columns.append(_stacked([zeros, column], -2))
        left = size - k
        if left > 1:
            below = _rows(column, 1, left)
            rest = _columns(_rows(rest, 1, left), 1, left) - below * below.mT
    lower = _stacked(columns, -1)
    return (lower.mT if upper else lower), _no_info(a)


def cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Any:
    """A X = B of a factored A."""
    if _is_left(factor) or not b.numel():
        return NotImplemented
    lower = factor.mT if upper else factor
    half = _substituted(lower, _expanded(b, factor), upper=False, unit=False)
    return _substituted(lower.mT, half, upper=True, unit=False)


def cholesky_inverse(factor: Tensor, upper: bool = False) -> Any:
    """The inverse of a factored A."""
    if _is_left(factor):
        return NotImplemented
    return cholesky_solve(_identity(factor, factor.shape[-1]), factor, upper)


def qr(a: Tensor, mode: str = "reduced") -> Any:
    """Q and R by reflections, with LAPACK's signs: geqrf (geqr2, larfg)."""
    if _is_left(a):
        return NotImplemented
    rows, columns = a.shape[-2:]
    reflections = []
    for k in range(min(rows - 1, columns)):
        column = _columns(_rows(a, k, rows), k, k + 1)
        first, tail = _rows(column, 0, 1), _rows(column, 1, rows - k)
        spread = (tail * tail).sum(-2, keepdim=True)
        ones = torch.ones_like(first)
        norm = torch.sqrt(first * first + spread)
        moved = torch.where(first < 0, norm, -norm)
        flat = spread == 0  # nothing to reflect
        vector = torch.cat([ones, tail / torch.where(flat, ones, first - moved)], -2)
        safe = torch.where(flat, ones, moved)
        scale = torch.where(flat, torch.zeros_like(first), (safe - first) / safe)
        reflections.append((k, vector, scale))
        a = _reflected(a, k, vector, scale)
    size = rows if mode == "complete" else min(rows, columns)
    triangle = torch.triu(_rows(a, 0, size))
    if mode == "r":
        return torch.zeros(0, dtype=a.dtype), triangle
    q = torch.eye(rows, size, dtype=a.dtype).expand(*a.shape[:-2], rows, size)
    for k, vector, scale in reversed(reflections):
        q = _reflected(q, k, vector, scale)
    return q, triangle


def _reflected(x: Tensor, k: int, vector: Tensor, scale: Tensor) -> Tensor:
    """(I - s v vᵀ) X, of the rows from ``k``."""
    below = _rows(x, k, x.shape[-2])
    below = below - scale * vector * torch.matmul(vector.mT, below)
    return _stacked([_rows(x, 0, k), below], -2)
