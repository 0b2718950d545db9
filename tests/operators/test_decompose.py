"""Every decomposition against float64 eager PyTorch, over shapes and options.

Tests mobile_export/operators/*.py: each call is captured, written in core operators, and executed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export.graph.capture import trace
from mobile_export.operators import decompose
from mobile_export.operators.core import way_out
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.passes import PassResult, run_passes
from tests.conftest import make_source
from tests.passes.graphs import apply, ops, program_of

Function = Callable[[torch.Tensor], torch.Tensor]


class Calls(nn.Module):
    """The image, and a function of it."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def written(net: Function | nn.Module, shape: tuple[int, ...], *gone: str) -> PassResult:
    """The result of one run, held to the eager module; none of ``gone`` is called any more."""
    module = net if isinstance(net, nn.Module) else Calls(net)
    result = apply(decompose, module.eval(), shape, normalize=False)
    assert result.changes
    assert not set(gone) & set(ops(result.program))
    return result


def stays(net: Function | nn.Module, shape: tuple[int, ...]) -> None:
    module = net if isinstance(net, nn.Module) else Calls(net)
    assert apply(decompose, module.eval(), shape, normalize=False).changes == ()


@pytest.mark.parametrize("pad", [(1, 2, 3, 0), (0, 0, 2, 2), (4, 0)])
def test_circular_pad(pad: tuple[int, ...]) -> None:
    shape = (2, 3, 5, 7) if len(pad) == 4 else (2, 3, 6)
    written(lambda x: F.pad(x, pad, mode="circular"), shape, "pad")


