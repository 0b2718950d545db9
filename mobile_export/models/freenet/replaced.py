"""ConvNeXt-T and PVTv2-b2-li with FreeNet's mixers in their last stage (its Table 5).

The networks are timm's, with timm's names of weights where nothing is replaced. Where PVTv2 has
both mixers, parameters and FLOPs are those of the table; with one of them, and in ConvNeXt,
parameters are 2 to 3 % off: the appendix that says how the modules are set up there is not public.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ...system.install import missing_extra
from ..layers import check_classes, from_map, to_map
from .network import S2Mixer, ShiftFFN

__all__ = ["convnext_tiny_freenet", "pvt_v2_b2_li_freenet"]


class ChannelsLast(nn.Module):
    """A module of maps that takes (B, H, W, C)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y


class OfTokens(nn.Module):
    """A module of maps that takes tokens (B, h·w, C) and their map's size."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return from_map(self.inner(to_map(x, size)))


def _of_timm(name: str, **kwargs: Any) -> Any:
    try:
        import timm
    except ImportError as error:
        raise missing_extra(f"{name} with FreeNet's mixers", "timm", "timm") from error
    return timm.create_model(name, **kwargs)


def convnext_tiny_freenet(
    num_classes: int = 1000, *, in_chans: int = 3, replaced: str = "ffn"
) -> nn.Module:
    """ConvNeXt-T whose last stage has ShiftFFNs ("ffn") or S2-Mixers ("mixer").

    Images (B, in_chans, H, W) -> logits (B, num_classes).
    """
    check_classes(num_classes)
    module = _of_timm("convnext_tiny", num_classes=num_classes, in_chans=in_chans)
    for block in module.stages[-1].blocks:
        dim = block.conv_dw.in_channels
        if replaced == "ffn":
            block.mlp = ChannelsLast(ShiftFFN(dim))
        else:
            block.conv_dw = S2Mixer(dim)
    return cast(nn.Module, module)


def pvt_v2_b2_li_freenet(
    num_classes: int = 1000,
    *,
    in_chans: int = 3,
    replaced: str = "both",
    depths: str = "3-4-6-3",
) -> nn.Module:
    """PVTv2-b2-li whose last stage has ShiftFFNs ("ffn"), S2-Mixers ("mixer") or both.

    Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depths: blocks of each stage.
    """
    check_classes(num_classes)
    module = _of_timm(
        "pvt_v2_b2_li",
        num_classes=num_classes,
        in_chans=in_chans,
        depths=tuple(map(int, depths.split("-"))),
    )
    for block in module.stages[-1].blocks:
        dim = block.norm1.normalized_shape[0]
        if replaced != "mixer":
            block.mlp = OfTokens(ShiftFFN(dim))
        if replaced != "ffn":
            block.attn = OfTokens(S2Mixer(dim))
    return cast(nn.Module, module)
