"""MIL op reference: image_resizing, the ops that sample at arbitrary points."""

from __future__ import annotations

import torch

from ..table import Ints, Site, Tensor, op
from .resize import interpolate

__all__: list[str] = []


@op("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """x [B, C, H, W] at the points (x, y) of ``coordinates`` [B, H2, W2, 2]."""
    height, width = x.shape[-2:]
    columns = _pixels(coordinates[..., 0], width, coordinates_mode, align_corners)
    rows = _pixels(coordinates[..., 1], height, coordinates_mode, align_corners)
    padding = (padding_mode, padding_value)
    if sampling_mode == "nearest":  # led back into the image first: coremltools' own test
        rows = _reflected(rows, height, padding_mode)
        columns = _reflected(columns, width, padding_mode)
        return _read(x, torch.round(rows).long(), torch.round(columns).long(), padding)
    if sampling_mode != "bilinear":
        raise ValueError(f"resample has no sampling mode {sampling_mode!r}")
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).unsqueeze(1), (columns - left).unsqueeze(1)
    y, z = top.long(), left.long()
    upper = _read(x, y, z, padding) * (1 - right) + _read(x, y, z + 1, padding) * right
    lower = _read(x, y + 1, z, padding) * (1 - right) + _read(x, y + 1, z + 1, padding) * right
    return upper * (1 - down) + lower * down


@op("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """``resample`` at (a0 x + a1 y + a2, b0 x + b1 y + b2), x and y being the output's own."""
    if coordinates_mode != "normalized_minus_one_to_one" or not align_corners:
        raise ValueError(
            f"affine with {coordinates_mode}, align_corners={align_corners} is not defined"
        )
    horizontal = torch.linspace(-1, 1, output_width).expand(output_height, -1)
    vertical = torch.linspace(-1, 1, output_height)[:, None].expand(-1, output_width)
    points = torch.stack([horizontal, vertical, torch.ones_like(horizontal)], -1)
    matrix = transform_matrix.reshape(-1, 2, 3).expand(x.shape[0], -1, -1)
    coordinates = torch.einsum("bij,hwj->bhwi", matrix, points)
    return resample(
        x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners
    )


def _box_is_open(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    **_: object,
) -> str | None:
    """Why what is read is not settled: a box that is turned round or leaves the image."""
    given = boxes if roi is None else roi.reshape(roi.shape[0], -1)[:, -4:]
    if given is None:
        return None
    corners = _corners(given.to(torch.float32), box_coordinate_mode) * spatial_scale
    last = torch.tensor([n - 1.0 for n in x.shape[-2:]])
    if normalized_coordinates:
        corners = corners * last.repeat(2)
    first, end = corners[:, :2], corners[:, 2:]
    if bool((end >= first).all() and (first >= 0).all() and (end <= last).all()):
        return None
    return "a box that leaves the image, or ends before it begins, is read in several ways"


@op("crop_resize", unsettled=_box_is_open)
def crop_resize(
    x: Tensor,
    site: Site,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Ints | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Boxes of x, resized. Before iOS 17: ``roi`` [N, 1, 4 or 5, 1, 1] and a result of rank 5."""
    batch, _, height, width = x.shape
    if roi is not None:
        rows = roi.reshape(roi.shape[0], -1)
        indexed = rows.shape[1] == 5
        images = [[int(row[0])] if indexed else list(range(batch)) for row in rows]
        corners = rows[:, -4:]
    elif boxes is not None:
        corners = boxes.to(torch.float32)
        images = [[i] for i in (box_indices or range(len(corners)))]
    else:
        raise ValueError("neither roi nor boxes is given")

    results = []
    for box, chosen in zip(_corners(corners, box_coordinate_mode).tolist(), images, strict=True):
        if normalized_coordinates:
            factors = (height - 1.0, width - 1.0, height - 1.0, width - 1.0)
            box = [value * factor for value, factor in zip(box, factors, strict=True)]
        top, left, bottom, right = (value * spatial_scale for value in box)
        patch = x[chosen]
        for axis, first, last, count in (
            (2, top, bottom, target_height),
            (3, left, right, target_width),
        ):
            points = _box_grid(sampling_mode, first, last, count)
            inside = (points >= 0) & (points <= x.shape[axis] - 1)
            patch = interpolate(patch, axis, points.clamp(0, x.shape[axis] - 1))
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            patch = torch.where(inside.reshape(shape), patch, pad_value)
        results.append(patch)
    stacked = torch.stack(results)
    return stacked if site.ios < 17 else stacked.squeeze(1)


def _box_grid(mode: str, first: float, last: float, count: int) -> Tensor:
    """The grid of ``resize_bilinear`` on an axis from ``first`` to ``last``, both included."""
    i = torch.arange(count, dtype=torch.float64)
    span = last - first
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS") and count == 1:
        return torch.full_like(i, (first + last) / 2 if mode == "ALIGN_CORNERS" else first)
    spacing = {
        "STRICT_ALIGN_CORNERS": span / max(1, count - 1),
        "ALIGN_CORNERS": span / max(1, count - 1),
        "DEFAULT": (span + 1) / count,
        "OFFSET_CORNERS": max(1.0, span) / count,
        "UNALIGN_CORNERS": (span + 1) / count,
    }[mode]
    offset = {"OFFSET_CORNERS": spacing / 2, "UNALIGN_CORNERS": spacing / 2 - 0.5}.get(mode, 0.0)
    return first + offset + i * spacing


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """Boxes as (top, left, bottom, right)."""
    if mode.endswith("WIDTH_FIRST"):
        boxes = boxes[:, [1, 0, 3, 2]]
    if mode.startswith("CENTER_SIZE"):
        center, size = boxes[:, :2], boxes[:, 2:]
        return torch.cat([center - size / 2, center + size / 2], 1)
    if not mode.startswith("CORNERS"):
        raise ValueError(f"there is no box coordinate mode {mode!r}")
    return boxes


def _pixels(values: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Coordinates of one axis in pixels."""
    values = values.to(torch.float32)
    if mode == "unnormalized":
        return values
    if mode == "normalized_minus_one_to_one":
        values = (values + 1) / 2
    elif mode != "normalized_zero_to_one":
        raise ValueError(f"there is no coordinates mode {mode!r}")
    return values * (size - 1) if align_corners else values * size - 0.5


def _read(x: Tensor, rows: Tensor, columns: Tensor, padding: tuple[str, float]) -> Tensor:
    """x[b, :, rows[b], columns[b]], with padding outside."""
    mode, value = padding
    height, width = x.shape[-2:]
    batch = torch.arange(x.shape[0]).reshape(-1, 1, 1)
    y, z = _inside(rows, height, mode), _inside(columns, width, mode)
    read = x.permute(0, 2, 3, 1)[batch, y, z].permute(0, 3, 1, 2)
    if mode != "constant":
        return read
    valid = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return torch.where(valid.unsqueeze(1), read, value)


def _inside(index: Tensor, size: int, mode: str) -> Tensor:
    """Indices outside of an axis led back into it."""
    if mode not in ("constant", "border", "reflection", "symmetric"):
        raise ValueError(f"there is no padding mode {mode!r}")
    return _reflected(index, size, mode).round().long().clamp(0, size - 1)


def _reflected(points: Tensor, size: int, mode: str) -> Tensor:
    """Points outside of an axis mirrored at its first and last pixel, or at their outer edges."""
    if mode == "reflection":
        period = max(1, 2 * (size - 1))
        points = points.remainder(period)
        return torch.where(points <= size - 1, points, period - points)
    if mode == "symmetric":
        edges = (points + 0.5).remainder(2 * size)
        return torch.where(edges <= size, edges, 2 * size - edges) - 0.5
    return points