@pytest.mark.parametrize("pad", [(-1, 1, -2, 1), (1, -1), (-2, 2, 1, 0), (-1, -1)])
def test_circular_pad_that_cuts(pad: tuple[int, ...]) -> None:
    written(lambda x: F.pad(x, pad, mode="circular"), (2, 3, 5, 7)[: 2 + len(pad) // 2], "")


def test_other_pads_stay() -> None:
    stays(lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"), (1, 2, 5, 5))


@pytest.mark.parametrize(
    ("kernel", "dilation", "groups", "bias"),
    [(2, 1, 1, True), ((4, 3), (3, 1), 4, False), ((1, 6), 1, 2, True)],
)
def test_same_convolution(kernel: Any, dilation: Any, groups: int, bias: bool) -> None:
    conv = nn.Conv2d(4, 8, kernel, padding="same", dilation=dilation, groups=groups, bias=bias)
    result = written(conv, (1, 4, 12, 11))
    assert ops(result.program)["constant_pad_nd"] == 1


def test_same_convolution_of_one_axis() -> None:
    written(nn.Conv1d(4, 5, 4, padding="same"), (1, 4, 9))


def test_same_convolution_with_a_symmetric_padding_stays() -> None:
    stays(nn.Conv2d(4, 5, 3, padding="same", dilation=2), (1, 4, 9, 9))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "dilation", "groups"),
    [
        (2, 1, 3, 1, 2, 1),  # microsoft/onnxruntime#14208
        (3, 2, 0, 2, 3, 2),
        ((3, 2), (1, 2), (1, 0), (1, 1), (2, 3), 1),
        (1, 1, 0, 2, 3, 1),  # beyond everything: the bias alone
        ((3, 4), (2, 3), (1, 0), (1, 2), 1, 2),  # more than the padding
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_transposed_convolution(
    kernel: Any, stride: Any, padding: Any, extra: Any, dilation: Any, groups: int, bias: bool
) -> None:
    layer = nn.ConvTranspose2d(
        4, 6, kernel, stride, padding, extra, groups=groups, bias=bias, dilation=dilation
    )
    written(layer, (1, 4, 6, 7))


class OwnFilters(nn.Module):
    """A convolution of the image by filters that are computed from it."""

    def __init__(self, weight: tuple[int, ...], function: Function, bias: int | None) -> None:
        super().__init__()
        self.shape, self.function = weight, function
        self.filters = nn.Linear(4, math.prod(weight))
        self.bias = None if bias is None else nn.Parameter(torch.randn(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = x.flatten(2).mean((0, 2))
        return self.function(x, self.filters(middle).reshape(self.shape), self.bias)


@pytest.mark.parametrize(
    ("weight", "options"),
    [
        ((6, 4, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
        ((6, 2, 3, 3), {"groups": 2, "padding": 1}),
        ((4, 1, 4, 4), {"groups": 4, "padding": 2}),  # SiamRPN++: each channel by its own template
        ((5, 4, 1, 1), {}),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_convolution_by_computed_filters(
    weight: tuple[int, ...], options: dict[str, Any], batch: int
) -> None:
    def function(x: torch.Tensor, *given: Any) -> torch.Tensor:
        return F.conv2d(x, *given, **options)

    written(OwnFilters(weight, function, weight[0]), (batch, 4, 9, 8), "conv2d")
    if batch == 1:
        written(OwnFilters(weight, function, None), (1, 4, 9, 8), "conv2d")


def test_convolution_of_one_axis_by_computed_filters() -> None:
    def function(x: torch.Tensor, *given: Any) -> torch.Tensor:
        return F.conv1d(x, *given, stride=2, padding=3, dilation=2, groups=2)

    written(OwnFilters((6, 2, 5), function, 6), (2, 4, 15), "conv1d")


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2, "padding": (1, 0)}],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_by_computed_filters(options: dict[str, Any], groups: int) -> None:
    def function(x: torch.Tensor, *given: Any) -> torch.Tensor:
        return F.conv_transpose2d(x, *given, groups=groups, **options)

    written(OwnFilters((4, 3, 3, 2), function, 3 * groups), (2, 4, 5, 6), "conv_transpose2d")


def test_filters_computed_from_stored_numbers_stay() -> None:
    def scaled(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, torch.ones(4, 4, 3, 3).cumsum(0) * 0.5)

    stays(scaled, (1, 4, 6, 6))


def test_usual_transposed_convolutions_stay() -> None:
    stays(nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), (1, 4, 6, 7))


@pytest.mark.parametrize("size", [(3, 3), (4, 2), (5, 7), (1, 6), (1, 1), (8, 8), (None, 3)])
@pytest.mark.parametrize("image", [(8, 8), (16, 10), (11, 9)])
def test_adaptive_max_pool(size: Any, image: tuple[int, int]) -> None:
    written(lambda x: F.adaptive_max_pool2d(x, size), (1, 3, *image), "adaptive_max_pool2d")


def test_adaptive_max_pool_of_one_axis() -> None:
    written(lambda x: F.adaptive_max_pool1d(x, 4), (1, 3, 10), "adaptive_max_pool1d")


@pytest.mark.parametrize("lead", [(), (1,)])
def test_adaptive_max_pool_of_three_axes(lead: tuple[int, ...]) -> None:
    def pooled(x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_max_pool3d(x.reshape(*lead, 3, 4, 4, 6), (2, 4, 3))

    written(pooled, (1, 3, 4, 24), "adaptive_max_pool3d")


@pytest.mark.parametrize("size", [(3, 2), (5, 7), (1, 1)])
def test_adaptive_max_pool_with_its_indices(size: tuple[int, int]) -> None:
    def both(x: torch.Tensor) -> torch.Tensor:
        values, indices = F.adaptive_max_pool2d(x, size, return_indices=True)
        return values + indices

    written(both, (1, 2, 8, 9), "adaptive_max_pool2d")


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("divisor", [None, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 0), (3, 2, 1), ((2, 4), (3, 3), (1, 2)), (2, 2, 0)]
)
@pytest.mark.parametrize("image", [(9, 11), (10, 8)])
def test_average_pool(
    kernel: Any, stride: Any, padding: Any, image: tuple[int, int], ceil: bool, inside: bool,
    divisor: int | None,
) -> None:  # fmt: skip
    module = nn.AvgPool2d(kernel, stride, padding, ceil, inside, divisor)
    result = apply(decompose, module, (1, 3, *image), normalize=False)
    # Rows 12 to 14 of 10 rows and a padding of 1: PyTorch leaves this window out.
    dropped = ceil and kernel == (2, 4) and image == (10, 8)
    assert bool(result.changes) == (divisor is not None or dropped)
    if divisor is not None:
        nodes = result.program.exported.graph.nodes
        [pool] = [n for n in nodes if n.target is torch.ops.aten.avg_pool2d.default]
        assert len(pool.args) == 4, "no ceil_mode and no divisor"


@pytest.mark.parametrize("axes", [(1,), (2, 3), (-1,)])
@pytest.mark.parametrize("keep", [True, False])
def test_logsumexp(axes: tuple[int, ...], keep: bool) -> None:
    written(lambda x: (x * 400).logsumexp(axes, keep), (1, 3, 4, 5), "logsumexp")


@pytest.mark.parametrize("exponent", [2, 3, 2.5])
def test_power_of_five_axes(exponent: float) -> None:
    written(lambda x: (x.abs() + 0.1).reshape(1, 2, 3, 4, 4).pow(exponent), (1, 6, 4, 4))
    stays(lambda x: (x.abs() + 0.1).pow(exponent), (1, 6, 4, 4))


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(1, 9, 4), (7, 3), (2, 2, 8, 3)])
def test_distances(p: float, shape: tuple[int, ...]) -> None:
    written(lambda x: torch.cdist(x, x[..., :5, :] * 0.5 + 1, p), shape, "cdist")


def test_other_distances_stay() -> None:
    stays(lambda x: torch.cdist(x, x[:, :5] + 1, 3.0), (1, 9, 4))
    written(lambda x: torch.cdist(x, x[:, :5]), (1, 26, 4), "cdist")  # 0 for equal rows


@pytest.mark.parametrize(
    ("equation", "picks"),
    [
        ("bchw,bdhw,bhw->bcd", (0, 0, 1)),
        ("bchw,bhw,bhw->bchw", (0, 1, 1)),
        ("...hw,...hw->...h", (0, 0)),
        ("b...w,vw->b...v", (0, 2)),
        ("...hw,vw,vw->...hv", (0, 2, 2)),
    ],
)
def test_einsum(equation: str, picks: tuple[int, ...]) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        operands = (x, x[:, 0] * 2, x[0, 0].cos())
        return torch.einsum(equation, *(operands[pick].sin() for pick in picks))

    result = written(function, (1, 3, 4, 5))
    for node in result.program.exported.graph.nodes:
        if "einsum" in str(node.target):
            assert "." not in node.args[0]
            assert len(node.args[1]) == 2


@pytest.mark.parametrize("equation", ["bchw->", "bchw->wc", "...hw->h...", "bchw->bchw"])
def test_einsum_of_one(equation: str) -> None:
    written(lambda x: torch.einsum(equation, x), (1, 3, 4, 5), "einsum")


@pytest.mark.parametrize("decimals", [-1, 0, 2])
def test_round_to_decimals(decimals: int) -> None:
    written(lambda x: torch.round(x * 40, decimals=decimals), (1, 3, 4, 5))


def test_float64_is_float32_in_a_file() -> None:
    result = written(lambda x: (x.double() * 2).float(), (1, 3, 4, 5))
    kinds = {n.meta["val"].dtype for n in result.program.exported.graph.nodes if "val" in n.meta}
    assert kinds == {torch.float32}


@pytest.mark.parametrize("right", [True, False])
def test_searchsorted(right: bool) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        rows = x[:, :, :1].sort(-1).values.expand(x.shape)
        return torch.searchsorted(rows, x, right=right).float()

    written(function, (1, 3, 4, 5), "searchsorted")


def test_exp2_and_isnan() -> None:
    written(lambda x: torch.exp2(x), (1, 3, 4, 5), "exp2")
    written(lambda x: torch.isnan(x / x.relu() * 0).float(), (1, 3, 4, 5), "isnan")


def test_einsum_of_two_stays() -> None:
    stays(lambda x: torch.einsum("bchw,bdhw->bcd", x, x.sin()), (1, 3, 4, 5))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize(
    "size", [{"size": (5, 7)}, {"size": (20, 9)}, {"scale_factor": (0.4, 1.3)}]
)
def test_antialiased_resize(mode: str, corners: bool, size: dict[str, Any]) -> None:
    written(
        lambda x: F.interpolate(x, mode=mode, antialias=True, align_corners=corners, **size),
        (1, 3, 12, 10),
        "_upsample_bicubic2d_aa",
        "_upsample_bilinear2d_aa",
    )


def test_passes_run_it_behind_what_removes_writes_in_place() -> None:
    """A captured graph may write in place, which nothing but `normalize_ops` takes."""

    def function(x: torch.Tensor) -> torch.Tensor:
        y = F.adaptive_max_pool2d(x, x.shape[-2:])  # the operand itself
        y.add_(1)
        return y * x + F.silu(x.logsumexp(1, keepdim=True), inplace=True)

    net = Calls(function).eval()
    source = make_source(net, (4, 4))
    reference = make_reference(source.module, parity_samples(source.input))
    program, reports = run_passes(trace(source), reference)  # proves it, too
    assert reports[0].name == "operators"
    assert not {"logsumexp", "adaptive_max_pool2d"} & set(ops(program))


def test_inverse_hyperbolic_functions() -> None:
    written(lambda x: torch.acosh(x.abs() + 1), (1, 2, 5, 7), "acosh")
    written(lambda x: torch.asinh(x * 3e4), (1, 2, 5, 7), "asinh")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "dilation", "groups"),
    [(3, 2, 2, 1, 1, 1), (2, 3, 0, 0, 2, 2), (4, 1, 1, 0, 1, 2), (1, 2, 0, 1, 1, 1)],
)
@pytest.mark.parametrize("axes", [1, 3])
def test_transposed_convolution_of_one_and_three_axes(
    kernel: int, stride: int, padding: int, extra: int, dilation: int, groups: int, axes: int,
    bias: bool,
) -> None:  # fmt: skip
    kind: Any = nn.ConvTranspose1d if axes == 1 else nn.ConvTranspose3d
    layer = kind(4, 6, kernel, stride, padding, extra, groups=groups, bias=bias, dilation=dilation)
    written(layer, (1, 4, 5, 4, 3)[: axes + 2], f"conv_transpose{axes}d")


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_by_computed_weights(bias: bool) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], x[0, 0, 0], x[0, 1, 1] if bias else None)

    result = written(function, (1, 2, 3, 5))
    assert ops(result.program)["layer_norm"] == 1
    stays(nn.LayerNorm(5), (1, 2, 3, 5))


