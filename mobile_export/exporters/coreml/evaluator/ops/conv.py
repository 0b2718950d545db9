"""MIL op reference: conv. One, two or three spatial axes; sums accumulate in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..table import Ints, Tensor, op

__all__ = ["window_padding"]

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def window_padding(
    pad_type: str, pad: Ints | None, sizes: Sequence[int], kernel: Sequence[int], strides: Ints
) -> list[tuple[int, int]]:
    """The zeros before and after each spatial axis.

    "same" makes the output ceil(size / stride) and puts an odd zero after, "same_lower" before.
    ``kernel`` is the extent of the window, dilation included.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        pads = pad or (0, 0) * len(sizes)
        return [(pads[2 * i], pads[2 * i + 1]) for i in range(len(sizes))]
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"pad_type {pad_type!r} is none of valid, custom, same, same_lower")
    result = []
    for size, extent, stride in zip(sizes, kernel, strides, strict=True):
        total = max(0, stride * -(-size // stride) - size + extent - stride)
        less, more = total // 2, total - total // 2
        result.append((less, more) if pad_type == "same" else (more, less))
    return result


@op("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [n, C, *D] with [C_out, C / groups, *K]."""
    rank = x.dim() - 2
    strides, dilations = strides or (1,) * rank, dilations or (1,) * rank
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = window_padding(pad_type, pad, x.shape[2:], extent, strides)
    padding = [before for before, _ in pads]
    if any(before != after for before, after in pads):
        x = F.pad(x, [amount for pair in reversed(pads) for amount in pair])
        padding = [0] * rank
    result: Tensor = _CONV[rank](x, weight, bias, strides, padding, dilations, groups)
    return result


@op("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """The transpose of ``conv``: [n, C, *D] with [C, C_out / groups, *K].

    The full result, (D - 1) stride + extent long, is cropped by the padding. An ``output_shape``
    that is longer than that is filled up at the end, where only the bias arrives.
    """
    rank = x.dim() - 2
    strides, dilations = strides or (1,) * rank, dilations or (1,) * rank
    full: Tensor = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, groups, dilations)

    crops = []
    for axis in range(rank):
        size, length = x.shape[2 + axis], full.shape[2 + axis]
        if pad_type == "custom":
            before, after = (pad[2 * axis], pad[2 * axis + 1]) if pad else (0, 0)
            wanted = length - before - after
        elif pad_type in ("same", "same_lower"):
            wanted = size * strides[axis] if output_shape is None else output_shape[2 + axis]
            total = max(0, length - wanted)
            before = total // 2 if pad_type == "same" else total - total // 2
        elif pad_type == "valid":
            before, wanted = 0, length
        else:
            raise ValueError(f"pad_type {pad_type!r} is none of valid, custom, same, same_lower")
        if output_shape is not None:
            wanted = output_shape[2 + axis]
        crops.append((-before, wanted + before - length))
    result = F.pad(full, [amount for pair in reversed(crops) for amount in pair])
    return result if bias is None else result + bias.reshape(1, -1, *([1] * rank))


@op("conv_quantized")
def conv_quantized(
    x: Tensor,
    weight: Tensor,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    nbits: int = 8,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """``conv`` with weight * scale + bias per output channel, for linear 8-bit weights."""
    if quantization_type != "linear" or nbits != 8:
        raise ValueError(
            f"{nbits}-bit weights of quantization_type {quantization_type!r} are unknown"
        )
    shape = [-1] + [1] * (weight.dim() - 1)
    real = weight.to(torch.float32) * quant_scale.reshape(shape) + quant_bias.reshape(shape)
    return conv(x, real, bias, strides, pad_type, pad, dilations, groups)
