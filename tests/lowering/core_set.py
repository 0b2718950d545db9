"""Operators of PyTorch's core set for `test_ops`, and for the tests of the writers: one row each.

Values are on a coarse grid where equality counts, so that comparisons meet equal numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

__all__ = ["CORE", "ENDS", "compared"]

IMAGE = (1, 6, 8, 10)
SEED = torch.Generator().manual_seed(8)
INDEX = torch.randint(0, 8, (1, 6, 5, 10), generator=SEED)
PLACES = torch.randint(0, 480, (4, 7), generator=SEED)
GRID = torch.rand((1, 3, 4, 2), generator=SEED) * 2.4 - 1.2
TABLE = torch.randint(0, 8, (5,), generator=SEED)
NEW = torch.randn((1, 6, 5, 10), generator=SEED)
MASK = torch.rand((1, 6, 8, 10), generator=SEED) > 0.5


def coarse(x: torch.Tensor) -> torch.Tensor:
    """Few different values: a third of all pairs are equal, and signs are both."""
    return torch.floor(x * 1.5)


def both(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tensors that are often equal."""
    return coarse(x[:, :3]), coarse(x[:, 3:])


def compared(a: torch.Tensor, b: Any) -> torch.Tensor:
    """Six comparisons, told apart by powers of two."""
    found = [a > b, a < b, a >= b, a <= b, a == b, a != b]
    return torch.stack([part.float() * 2.0**i for i, part in enumerate(found)]).sum(0)


def moved_places(x: torch.Tensor) -> torch.Tensor:
    """(1, 4, 10, 2): places of a grid that the image moves, some of them outside."""
    return (x[:, :2, :4].permute(0, 2, 3, 1)).tanh() * 1.3


def put_rows(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, :, index] = x[:, :, :1] * 2
    return x


ENDS = torch.stack(
    torch.meshgrid(
        *[torch.tensor([-torch.inf, -3e38, -1.0, 0.0, 1e-30, 1.0, torch.inf])] * 2, indexing="ij"
    )
)[None]
"""(1, 2, 7, 7): every pair of numbers from one infinity to the other."""