def test_prelu_of_one_slope_without_an_axis() -> None:
    written(lambda x: torch.prelu(x, x.mean()), (1, 2, 3, 5), "prelu")
    stays(nn.PReLU(2), (1, 2, 3, 5))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("last", [False, True])
def test_embedding_bag(mode: str, padding: int | None, last: bool) -> None:
    index, offsets = torch.tensor([1, 3, 0, 0, 2]), torch.tensor([0, 2, 2, 4, 5][: 4 + last])
    weights = torch.rand(5) if mode == "sum" else None
    written(
        lambda x: F.embedding_bag(
            index, x[0, 0], offsets, mode=mode, padding_idx=padding, include_last_offset=last,
            per_sample_weights=None if weights is None else weights.to(x.dtype),
        ),
        (1, 1, 4, 5),
        "_embedding_bag_forward_only",
    )  # fmt: skip


PADDINGS = ("zeros", "border", "reflection")


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 2, 1, 4)])
def test_cubic_grid_sample(padding: str, corners: bool, shape: tuple[int, ...]) -> None:
    grid = torch.randn(shape[0], 5, 6, 2, generator=torch.Generator().manual_seed(0)) * 2
    written(lambda x: F.grid_sample(x, grid.to(x.dtype), "bicubic", padding, corners), shape)


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grid_sample_of_a_mirrored_image(mode: str, corners: bool) -> None:
    grid = torch.randn(2, 5, 6, 2, generator=torch.Generator().manual_seed(0)) * 3
    result = written(
        lambda x: F.grid_sample(x, grid.to(x.dtype), mode, "reflection", corners), (2, 3, 7, 9)
    )
    (call,) = [n for n in result.program.exported.graph.nodes if "grid_sampler" in str(n.target)]
    assert call.args[3] == 1, "the border"
    stays(lambda x: F.grid_sample(x, grid.to(x.dtype), mode, "zeros", corners), (2, 3, 7, 9))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grid_sample_of_volumes(mode: str, padding: str) -> None:
    grid = torch.randn(1, 2, 5, 6, 3, generator=torch.Generator().manual_seed(0)) * 2
    written(
        lambda x: F.grid_sample(x, grid.to(x.dtype), mode, padding, False),
        (1, 3, 4, 7, 9),
        "grid_sampler",
    )


