"""PatchConvNet (arXiv 2112.13692).

"Augmenting Convolutional networks with attention-based aggregation", Touvron et al. A convolutional
stem to stride 16, sixty blocks of one width with a depthwise convolution and
squeeze-and-excitation, and one block of attention in which a class token gathers from all pixels
(§3.2). S60: Table 1.

Parameter names are those of the official checkpoints (github.com/facebookresearch/deit).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, FeedForward, check_classes, from_map, initialize_linear

__all__ = ["PatchConvNet", "patchconvnet_s60"]

EPS = 1e-6
LAYER_SCALE = 1e-4
MLP_RATIO = 3


class Stem(nn.Module):
    """Four convolutions of stride 2: (B, in_chans, H, W) -> (B, dim, H/16, W/16)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_chans
        for share in (8, 4, 2, 1):
            conv = nn.Conv2d(before, dim // share, 3, 2, 1, bias=False)
            layers += [nn.Sequential(conv), nn.GELU()]
            before = dim // share
        self.proj = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y


class SqueezeExcite(nn.Module):
    """Channels scaled by what the averages say; named as in timm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(dim, dim // 4, 1)
        self.conv_expand = nn.Conv2d(dim // 4, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        average = x.mean((2, 3), keepdim=True)
        y: Tensor = x * self.conv_expand(F.relu(self.conv_reduce(average))).sigmoid()
        return y


class Mixer(nn.Module):
    """Pointwise, depthwise, squeeze-and-excitation, pointwise: (B, dim, H, W) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv_pos = nn.Sequential(
            nn.Conv2d(dim, dim, 1),
            nn.GELU(),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.GELU(),
            SqueezeExcite(dim),
            nn.Conv2d(dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.qkv_pos(x)
        return y


class Block(nn.Module):
    """`Mixer` after a norm, scaled per channel and with a residual."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Mixer(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y: Tensor = x + self.drop_path(self.gamma_1[:, None, None] * self.attn(normed))
        return y


class Aggregation(nn.Module):
    """What the first token gathers, one head: (B, 1 + N, dim) -> (B, 1, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x[:, :1]) * x.shape[2] ** -0.5
        weights = (q @ self.k(x).transpose(1, 2)).softmax(-1)
        y: Tensor = self.proj(weights @ self.v(x))
        return y


class TokenBlock(nn.Module):
    """The class token (B, 1, dim) gathers from pixels (B, N, dim) and is fed forward."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.gamma_2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Aggregation(dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        joined = torch.cat([token, x], 1)
        token = token + self.gamma_1 * self.attn(self.norm1(joined))
        y: Tensor = token + self.gamma_2 * self.mlp(self.norm2(token))
        return y


class PatchConvNet(nn.Module):
    """PatchConvNet classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(
        self,
        dim: int,
        depth: int,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.patch_embed = Stem(in_chans, dim)
        self.blocks = nn.ModuleList(Block(dim, drop_path_rate) for _ in range(depth))
        self.blocks_token_only = nn.ModuleList([TokenBlock(dim)])
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x)
        token = self.cls_token.expand(x.shape[0], -1, -1)
        for gather in self.blocks_token_only:
            token = gather(from_map(x), token)
        logits: Tensor = self.head(self.norm(token)[:, 0])
        return logits


def patchconvnet_s60(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> PatchConvNet:
    """PatchConvNet-S60: 25.2 M parameters, 82.1 % top-1 on ImageNet."""
    return PatchConvNet(
        384, 60, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )
