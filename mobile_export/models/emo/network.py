"""EMO: Efficient MOdel, ICCV 2023 (arXiv 2301.01146).

"Rethinking Mobile Block for Efficient Attention-based Models", Zhang et al. The network is one
convolutional stem and four stages of inverted residual mobile blocks (iRMB, §2.3); in stages 3 and
4 the blocks of stride 1 hold window attention whose query and key come from the un-expanded input
(EW-MHSA). Variants: Table 4; head widths and normalisation per stage as in the official
checkpoints.

Parameter names are those of the official checkpoints (github.com/zhangzjn/EMO).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates

__all__ = [
    "EMO",
    "EMO_1M",
    "EMO_2M",
    "EMO_5M",
    "EMO_6M",
    "EMOBackbone",
    "EMOConfig",
    "InvertedResidualMobileBlock",
    "emo_1m",
    "emo_2m",
    "emo_5m",
    "emo_6m",
]

EPS = 1e-6


@dataclass(frozen=True)
class EMOConfig:
    """One variant of Table 4; each tuple has one value per stage 1 to 4.

    Attributes:
        depths: number of blocks.
        dims: channels that leave the stage.
        expansions: width of a block's middle over its input; the first block of a stage, which
            halves the resolution, expands twice as much.
        head_dims: channels per attention head.
        norms: "batch" or "layer" (over channels) at a block's entrance.
        activations: "silu" or "gelu" after the value projection.
        kernels: of the depthwise convolution.
        attention: whether the blocks of stride 1 attend.
        convolves: whether those have their depthwise convolution; without it, only the blocks that
            halve the resolution convolve (Table 5).
        stem_dim: channels after the stem.
        window: side of an attention window in pixels.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    expansions: tuple[float, ...]
    head_dims: tuple[int, ...]
    norms: tuple[str, ...] = ("batch", "batch", "layer", "layer")
    activations: tuple[str, ...] = ("silu", "silu", "gelu", "gelu")
    kernels: tuple[int, ...] = (3, 3, 5, 5)
    attention: tuple[bool, ...] = (False, False, True, True)
    convolves: bool = True
    stem_dim: int = 24
    window: int = 7


EMO_1M = EMOConfig(
    depths=(2, 2, 8, 3),
    dims=(32, 48, 80, 168),
    expansions=(2.0, 2.5, 3.0, 3.5),
    head_dims=(16, 16, 20, 21),
)
EMO_2M = EMOConfig(
    depths=(3, 3, 9, 3),
    dims=(32, 48, 120, 200),
    expansions=(2.0, 2.5, 3.0, 3.5),
    head_dims=(16, 16, 20, 20),
)
EMO_5M = EMOConfig(
    depths=(3, 3, 9, 3),
    dims=(48, 72, 160, 288),
    expansions=(2.0, 3.0, 4.0, 4.0),
    head_dims=(24, 24, 32, 32),
)
EMO_6M = EMOConfig(
    depths=(3, 3, 9, 3),
    dims=(48, 72, 160, 320),
    expansions=(2.0, 3.0, 4.0, 5.0),
    head_dims=(16, 24, 20, 32),
)


def _activation(name: str | None) -> nn.Module:
    makers: dict[str | None, type[nn.Module]] = {
        None: nn.Identity,
        "silu": nn.SiLU,
        "gelu": nn.GELU,
    }
    return makers[name]()