NARROW: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sum": lambda a, b: a + b,
    "sum with a number": lambda a, b: a + 100 - b,
    "difference from a number": lambda a, b: 90 - a,
    "product": lambda a, b: a * b,
    "negative": lambda a, b: -a,
    "size": lambda a, b: a.abs() + b,
    "bounds": lambda a, b: a.clamp(5, 90) + b.clamp(max=7),
    "extremes": lambda a, b: torch.maximum(a, b) - torch.minimum(a, b),
    "choice": lambda a, b: torch.where(a > b, a, b + 1),
    "bits": lambda a, b: (a & b) + (a | b) * 2 + (a ^ b),
    "bits of a number": lambda a, b: (a & 60) + (b | 5) - (a ^ 37),
    "other bits": lambda a, b: ~a + b,
    "shifts": lambda a, b: (a >> 3) + (b << 2),
    "moved": lambda a, b: torch.cat([a[..., :3], b.chunk(2, -1)[0]], -1) + 1,
    "sums": lambda a, b: a.sum(3) + b.amax(3),
    "compared": lambda a, b: (a + 1 > b) & (a.bool() | (b == 3)),
    "times a fraction": lambda a, b: a * 0.5 + b,
    "from wider": lambda a, b: (a.int() * 3).to(a.dtype) + b,
}


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_integers(name: str, kind: torch.dtype) -> None:
    """They begin again where they end, as in eager PyTorch."""
    step = 300 if kind == torch.int16 else 1

    def function(x: torch.Tensor) -> torch.Tensor:
        whole = ((x * 40).to(torch.int32) * step).to(kind)
        return NARROW[name](whole, whole.flip(3)).float()

    result = written(function, (1, 2, 5, 6))
    values = [node.meta.get("val") for node in result.program.exported.graph.nodes]
    assert kind not in {value.dtype for value in values if isinstance(value, torch.Tensor)}


