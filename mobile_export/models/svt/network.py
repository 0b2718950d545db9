"""SVT: scattering vision transformer, NeurIPS 2023 (arXiv 2311.01310).

"Scattering Vision Transformer: Spectral Mixing Matters", Patro and Agneeswaran. In the first of
four stages, no token attends: a complex wavelet transform splits the map; its low pass is weighted
per pixel, the high passes are mixed by complex layers, block by block of the channels. The other
stages are PVT's without a reduction, with a depthwise convolution in every feed-forward. A class
token of the last map's mean gathers from it; what its classifier says and the largest of what all
tokens' say are added, as in token labelling. SVT-H-S; weights depend on the size.

Parameter names are those of the official code (github.com/badripatro/svt), which also stores the
wavelets' filters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes, from_map, initialize_linear, to_map
from ..lvt.network import ClassAttention, ClassBlock
from ..mit.network import MixFeedForward
from ..pvt.network import EPS, PatchEmbed, ReducedAttention
from .wavelets import Wavelets

__all__ = ["SVT", "svt_s"]

STEM = 32
DIMS, DEPTHS, HEADS, RATIOS = (64, 128, 320, 448), (3, 4, 6, 3), (2, 4, 10, 14), (8, 8, 4, 4)
GROUPS = 4
AUXILIARY = 0.5
"""Weight of the tokens' classifier."""


class Scattering(nn.Module):
    """Wavelets in place of attention: (B, N, dim) -> (B, N, dim).

    Args:
        size: (height, width) of the map.
    """

    def __init__(self, dim: int, size: tuple[int, int]) -> None:
        super().__init__()
        width = dim // GROUPS
        self.complex_weight_ll = nn.Parameter(0.02 * torch.randn(dim, *size))
        for name in ("complex_weight_lh_1", "complex_weight_lh_2"):
            setattr(self, name, nn.Parameter(0.02 * torch.randn(2, GROUPS, width, width)))
        for name in ("complex_weight_lh_b1", "complex_weight_lh_b2"):
            setattr(self, name, nn.Parameter(0.02 * torch.randn(2, GROUPS, width)))
        self.wavelets = Wavelets()

    def mix(self, real: Tensor, imaginary: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """A complex layer of each block of channels: (B, C, H, W) each -> the same."""
        weights: Tensor = getattr(self, f"complex_weight_lh_{layer}")
        biases: Tensor = getattr(self, f"complex_weight_lh_b{layer}")
        first, second = (
            one.transpose(1, 2).reshape(real.shape[1], -1)[:, :, None, None] for one in weights
        )
        bias = biases.reshape(2, -1)
        return (
            F.conv2d(real, first, bias[0], groups=GROUPS) - _grouped(imaginary, second),
            F.conv2d(real, second, bias[1], groups=GROUPS) + _grouped(imaginary, first),
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        low, reals, imaginaries = self.wavelets(to_map(x, size))
        # the six orientations below each other: all are mixed alike
        real, imaginary = self.mix(torch.cat(reals, 2), torch.cat(imaginaries, 2), 1)
        real, imaginary = self.mix(F.relu(real), F.relu(imaginary), 2)
        height = size[0] // 2
        parts = (list(torch.split(one, height, 2)) for one in (real, imaginary))
        return from_map(self.wavelets.back(low * self.complex_weight_ll, *parts))


def _grouped(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, groups=GROUPS)


class Block(nn.Module):
    """Scattering or attention, and a feed-forward, each behind a norm and with a residual."""

    def __init__(self, dim: int, attn: nn.Module, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.attn = attn
        self.mlp = MixFeedForward(dim, ratio * dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.attn(self.norm1(x), size)
        y: Tensor = x + self.mlp(self.norm2(x), size)
        return y


class TokenBlock(ClassBlock):
    """`ClassBlock`, in the order and with the biases of this network's checkpoints."""

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__(dim, heads, ratio)
        mlp = self.mlp
        del self.attn, self.mlp
        self.norm1.eps = self.norm2.eps = EPS
        self.attn = ClassAttention(dim, heads, bias=True)
        self.mlp = mlp


class Stem(PatchEmbed):
    """Three convolutions, the first of stride 2, and patches of stride 2: tokens and their size."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__(STEM, dim, 3, 2, 1)
        proj, norm = self.proj, self.norm
        del self.proj, self.norm
        layers: list[nn.Module] = []
        for index, dim_in in enumerate((in_chans, STEM, STEM)):
            kernel, stride = (3, 1) if index else (7, 2)
            layers.append(nn.Conv2d(dim_in, STEM, kernel, stride, kernel // 2, bias=False))
            layers += [nn.BatchNorm2d(STEM), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.proj, self.norm = proj, norm

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        return super().forward(self.conv(x))


class SVT(nn.Module):
    """SVT classifier: normalised images (B, in_chans, H, W) of ``size`` -> logits.

    H and W are multiples of 32, 64 or more.
    """

    classifier_parts = ("head", "aux_head")
    training_only = tuple(
        f"block1.{index}.attn.{part}." for index in range(DEPTHS[0]) for part in ("xfm", "ifm")
    )
    """Not even that: checkpoints hold the wavelets' filters, which are constants here."""

    def __init__(self, size: tuple[int, int], *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        first = (size[0] // 4, size[1] // 4)
        for index, dim in enumerate(DIMS):
            patches = PatchEmbed(DIMS[index - 1], dim, 3, 2, 1) if index else Stem(in_chans, dim)
            blocks = nn.ModuleList(
                Block(
                    dim,
                    ReducedAttention(dim, HEADS[index], 1) if index else Scattering(dim, first),
                    RATIOS[index],
                )
                for _ in range(DEPTHS[index])
            )
            setattr(self, f"patch_embed{index + 1}", patches)
            setattr(self, f"block{index + 1}", blocks)
            setattr(self, f"norm{index + 1}", nn.LayerNorm(dim, eps=EPS))
        self.post_network = nn.ModuleList([TokenBlock(DIMS[-1], HEADS[-1], RATIOS[-1])])
        self.head = nn.Linear(DIMS[-1], num_classes)
        self.aux_head = nn.Linear(DIMS[-1], num_classes)
        self.apply(initialize_linear)

    def tokens(self, x: Tensor) -> Tensor:
        """Those of the last map."""
        for index in range(len(DIMS)):
            x, size = self.get_submodule(f"patch_embed{index + 1}")(x)
            for block in self.get_submodule(f"block{index + 1}").children():
                x = block(x, size)
            if index < len(DIMS) - 1:
                x = to_map(self.get_submodule(f"norm{index + 1}")(x), size)
        return x

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        for block in self.post_network:
            tokens = block(tokens)
        tokens = self.get_submodule(f"norm{len(DIMS)}")(tokens)
        best = self.aux_head(tokens[:, 1:]).amax(1)
        logits: Tensor = self.head(tokens[:, 0]) + AUXILIARY * best
        return logits


def svt_s(num_classes: int = 1000, *, in_chans: int = 3, size: tuple[int, int] = (224, 224)) -> SVT:
    """SVT-H-S: 22 M parameters, 84.2 % top-1."""
    return SVT(size, num_classes=num_classes, in_chans=in_chans)
