"""Mobile-Former, CVPR 2022 (arXiv 2108.05895): a MobileNet and a transformer in parallel.

"Mobile-Former: Bridging MobileNet and Transformer", Chen et al. A few learnt tokens (Former) run
beside the inverted bottlenecks (Mobile). In every block the tokens first attend to the feature map,
then to each other; the first token sets the activations of the bottleneck (dynamic ReLU); the
pixels of the result attend to the tokens. On Mobile's side of the bridge nothing is projected.
Variants, heads and details are those of the official code (github.com/AAboys/MobileFormer), and so
are the parameter names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, attend, check_classes
from .variants import M96, M151, M214, M294, M508, Block, MobileFormerConfig

__all__ = [
    "MobileFormer",
    "mobile_former_151m",
    "mobile_former_214m",
    "mobile_former_294m",
    "mobile_former_508m",
    "mobile_former_96m",
]

BRIDGE_HEADS = 2
FORMER_HEADS = 4
FORMER_EXPANSION = 2
HYPER_REDUCTION = 4
HEAD_EXPANSION = 6


def _conv_norm(
    dim_in: int, dim_out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(dim_out)]


class MobileToFormer(nn.Module):
    """Tokens attend to pixels: (B, dim, H, W), (B, T, token_dim) -> (B, T, token_dim)."""

    def __init__(self, dim: int, token_dim: int, drop_path: float) -> None:
        super().__init__()
        self.alpha = nn.Sequential(nn.Linear(token_dim, dim), nn.Hardsigmoid())
        self.q = nn.Linear(token_dim, dim)
        self.proj = nn.Linear(dim, token_dim)
        self.layer_norm = nn.LayerNorm(token_dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        pixels = x.flatten(2)
        mixed = attend(self.q(tokens).transpose(1, 2), pixels, pixels, BRIDGE_HEADS)
        mixed = mixed.transpose(1, 2) * (2.0 * self.alpha(tokens))
        output: Tensor = self.layer_norm(tokens + self.drop_path(self.proj(mixed)))
        return output


class Former(nn.Module):
    """Tokens attend to tokens, then a feed-forward: (B, T, token_dim) -> the same shape."""

    def __init__(self, token_dim: int, drop_path: float) -> None:
        super().__init__()
        middle = FORMER_EXPANSION * token_dim
        self.ffn = nn.Sequential(
            nn.Linear(token_dim, middle), nn.GELU(), nn.Linear(middle, token_dim)
        )
        self.ffn_norm = nn.LayerNorm(token_dim)
        self.q = nn.Linear(token_dim, token_dim)
        self.channel_mlp = nn.Linear(token_dim, token_dim)
        self.layer_norm = nn.LayerNorm(token_dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        keys = tokens.transpose(1, 2)
        mixed = attend(self.q(tokens).transpose(1, 2), keys, keys, FORMER_HEADS)
        mixed = self.channel_mlp(mixed.transpose(1, 2))
        tokens = self.layer_norm(tokens + self.drop_path(mixed))
        output: Tensor = self.ffn_norm(tokens + self.ffn(tokens))
        return output


class FormerToMobile(nn.Module):
    """Pixels attend to tokens: (B, dim, H, W), (B, T, token_dim) -> (B, dim, H, W)."""

    def __init__(self, dim: int, token_dim: int, drop_path: float) -> None:
        super().__init__()
        self.k = nn.Linear(token_dim, dim)
        self.proj = nn.Linear(token_dim, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        keys, values = self.k(tokens).transpose(1, 2), self.proj(tokens).transpose(1, 2)
        mixed = attend(x.flatten(2), keys, values, BRIDGE_HEADS)
        output: Tensor = x + self.drop_path(mixed.reshape(x.shape))
        return output


class DynamicReLU(nn.Module):
    """max(a·x, b·x), a in [0, 2] and b in [-1, 1] per channel from the first token."""

    def __init__(self, channels: int, token_dim: int) -> None:
        super().__init__()
        middle = token_dim // HYPER_REDUCTION
        self.hyper = nn.Sequential(
            nn.Linear(token_dim, middle),
            nn.ReLU(),
            nn.Linear(middle, 2 * channels),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        slopes = self.hyper(tokens[:, 0]).unsqueeze(-1).unsqueeze(-1)
        a, b = slopes.chunk(2, 1)
        return torch.maximum(x * (2.0 * a), x * (2.0 * b - 1.0))


class Bridged(nn.Module):
    """What both kinds of block share: tokens, their two bridges and stochastic depth."""

    def __init__(self, dim_in: int, dim_out: int, token_dim: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path)
        self.local_global = MobileToFormer(dim_in, token_dim, drop_path)
        self.global_block = Former(token_dim, drop_path)
        self.global_local = FormerToMobile(dim_out, token_dim, drop_path)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.global_block(self.local_global(x, tokens))
        return self.global_local(self.mobile(x, tokens), tokens), tokens

    def mobile(self, x: Tensor, tokens: Tensor) -> Tensor:
        raise NotImplementedError


class MobileFormerBlock(Bridged):
    """1x1, depthwise 3x3, 1x1: (B, dim_in, H, W) -> (B, channels, H, W), and the tokens."""

    def __init__(self, dim_in: int, block: Block, token_dim: int, drop_path: float) -> None:
        super().__init__(dim_in, block.channels, token_dim, drop_path)
        middle = dim_in * block.expansion
        self.conv1 = nn.Sequential(*_conv_norm(dim_in, middle))
        self.hyper1 = DynamicReLU(middle, token_dim)
        self.conv2 = nn.Sequential(*_conv_norm(middle, middle, 3, groups=middle))
        self.hyper2 = DynamicReLU(middle, token_dim)
        self.conv3 = nn.Sequential(*_conv_norm(middle, block.channels))
        self.residual = dim_in == block.channels

    def mobile(self, x: Tensor, tokens: Tensor) -> Tensor:
        y = self.hyper1(self.conv1(x), tokens)
        y = self.hyper2(self.conv2(y), tokens)
        y = self.conv3(y)
        output: Tensor = x + self.drop_path(y) if self.residual else y
        return output


class MobileFormerDownBlock(Bridged):
    """Depthwise 3x3 of stride 2, 1x1, then depthwise 3x3 and 1x1 with a residual.

    (B, dim_in, H, W) -> (B, channels, ⌈H/2⌉, ⌈W/2⌉), and the tokens.
    """

    def __init__(self, dim_in: int, block: Block, token_dim: int, drop_path: float) -> None:
        super().__init__(dim_in, block.channels, token_dim, drop_path)
        dim = block.channels
        first, second = dim_in * block.expansion, dim * (block.second or 1)
        self.conv1 = nn.Sequential(*_conv_norm(dim_in, first, 3, stride=2, groups=dim_in))
        self.hyper1 = DynamicReLU(first, token_dim)
        self.conv2 = nn.Sequential(*_conv_norm(first, dim))
        self.conv3 = nn.Sequential(*_conv_norm(dim, second, 3, groups=dim))
        self.hyper3 = DynamicReLU(second, token_dim)
        self.conv4 = nn.Sequential(*_conv_norm(second, dim))

    def mobile(self, x: Tensor, tokens: Tensor) -> Tensor:
        x = self.conv2(self.hyper1(self.conv1(x), tokens))
        y = self.conv4(self.hyper3(self.conv3(x), tokens))
        output: Tensor = x + self.drop_path(y)
        return output


class FirstBlock(nn.Module):
    """Depthwise 3x3, ReLU6, 1x1 with a residual; the tokens pass."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *_conv_norm(dim, 2 * dim, 3, groups=dim),
            nn.ReLU6(),
            nn.Identity(),  # keeps the official numbering
            *_conv_norm(2 * dim, dim),
        )

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return x + self.conv(x), tokens