def test_narrow_integers_that_are_given_and_returned() -> None:
    """They keep their type; a table of bytes that is only widened stays one."""

    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Buffer(torch.arange(30, dtype=torch.uint8).reshape(1, 1, 5, 6))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            held = (x * 9).to(torch.int16)
            return held + 5, x * self.table.float()

    result = written(Bytes(), (1, 2, 5, 6))
    output = result.program.exported.graph.output_node().args[0]
    assert [each.meta["val"].dtype for each in output] == [torch.int16, torch.float32]
    assert torch.uint8 in {value.dtype for value in result.program.exported.state_dict.values()}
    stays(lambda x: x.to(torch.int32) + 5, (1, 2, 5, 6))


@pytest.mark.parametrize("number", [0, 1, 60, 0x5A5A, -1, -16])
def test_bits_that_whole_numbers_share_with_a_number(number: int) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        whole = (x * 1000).to(torch.int32)
        return torch.stack([whole & number, whole | number, whole ^ number]).float()

    written(function, (1, 2, 5, 6), "bitwise_and", "bitwise_or", "bitwise_xor")


@pytest.mark.parametrize("size", [3, 40])
def test_nonzero_static(size: int) -> None:
    written(
        lambda x: torch.ops.aten.nonzero_static(x.relu(), size=size, fill_value=-7).float(),
        (1, 2, 3, 5),
        "nonzero_static",
    )


