"""SN-Netv2, ECCV 2024 (arXiv 2307.00154): vision transformers stitched of two trained ones.

"Stitched ViTs are Flexible Vision Backbones", Pan et al. One set of weights holds two DeiT-III
(arXiv 2204.07118) of 12 blocks, small and base. A route goes through the blocks of one, then, from
the next depth on, of the other, and perhaps back (§3.2); linear layers with a low-rank update lead
from the one's channels to the other's (§3.4). A module here is one route, as a phone runs it, with
the weights that it reads.

Parameter names are those of the official code's checkpoints (github.com/ziplab/SN-Netv2,
classification), of which a route leaves out the rest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Attention, FeedForward, Projection, check_classes, from_map, initialize_linear

__all__ = ["SNNetV2", "parse_route", "sn_netv2_s_b"]

EPS = 1e-6
PATCH = 16
DEPTH = 12
"""Of both networks."""
ANCHORS = "sb"
"""Small and base, in the order of the checkpoints."""
DIMS, HEAD_DIM = (384, 768), 64
MLP_RATIO = 4
LAYER_SCALE = 1e-4
RANK = 64
"""Of a stitch's update, whose scale is 1/RANK."""


def parse_route(route: str) -> list[tuple[int, range]]:
    """The anchor and the indices of its blocks, one part after another: of ``"s6b6"``
    ``[(0, range(0, 6)), (1, range(6, 12))]``.

    Raises:
        ValueError: not one to three parts of alternating letters that have 12 blocks in all.
    """
    parts = re.findall(r"([sb])([1-9]\d?)", route)
    letters = [letter for letter, _ in parts]
    ends = [sum(int(count) for _, count in parts[: index + 1]) for index in range(len(parts))]
    alternate = all(a != b for a, b in itertools.pairwise(letters))
    if "".join(map("".join, parts)) != route or not alternate or ends[-1:] != [DEPTH]:
        raise ValueError(
            f"route is {route!r}; it must be parts like s6 and b6 in turn, of {DEPTH} blocks in all"
        )
    if len(parts) > 3:
        raise ValueError(f"route is {route!r}; it must change at most twice")
    return [
        (ANCHORS.index(letter), range(begin, end))
        for letter, begin, end in zip(letters, [0, *ends], ends, strict=False)
    ]


class Block(nn.Module):
    """A transformer's block with scaled residuals: (B, N, dim) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.gamma_2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, dim // HEAD_DIM)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = FeedForward(dim, MLP_RATIO * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma_1 * self.attn(self.norm1(x))
        y: Tensor = x + self.gamma_2 * self.mlp(self.norm2(x))
        return y


class Anchor(nn.Module):
    """What a route reads of one network.

    Args:
        tokens: of an image; None: the route does not begin here.
        blocks: their indices.
        num_classes: None: the route does not end here.
    """

    def __init__(
        self,
        dim: int,
        blocks: set[int],
        *,
        in_chans: int,
        tokens: int | None,
        num_classes: int | None,
    ) -> None:
        super().__init__()
        if tokens is not None:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
            self.patch_embed = Projection(in_chans, dim, PATCH, PATCH, 0)
        self.blocks = nn.ModuleDict({str(index): Block(dim) for index in sorted(blocks)})
        if num_classes is not None:
            self.norm = nn.LayerNorm(dim, eps=EPS)
            self.head = nn.Linear(dim, num_classes)

    def embed(self, image: Tensor) -> Tensor:
        """Images -> tokens (B, 1 + N, dim)."""
        x = from_map(self.patch_embed(image)) + self.pos_embed
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)

    def classify(self, x: Tensor) -> Tensor:
        """Tokens -> logits."""
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


class LowRankLinear(nn.Linear):
    """A linear layer whose weights have an update of low rank: (…, dim_in) -> (…, dim)."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__(dim_in, dim)
        self.lora_A = nn.Parameter(torch.empty(RANK, dim_in))
        self.lora_B = nn.Parameter(torch.zeros(dim, RANK))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight + self.lora_B @ self.lora_A / RANK, self.bias)


class Stitch(nn.Module):
    """Leads tokens from one network to the other."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.transform = LowRankLinear(dim_in, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.transform(x)
        return y


class SNNetV2(nn.Module):
    """One route through DeiT-III small and base: normalised images (B, in_chans, H, W) of ``size``,
    multiples of 16 -> logits (B, num_classes).

    Args:
        route: see `parse_route`.
    """

    def __init__(
        self, route: str, *, size: tuple[int, int], num_classes: int, in_chans: int
    ) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.parts = parse_route(route)
        tokens = (size[0] // PATCH) * (size[1] // PATCH)
        first, last = self.parts[0][0], self.parts[-1][0]
        self.anchors = nn.ModuleList(
            Anchor(
                dim,
                {block for part, blocks in self.parts for block in blocks if part == anchor},
                in_chans=in_chans,
                tokens=tokens if anchor == first else None,
                num_classes=num_classes if anchor == last else None,
            )
            for anchor, dim in enumerate(DIMS)
        )
        self.stitch_layers = nn.ModuleList(nn.ModuleDict() for _ in DIMS)
        for anchor, blocks in self.parts[:-1]:
            stitch = Stitch(DIMS[anchor], DIMS[1 - anchor])
            self.stitch_layers[anchor].add_module(str(blocks[-1]), stitch)
        self.apply(initialize_linear)
        self.training_only = tuple(self._not_on_route())

    def _not_on_route(self) -> Iterator[str]:
        """Prefixes of a checkpoint's names that this route does not read."""
        parts = ["cls_token", "pos_embed", "patch_embed.", "norm.", "head."]
        parts += [f"blocks.{block}." for block in range(DEPTH)]
        own = tuple(self.state_dict())
        for anchor in range(len(DIMS)):
            names = [f"anchors.{anchor}.{part}" for part in parts]
            names += [f"stitch_layers.{anchor}.{block}." for block in range(DEPTH)]
            yield from (name for name in names if not any(key.startswith(name) for key in own))

    def forward(self, image: Tensor) -> Tensor:
        first, last = self.parts[0][0], self.parts[-1][0]
        x = cast("Anchor", self.anchors[first]).embed(image)
        for index, (anchor, blocks) in enumerate(self.parts):
            for block in blocks:
                x = self.get_submodule(f"anchors.{anchor}.blocks.{block}")(x)
            if index + 1 < len(self.parts):
                x = self.get_submodule(f"stitch_layers.{anchor}.{blocks[-1]}")(x)
        return cast("Anchor", self.anchors[last]).classify(x)


def sn_netv2_s_b(
    num_classes: int = 1000,
    *,
    size: tuple[int, int] = (224, 224),
    in_chans: int = 3,
    route: str = "s6b6",
) -> SNNetV2:
    """SN-Netv2 of DeiT-III small and base.

    Args:
        route: "s6b6": the first 6 blocks of the small one, then the last 6 of the base one.
    """
    return SNNetV2(route, size=size, num_classes=num_classes, in_chans=in_chans)
