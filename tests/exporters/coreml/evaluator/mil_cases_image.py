"""Cases for resizing, sampling and compressed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mil_build import Case

__all__ = ["CASES"]

_rng = np.random.default_rng(3)


def _real(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


def _f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def _i32(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def _torch_resize(x: torch.Tensor, size: tuple[int, int], align: bool = False) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=align)


IMAGE = _real(1, 2, 5, 7)
PAIR = _f32([0.0, 1.0]).reshape(1, 1, 2)
TO_12_9 = {"target_size_height": 12, "target_size_width": 9}


def _pair(mode: str, count: int, points: list[float]) -> Case:
    """The examples of the reference: a linear ramp [0, 1] sampled at ``points``."""
    constants = {"target_size_height": 1, "target_size_width": count, "sampling_mode": mode}
    expect = np.reshape(points, (1, 1, count))
    return Case(
        "resize_bilinear", {"x": PAIR}, constants, expect, note=f"{mode} {count}", atol=6e-3
    )


_RESIZES = [
    _pair("UNALIGN_CORNERS", 5, [0.0, 0.1, 0.5, 0.9, 1.0]),
    _pair("STRICT_ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
    _pair("ALIGN_CORNERS", 5, [0.0, 0.25, 0.5, 0.75, 1.0]),
    _pair("DEFAULT", 5, [0.0, 0.4, 0.8, 1.0, 1.0]),
    _pair("OFFSET_CORNERS", 5, [0.1, 0.3, 0.5, 0.7, 0.9]),
    _pair("UNALIGN_CORNERS", 6, [0.0, 0.0, 0.33, 0.67, 1.0, 1.0]),
    _pair("STRICT_ALIGN_CORNERS", 6, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    _pair("DEFAULT", 6, [0.0, 0.33, 0.67, 1.0, 1.0, 1.0]),
    _pair("OFFSET_CORNERS", 6, [0.08, 0.25, 0.42, 0.58, 0.75, 0.92]),
    _pair("STRICT_ALIGN_CORNERS", 1, [0.0]),
    _pair("ALIGN_CORNERS", 1, [0.5]),
    Case(
        "resize_bilinear",
        {"x": IMAGE},
        {**TO_12_9, "sampling_mode": "UNALIGN_CORNERS"},
        lambda x: _torch_resize(x, (12, 9)),
        note="torch",
        atol=1e-5,
    ),
    Case(
        "resize_bilinear",
        {"x": IMAGE},
        {"target_size_height": 3, "target_size_width": 4, "sampling_mode": "STRICT_ALIGN_CORNERS"},
        lambda x: _torch_resize(x, (3, 4), align=True),
        note="torch, smaller",
        atol=1e-5,
    ),
    Case(
        "upsample_bilinear",
        {"x": IMAGE},
        {"scale_factor_height": 3, "scale_factor_width": 2},
        lambda x: _torch_resize(x, (15, 14), align=True),
        note="default",
        atol=1e-5,
    ),
    Case(
        "upsample_bilinear",
        {"x": IMAGE},
        {"scale_factor_height": 2.5, "scale_factor_width": 1.3, "align_corners": False},
        lambda x: _torch_resize(x, (12, 9)),
        note="half pixel",
        atol=1e-5,
    ),
    Case(
        "upsample_bilinear",
        {"x": PAIR},
        {
            "scale_factor_height": 1.0,
            "scale_factor_width": 2.5,
            "align_corners": False,
            "half_pixel_centers": False,
        },
        [[[0.0, 0.4, 0.8, 1.0, 1.0]]],
        "iOS16",
        "neither",
    ),
    Case(
        "upsample_nearest_neighbor",
        {"x": IMAGE},
        {"scale_factor_height": 2, "scale_factor_width": 3},
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    ),
    Case(
        "upsample_nearest_neighbor",
        {"x": IMAGE},
        {"scale_factor_height": np.float32(8 / 5), "scale_factor_width": np.float32(9 / 7)},
        lambda x: F.interpolate(x, size=(8, 9), mode="nearest"),
        note="fractional",
    ),
    Case(
        "resize_nearest_neighbor",
        {"x": IMAGE},
        TO_12_9,
        lambda x: F.interpolate(x, size=(12, 9), mode="nearest"),
    ),
    Case(
        "resize",
        {"x": IMAGE},
        {"shape": [12, 9], "resized_dims": np.uint32(2), "sampling_mode": "UNALIGN_CORNERS"},
        lambda x: _torch_resize(x, (12, 9)),
        "iOS17",
        atol=1e-5,
    ),
    Case(
        "resize",
        {"x": IMAGE},
        {
            "shape": [1, 0, 9],
            "resized_dims": np.uint32(2),
            "interpolation_mode": "NEAREST_NEIGHBOR",
        },
        lambda x: F.interpolate(x, size=(5, 9), mode="nearest-exact"),  # as coremltools' test
        "iOS17",
        "nearest, keeps 5",
    ),
]

POINTS = _rng.uniform(-1.4, 1.4, (1, 4, 6, 2)).astype(np.float32)


def _resample(note: str, expect: Any, **constants: Any) -> Case:
    constants = {
        "sampling_mode": "bilinear",
        "padding_mode": "constant",
        "padding_value": np.float32(0.0),
        "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": False,
        **constants,
    }
    points = constants.pop("points", POINTS)
    inputs = {"x": constants.pop("x", IMAGE), "coordinates": points}
    return Case("resample", inputs, constants, expect, note=note, rtol=1e-4, atol=1e-5)


def _grid_sample(**options: Any) -> Any:
    def expect(x: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, coordinates, **{"align_corners": False, **options})

    return expect


RAMP = _f32([1, 2, 3]).reshape(1, 1, 1, 3)
OUTSIDE = np.stack([np.arange(-3, 6), np.zeros(9)], -1).astype(np.float32).reshape(1, 1, 9, 2)
_ROW = {"x": RAMP, "points": OUTSIDE, "coordinates_mode": "unnormalized"}
MATRIX = _f32([[0.8, -0.3, 0.1, 0.2, 1.1, -0.2]])

_SAMPLING = [
    _resample("torch", _grid_sample()),
    _resample("aligned", _grid_sample(align_corners=True), align_corners=True),
    _resample("border", _grid_sample(padding_mode="border"), padding_mode="border"),
    # torch reflects at the pixel centres when aligned (reflection), else at the edges (symmetric).
    _resample(
        "reflection",
        _grid_sample(padding_mode="reflection", align_corners=True),
        padding_mode="reflection",
        align_corners=True,
    ),
    _resample("symmetric", _grid_sample(padding_mode="reflection"), padding_mode="symmetric"),
    _resample("nearest", _grid_sample(mode="nearest"), sampling_mode="nearest"),
    # The padded rows of the reference.
    _resample(
        "row constant", [[[[9, 9, 9, 1, 2, 3, 9, 9, 9]]]], **_ROW, padding_value=np.float32(9)
    ),
    _resample("row border", [[[[1, 1, 1, 1, 2, 3, 3, 3, 3]]]], **_ROW, padding_mode="border"),
    _resample(
        "row reflection", [[[[2, 3, 2, 1, 2, 3, 2, 1, 2]]]], **_ROW, padding_mode="reflection"
    ),
    _resample("row symmetric", [[[[3, 2, 1, 1, 2, 3, 3, 2, 1]]]], **_ROW, padding_mode="symmetric"),
    _resample(
        "zero to one, by hand",
        [[[[1, 2, 2.5, 3]]]],
        x=RAMP,
        points=_f32([[0, 0.5], [0.5, 0.5], [0.75, 0.5], [1, 0.5]]).reshape(1, 1, 4, 2),
        coordinates_mode="normalized_zero_to_one",
        align_corners=True,
    ),
    Case(
        "affine",
        {"x": IMAGE, "transform_matrix": MATRIX},
        {
            "output_height": 6,
            "output_width": 5,
            "sampling_mode": "bilinear",
            "padding_mode": "constant",
            "padding_value": np.float32(0.0),
            "coordinates_mode": "normalized_minus_one_to_one",
            "align_corners": True,
        },
        lambda x, transform_matrix: F.grid_sample(
            x,
            F.affine_grid(transform_matrix.view(1, 2, 3), [1, 2, 6, 5], align_corners=True),
            align_corners=True,
        ),
        rtol=1e-4,
        atol=1e-5,
    ),
]

GRID = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)  # value 4 y + x
CROP = {"target_height": 2, "target_width": 2}
_CROPS = [
    # Corners (1, 0) to (3, 2), end points included: rows 1 and 3, columns 0 and 2.
    Case(
        "crop_resize",
        {"x": GRID, "roi": _f32([1, 0, 3, 2]).reshape(1, 1, 4, 1, 1)},
        {**CROP, "sampling_mode": "STRICT_ALIGN_CORNERS"},
        np.reshape([4, 6, 12, 14], (1, 1, 1, 2, 2)),
    ),
    # RoI align: a 2 x 2 box has cells of 1, sampled in the middle: rows 1.5, 2.5, columns 0.5, 1.5.
    Case(
        "crop_resize",
        {"x": GRID, "roi": _f32([0, 0, 1, 2, 3]).reshape(1, 1, 5, 1, 1)},
        {**CROP, "sampling_mode": "OFFSET_CORNERS", "box_coordinate_mode": "CORNERS_WIDTH_FIRST"},
        np.reshape([6.5, 7.5, 10.5, 11.5], (1, 1, 1, 2, 2)),
        note="roi align, indexed",
    ),
    # Normalised centre (0.5, 0.5) = (1.5, 1.5) and size 2/3 = 2: rows and columns 0.5 and 2.5.
    Case(
        "crop_resize",
        {"x": GRID, "boxes": _f32([[0.5, 0.5, 2 / 3, 2 / 3]]), "box_indices": _i32([0])},
        {
            **CROP,
            "normalized_coordinates": True,
            "box_coordinate_mode": "CENTER_SIZE_HEIGHT_FIRST",
            "sampling_mode": "ALIGN_CORNERS",
        },
        np.reshape([2.5, 4.5, 10.5, 12.5], (1, 1, 2, 2)),
        "iOS17",
        "centre",
        atol=1e-5,
    ),
    # tf.image.crop_and_resize with extrapolation_value 7: rows -1 and 1, columns 0 and 3.
    Case(
        "crop_resize",
        {"x": GRID, "roi": _f32([-1, 0, 1, 3]).reshape(1, 1, 4, 1, 1)},
        {**CROP, "sampling_mode": "ALIGN_CORNERS", "pad_value": np.float32(7)},
        np.reshape([7, 7, 4, 7], (1, 1, 1, 2, 2)),
        "iOS16",
        "outside",
    ),
]

SCALE4, ZERO4 = _f32([0.5, 0.25, 2.0, 1.0]), np.array([1, 0, -3, 5], np.int8)
INT8 = _rng.integers(-128, 128, (4, 6)).astype(np.int8)
LUT = _f32([-1.0, 0.5, 2.0, 8.0])
MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)


def _typed(name: str, array: np.ndarray) -> np.ndarray:
    """An array in one of coremltools' sub-byte types."""
    from mil_build import coremltools

    types = coremltools().converters.mil.mil.types
    return array.astype(types.nptype_from_builtin(getattr(types, name)))