def test_extremes_of_all_axes_name_them() -> None:
    result = written(lambda x: (x - x.amax()) / x.amin(keepdim=True), (1, 2, 3, 5))
    calls = [n for n in result.program.exported.graph.nodes if str(n.target).startswith("aten.am")]
    assert [call.args[1] for call in calls] == [[0, 1, 2, 3]] * 2


def test_softplus_that_bends_early() -> None:
    written(lambda x: F.softplus(x * 300, 3, 0.2), (1, 2, 3, 5), "softplus")
    stays(lambda x: F.softplus(x, 3), (1, 2, 3, 5))


@pytest.mark.parametrize("axes", [None, 1, (0, 2), (1, 2, 3)])
@pytest.mark.parametrize("correction", [None, 0, 1, 2])
@pytest.mark.parametrize("function", [torch.var, torch.std])
def test_variance(function: Any, axes: Any, correction: Any) -> None:
    kept = {} if axes is None else {"keepdim": True}
    written(lambda x: x * function(x, axes, correction=correction, **kept), (2, 3, 4, 5))


@pytest.mark.parametrize("shape", [(1, 2, 3, 5), (1, 40)])
def test_log_softmax_of_far_apart_values(shape: tuple[int, ...]) -> None:
    written(lambda x: (x * 100).log_softmax(1), shape, "log_softmax")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.addcmul(x, x.sin(), x[:, :1], value=-0.3),
        lambda x: torch.addcmul(x, x.sin(), x),
        lambda x: torch.baddbmm(x[0], x[0], x[0].mT @ x[0], beta=0.5, alpha=-2),
        lambda x: torch.baddbmm(x[0] / 0, x[0], x[0].mT @ x[0], beta=0),
        lambda x: (x.abs() + 0.1).log10(),
        lambda x: (x.abs() + 0.1).log2(),
    ],
)
def test_products_and_logarithms(function: Any) -> None:
    written(function, (1, 2, 3, 5))


def test_softmax_in_float64() -> None:
    written(lambda x: x.softmax(-1, dtype=torch.float64).float(), (1, 2, 3, 5))
    written(lambda x: x.log_softmax(1, dtype=torch.float64).float(), (1, 2, 3, 5), "log_softmax")
    stays(lambda x: x.softmax(-1), (1, 2, 3, 5))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (1, 4, 3, 5)])