def _norm(name: str | None, channels: int) -> nn.Module:
    if name is None:
        return nn.Identity()
    if name == "batch":
        return nn.BatchNorm2d(channels, eps=EPS)
    return ChannelLayerNorm(channels)


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of each pixel: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class ConvNormAct(nn.Module):
    """Convolution with "same" padding of odd kernels, then optional norm and activation."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: str | None = None,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=bias
        )
        self.norm = _norm(norm, dim_out)
        self.act = _activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class SqueezeExcite(nn.Module):
    """Channel gate of width 1: x · sigmoid(W2 silu(W1 mean(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.conv_expand(F.silu(self.conv_reduce(squeezed))))


class Stem(nn.Module):
    """3x3 convolution of stride 2 and batch norm: (B, C, H, W) -> (B, dim, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        conv = nn.Conv2d(dim_in, dim_out, 3, stride=2, padding=1)
        self.convs = nn.ModuleList([nn.Sequential(conv, _norm("batch", dim_out))])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs[0](x)
        return y


def partition_windows(x: Tensor, window: int) -> Tensor:
    """Dilated-grid windows of w x w pixels: (B, C, w·n1, w·n2) -> (B·n1·n2, C, w, w).

    A window holds every n1-th row and n2-th column, not neighbours, so it sees the whole image.
    """
    batch, channels, height, width = x.shape
    rows, columns = height // window, width // window
    x = x.reshape(batch, channels, window, rows, window, columns).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(batch * rows * columns, channels, window, window)


def merge_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Inverse of `partition_windows`: (B·n1·n2, C, w, w) -> (B, C, height, width)."""
    channels, window = windows.shape[1:3]
    rows, columns = height // window, width // window
    batch = windows.shape[0] // (rows * columns)
    x = windows.reshape(batch, rows, columns, channels, window, window).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(batch, channels, height, width)


class InvertedResidualMobileBlock(nn.Module):
    """iRMB (§2.3): x + proj(y + dw(y)) with y = v(attention(norm(x))), one residual around all.
    Without ``convolves``, a block of stride 1 has proj(y) in it alone (Table 5).

    Attention mixes the pixels of a window with weights softmax(q·k / √d), q and k projected from
    the normalised input. What is mixed is that input itself: the value projection v and its
    activation come after the mixing, which is then done at a block's narrow end. Feature maps that
    the window does not divide are padded with zeros at the bottom and right after the norm; padded
    pixels take part in the softmax, as in the official code, and are cropped after.

    (B, dim_in, H, W) -> (B, dim_out, ⌈H/stride⌉, ⌈W/stride⌉)
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        *,
        expansion: float,
        kernel: int,
        norm: str | None,
        activation: str,
        stride: int = 1,
        skip: bool = True,
        project_value: bool = True,
        squeeze_excite: bool = False,
        head_dim: int | None = None,
        window: int = 7,
        drop_path: float = 0.0,
        convolves: bool = True,
    ) -> None:
        super().__init__()
        middle = int(dim_in * expansion)
        self.skip = skip and stride == 1 and dim_in == dim_out
        self.head_dim = head_dim
        self.window = window
        self.norm = _norm(norm, dim_in)
        if head_dim is not None:
            if dim_in % head_dim:
                raise ValueError(f"{dim_in} channels do not divide into heads of {head_dim}")
            self.qk = ConvNormAct(dim_in, 2 * dim_in, bias=True)
        self.v: nn.Module = nn.Identity()
        if project_value:
            self.v = ConvNormAct(dim_in, middle, bias=True, activation=activation)
        self.convolves = convolves or stride > 1
        if self.convolves:
            self.conv_local = ConvNormAct(
                middle,
                middle,
                kernel,
                stride=stride,
                groups=middle,
                norm="batch",
                activation="silu",
            )
        self.se = SqueezeExcite(middle) if squeeze_excite else nn.Identity()
        self.proj = ConvNormAct(middle, dim_out)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = self.v(y) if self.head_dim is None else self.attend(y, self.head_dim)
        if self.convolves:
            local = self.se(self.conv_local(y))
            y = y + local if self.skip else local
        else:
            y = self.se(y)
        projected: Tensor = self.proj(y)
        return x + self.drop_path(projected) if self.skip else projected

    def attend(self, x: Tensor, head_dim: int) -> Tensor:
        """Window attention and value projection: (B, C, H, W) -> (B, middle, H, W)."""
        channels, height, width = x.shape[1:]
        window = self.window
        bottom, right = -height % window, -width % window
        if bottom or right:
            x = F.pad(x, (0, right, 0, bottom))
        windows = partition_windows(x, window)

        heads, pixels = channels // head_dim, window * window
        q, k = self.qk(windows).reshape(-1, 2, heads, head_dim, pixels).unbind(1)
        attention = (q.transpose(-2, -1) @ k * head_dim**-0.5).softmax(-1)
        values = windows.reshape(-1, heads, head_dim, pixels)
        mixed = (values @ attention.transpose(-2, -1)).reshape(-1, channels, window, window)

        y = merge_windows(self.v(mixed), height + bottom, width + right)
        return y[:, :, :height, :width] if bottom or right else y


class EMOBackbone(nn.Module):
    """The stages of EMO, for a head to stand on; call `stages`."""

    def __init__(
        self, config: EMOConfig, *, in_chans: int = 3, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.config = config
        dim = config.stem_dim
        self.stage0 = nn.Sequential(
            Stem(in_chans, dim),
            InvertedResidualMobileBlock(
                dim,
                dim,
                expansion=1,
                kernel=config.kernels[0],
                norm=None,
                activation=config.activations[0],
                skip=False,
                project_value=False,
                squeeze_excite=True,
                convolves=config.convolves,
            ),
        )
        drops = iter(drop_rates(drop_path_rate, sum(config.depths)))
        for stage, depth in enumerate(config.depths):
            blocks: list[nn.Module] = []
            for index in range(depth):
                first = index == 0
                attends = config.attention[stage] and not first
                blocks.append(
                    InvertedResidualMobileBlock(
                        dim,
                        config.dims[stage],
                        expansion=config.expansions[stage] * (2 if first else 1),
                        kernel=config.kernels[stage],
                        norm=config.norms[stage],
                        activation=config.activations[stage],
                        stride=2 if first else 1,
                        head_dim=config.head_dims[stage] if attends else None,
                        window=config.window,
                        drop_path=next(drops),
                        convolves=config.convolves,
                    )
                )
                dim = config.dims[stage]
            setattr(self, f"stage{stage + 1}", nn.Sequential(*blocks))

    def stages(self, x: Tensor) -> list[Tensor]:
        """(B, in_chans, H, W) -> outputs of stages 0 to 4, of ⌈H/2⌉ x ⌈W/2⌉ to ⌈H/32⌉ x ⌈W/32⌉.

        Any H and W from 1 up work.
        """
        outputs: list[Tensor] = []
        for stage in range(len(self.config.depths) + 1):
            x = getattr(self, f"stage{stage}")(x)
            outputs.append(x)
        return outputs


class EMO(EMOBackbone):
    """EMO classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    Any H and W from 1 up work.
    """

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        config: EMOConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__(config, in_chans=in_chans, drop_path_rate=drop_path_rate)
        self.num_classes = num_classes
        dim = config.dims[-1]
        self.norm = _norm(config.norms[-1], dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 2 to 32 that a head of `models.heads` stands on."""
        return self.stages(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dims[-1], ⌈H/32⌉, ⌈W/32⌉), not yet normalised."""
        return self.stages(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.forward_features(x)).mean((2, 3)))
        return logits


def emo_1m(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> EMO:
    """EMO-1M: 1.36 M parameters, 71.5 % top-1 (Tables 4 and 7)."""
    return EMO(EMO_1M, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)


def emo_2m(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> EMO:
    """EMO-2M: 2.38 M parameters, 75.1 % top-1 (Tables 4 and 7)."""
    return EMO(EMO_2M, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)


def emo_5m(
    num_classes: int = 1000,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    depths: str = "3-3-9-3",
    attention: str = "34",
    dw_conv: str = "all",
) -> EMO:
    """EMO-5M: 5.1 M parameters, 78.4 % top-1 (Tables 4 and 7).

    Args:
        depths: number of blocks of each stage; Table 12 has others.
        attention: the stages that attend, "none" without EW-MHSA (Table 5; the table of MHSA in
            different stages).
        dw_conv: the blocks that have a depthwise convolution, "downsampling" for those of stride 2
            alone (Table 5 without DW-Conv: §2.3 keeps "several DW-Conv for down-sampling").
    """
    config = replace(
        EMO_5M,
        depths=tuple(map(int, depths.split("-"))),
        attention=tuple(stage in attention for stage in "1234"),
        convolves=dw_conv == "all",
    )
    return EMO(config, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)


def emo_6m(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> EMO:
    """EMO-6M: 6.1 M parameters, 79.0 % top-1 (Table 7; not in Table 4)."""
    return EMO(EMO_6M, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)