def _compressed() -> list[Case]:
    uint1, uint2, int4 = (lambda a, n=n: _typed(n, np.array(a)) for n in ("uint1", "uint2", "int4"))
    blocks = int4(_rng.integers(-8, 8, (4, 6)))
    indices = uint2(np.reshape([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], (6, 2)))
    groups = _f32([1.0, 5.0, 9.0, 13.0, 2.0, 10.0, 18.0, 26.0]).reshape(2, 1, 4, 1)
    by_hand = [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
    bits = uint1([[[0, 0], [1, 0]], [[1, 1], [0, 0]]])
    vectors = _f32([[1, 2, 3], [4, 5, 6]]).reshape(1, 1, 1, 2, 3)
    nonzero = np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8)
    mask = uint1(MASK)
    return [
        Case(
            "constexpr_lut_to_dense",
            {},
            {"indices": indices, "lut": groups},
            by_hand,
            "iOS18",
            "groups, from the reference",
        ),
        Case(
            "constexpr_lut_to_dense",
            {},
            {"indices": bits, "lut": vectors, "vector_axis": 1},
            None,
            "iOS18",
            "vectors",
        ),
        Case(
            "constexpr_blockwise_shift_scale",
            {},
            {"data": blocks, "scale": _real(2, 3), "offset": int4([[1, -2, 3], [0, 7, -8]])},
            None,
            "iOS18",
        ),
        Case(
            "constexpr_sparse_to_dense",
            {},
            {"nonzero_data": _f32([1, 2, 3, 4, 5, 6, 7, 8, 9]), "mask": mask},
            [[1, 2, 0, 0], [3, 4, 5, 0], [0, 0, 6, 7], [8, 9, 0, 0]],
            "iOS18",
        ),
        # The example of the reference (whose text repeats its first row).
        Case(
            "constexpr_sparse_blockwise_shift_scale",
            {},
            {
                "data_mask": mask,
                "nonzero_data": nonzero,
                "scale": _f32([[0.1, 0.2, 0.3, 0.4]]),
                "offset": np.array([[1, 2, 3, 4]], np.int8),
            },
            [[0.9, 1.8, 0, 0], [0.2, 0.4, 0.6, 0], [0, 0, 0.9, 1.2], [0.7, 1.4, 0, 0]],
            "iOS18",
        ),
        Case(
            "constexpr_lut_to_sparse",
            {},
            {
                "indices_mask": uint1([[1, 1, 0], [0, 1, 1]]),
                "indices_nonzero_data": uint1([0, 1, 1, 0]),
                "lut": _f32([[2, 3], [4, 5]]).reshape(1, 1, 2, 2),
                "vector_axis": 0,
            },
            [[2, 4, 0], [3, 5, 0], [0, 4, 2], [0, 5, 3]],
            "iOS18",
        ),
    ]


