"""Cases for shapes, slices, layouts, indices and sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mil_build import Case

__all__ = ["CASES"]

_rng = np.random.default_rng(2)


def _real(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


def _f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def _i32(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


X = _real(2, 3, 4)
IMAGE = _real(2, 4, 6, 4)
COUNT = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

_SHAPES = [
    Case("identity", {"x": X}),
    Case("shape", {"x": X}, expect=[2, 3, 4]),
    Case("reshape", {"x": X}, {"shape": [4, -1]}),
    Case("reshape", {"x": X}, {"shape": [0, -1, 2]}, note="zero"),
    # From the right: the last 0 is 4, the first has no axis left in x and is 1.
    Case("reshape", {"x": X}, {"shape": [0, -1, 3, 0]}, X.reshape(1, 2, 3, 4), "iOS17", "zeros"),
    Case(
        "reshape_like",
        {"x": X, "ref_tensors": [_real(3, 2, 9), _real(7, 4)]},
        {"begins": (0, 1), "ends": (2, 0), "end_masks": (False, True)},
        X.reshape(3, 2, 4),
        "iOS16",
    ),
    Case("expand_dims", {"x": X}, {"axes": [-1, 1]}),
    Case("squeeze", {"x": _real(1, 3, 1, 2)}, {"axes": [0]}),
    Case("squeeze", {"x": _real(1, 3, 1, 2)}, note="all"),
    Case("flatten2d", {"x": X}),
    Case("flatten2d", {"x": X}, {"axis": -1}, note="negative"),
    Case("transpose", {"x": X}, {"perm": [2, 0, -2]}),
    Case(
        "concat",
        {"values": [X, _real(2, 1, 4)]},
        {"axis": -2},
        lambda **v: torch.cat([*v.values()], 1),
    ),
    Case(
        "concat",
        {"values": [_f32([[1, 2], [3, 4], [5, 6]]), _f32([[7, 8], [9, 10], [11, 12]])]},
        {"axis": 0, "interleave": True},
        [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]],
        note="interleave, from the reference",
    ),
    Case("stack", {"values": [X, X + 1]}, {"axis": 1}),
    Case("split", {"x": X}, {"num_splits": 2, "axis": 2}, note="equal"),
    Case("split", {"x": X}, {"split_sizes": [1, 2], "axis": -2}, note="sizes"),
    Case("tile", {"x": X}, {"reps": [1, 2, 3]}),
    Case("pad", {"x": X}, {"pad": [1, 0, 2, 3], "constant_val": np.float32(7.0)}, note="constant"),
    Case("pad", {"x": X}, {"pad": [1, 2, 3, 0, 0, 1], "mode": "constant"}, note="all axes"),
    Case("pad", {"x": X}, {"pad": [0, 0, 2, 1, 0, 3], "mode": "reflect"}, note="reflect"),
    Case("pad", {"x": X}, {"pad": [1, 2, 4, 0], "mode": "replicate"}, note="replicate"),
    Case("fill", {}, {"shape": [2, 3], "value": np.float32(2.5)}),
    Case("fill", {"shape": _i32([2, 2])}, {}, [[0, 0], [0, 0]], note="default"),
    Case("fill_like", {"ref_tensor": X}, {"value": np.int32(3)}, np.full((2, 3, 4), 3), "iOS16"),
    Case("range_1d", {"end": _i32(9), "start": _i32(2), "step": _i32(3)}, expect=[2, 5, 8]),
    Case("range_1d", {}, {"end": 1.0, "start": 0.0, "step": 0.25}, note="float"),
    Case(
        "one_hot",
        {"indices": _i32([[0, 2], [1, 1]])},
        {"one_hot_vector_size": 3, "on_value": np.float32(5.0), "off_value": np.float32(-1.0)},
        [[[5, -1, -1], [-1, -1, 5]], [[-1, 5, -1], [-1, 5, -1]]],
    ),
    Case(
        "one_hot",
        {"indices": _i32([2, 0])},
        {"one_hot_vector_size": 3, "axis": 0},
        [[0, 1], [0, 0], [1, 0]],
        note="axis 0, default values",
    ),
    Case("non_zero", {"x": _f32([[0, 3], [4, 0]])}),
    Case("band_part", {"x": X}, {"lower": 1, "upper": 0}),
    Case("band_part", {"x": X}, {"upper": 1}, note="default lower"),
    Case("cumsum", {"x": X}, {"axis": 1}),
    Case("cumsum", {"x": X}, {"axis": 2, "reverse": True}, note="reverse"),
    Case("cumsum", {"x": _f32([1, 2, 4])}, {"exclusive": True}, [0, 1, 3], note="exclusive"),
    Case(
        "cumsum",
        {"x": _f32([1, 2, 4])},
        {"exclusive": True, "reverse": True},
        [6, 4, 0],
        note="both",
    ),
]

SLICE = {"begin": [0, 1, 0], "end": [2, 3, 4]}
_SLICES = [
    Case("slice_by_index", {"x": X}, SLICE),
    Case("slice_by_index", {"x": X}, {"begin": [-1, 0, 1], "end": [2, -1, -1]}, note="negative"),
    Case("slice_by_index", {"x": X}, {**SLICE, "stride": [1, 1, 2]}, note="stride"),
    Case(
        "slice_by_index",
        {"x": COUNT},
        {"begin": [0, 2, 3], "end": [2, 0, 0], "stride": [1, -1, -2]},
        [[[11, 9], [7, 5]], [[23, 21], [19, 17]]],
        note="backwards, by hand",
    ),
    Case(
        "slice_by_index",
        {"x": X},
        {
            "begin": [0, 1, 0],
            "end": [0, 0, 0],
            "stride": [1, -1, -1],
            "begin_mask": [True, False, True],
            "end_mask": [True, True, True],
        },
        X[:, 1::-1, ::-1],
        note="masks",
    ),
    Case(
        "slice_by_index",
        {"x": X},
        {**SLICE, "begin": [-1, 1, 2], "squeeze_mask": [True, False, True]},
        X[-1, 1:3, 2],
        note="squeeze",
    ),
    Case(
        "slice_by_index",
        {"x": X, "begin": _i32([0, 1, 1]), "end": _i32([1, 3, 3])},
        expect=X[:1, 1:3, 1:3],
        note="begin and end as tensors",
    ),
    Case("slice_by_size", {"x": X}, {"begin": [0, 1, -3], "size": [2, -1, 2]}, X[:, 1:, 1:3]),
    Case(
        "slice_update",
        {"x": X, "update": _real(2, 2, 2)},
        {**SLICE, "stride": [1, 1, 2]},
        target="iOS18",
    ),
    Case(
        "slice_update",
        {"x": COUNT[0], "update": _f32([-1, -2, -3])},
        {"begin": [0, 2], "end": [3, 0], "squeeze_mask": [False, True]},
        [[0, 1, -1, 3], [4, 5, -2, 7], [8, 9, -3, 11]],
        "iOS18",
        "squeeze",
    ),
    Case("crop", {"x": IMAGE}, {"crop_height": [1, 2], "crop_width": [0, 1]}, IMAGE[..., 1:4, :3]),
]

# Channel = (row in block * 2 + column in block) * C + c, which is TensorFlow's order.
BLOCKS = np.arange(16, dtype=np.float32).reshape(1, 8, 1, 2)
_LAYOUTS = [
    Case(
        "depth_to_space",
        {"x": BLOCKS},
        {"block_size": 2},
        [[[[0, 4, 1, 5], [8, 12, 9, 13]], [[2, 6, 3, 7], [10, 14, 11, 15]]]],
    ),
    Case(
        "space_to_depth",
        {"x": np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)},
        {"block_size": 2},
        np.reshape([0, 4, 1, 5, 2, 6, 3, 7], (1, 8, 1, 1)),
    ),
    Case("pixel_shuffle", {"x": BLOCKS}, {"upscale_factor": 2}, lambda x: F.pixel_shuffle(x, 2)),
    Case(
        "pixel_unshuffle",
        {"x": IMAGE},
        {"downscale_factor": np.uint32(2)},
        lambda x: F.pixel_unshuffle(x, 2),
        "iOS16",
    ),
    # tf.space_to_batch_nd: the place in the block is the slow part of the batch index.
    Case(
        "space_to_batch",
        {"x": _f32([[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]])},
        {"block_shape": [2, 2], "paddings": np.zeros((2, 2), np.int32)},
        np.reshape([1, 5, 2, 6, 3, 7, 4, 8], (8, 1, 1, 1)),
    ),
    Case(
        "space_to_batch",
        {"x": _f32([[[[1, 2, 3]]]])},
        {"block_shape": [1, 2], "paddings": _i32([[0, 0], [1, 0]])},
        np.reshape([0, 2, 1, 3], (2, 1, 1, 2)),
        note="padding",
    ),
    Case(
        "batch_to_space",
        {"x": np.reshape(_f32([1, 5, 2, 6, 3, 7, 4, 8]), (8, 1, 1, 1))},
        {"block_shape": [2, 2], "crops": _i32([[0, 0], [1, 0]])},
        [[[[2], [4]]], [[[6], [8]]]],
    ),
    Case(
        "sliding_windows",
        {"x": _f32([[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]])},
        {"axis": 0, "size": 3, "stride": 2},
        [[[1, 10], [2, 20], [3, 30]], [[3, 30], [4, 40], [5, 50]]],
    ),
    Case("reverse", {"x": X}, {"axes": [0, -1]}),
    Case("reverse", {"x": X}, note="all"),
    Case(
        "reverse_sequence",
        {"x": _f32([[1, 2, 3, 4], [5, 6, 7, 8]]), "lengths": _i32([3, 2])},
        {"seq_axis": 1, "batch_axis": 0},
        [[3, 2, 1, 4], [6, 5, 7, 8]],
    ),
]

DATA = _f32([[1, 2, 3], [4, 5, 6]])
TABLE = _real(3, 4, 5)
_GATHERS = [
    Case(
        "gather",
        {"x": TABLE, "indices": _i32([[2, 0], [-1, 1]])},
        {"axis": 1},
        TABLE[:, [[2, 0], [-1, 1]]],
    ),
    Case("gather", {"x": TABLE, "indices": _i32(1)}, {"axis": -1}, TABLE[..., 1], note="scalar"),
    Case(
        "gather",
        {"x": TABLE, "indices": _i32([[0, 3], [1, 1], [2, 0]])},
        {"axis": 1, "batch_dims": 1},
        np.stack([TABLE[0][[0, 3]], TABLE[1][[1, 1]], TABLE[2][[2, 0]]]),
        "iOS16",
        "batch",
    ),
    Case("gather", {"x": TABLE, "indices": _i32([2, 1])}, {"axis": 0}, TABLE[[2, 1]], "iOS17"),
    Case(
        "gather_along_axis",
        {"x": TABLE, "indices": _rng.integers(0, 4, (3, 2, 5)).astype(np.int32)},
        {"axis": 1},
    ),
    Case("gather_nd", {"x": TABLE, "indices": _i32([[2, 3], [0, -4]])}, {}, TABLE[[2, 0], [3, 0]]),
    Case(
        "gather_nd",
        {"x": TABLE, "indices": _i32([[[1, 2]], [[0, 0]], [[3, 4]]])},
        {"batch_dims": 1},
        np.reshape([TABLE[0, 1, 2], TABLE[1, 0, 0], TABLE[2, 3, 4]], (3, 1)),
        "iOS16",
        "batch",
    ),
]

ROWS = {"data": DATA, "indices": _i32([1, 0]), "updates": _f32([[5, 6, 7], [8, 9, 10]])}
TWICE = {"data": _f32([10, 20, 30]), "indices": _i32([1, 1]), "updates": _f32([2, 4])}
_SCATTERS = [
    Case("scatter", ROWS, {"mode": "add"}, [[9, 11, 13], [9, 11, 13]], note="from the reference"),
    Case("scatter", ROWS, {"mode": "update"}, [[8, 9, 10], [5, 6, 7]], note="update"),
    *(
        Case("scatter", TWICE, {"mode": mode}, [10, middle, 30], note=f"{mode} twice")
        for mode, middle in (
            ("add", 26),
            ("sub", 14),
            ("mul", 160),
            ("div", 2.5),
            ("max", 20),
            ("min", 2),
        )
    ),
    Case(
        "scatter",
        {"data": DATA, "indices": _i32([-1]), "updates": _f32([[7], [8]])},
        {"axis": 1},
        [[1, 2, 10], [4, 5, 14]],
        note="axis, default mode",
    ),
    Case(
        "scatter_along_axis",
        {"data": DATA, "indices": _i32([[0, 2], [1, 0]]), "updates": _f32([[7, 8], [9, 10]])},
        {"axis": 1, "mode": "update"},
    ),
    Case(
        "scatter_along_axis",
        {
            "data": DATA,
            "indices": _i32([[0, 1, 1], [0, 0, 1]]),
            "updates": _f32([[1, 2, 3], [4, 5, 6]]),
        },
        {"axis": 0},
        [[6, 7, 3], [4, 7, 15]],
        note="add, by hand",
    ),
    Case(
        "scatter_nd",
        {"data": DATA, "indices": _i32([[0, 2], [1, 0], [0, 2]]), "updates": _f32([10, 20, 30])},
        {"mode": "add"},
        [[1, 2, 43], [24, 5, 6]],
    ),
    Case(
        "scatter_nd",
        {"data": DATA, "indices": _i32([[1]]), "updates": _f32([[7, 8, 9]])},
        {},
        [[1, 2, 3], [11, 13, 15]],
        note="default mode",
    ),
    Case(
        "scatter_nd",
        {"data": DATA, "indices": _i32([[1]]), "updates": _f32([[7, 8, 9]])},
        {"mode": "update"},
        [[1, 2, 3], [7, 8, 9]],
        "iOS17",
        "rows",
    ),
]

BOXES = _f32([[[1, 1, 2, 2], [1.1, 1, 2, 2], [5, 5, 2, 2], [9, 9, 2, 2]]])
SCORES = _f32([[[0.6, 0.1], [0.2, 0.9], [0.3, 0.2], [0.05, 0.01]]])
NMS = {"iou_threshold": np.float32(0.5), "max_boxes": 3}
_SORTING = [
    Case("argsort", {"x": X}),
    Case("argsort", {"x": X}, {"axis": 0, "ascending": True}, note="ascending"),
    Case("topk", {"x": X}, {"k": 2, "axis": 1}),
    Case("topk", {"x": X}, {"k": 2, "axis": -1, "ascending": True}, note="ascending"),
    Case(
        "topk", {"x": X}, {"k": 3, "sort": False, "return_indices": False}, None, "iOS16", "values"
    ),
    Case(
        "topk",
        {"x": _f32([3, 1, 2])},
        {"k": 3, "output_indices_dtype": "uint16"},
        [_f32([3, 2, 1]), _i32([0, 2, 1])],
        "iOS17",
    ),
    # The best boxes fall as 1 (0.9), 0 (0.6, overlaps 1 by 0.9 of 1.1), 2 (0.3), 3 (below 0.25).
    Case(
        "non_maximum_suppression",
        {"boxes": BOXES, "scores": SCORES},
        {**NMS, "score_threshold": np.float32(0.25)},
        [
            _f32([[[1.1, 1, 2, 2], [5, 5, 2, 2], [0, 0, 0, 0]]]),
            _f32([[[0.2, 0.9], [0.3, 0.2], [0, 0]]]),
            _i32([[1, 2, -1]]),
            _i32([2]),
        ],
    ),
    # A box of half the other's area inside of it: an overlap of exactly the threshold is kept.
    Case(
        "non_maximum_suppression",
        {"boxes": _f32([[[1, 0, 2, 1], [0.5, 0, 1, 1]]]), "scores": _f32([[[0.9], [0.8]]])},
        {**NMS, "score_threshold": np.float32(0), "max_boxes": 2},
        [
            _f32([[[1, 0, 2, 1], [0.5, 0, 1, 1]]]),
            _f32([[[0.9], [0.8]]]),
            _i32([[0, 1]]),
            _i32([2]),
        ],
        note="threshold",
    ),
    # The two that overlap are of different classes; the output is full after three.
    Case(
        "non_maximum_suppression",
        {"boxes": BOXES.transpose(0, 2, 1).copy(), "scores": SCORES.transpose(0, 2, 1).copy()},
        {**NMS, "per_class_suppression": True},
        [
            _f32([[[1.1, 1, 2, 2], [1, 1, 2, 2], [5, 5, 2, 2]]]).transpose(0, 2, 1),
            _f32([[[0.2, 0.9], [0.6, 0.1], [0.3, 0.2]]]).transpose(0, 2, 1),
            _i32([[1, 0, 2]]),
        ],
        "iOS17",
        "per class",
    ),
]

CASES: list[Case] = [*_SHAPES, *_SLICES, *_LAYOUTS, *_GATHERS, *_SCATTERS, *_SORTING]
