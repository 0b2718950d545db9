"""MIL op reference: pool. One, two or three spatial axes; sums accumulate in float32."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..table import Ints, Tensor, op
from .conv import window_padding

__all__: list[str] = []

_AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@op("max_pool")
def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of each window; padding never wins."""
    strides = strides or (1,) * len(kernel_sizes)
    pads = _pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    padded = F.pad(x, pads, value=-math.inf)
    result: Tensor = _MAX[x.dim() - 2](padded, kernel_sizes, strides)
    return result


def _divisor_is_open(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> str | None:
    """Why an average pool's divisor is not settled: a counted window reaches past the padding."""
    if not ceil_mode or exclude_padding_from_average:
        return None
    strides = strides or (1,) * len(kernel_sizes)
    longer, plain = (_pads(x, kernel_sizes, strides, pad_type, pad, ceil) for ceil in (True, False))
    if longer == plain:
        return None
    return (
        "windows that ceil_mode adds are divided by the whole kernel, as Core ML is reported to do;"
        " the model's framework divides by what lies inside"
    )


@op("avg_pool", unsettled=_divisor_is_open)
def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean of each window.

    The divisor is the whole kernel, or what lies in the input: ``exclude_padding_from_average``.
    What ``ceil_mode`` adds beyond the padding counts as padding. That is what Core ML returned on a
    Mac (coremltools pull request 2844), not PyTorch's rule, and it is not settled.
    """
    strides = strides or (1,) * len(kernel_sizes)
    pads = _pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    pool = _AVG[x.dim() - 2]
    mean: Tensor = pool(F.pad(x, pads), kernel_sizes, strides)
    if not any(pads) or not exclude_padding_from_average:
        return mean
    window = math.prod(kernel_sizes)
    counted = F.pad(torch.ones((1, 1, *x.shape[2:])), pads)
    count: Tensor = pool(counted, kernel_sizes, strides) * window
    return mean * (window / torch.round(count))


@op("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The square root of the sum of squares of each window."""
    strides = strides or (1,) * len(kernel_sizes)
    pads = _pads(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    mean: Tensor = _AVG[x.dim() - 2](F.pad(x * x, pads), kernel_sizes, strides)
    return torch.sqrt(mean * math.prod(kernel_sizes))


def _pads(
    x: Tensor, kernel: Ints, strides: Ints, pad_type: str, pad: Ints | None, ceil_mode: bool
) -> list[int]:
    """The padding in ``F.pad``'s order.

    ``ceil_mode`` lengthens the end so that one more window fits, provided that this window starts
    inside the input or the padding before it.
    """
    pairs = window_padding(pad_type, pad, x.shape[2:], kernel, strides)
    if ceil_mode:
        for axis, (before, after) in enumerate(pairs):
            size, stride = x.shape[2 + axis], strides[axis]
            count = -(-(size + before + after - kernel[axis]) // stride) + 1
            if (count - 1) * stride >= size + before:
                count -= 1
            needed = (count - 1) * stride + kernel[axis]
            pairs[axis] = (before, max(after, needed - size - before))
    return [amount for pair in reversed(pairs) for amount in pair]