class Classifier(nn.Module):
    """Pooled features and the first token: (B, dim, H, W), (B, T, token_dim) -> (B, classes)."""

    def __init__(self, dim: int, token_dim: int, head_dim: int, classes: int) -> None:
        super().__init__()
        wide = HEAD_EXPANSION * dim
        self.conv = nn.Sequential(nn.Identity(), *_conv_norm(dim, wide), nn.ReLU6())
        self.fc = nn.Sequential(
            nn.Linear(wide + token_dim, head_dim), nn.BatchNorm1d(head_dim), nn.Hardswish()
        )
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(head_dim, classes))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        pooled = F.hardswish(self.conv(x).mean((2, 3)))
        logits: Tensor = self.classifier(self.fc(torch.cat([pooled, tokens[:, 0]], 1)))
        return logits


class MobileFormer(nn.Module):
    """Mobile-Former classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    Any H and W from 1 up work; the feature maps are H/2 … H/32, rounded up.
    """

    classifier_parts = ("local_global", "classifier")

    def __init__(
        self,
        config: MobileFormerConfig,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.config = config
        self.num_classes = num_classes
        dim, token_dim = config.stem_dim, config.token_dim
        self.tokens = nn.Embedding(config.tokens, token_dim)
        self.stem = nn.Sequential(*_conv_norm(in_chans, dim, 3, stride=2), nn.ReLU6())
        blocks: list[nn.Module] = [FirstBlock(dim)]
        for index, block in enumerate(config.blocks):
            kind = MobileFormerBlock if block.second is None else MobileFormerDownBlock
            drop = drop_path_rate * (index + 2) / (len(config.blocks) + 1)
            blocks.append(kind(dim, block, token_dim, drop))
            dim = block.channels
        self.features = nn.ModuleList(blocks)
        self.local_global = MobileToFormer(dim, token_dim, drop_path_rate)
        self.classifier = Classifier(dim, token_dim, config.head_dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """What leaves the last block of every stride from 2 to 32."""
        tokens = self.initial_tokens(x)
        x = self.stem(x)
        maps: list[Tensor] = []
        for block in self.features:
            if isinstance(block, MobileFormerDownBlock):
                maps.append(x)
            x, tokens = block(x, tokens)
        return [*maps, x]

    def initial_tokens(self, x: Tensor) -> Tensor:
        """The learnt tokens for every image: (B, tokens, token_dim)."""
        tokens: Tensor = self.tokens.weight
        return tokens.unsqueeze(0).expand(x.shape[0], -1, -1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.initial_tokens(x)
        x = self.stem(x)
        for block in self.features:
            x, tokens = block(x, tokens)
        tokens = self.local_global(x, tokens)
        logits: Tensor = self.classifier(x, tokens)
        return logits


def mobile_former_96m(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> MobileFormer:
    """Mobile-Former-96M: 4.6 M parameters, 72.8 % top-1."""
    return MobileFormer(
        M96, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def mobile_former_151m(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> MobileFormer:
    """Mobile-Former-151M: 7.6 M parameters, 75.2 % top-1."""
    return MobileFormer(
        M151, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def mobile_former_214m(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> MobileFormer:
    """Mobile-Former-214M: 9.4 M parameters, 76.7 % top-1."""
    return MobileFormer(
        M214, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def mobile_former_294m(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> MobileFormer:
    """Mobile-Former-294M: 11.4 M parameters, 77.9 % top-1."""
    return MobileFormer(
        M294, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )


def mobile_former_508m(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> MobileFormer:
    """Mobile-Former-508M: 14.0 M parameters, 79.3 % top-1."""
    return MobileFormer(
        M508, num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate
    )