def test_attention_of_other_shapes(shape: tuple[int, ...], causal: bool) -> None:
    """Queries of four heads share the keys of two."""
    shared = len(shape) == 4

    def function(x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(shape)
        key = x[:, ::2] * 0.7 if shared else x * 0.7
        mask = None if causal else x[..., :3].reshape(-1, 3, 3)[0]
        return F.scaled_dot_product_attention(
            x, key, key.sin(), mask, is_causal=causal, scale=0.4, enable_gqa=shared
        )

    result = written(function, (1, 1, 1, math.prod(shape)))
    [call] = [
        node
        for node in result.program.exported.graph.nodes
        if "scaled_dot_product_attention" in str(node.target)
    ]
    assert len(call.args[0].meta["val"].shape) == 4
    assert not call.kwargs.get("enable_gqa")


def test_attention_of_four_axes_stays() -> None:
    stays(lambda x: F.scaled_dot_product_attention(x, x, x), (1, 2, 3, 5))


@pytest.mark.parametrize("equal_nan", [True, False])
def test_isclose(equal_nan: bool) -> None:
    """Infinities of one sign are close to each other, and to nothing else."""

    def function(x: torch.Tensor) -> torch.Tensor:
        near = torch.isclose(x, x * 1.01, rtol=0.02, equal_nan=equal_nan).float()
        zero = (x * 0).abs()
        infinite = 1 / zero
        a = torch.stack([zero + 1, infinite, -infinite, zero / zero, zero], -1)
        b = torch.stack([infinite, infinite, infinite, zero / zero, zero], -1)
        return near[..., None] + 2 * torch.isclose(a, b, equal_nan=equal_nan).float()

    written(function, (1, 2, 3, 5), "isclose")


class Recurrent(nn.Module):
    """All results of a recurrent layer on an image of (1, 1, T, B · I) or (1, 1, B, T · I)."""

    def __init__(self, layer: nn.RNNBase, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.shape = layer, shape

    def forward(self, x: torch.Tensor) -> Any:
        y, state = self.layer(x.reshape(self.shape))
        return (y, *state) if isinstance(state, tuple) else (y, state)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LSTM(4, 3), (5, 2, 4)),
        (nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True), (3, 5, 4)),
        (nn.LSTM(4, 5, 2, proj_size=3, bidirectional=True), (4, 2, 4)),
        (nn.LSTM(4, 3, bias=False, proj_size=1), (4, 2, 4)),
        (nn.LSTM(4, 3), (5, 4)),
        (nn.GRU(4, 3, 2, bidirectional=True, batch_first=True), (3, 5, 4)),
        (nn.GRU(4, 3, bias=False), (5, 2, 4)),
        (nn.RNN(4, 3, bidirectional=True), (5, 2, 4)),
        (nn.RNN(4, 3, nonlinearity="relu"), (5, 2, 4)),
    ],
)
def test_recurrent(layer: nn.RNNBase, shape: tuple[int, ...]) -> None:
    module = Recurrent(layer, shape)
    written(module, (1, 1, shape[0], math.prod(shape[1:])), "lstm", "gru", "rnn_tanh", "rnn_relu")


def test_an_lstm_stays_where_a_format_has_it_but_not_with_projections() -> None:
    """torch.onnx writes nodes of other ranks for it."""
    shape = (5, 2, 4)
    for layer, is_kept in ((nn.LSTM(4, 3), True), (nn.LSTM(4, 3, proj_size=2), False)):
        program = program_of(Recurrent(layer, shape).eval(), (1, 1, 5, 8))
        result = decompose(program, ("lstm",))
        assert ("lstm" in ops(result.program)) == is_kept


def test_product_of_vectors() -> None:
    written(lambda x: torch.matmul(x[0, 0, 0], x[0, 1, 1]).reshape(1, 1), (1, 2, 3, 5), "matmul")
    written(lambda x: torch.matmul(x, x[0, 0, 0]), (1, 2, 3, 5))
    written(lambda x: torch.matmul(x[0, 0, :, 0], x), (1, 2, 3, 5))


def test_rules_that_write_calls_with_rules() -> None:
    """`trace` is a sum of `diagonal_copy`, which has a rule; one run takes both."""
    written(lambda x: torch.trace(x[0, 0]).reshape(1, 1), (1, 1, 5, 7), "trace", "diagonal_copy")


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("high", [True, False])
def test_clamp_between_tensors_that_cross(low: bool, high: bool) -> None:
    """torch.clamp's documentation: where min is above max, all elements are set to max."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x, x.flip(1) if low else None, x.flip(2) if high else None)

    if low or high:
        written(function, (1, 3, 4, 5), "clamp")


@pytest.mark.parametrize("scale", [1.0, 1e-3, 8.0])
def test_mantissa_and_exponent(scale: float) -> None:
    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole = (x * 2).round() * scale  # 0, powers of two and others
        return torch.frexp(torch.cat([whole, x * scale], 1))

    written(parts, (1, 3, 6, 6), "frexp")


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_distances_of_pairs_of_rows(p: float) -> None:
    written(lambda x: F.pdist(x.reshape(5, 6), p), (1, 1, 5, 6), "_pdist_forward")


def test_xlog1py_is_0_where_its_factor_is() -> None:
    low = torch.tensor([0.0, -1.0, 3.0])
    written(lambda x: torch.special.xlog1py(x.relu(), low.abs()), (1, 2, 4, 3))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_results_in_a_named_tuple_of_python(reduction: str) -> None:
    """PyTorch's decompositions of losses return one; the loss is its first item."""
    labels = torch.tensor([2, 0, 1, 2])
    for loss in (F.cross_entropy, F.nll_loss):
        written(lambda x, f=loss: f(x.reshape(4, 3), labels, reduction=reduction), (1, 1, 4, 3))