_WEIGHTS = [
    Case(
        "constexpr_affine_dequantize",
        {},
        {"quantized_data": INT8, "zero_point": ZERO4, "scale": SCALE4, "axis": 0},
        target="iOS16",
    ),
    # Packed from the least significant bit: 0b01_10_11_00 is 0, 3, 2, 1; the next byte has the 3.
    Case(
        "constexpr_lut_to_dense",
        {},
        {
            "indices": np.array([0b01101100, 0b00000011], np.uint8),
            "lut": LUT,
            "shape": np.array([5], np.uint32),
        },
        [-1.0, 8.0, 2.0, 0.5, 8.0],
        "iOS16",
    ),
    Case(
        "constexpr_sparse_to_dense",
        {},
        {
            "nonzero_data": _f32([3.0, 4.0]),
            "mask": np.array([0b00001100], np.uint8),
            "shape": np.array([5], np.uint32),
        },
        [0, 0, 3, 4, 0],
        "iOS16",
    ),
    Case(
        "constexpr_cast",
        {},
        {"source_val": np.array([1.5, -0.25], np.float16), "output_dtype": "fp32"},
        [1.5, -0.25],
        "iOS16",
    ),
    Case(
        "constexpr_cast",
        {},
        {"source_val": np.array([1.5], np.float16), "output_dtype": "fp32"},
        [1.5],
        "iOS18",
    ),
    Case(
        "quantize",
        {"input": _f32([[-4.2, 0.3, 500.0], [1.0, -600.0, 0.26]])},
        {
            "scale": _f32([0.5, 0.1]),
            "zero_point": np.array([3, -2], np.int8),
            "axis": 0,
            "output_dtype": "int8",
        },
        [[-5, 4, 127], [8, -128, 1]],
        "iOS17",
    ),
    Case(
        "dequantize",
        {"input": np.array([[1, 255], [7, 0]], np.uint8)},
        {"scale": _f32([0.5, 2.0]), "zero_point": np.array([1, 5], np.uint8), "axis": 1},
        [[0.0, 500.0], [3.0, -10.0]],
        "iOS17",
    ),
    # By hand: the weight 2 * 3 - 1 = 5.
    Case(
        "conv_quantized",
        {"x": _f32([1, 2, 3]).reshape(1, 1, 3)},
        {
            "weight": np.array([[[3]]], np.uint8),
            "quantization_type": "linear",
            "quant_scale": _f32([2.0]),
            "quant_bias": _f32([-1.0]),
        },
        [[[5, 10, 15]]],
    ),
]

CASES: list[Case] = [*_RESIZES, *_SAMPLING, *_CROPS, *_WEIGHTS, *_compressed()]
