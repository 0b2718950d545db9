"""CAS-ViT: convolutional additive self-attention (arXiv 2408.03703).

"CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile
Applications", Zhang et al. A stem of stride 4 and four stages of blocks, each a local perception
unit, a convolutional additive token mixer (CATM, §3.2) and an MLP, all with residuals. The mixer
has no matrix product of queries and keys: both pass a spatial and a channel gate and are added.

Variants and parameter names are those of the official code (github.com/Tianfang-Zhang/CAS-ViT,
classification/model/rcvit.py). The model there has two classifiers by default, of which the mean
is taken, and the paper counts both; its main.py trains and evaluates with the first alone. So a
checkpoint may hold either: ``?heads=1`` takes one of a single head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates

__all__ = ["AdditiveTokenMixer", "CASViT", "cas_vit_m", "cas_vit_s", "cas_vit_t", "cas_vit_xs"]

MLP_RATIO = 4


def _depthwise(dim: int) -> nn.Conv2d:
    """3x3 depthwise convolution."""
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim)


class SpatialGate(nn.Module):
    """x · sigmoid(one score per pixel): (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            _depthwise(dim),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, 1, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.block(x)
        return y


class ChannelGate(nn.Module):
    """x · sigmoid(one score per channel): (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, dim, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.block(x)
        return y


class AdditiveTokenMixer(nn.Module):
    """CATM (§3.2): proj(dw(gate(q) + gate(k)) · v): (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.oper_q = nn.Sequential(SpatialGate(dim), ChannelGate(dim))
        self.oper_k = nn.Sequential(SpatialGate(dim), ChannelGate(dim))
        self.dwc = _depthwise(dim)
        self.proj = _depthwise(dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=1)
        y: Tensor = self.proj(self.dwc(self.oper_q(q) + self.oper_k(k)) * v)
        return y


class LocalPerception(nn.Module):
    """1x1, 3x3 depthwise and 1x1 convolution: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(dim, dim, 1),
            nn.BatchNorm2d(dim),
            _depthwise(dim),
            nn.GELU(),
            nn.Conv2d(dim, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.network(x)
        return y


class Mlp(nn.Module):
    """Two 1x1 convolutions with GELU between: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, MLP_RATIO * dim, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(MLP_RATIO * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.act(self.fc1(x)))
        return y


class AdditiveBlock(nn.Module):
    """Local perception, token mixer and MLP, each with a residual: (B, C, H, W) -> the same."""

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.local_perception = LocalPerception(dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = AdditiveTokenMixer(dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.local_perception(x)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class Embedding(nn.Module):
    """3x3 convolution of stride 2 and batch norm: (B, C, H, W) -> (B, D, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim_out, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.proj(x))
        return y


def _stem(dim_in: int, dim_out: int) -> nn.Sequential:
    """Two 3x3 convolutions of stride 2: (B, C, H, W) -> (B, D, ⌈H/4⌉, ⌈W/4⌉)."""
    middle = dim_out // 2
    return nn.Sequential(
        nn.Conv2d(dim_in, middle, 3, stride=2, padding=1),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, dim_out, 3, stride=2, padding=1),
        nn.BatchNorm2d(dim_out),
        nn.ReLU(),
    )


class CASViT(nn.Module):
    """CAS-ViT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    Any H and W from 1 up work; the feature maps are H/4 … H/32, rounded up.

    Args:
        depths, dims: number of blocks and channels of each stage.
        heads: "2" (the logits are the mean of two classifiers) or "1".
    """

    classifier_parts = ("norm", "head", "dist_head")

    def __init__(
        self,
        depths: tuple[int, ...],
        dims: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        heads: str = "2",
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        if heads not in ("1", "2"):
            raise ValueError(f"heads is {heads!r}; it must be '1' or '2'")
        self.num_classes = num_classes
        self.patch_embed = _stem(in_chans, dims[0])
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        network: list[nn.Module] = []
        for stage, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
            if stage:
                network.append(Embedding(dims[stage - 1], dim))
            network.append(nn.Sequential(*(AdditiveBlock(dim, next(drops)) for _ in range(depth))))
        self.network = nn.ModuleList(network)
        self.norm = nn.BatchNorm2d(dims[-1])
        self.head = self._classifier(dims[-1], num_classes)
        self.dist_head = self._classifier(dims[-1], num_classes) if heads == "2" else None

    @staticmethod
    def _classifier(dim: int, num_classes: int) -> nn.Linear:
        linear = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        return linear

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The outputs of the four stages."""
        x = self.patch_embed(x)
        maps: list[Tensor] = []
        for part in self.network:
            x = part(x)
            if not isinstance(part, Embedding):
                maps.append(x)
        return maps

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, dims[-1], ⌈H/32⌉, ⌈W/32⌉), not yet normalised."""
        x = self.patch_embed(x)
        for part in self.network:
            x = part(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.norm(self.forward_features(x)).mean((2, 3))
        logits: Tensor = self.head(pooled)
        return logits if self.dist_head is None else (logits + self.dist_head(pooled)) / 2


def cas_vit_xs(**kwargs: Any) -> CASViT:
    """CAS-ViT-XS: 3.20 M parameters, 78.3 % top-1. Keywords: those of `CASViT`."""
    return CASViT((2, 2, 4, 2), (48, 56, 112, 220), **kwargs)


def cas_vit_s(**kwargs: Any) -> CASViT:
    """CAS-ViT-S: 5.76 M parameters, 80.9 % top-1. Keywords: those of `CASViT`."""
    return CASViT((3, 3, 6, 3), (48, 64, 128, 256), **kwargs)


def cas_vit_m(**kwargs: Any) -> CASViT:
    """CAS-ViT-M: 12.42 M parameters, 82.8 % top-1. Keywords: those of `CASViT`."""
    return CASViT((3, 3, 6, 3), (64, 96, 192, 384), **kwargs)


def cas_vit_t(**kwargs: Any) -> CASViT:
    """CAS-ViT-T: 21.76 M parameters, 83.9 % top-1. Keywords: those of `CASViT`."""
    return CASViT((3, 3, 6, 3), (96, 128, 256, 512), **kwargs)