FUNCTIONS: dict[str, Any] = {
    "comparisons of tensors": lambda x: compared(*both(x)),
    "comparisons with a number": lambda x: compared(coarse(x), 1.0),
    "comparisons near equality": lambda x: compared(x, x * (1 + 2.0**-20)),
    "logic": lambda x: (
        ((x > 0) & (x < 1)).float()
        + 2 * ((x > 1) | ~(x > -1)).float()
        + 4 * torch.logical_xor(x, x > 0).float()
    ),
    "where": lambda x: torch.where(x > x.mean(), x * 2, x.flip(3)),
    "where of numbers": lambda x: torch.where(x > 0, 1.0, -3.0) + torch.where(x > 1, x, 0.0),
    "masked fill": lambda x: x.masked_fill(x < 0, -5.0),
    "any all": lambda x: (x > 1).any(1).float() + (x > -2).all(2, keepdim=True).float(),
    "inverse circular": lambda x: torch.asin(x.tanh()) + torch.acos(x.sigmoid()),
    "inverse hyperbolic": lambda x: (
        torch.asinh(x) + torch.acosh(x.abs() + 1.5) + torch.atanh(x.tanh() * 0.9)
    ),
    "hyperbolic": lambda x: torch.sinh(x) - torch.cosh(x),
    "atan2": lambda x: torch.atan2(*both(x)),
    "rounding": lambda x: torch.round(coarse(x) / 2) + torch.round(x, decimals=2),
    "remainders": lambda x: torch.fmod(x, 0.7) + torch.remainder(x, -0.6) + x % (x.abs() + 1),
    "signs": lambda x: torch.copysign(x.exp(), x) + torch.signbit(x).float() + x.sgn(),
    "exponentials": lambda x: torch.exp2(x) + torch.logaddexp(x, x * 2) + torch.erfc(x),
    "sinc hypot": lambda x: torch.sinc(coarse(x) / 4) + torch.hypot(x, coarse(x)),
    "cast": lambda x: (x * 3).to(torch.int32).float() + x.bool().float(),
    "gather": lambda x, i: x.gather(2, i),
    "take": lambda x, i: x.take(i),
    "index of two axes": lambda x, i: x[:, :, i, i],
    "scatter": lambda x, i, new: x.scatter(2, i[:, :, :1], new[:, :, :1]),
    "scatter add": lambda x, i, new: x.scatter_add(2, i, new),
    "scatter reduce": lambda x, i, new: (
        x.scatter_reduce(2, i, new, "amax") + x.scatter_reduce(2, i, new, "prod")
    ),
    "index put": put_rows,
    "tril": lambda x: torch.tril(x, 1) + torch.triu(x, -2),
    "diagonal": lambda x: x.diagonal(1, 2, 3),
    "grid sample": lambda x, grid: F.grid_sample(x, grid, align_corners=False),
    "table at computed places": lambda x, table: F.embedding(x.argmax(1), table),
    "written at a computed place": lambda x: (
        torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), 2.0)
        + x.scatter(2, x.argmin(2, keepdim=True), x.mean(2, keepdim=True))
    ),
    "taken at computed places": lambda x: x[:, :, x[0, 0].argmax(1) - 4],
    "warped": lambda x: F.grid_sample(x, moved_places(x), align_corners=False),
    "warped between corners": lambda x: F.grid_sample(x, moved_places(x), align_corners=True),
    "warped inside a border": lambda x: F.grid_sample(
        x, moved_places(x), padding_mode="border", align_corners=False
    ),
    "warped to the nearest": lambda x: torch.cat(
        [
            F.grid_sample(x, moved_places(x), "nearest", padding, False)
            for padding in ("zeros", "border", "reflection")
        ]
    ).reshape(1, -1, 4, 10),
    "warped in a mirrored image": lambda x: torch.cat(
        [
            F.grid_sample(x, moved_places(x) * 2.5, padding_mode="reflection", align_corners=each)
            for each in (False, True)
        ]
    ).reshape(1, -1, 4, 10),
    "warped by cubes": lambda x: torch.cat(
        [
            F.grid_sample(x, moved_places(x) * 1.7, "bicubic", padding, corners)
            for padding in ("zeros", "border", "reflection")
            for corners in (False, True)
        ]
    ).reshape(1, -1, 4, 10),
    "warped volumes": lambda x: F.grid_sample(
        x.reshape(1, 2, 3, 8, 10),
        torch.cat([moved_places(x), x[:, 3:4, :4].permute(0, 2, 3, 1)], -1)[:, None],
        padding_mode="reflection",
        align_corners=False,
    ),
    "warped windows": lambda x: F.grid_sample(
        x.reshape(6, 1, 8, 10), moved_places(x).expand(6, -1, -1, -1) * x[0, :, :1, :1, None]
    ),
    "sort": lambda x: x.sort(3).values + x.sort(3, descending=True).indices,
    "sort of equals": lambda x: torch.sort(coarse(x), dim=3, stable=True).indices.float(),
    "topk": lambda x: torch.cat([part.float() for part in x.topk(3, 1)], 1),
    "median": lambda x: x.median(2).values + x.median(),
    "quantile": lambda x: x.quantile(0.3, 3),
    "running": lambda x: x.cumprod(3) + x.cummax(3).values + x.logcumsumexp(2),
    "place of the extreme": lambda x: x.max(1).indices - x.min(1).indices + x.argmin(1),
    "norms": lambda x: (
        torch.linalg.vector_norm(x, 3, 1)
        + torch.linalg.vector_norm(x, torch.inf, 1)
        + torch.linalg.vector_norm(coarse(x), 0, 1)
    ),
    "dilated max pool": lambda x: F.max_pool2d(x, 3, 1, 1, dilation=2),
    "places of maxima": lambda x: torch.cat(
        [part.float() for part in F.max_pool2d(x, 3, 2, 1, return_indices=True)], 1
    ),
    "pools of volumes": lambda x: torch.cat(
        [
            F.avg_pool3d(x.reshape(1, 2, 3, 8, 10), 2, 1, 1, count_include_pad=False).flatten(),
            F.max_pool3d(x.reshape(1, 2, 3, 8, 10), 3, 2, 1).flatten(),
        ]
    ).reshape(1, -1),
    "volume resized": lambda x: F.interpolate(
        x.reshape(1, 2, 3, 8, 10), scale_factor=2.0, mode="trilinear"
    )[0],
    "volume padded": lambda x: F.pad(
        x.reshape(1, 2, 3, 8, 10), (1, 2, 1, 0, 1, 1), mode="replicate"
    )[0],
    "statistics of the batch": lambda x: F.batch_norm(x, None, None, training=True),
    "computed affine": lambda x: F.layer_norm(x, (10,), x[0, 0, 0], x[0, 0, 1]),
    "alpha and beta": lambda x: torch.addmm(x[0, 0], x[0, 1, :, :8], x[0, 2], alpha=2, beta=-1),
    "rolled flat": lambda x: x.roll(7),
    "by PyTorch's decomposition": lambda x: torch.kron(x[0, 0], x[0, 1, :2, :2]),
}
STORED: dict[str, tuple[torch.Tensor, ...]] = {
    "gather": (INDEX,),
    "take": (PLACES,),
    "index of two axes": (TABLE,),
    "scatter": (INDEX, NEW),
    "scatter add": (INDEX, NEW),
    "scatter reduce": (INDEX, NEW),
    "index put": (TABLE,),
    "grid sample": (GRID,),
    "table at computed places": (torch.randn(6, 5, generator=SEED),),
}
CORE: dict[str, tuple[Any, tuple[int, ...], tuple[Any, ...]]] = {
    name: (function, IMAGE, STORED.get(name, ())) for name, function in FUNCTIONS.items()
}
