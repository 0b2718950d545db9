"""NiNformer, 2024 (arXiv 2403.02411).

"NiNformer: A Network in Network Transformer with Token Mixing as a Gating Function Generator",
Abdullah & Aydin. In place of attention, an MLP-Mixer's block over the tokens makes an element-wise
gate of a linear layer (§3). The classifier of CIFAR-10 in the official training script.

Parameter names are those of that script (github.com/Abdullah-88/NiNformer, train.py). A block has
one norm, which stands in front of either half.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..layers import check_classes, from_map

__all__ = ["NiNformer", "ninformer"]

DIM, MIDDLE, DEPTH, PATCH = 256, 512, 4, 4
DROPOUT = 0.5


class FeedForward(nn.Module):
    """Linear, GELU, linear over the last axis."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, middle),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(middle, dim),
            nn.Dropout(DROPOUT),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class Transpose(nn.Module):
    """Tokens to channels, or back: (B, N, C) -> (B, C, N)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class MixerBlock(nn.Module):
    """MLP-Mixer's block: over the tokens, then over the channels."""

    def __init__(self, dim: int, tokens: int, middle: int) -> None:
        super().__init__()
        self.token_mix = nn.Sequential(
            nn.LayerNorm(dim), Transpose(), FeedForward(tokens, middle), Transpose()
        )
        self.channel_mix = nn.Sequential(nn.LayerNorm(dim), FeedForward(dim, middle))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mix(x)
        y: Tensor = x + self.channel_mix(x)
        return y


class GatingUnit(nn.Module):
    """A linear layer times what the mixer makes."""

    def __init__(self, dim: int, tokens: int, middle: int) -> None:
        super().__init__()
        self.Mixer = MixerBlock(dim, tokens, middle)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x) * self.Mixer(x)
        return y


class Block(nn.Module):
    """Gating unit and feed-forward, each with a residual."""

    def __init__(self, dim: int, tokens: int, middle: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mgu = GatingUnit(dim, tokens, middle)
        self.ffn = FeedForward(dim, middle)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mgu(self.norm(x))
        y: Tensor = x + self.ffn(self.norm(x))
        return y


class NiNformer(nn.Module):
    """NiNformer classifier: normalised images (B, in_chans, *size) -> logits (B, num_classes)."""

    def __init__(self, *, num_classes: int, in_chans: int, size: tuple[int, int]) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        tokens = (size[0] // PATCH) * (size[1] // PATCH)
        self.model = nn.Sequential(*(Block(DIM, tokens, MIDDLE) for _ in range(DEPTH)))
        self.patcher = nn.Conv2d(in_chans, DIM, PATCH, PATCH)
        self.classifier = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.model(from_map(self.patcher(x)))
        logits: Tensor = self.classifier(tokens.mean(1))
        return logits


def ninformer(
    num_classes: int = 10, *, in_chans: int = 3, size: tuple[int, int] = (32, 32)
) -> NiNformer:
    """NiNformer for CIFAR-10: 64 tokens of 256 channels, 4 blocks."""
    return NiNformer(num_classes=num_classes, in_chans=in_chans, size=size)
