"""One small layer graph per kind of layer and way of writing it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mobile_export.lowering import ir

__all__ = ["CASES", "graph_of", "inputs_of"]

Spec = tuple[type[ir.Layer], tuple[tuple[int, ...], ...], tuple[int, ...], dict[str, Any]]


def _random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.5


def _conv(
    inputs: int,
    outputs: int,
    kernel: tuple[int, ...],
    groups: int = 1,
    bias: bool = True,
    **options: Any,
) -> dict[str, Any]:
    rank = len(kernel)
    defaults: dict[str, Any] = {
        "stride": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "dilation": (1,) * rank,
    }
    weight = _random(outputs, inputs // groups, *kernel)
    return {
        **defaults,
        "weight": weight,
        "bias": _random(outputs, seed=1) if bias else None,
        "groups": groups,
        **options,
    }


def _transposed(
    inputs: int, outputs: int, kernel: tuple[int, ...], groups: int = 1, **options: Any
) -> dict[str, Any]:
    rank = len(kernel)
    return {
        "weight": _random(inputs, outputs // groups, *kernel),
        "bias": _random(outputs, seed=1),
        "groups": groups,
        "stride": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "output_padding": (0,) * rank,
        "dilation": (1,) * rank,
        **options,
    }


IMAGE = (6, 9, 10)
C, CT = ir.Convolution, ir.ConvTranspose
ONE, TWO = ((1, 1), (1, 1)), ((2, 2), (2, 2))

CASES: dict[str, Spec] = {
    "conv_1x1": (C, (IMAGE,), (5, 9, 10), _conv(6, 5, (1, 1))),
    "conv_1x1_stride": (C, (IMAGE,), (5, 5, 5), _conv(6, 5, (1, 1), stride=(2, 2))),
    "conv_3x3": (C, (IMAGE,), (5, 9, 10), _conv(6, 5, (3, 3), padding=ONE)),
    "conv_3x3_wide": (C, ((16, 12, 12),), (16, 12, 12), _conv(16, 16, (3, 3), padding=ONE)),
    "conv_no_bias": (C, (IMAGE,), (5, 7, 8), _conv(6, 5, (3, 3), bias=False)),
    "conv_stride": (C, (IMAGE,), (5, 5, 5), _conv(6, 5, (3, 3), stride=(2, 2), padding=ONE)),
    "conv_dilated": (C, (IMAGE,), (5, 9, 10), _conv(6, 5, (3, 3), dilation=(2, 2), padding=TWO)),
    "conv_groups": (C, (IMAGE,), (4, 9, 10), _conv(6, 4, (3, 3), groups=2, padding=ONE)),
    "conv_depthwise": (C, (IMAGE,), (6, 9, 10), _conv(6, 6, (3, 3), groups=6, padding=ONE)),
    "conv_depthwise_7": (
        C, ((8, 14, 14),), (8, 14, 14),
        _conv(8, 8, (7, 7), groups=8, padding=((3, 3), (3, 3))),
    ),
    "conv_depthwise_stride": (
        C, ((8, 9, 10),), (8, 5, 5), _conv(8, 8, (5, 5), groups=8, stride=(2, 2), padding=TWO),
    ),
    "conv_multiplier": (C, (IMAGE,), (12, 9, 10), _conv(6, 12, (3, 3), groups=6, padding=ONE)),
    "conv_same": (
        C, ((6, 10, 10),), (5, 5, 5),
        _conv(6, 5, (3, 3), stride=(2, 2), padding=((0, 1), (0, 1))),
    ),
    "conv_uneven": (C, (IMAGE,), (5, 9, 10), _conv(6, 5, (2, 2), padding=((1, 0), (1, 0)))),
    "conv_line": (C, ((6, 11),), (5, 11), _conv(6, 5, (3,), padding=((1, 1),))),
    "conv_1xk": (C, (IMAGE,), (5, 9, 10), _conv(6, 5, (1, 5), padding=((0, 0), (2, 2)))),
    "conv_1xk_dilated": (
        C, (IMAGE,), (5, 9, 10),
        _conv(6, 5, (1, 3), dilation=(1, 2), padding=((0, 0), (2, 2))),
    ),
    "conv_dilations_differ": (
        C, (IMAGE,), (6, 9, 8), _conv(6, 6, (3, 3), groups=6, dilation=(1, 2), padding=ONE),
    ),
    "conv_dilations_4_6": (
        C, (IMAGE,), (5, 9, 8), _conv(6, 5, (3, 2), dilation=(4, 6), padding=((4, 4), (2, 2))),
    ),
    "unfold": (
        ir.Unfold, (IMAGE,), (54, 5, 5),
        {"kernel": (3, 3), "stride": (2, 2), "padding": ONE, "dilation": (1, 1)},
    ),
    "unfold_dilated": (
        ir.Unfold, (IMAGE,), (36, 7, 6),
        {"kernel": (2, 3), "stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (2, 2)},
    ),
    "unfold_line": (
        ir.Unfold, ((40, 20),), (160, 5),
        {"kernel": (4,), "stride": (4,), "padding": ((0, 0),), "dilation": (1,)},
    ),
    "conv_transpose_2x2": (CT, (IMAGE,), (5, 18, 20), _transposed(6, 5, (2, 2), stride=(2, 2))),
    "conv_transpose_dilations_differ": (
        CT, (IMAGE,), (5, 11, 14), _transposed(6, 5, (3, 3), dilation=(1, 2)),
    ),
    "conv_transpose_4x4": (
        CT, (IMAGE,), (5, 18, 20), _transposed(6, 5, (4, 4), stride=(2, 2), padding=ONE),
    ),
    "conv_transpose_same": (
        CT, (IMAGE,), (5, 18, 20),
        _transposed(6, 5, (3, 3), stride=(2, 2), padding=ONE, output_padding=(1, 1)),
    ),
    "conv_transpose_uneven": (
        CT, (IMAGE,), (5, 18, 20),
        _transposed(6, 5, (3, 3), stride=(2, 2), padding=((0, 1), (0, 1))),
    ),
    "conv_transpose_room": (
        CT, (IMAGE,), (5, 28, 31),
        _transposed(6, 5, (3, 3), stride=(3, 3), output_padding=(1, 1)),
    ),
    "conv_transpose_groups": (
        CT, (IMAGE,), (4, 18, 20), _transposed(6, 4, (2, 2), groups=2, stride=(2, 2)),
    ),
    "conv_transpose_depthwise": (
        CT, ((8, 9, 10),), (8, 18, 20),
        _transposed(8, 8, (4, 4), groups=8, stride=(2, 2), padding=ONE),
    ),
    "linear_vector": (
        ir.Linear, ((7,),), (5,), {"weight": _random(5, 7), "bias": _random(5, seed=1)}
    ),
    "linear_vector_no_bias": (ir.Linear, ((7,),), (5,), {"weight": _random(5, 7), "bias": None}),
    "linear_rows": (
        ir.Linear, ((11, 7),), (11, 5), {"weight": _random(5, 7), "bias": _random(5, seed=1)}
    ),
    "linear_rows_no_bias": (
        ir.Linear, ((11, 7),), (11, 5), {"weight": _random(5, 7), "bias": None}
    ),
    "matmul": (ir.MatMul, ((3, 4), (4, 5)), (3, 5), {}),
    "matmul_batch": (ir.MatMul, ((2, 3, 4), (2, 4, 5)), (2, 3, 5), {}),
    "matmul_batch_transposed": (
        ir.MatMul, ((6, 9, 4), (6, 10, 4)), (6, 9, 10), {"transpose_b": True}
    ),
    "softmax_last": (ir.Softmax, ((3, 5, 11),), (3, 5, 11), {"axis": 2}),
    "softmax_first": (ir.Softmax, ((3, 5, 11),), (3, 5, 11), {"axis": 0}),
    "softmax_middle": (ir.Softmax, ((3, 5, 11),), (3, 5, 11), {"axis": 1}),
    "softmax_rows": (ir.Softmax, ((5, 11),), (5, 11), {"axis": 1}),
    "softmax_columns": (ir.Softmax, ((5, 11),), (5, 11), {"axis": 0}),
    "softmax_rank4": (ir.Softmax, ((2, 3, 5, 11),), (2, 3, 5, 11), {"axis": 3}),
    "layer_norm": (
        ir.LayerNorm, ((11, 16),), (11, 16),
        {"eps": 1e-6, "weight": _random(16), "bias": _random(16, seed=1)},
    ),
    "layer_norm_plain": (
        ir.LayerNorm, ((5, 4, 9),), (5, 4, 9), {"eps": 1e-5, "weight": None, "bias": None}
    ),
    "layer_norm_vector": (
        ir.LayerNorm, ((16,),), (16,),
        {"eps": 1e-6, "weight": _random(16), "bias": _random(16, seed=1)},
    ),
    "group_norm": (
        ir.GroupNorm, (IMAGE,), IMAGE,
        {"groups": 2, "eps": 1e-5, "weight": _random(6), "bias": _random(6, seed=1)},
    ),
    "group_norm_one": (
        ir.GroupNorm, (IMAGE,), IMAGE,
        {"groups": 1, "eps": 1e-5, "weight": _random(6), "bias": _random(6, seed=1)},
    ),
    "group_norm_line": (
        ir.GroupNorm, ((6, 11),), (6, 11),
        {"groups": 3, "eps": 1e-5, "weight": _random(6), "bias": _random(6, seed=1)},
    ),
    "instance_norm": (
        ir.GroupNorm, (IMAGE,), IMAGE,
        {"groups": 6, "eps": 1e-5, "weight": _random(6), "bias": _random(6, seed=1)},
    ),
    "scale": (ir.Scale, (IMAGE,), IMAGE, {"scale": _random(6), "bias": _random(6, seed=1)}),
    "scale_no_bias": (ir.Scale, (IMAGE,), IMAGE, {"scale": _random(6), "bias": None}),
    "scale_vector": (ir.Scale, ((6,),), (6,), {"scale": _random(6), "bias": _random(6, seed=1)}),
    "scale_line": (ir.Scale, ((6, 5),), (6, 5), {"scale": _random(6), "bias": _random(6, seed=1)}),
    "scale_rank4": (
        ir.Scale, ((3, 4, 5, 2),), (3, 4, 5, 2),
        {"scale": _random(3), "bias": _random(3, seed=1)},
    ),
    "prelu": (ir.PReLU, (IMAGE,), IMAGE, {"slope": _random(6)}),
    "prelu_vector": (ir.PReLU, ((6,),), (6,), {"slope": _random(6)}),
    "argmax": (ir.ArgMax, (IMAGE,), (1, 9, 10), {"axis": 0, "keepdims": True}),
    "argmax_last": (ir.ArgMax, (IMAGE,), (6, 9), {"axis": 2, "keepdims": False}),
    "pool_max": (
        ir.Pool, (IMAGE,), (6, 5, 5),
        {"mode": "max", "kernel": (3, 3), "stride": (2, 2), "padding": ONE},
    ),
    "pool_max_ceil": (
        ir.Pool, ((6, 10, 10),), (6, 5, 5),
        {"mode": "max", "kernel": (3, 3), "stride": (2, 2), "padding": ((0, 1), (0, 1))},
    ),
    "pool_max_uneven": (
        ir.Pool, (IMAGE,), (6, 9, 10),
        {"mode": "max", "kernel": (2, 2), "stride": (1, 1), "padding": ((1, 0), (0, 1))},
    ),
    "pool_avg": (
        ir.Pool, ((6, 10, 10),), (6, 5, 5),
        {"mode": "avg", "kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0))},
    ),
    "pool_avg_odd": (
        ir.Pool, ((6, 9, 11),), (6, 3, 3),
        {"mode": "avg", "kernel": (3, 3), "stride": (3, 3), "padding": ((0, 0), (0, 0))},
    ),
    "pool_avg_padded": (
        ir.Pool, (IMAGE,), (6, 9, 10),
        {"mode": "avg", "kernel": (3, 3), "stride": (1, 1), "padding": ONE},
    ),
    "pool_avg_counted": (
        ir.Pool, (IMAGE,), (6, 5, 5),
        {
            "mode": "avg", "kernel": (3, 3), "stride": (2, 2), "padding": ONE,
            "count_padding": True,
        },
    ),
    "pool_avg_large": (
        ir.Pool, ((6, 14, 14),), (6, 2, 2),
        {"mode": "avg", "kernel": (7, 7), "stride": (7, 7), "padding": ((0, 0), (0, 0))},
    ),
    "pool_line": (
        ir.Pool, ((6, 11),), (6, 5),
        {"mode": "avg", "kernel": (2,), "stride": (2,), "padding": ((0, 0),)},
    ),
    "reshape": (ir.Reshape, (IMAGE,), (6, 90), {}),
    "reshape_rank4": (ir.Reshape, ((6, 8, 10),), (6, 4, 2, 10), {}),
    "reshape_vector": (ir.Reshape, (IMAGE,), (540,), {}),
    "permute_2": (ir.Permute, ((6, 9),), (9, 6), {"order": (1, 0)}),
    "permute_3": (ir.Permute, (IMAGE,), (9, 10, 6), {"order": (1, 2, 0)}),
    "permute_4": (ir.Permute, ((2, 3, 4, 5),), (4, 2, 5, 3), {"order": (2, 0, 3, 1)}),
    "permute_4_windows": (ir.Permute, ((4, 3, 4, 5),), (4, 4, 3, 5), {"order": (0, 2, 1, 3)}),
    "concat_channels": (ir.Concat, ((3, 4, 5), (2, 4, 5)), (5, 4, 5), {"axis": 0}),
    "concat_width": (ir.Concat, ((3, 4, 5), (3, 4, 2)), (3, 4, 7), {"axis": 2}),
    "concat_rows": (ir.Concat, ((3, 4), (2, 4)), (5, 4), {"axis": 0}),
    "concat_columns": (ir.Concat, ((3, 4), (3, 2)), (3, 6), {"axis": 1}),
    "concat_vector": (ir.Concat, ((3,), (2,)), (5,), {"axis": 0}),
    "concat_rank4_batch": (ir.Concat, ((3, 4, 5, 2), (2, 4, 5, 2)), (5, 4, 5, 2), {"axis": 0}),
    "slice_channels": (ir.Slice, (IMAGE,), (3, 9, 10), {"axis": 0, "start": 1, "stop": 4}),
    "slice_step": (ir.Slice, (IMAGE,), (6, 5, 10), {"axis": 1, "start": 0, "stop": 9, "step": 2}),
    "slice_width": (ir.Slice, (IMAGE,), (6, 9, 3), {"axis": 2, "start": 7, "stop": 10}),
    "slice_rows": (ir.Slice, ((9, 6),), (4, 6), {"axis": 0, "start": 2, "stop": 6}),
    "slice_columns": (ir.Slice, ((9, 6),), (9, 3), {"axis": 1, "start": 3, "stop": 6}),
    "slice_vector": (ir.Slice, ((9,),), (4,), {"axis": 0, "start": 2, "stop": 6}),
    "slice_batch": (ir.Slice, ((4, 3, 5, 2),), (2, 3, 5, 2), {"axis": 0, "start": 1, "stop": 3}),
    "pad_image": (ir.Pad, (IMAGE,), (6, 12, 13), {"padding": ((0, 0), (1, 2), (3, 0))}),
    "pad_value": (
        ir.Pad, (IMAGE,), (6, 11, 12), {"padding": ((0, 0), (1, 1), (1, 1)), "value": -1.5}
    ),
    "pad_channels": (ir.Pad, (IMAGE,), (9, 9, 10), {"padding": ((1, 2), (0, 0), (0, 0))}),
    "pad_reflect": (
        ir.Pad, (IMAGE,), (6, 12, 13), {"padding": ((0, 0), (1, 2), (3, 0)), "mode": "reflect"}
    ),
    "pad_edge": (
        ir.Pad, (IMAGE,), (6, 12, 13), {"padding": ((0, 0), (1, 2), (3, 0)), "mode": "replicate"}
    ),
    "pad_rows": (ir.Pad, ((9, 6),), (12, 6), {"padding": ((1, 2), (0, 0))}),
    "pad_columns": (ir.Pad, ((9, 6),), (9, 9), {"padding": ((0, 0), (1, 2))}),
    "pad_rank4": (
        ir.Pad, ((3, 4, 5, 2),), (4, 4, 7, 2), {"padding": ((0, 1), (0, 0), (1, 1), (0, 0))}
    ),
    "tile_image": (ir.Tile, ((6, 1, 1),), (6, 9, 10), {"repeats": (1, 9, 10)}),
    "tile_rows": (ir.Tile, ((3, 4),), (6, 4), {"repeats": (2, 1)}),
    "pixel_shuffle": (ir.PixelShuffle, ((12, 4, 5),), (3, 8, 10), {"factor": 2}),
    "pixel_unshuffle": (ir.PixelUnshuffle, ((3, 8, 10),), (12, 4, 5), {"factor": 2}),
    "interp_nearest": (ir.Interp, (IMAGE,), (6, 18, 20), {"mode": "nearest"}),
    "interp_nearest_uneven": (ir.Interp, (IMAGE,), (6, 13, 7), {"mode": "nearest"}),
    "interp_bilinear": (ir.Interp, (IMAGE,), (6, 18, 20), {"mode": "bilinear"}),
    "interp_bilinear_corners": (
        ir.Interp, (IMAGE,), (6, 17, 23), {"mode": "bilinear", "align_corners": True}
    ),
    "interp_bilinear_down": (ir.Interp, (IMAGE,), (6, 4, 5), {"mode": "bilinear"}),
    "interp_bicubic": (ir.Interp, (IMAGE,), (6, 18, 21), {"mode": "bicubic"}),
    "interp_bicubic_corners": (
        ir.Interp, (IMAGE,), (6, 18, 21), {"mode": "bicubic", "align_corners": True}
    ),
}  # fmt: skip

for _name, _alpha, _beta in (
    ("relu", 0.0, 0.0), ("clip", 0.0, 6.0), ("clip", -0.5, 0.7), ("leaky_relu", 0.1, 0.0),
    ("elu", 1.3, 0.0), ("selu", 1.6732632, 1.0507010), ("celu", 0.7, 0.0), ("sigmoid", 0.0, 0.0),
    ("tanh", 0.0, 0.0), ("silu", 0.0, 0.0), ("gelu", 0.0, 0.0), ("gelu_tanh", 0.0, 0.0),
    ("hard_sigmoid", 1 / 6, 0.5), ("hard_swish", 1 / 6, 0.5), ("softplus", 0.0, 0.0),
    ("mish", 0.0, 0.0),
):  # fmt: skip
    _key = f"activation_{_name}{'_6' if _beta == 6 else ''}"
    CASES[_key] = (
        ir.Activation, (IMAGE,), IMAGE, {"function": ir.Nonlinearity(_name, _alpha, _beta)}  # type: ignore[arg-type]
    )  # fmt: skip
for _name in ("gelu", "silu", "sigmoid", "hard_swish"):
    for _rank, _shape in ((1, (7,)), (2, (5, 7)), (4, (3, 2, 5, 7))):
        CASES[f"activation_{_name}_rank{_rank}"] = (
            ir.Activation, (_shape,), _shape,
            {"function": ir.Nonlinearity(_name, 1 / 6, 0.5)},  # type: ignore[arg-type]
        )  # fmt: skip
for _name in (
    "abs", "neg", "exp", "log", "sqrt", "rsqrt", "square", "reciprocal", "sin", "cos", "floor",
    "ceil", "sign", "erf", "trunc", "tan", "atan", "log10", "round", "step",
):  # fmt: skip
    CASES[f"unary_{_name}"] = (ir.Unary, (IMAGE,), IMAGE, {"op": _name})
for _name in ("add", "sub", "mul", "div", "max", "min"):
    CASES[f"binary_{_name}"] = (ir.Binary, (IMAGE, IMAGE), IMAGE, {"op": _name})
    CASES[f"binary_{_name}_scalar"] = (ir.Binary, (IMAGE,), IMAGE, {"op": _name, "scalar": 0.7})
for _name, _scalar in (
    ("rsub", 0.7), ("rdiv", 0.7), ("rpow", 1.7), ("pow", 2.0), ("pow", 3.0), ("pow", 0.5),
    ("pow", 1.7), ("pow", -1.0), ("pow", 4.0), ("pow", -0.5),
):  # fmt: skip
    _key = f"binary_{_name}_{_scalar:g}".replace("-", "minus_")
    CASES[_key] = (ir.Binary, (IMAGE,), IMAGE, {"op": _name, "scalar": _scalar})
for _key, _a, _b in (
    ("channels", IMAGE, (6, 1, 1)), ("plane", IMAGE, (1, 9, 10)), ("height", IMAGE, (1, 9, 1)),
    ("width", IMAGE, (1, 1, 10)), ("channel_width", IMAGE, (6, 1, 10)),
    ("channel_height", IMAGE, (6, 9, 1)), ("both", (6, 1, 10), (1, 9, 10)),
    ("outer", (6, 1, 1), (1, 9, 10)), ("one", IMAGE, (1, 1, 1)), ("reversed", (6, 1, 1), IMAGE),
    ("rows", (5, 7), (1, 7)), ("columns", (5, 7), (5, 1)), ("outer_rows", (5, 1), (1, 7)),
    ("rank4_batch", (3, 4, 5, 2), (1, 4, 5, 2)), ("rank4_batch_only", (3, 4, 5, 2), (3, 1, 1, 1)),
    ("rank4_mask", (3, 4, 5, 5), (3, 1, 5, 5)), ("rank4_bias", (3, 4, 5, 5), (1, 4, 5, 5)),
    ("rank4_middle", (3, 4, 5, 2), (3, 1, 5, 1)), ("rank4_width", (3, 4, 5, 2), (1, 1, 1, 2)),
    ("vector", (7,), (7,)),
):  # fmt: skip
    _out = tuple(max(pair) for pair in zip(_a, _b, strict=True))
    CASES[f"broadcast_{_key}"] = (ir.Binary, (_a, _b), _out, {"op": "sub"})
for _name in ("sum", "mean", "max", "min", "prod", "sum_square", "l1", "l2"):
    CASES[f"reduce_{_name}"] = (
        ir.Reduce, (IMAGE,), (6, 1, 10), {"op": _name, "axes": (1,), "keepdims": True},
    )  # fmt: skip
for _key, _a, _out, _axes, _keep in (
    ("plane_mean", IMAGE, (6,), (1, 2), False), ("plane_keep", IMAGE, (6, 1, 1), (1, 2), True),
    ("channels", IMAGE, (9, 10), (0,), False), ("last", (5, 7), (5,), (1,), False),
    ("first", (5, 7), (7,), (0,), False), ("rank4", (3, 4, 5, 2), (3, 5, 2), (1,), False),
    ("batch", (3, 4, 5, 2), (1, 4, 5, 2), (0,), True), ("all", IMAGE, (1,), (0, 1, 2), False),
):  # fmt: skip
    CASES[f"reduce_{_key}"] = (
        ir.Reduce, (_a,), _out, {"op": "mean", "axes": _axes, "keepdims": _keep}
    )  # fmt: skip


def graph_of(name: str, *, constant: int | None = None) -> ir.LayerGraph:
    """The graph of a case; its inputs are reshaped from images, as graphs have only such inputs.

    Args:
        constant: index of an input that becomes a `Constant`.
    """
    kind, shapes, out_shape, attributes = CASES[name]
    inputs, layers, operands = [], [], []
    for index, shape in enumerate(shapes):
        operand = ir.Value(f"x{index}", shape)
        operands.append(operand)
        if index == constant:
            value = inputs_of(name)[index]
            layers.append(ir.Constant(inputs=(), output=operand, value=value))
        elif len(shape) == 3:
            inputs.append(operand)
        else:
            image = ir.Value(f"image{index}", (1, 1, int(np.prod(shape))))
            inputs.append(image)
            layers.append(ir.Reshape(inputs=(image,), output=operand))
    result = ir.Value("result", out_shape, node=name)
    layers.append(kind(inputs=tuple(operands), output=result, **attributes))
    return ir.LayerGraph(tuple(inputs), (result,), tuple(layers), ("out",), ((1, *out_shape),))


def inputs_of(name: str) -> list[np.ndarray]:
    """Random inputs of a case, positive where the function needs it."""
    _, shapes, _, attributes = CASES[name]
    arrays = [_random(*shape, seed=7 + index) * 3 for index, shape in enumerate(shapes)]
    op = attributes.get("op")
    if op in ("log", "sqrt", "rsqrt", "log10") or attributes.get("scalar") in (0.5, 1.7, -0.5):
        arrays = [np.abs(array) + 0.1 for array in arrays]
    if op in ("reciprocal", "div", "rdiv"):
        arrays = [np.sign(array) * (np.abs(array) + 0.3) for array in arrays]
    return arrays