def test_a_list_among_the_results_of_a_call() -> None:
    """The histogram's edges; what is left of it is refused by name, where it was a KeyError."""
    result = apply(
        decompose,
        Calls(lambda x: torch.histogramdd(x.reshape(12, 2), [2, 3])[0]).eval(),
        (1, 2, 3, 4),
        normalize=False,
    )
    assert result.changes


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups", "offset_groups", "masked"),
    [
        (3, 1, 1, 1, 1, 1, True),
        ((3, 2), (2, 1), (1, 0), (1, 2), 2, 4, False),
        (1, 1, 0, 1, 4, 2, True),
        (3, 2, 2, 2, 1, 2, True),
    ],
)
def test_deformable_convolution(
    kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int, offset_groups: int,
    masked: bool,
) -> None:  # fmt: skip
    """Against torchvision's own kernel, at places inside and outside of the image."""
    vision = pytest.importorskip("torchvision").ops

    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = vision.DeformConv2d(
                4, 8, kernel, stride, padding, dilation, groups, bias=not masked
            )
            count = offset_groups * math.prod(self.conv.kernel_size)
            self.places = nn.Conv2d(4, 3 * count, kernel, stride, padding, dilation)
            self.count = count

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = self.places(x)
            mask = places[:, : self.count].sigmoid() if masked else None
            result: torch.Tensor = self.conv(x, 4 * places[:, self.count :], mask)
            return result

    torch.manual_seed(0)
    result = written(Deformed(), (1, 4, 9, 7), "deform_conv2d")
    assert ops(result.program)["grid_sampler"] == 1


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("images", [1, 2])
def test_means_of_places_in_boxes(aligned: bool, images: int) -> None:
    """Against torchvision's own kernel, of boxes inside, across and outside of the image."""
    vision = pytest.importorskip("torchvision").ops
    boxes = torch.tensor(
        [[0, 0.0, 0, 8, 8], [images - 1, 2.3, 2, 9.5, 21], [0, -9, -7, 3, 0.2], [0, 30, 30, 40, 40]]
    )
    apply_ = vision.roi_align
    result = written(
        lambda x: apply_(x, boxes.to(x.dtype), (3, 2), 0.5, 2, aligned),
        (images, 2, 9, 7),
        "roi_align",
    )
    assert ops(result.program)["grid_sampler"] == 1


def test_boxes_without_a_number_of_places_are_left_as_they_are() -> None:
    vision = pytest.importorskip("torchvision").ops
    boxes = torch.tensor([[0, 0.0, 0, 8, 8]])
    function = vision.roi_align
    stays(lambda x: function(x, boxes.to(x.dtype), (3, 2), 0.5), (1, 2, 9, 7))


def test_the_way_out_of_a_call_without_a_rule() -> None:
    boxes = torch.tensor([[0, 0.0, 0, 8, 8]])
    function = pytest.importorskip("torchvision").ops.roi_align
    net = Calls(lambda x: function(x, boxes.to(x.dtype), (3, 2), 0.5)).eval()
    (call,) = [n for n in program_of(net, (1, 3, 9, 7)).exported.graph.nodes if "roi" in n.name]
    assert "sampling_ratio above 0" in str(way_out(call))
