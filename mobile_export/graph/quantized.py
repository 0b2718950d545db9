"""Quantisation inside a graph: ``quantized_decomposed`` calls, and what they compute exactly.

PyTorch's own implementations take float32 only and multiply by 1 / scale. Here is what the
operators say: a number x is stored as q = clamp(round(x / scale) + zero_point, low, high), ties to
even, and stands for (q - zero_point) · scale (Jacob et al. 2018, equation 1; ONNX QuantizeLinear).
`graph.float64` runs a graph with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.fx import Node

__all__ = [
    "NAMESPACE",
    "dequantized",
    "exact_call",
    "is_dynamic",
    "is_quantization",
    "quantized",
    "tie_window",
]

NAMESPACE = "quantized_decomposed"

_Round = Callable[[torch.Tensor], torch.Tensor]
_rounding: list[_Round] = [torch.round]


def _along(values: torch.Tensor, rank: int, axis: int) -> torch.Tensor:
    """One value for each element of an axis, in a shape that broadcasts over the others."""
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def quantized(
    x: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    low: int,
    high: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The integers that stand for ``x``: clamp(round(x / scale) + zero_point, low, high).

    Args:
        scale, zero_point: of shapes that broadcast with ``x``.
    """
    steps = _rounding[-1](x.double() / scale.double()) + zero_point
    return steps.clamp(low, high).to(dtype)


def dequantized(q: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """What integers stand for, in float64: (q - zero_point) · scale."""
    return (q.double() - zero_point) * scale.double()


class tie_window:
    """While it is entered, a number near the middle between two integers may go to either.

    The side is drawn. That is what another order of additions, or a multiplication by a scale in
    fixed point, does to a kernel. With 0.5 every number may go to both of its neighbours.

    Args:
        half_width: how near, in steps, 0 to 0.5.
    """

    def __init__(self, half_width: float, seed: int) -> None:
        self._half = half_width
        self._draws = torch.Generator().manual_seed(seed)

    def _round(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(x.shape, generator=self._draws, dtype=torch.float64) * 2 - 1
        return torch.round(x + noise * self._half)

    def __enter__(self) -> None:
        _rounding.append(self._round)

    def __exit__(self, *error: object) -> None:
        _rounding.pop()


def is_dynamic(node: Node) -> bool:
    """Whether ``node`` quantises or dequantises with a scale that is chosen while it runs."""
    return is_quantization(node) and node.target._overloadname == "tensor"  # type: ignore[union-attr]


def is_quantization(node: Node) -> bool:
    """Whether ``node`` calls an operator that quantises or dequantises."""
    return getattr(node.target, "namespace", None) == NAMESPACE


def _per_tensor(
    x: torch.Tensor, scale: float, zero_point: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    return quantized(x, torch.as_tensor(scale), torch.as_tensor(zero_point), low, high, dtype)


def _per_channel(
    x: torch.Tensor,
    scales: torch.Tensor,
    zero_points: torch.Tensor,
    axis: int,
    low: int,
    high: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    scale, zero = (_along(each, x.ndim, axis) for each in (scales, zero_points))
    return quantized(x, scale, zero, low, high, dtype)


def _chosen(
    x: torch.Tensor, low: int, high: int, *_: Any, **__: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale and the zero point for what ``x`` holds now (ONNX DynamicQuantizeLinear): the range
    takes zero in, and the zero point is an integer of the type."""
    least, most = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
    scale = ((most - least) / (high - low)).clamp(min=_SMALLEST_SCALE)
    zero = torch.round(low - least / scale).clamp(low, high)
    return scale, zero.to(torch.int64)


_SMALLEST_SCALE = 2.0**-100
"""Of a tensor of zeros, which has none."""


def _from_tensor(
    q: torch.Tensor, scale: float, zero_point: int, *_: Any, **__: Any
) -> torch.Tensor:
    real = torch.as_tensor(scale, dtype=torch.float64)
    return dequantized(q, real, torch.as_tensor(zero_point))


def _from_channels(
    q: torch.Tensor, scales: torch.Tensor, zero_points: torch.Tensor, axis: int, *_: Any, **__: Any
) -> torch.Tensor:
    return dequantized(q, _along(scales, q.ndim, axis), _along(zero_points, q.ndim, axis))


_EXACT: dict[str, Callable[..., Any]] = {
    "choose_qparams": _chosen,
    "quantize_per_tensor": _per_tensor,
    "quantize_per_channel": _per_channel,
    "dequantize_per_tensor": _from_tensor,
    "dequantize_per_channel": _from_channels,
}


def exact_call(operator: Any) -> Callable[..., Any] | None:
    """What an operator of `NAMESPACE` computes, in float64; None for any other operator."""
    if getattr(operator, "namespace", None) != NAMESPACE:
        return None
    return _EXACT[operator._schema.name.split("::")[1]]
