"""MAXIM, CVPR 2022 (arXiv 2201.02973): restoration of colour images.

"MAXIM: Multi-Axis MLP for Image Processing", Tu et al. U-shaped networks, one behind the other. In
a block, half of the channels mixes within blocks of pixels, the other half across the whole picture
along a grid (§3.2); across the U, features gate each other in the same way (§3.3). The first U
tells the second one, at three scales, where it has restored what (§3.1). Two U's of 32 channels:
MAXIM-2S, for rain, haze and enhancement.

Written after the official code, which is of JAX (github.com/google-research/maxim, variant S-2 with
three scales of supervision): parameters have its names, weights of convolutions and linear layers
are laid out as PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Maxim", "maxim_2s"]

DIM, DEPTH = 32, 3
STAGES, SCALES = 2, 3
GROUPS, BOTTLENECKS = 2, 2
BLOCKS = (16, 16, 8)
"""Side of the blocks, and of the grid, at each depth; the last is also the bottleneck's."""
REDUCTION = 4
SLOPE = 0.2
EPS = 1e-6
IMAGE = 3


def norm(dim: int) -> nn.LayerNorm:
    """Layer norm over the channels, which are last."""
    return nn.LayerNorm(dim, eps=EPS)


def gelu(x: Tensor) -> Tensor:
    """As JAX's default has it."""
    return F.gelu(x, approximate="tanh")


class Conv(nn.Conv2d):
    """A convolution of a map whose channels are last, with zeros around."""

    def __init__(self, dim_in: int, dim: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(dim_in, dim, kernel, stride, (kernel - stride + 1) // 2)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Double(nn.ConvTranspose2d):
    """Every pixel becomes four."""

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__(dim_in, dim, 2, 2)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        y = super().forward(input.permute(0, 3, 1, 2), output_size)
        return y.permute(0, 2, 3, 1)


def cut(x: Tensor, rows: int, columns: int) -> Tensor:
    """A map (B, H, W, C) -> the pixels of its tiles (B, tiles, rows·columns, C)."""
    batch, height, width, dim = x.shape
    tiles = x.reshape(batch, height // rows, rows, width // columns, columns, dim)
    return tiles.transpose(2, 3).reshape(batch, -1, rows * columns, dim)


def join(x: Tensor, height: int, width: int, rows: int, columns: int) -> Tensor:
    """Back from `cut`."""
    batch, dim = x.shape[0], x.shape[3]
    tiles = x.reshape(batch, height // rows, width // columns, rows, columns, dim)
    return tiles.transpose(2, 3).reshape(batch, height, width, dim)


class AlongTiles(nn.Linear):
    """A linear layer over the tiles of (B, tiles, pixels, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 3)).transpose(1, 3)


class AlongPixels(nn.Linear):
    """A linear layer over the pixels of (B, tiles, pixels, C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(2, 3)).transpose(2, 3)


class Gating(nn.Module):
    """Half of the channels is a gate for the other, mixed by ``dense``: (…, 2·dim) -> (…, dim)."""

    def __init__(self, dim: int, dense: nn.Linear) -> None:
        super().__init__()
        self.intermediate_layernorm = norm(dim)
        self.Dense_0 = dense

    def forward(self, x: Tensor) -> Tensor:
        kept, gate = x.chunk(2, -1)
        y: Tensor = kept * (self.Dense_0(self.intermediate_layernorm(gate)) + 1)
        return y


class TileMixing(nn.Module):
    """Gated mixing of (B, tiles, pixels, dim), with a residual.

    Args:
        name: of the gating unit.
    """

    def __init__(self, dim: int, name: str, dense: nn.Linear) -> None:
        super().__init__()
        self.LayerNorm = norm(dim)
        self.in_project = nn.Linear(dim, 2 * dim)
        self.gating = name
        self.add_module(name, Gating(dim, dense))
        self.out_project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = gelu(self.in_project(self.LayerNorm(x)))
        z: Tensor = x + self.out_project(self.get_submodule(self.gating)(y))
        return z


class MultiAxis(nn.Module):
    """Half of the channels mixes along a grid, half within blocks; with a residual."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.LayerNorm_in = norm(dim)
        self.in_project = nn.Linear(dim, 2 * dim)
        self.GridGmlpLayer = TileMixing(dim, "GridGatingUnit", AlongTiles(side**2, side**2))
        self.BlockGmlpLayer = TileMixing(dim, "BlockGatingUnit", AlongPixels(side**2, side**2))
        self.out_project = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        far, near = gelu(self.in_project(self.LayerNorm_in(x))).chunk(2, -1)
        tile = (height // self.side, width // self.side)
        far = join(self.GridGmlpLayer(cut(far, *tile)), height, width, *tile)
        block = (self.side, self.side)
        near = join(self.BlockGmlpLayer(cut(near, *block)), height, width, *block)
        y: Tensor = x + self.out_project(torch.cat([far, near], -1))
        return y


class ChannelGate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.Conv_0 = Conv(dim, dim // REDUCTION)
        self.Conv_1 = Conv(dim // REDUCTION, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.Conv_1(F.relu(self.Conv_0(x.mean((1, 2), keepdim=True))))
        return x * y.sigmoid()


class ConvBlock(nn.Module):
    """Two convolutions and a gate for each channel, with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.LayerNorm = norm(dim)
        self.conv1 = Conv(dim, dim, 3)
        self.conv2 = Conv(dim, dim, 3)
        self.channel_attention = ChannelGate(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.leaky_relu(self.conv1(self.LayerNorm(x)), SLOPE))
        z: Tensor = self.channel_attention(y) + x
        return z


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.Dense_0 = nn.Linear(dim, dim)
        self.Dense_1 = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.Dense_1(gelu(self.Dense_0(x)))
        return y


class DenseBlock(nn.Module):
    """Feed-forward and a gate for each channel, with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.LayerNorm = norm(dim)
        self.channel_mixing = FeedForward(dim)
        self.channel_attention = ChannelGate(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.channel_attention(self.channel_mixing(self.LayerNorm(x)))
        return y


class Bottleneck(nn.Module):
    """Mixing of the coarsest map."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.input_proj = Conv(dim, dim)
        for index in range(GROUPS):
            self.add_module(f"SplitHeadMultiAxisGmlpLayer_{index}", MultiAxis(dim, side))
            self.add_module(f"channel_attention_block_1_{index}", DenseBlock(dim))

    def forward(self, x: Tensor) -> Tensor:
        start: Tensor = self.input_proj(x)
        y = start
        for index in range(GROUPS):
            y = self.get_submodule(f"SplitHeadMultiAxisGmlpLayer_{index}")(y)
            y = self.get_submodule(f"channel_attention_block_1_{index}")(y)
        return y + start


class GatingWeights(nn.Module):
    """What another map is multiplied by: mixed along a grid and within blocks."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.LayerNorm_in = norm(dim)
        self.in_project = nn.Linear(dim, 2 * dim)
        self.Dense_0 = AlongTiles(side**2, side**2)
        self.Dense_1 = AlongPixels(side**2, side**2)
        self.out_project = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        far, near = gelu(self.in_project(self.LayerNorm_in(x))).chunk(2, -1)
        tile, block = (height // self.side, width // self.side), (self.side, self.side)
        far = join(self.Dense_0(cut(far, *tile)), height, width, *tile)
        near = join(self.Dense_1(cut(near, *block)), height, width, *block)
        y: Tensor = self.out_project(torch.cat([far, near], -1))
        return y


class CrossGating(nn.Module):
    """Two maps gate each other: of x and y, what came of both, and what came of y.

    Args:
        dim_x, dim_y: channels before; ``doubles``: y has half the size of x.
    """

    def __init__(self, dim_x: int, dim_y: int, dim: int, side: int, *, doubles: bool) -> None:
        super().__init__()
        self.doubles = doubles
        if doubles:
            self.ConvTranspose_0 = Double(dim_y, dim)
        self.Conv_0 = Conv(dim_x, dim)
        self.Conv_1 = Conv(dim if doubles else dim_y, dim)
        for name in "xy":
            self.add_module(f"LayerNorm_{name}", norm(dim))
            self.add_module(f"in_project_{name}", nn.Linear(dim, dim))
            self.add_module(f"SplitHeadMultiAxisGating_{name}", GatingWeights(dim, side))
            self.add_module(f"out_project_{name}", nn.Linear(dim, dim))

    def _part(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(name)(x)
        return y

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        y = self.ConvTranspose_0(y) if self.doubles else y
        first, second = self.Conv_0(x), self.Conv_1(y)
        x, y = (
            gelu(self._part(f"in_project_{name}", self._part(f"LayerNorm_{name}", each)))
            for name, each in (("x", first), ("y", second))
        )
        by_x = self._part("SplitHeadMultiAxisGating_x", x)
        by_y = self._part("SplitHeadMultiAxisGating_y", y)
        y = self._part("out_project_y", y * by_x) + second
        return self._part("out_project_x", x * by_y) + y + first, y


class Encoder(nn.Module):
    """One step of a U, of one size.

    Args:
        dim_in: channels of all inputs together.
        gated: whether it takes what the U before it has made at this depth.
        down: whether a map of half the size is made, too.
    """

    def __init__(self, dim_in: int, dim: int, side: int, *, gated: bool, down: bool) -> None:
        super().__init__()
        self.gated, self.down = gated, down
        self.Conv_0 = Conv(dim_in, dim)
        for index in range(GROUPS):
            self.add_module(f"SplitHeadMultiAxisGmlpLayer_{index}", MultiAxis(dim, side))
            self.add_module(f"channel_attention_block_1{index}", ConvBlock(dim))
        if gated:
            self.cross_gating_block = CrossGating(dim, dim, dim, side, doubles=False)
        if down:
            self.Conv_1 = Conv(dim, dim, 4, 2)

    def mix(self, inputs: Sequence[Tensor], before: Tensor | None) -> Tensor:
        """The map of this size."""
        start: Tensor = self.Conv_0(torch.cat(list(inputs), -1))
        x = start
        for index in range(GROUPS):
            x = self.get_submodule(f"SplitHeadMultiAxisGmlpLayer_{index}")(x)
            x = self.get_submodule(f"channel_attention_block_1{index}")(x)
        x = x + start
        if before is not None:
            x = self.cross_gating_block(x, before)[0]
        return x


class Decoder(nn.Module):
    """Doubles a map and joins it with what crosses the U."""

    def __init__(self, dim_in: int, dim: int, side: int) -> None:
        super().__init__()
        self.ConvTranspose_0 = Double(dim_in, dim)
        self.UNetEncoderBlock_0 = Encoder((1 + DEPTH) * dim, dim, side, gated=False, down=False)

    def forward(self, x: Tensor, crossing: Tensor) -> Tensor:
        return self.UNetEncoderBlock_0.mix([self.ConvTranspose_0(x), crossing], None)


class Supervised(nn.Module):
    """The restored picture, and features that are gated by it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.Conv_0 = Conv(dim, dim, 3)
        self.Conv_1 = Conv(dim, IMAGE, 3)
        self.Conv_2 = Conv(IMAGE, dim, 3)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        restored = self.Conv_1(x) + picture
        y: Tensor = self.Conv_0(x) * self.Conv_2(restored).sigmoid() + x
        return y


class Resize(nn.Module):
    """Bilinear, then a 1x1 convolution; smaller maps are smoothed, as JAX does."""

    def __init__(self, dim_in: int, dim: int, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.Conv_0 = Conv(dim_in, dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.ratio != 1:
            y = F.interpolate(
                x.permute(0, 3, 1, 2),
                scale_factor=self.ratio,
                mode="bilinear",
                align_corners=False,
                antialias=self.ratio < 1,
            )
            x = y.permute(0, 2, 3, 1)
        z: Tensor = self.Conv_0(x)
        return z


@dataclass
class Made:
    """What a U has made at each depth: by the encoder, the decoder, and for the next U."""

    encoded: list[Tensor]
    decoded: list[Tensor]
    supervised: list[Tensor]


class Stage(nn.Module):
    """One U.

    Args:
        later: whether there is one before it; ``last``: whether there is none behind it.
    """

    def __init__(self, *, later: bool, last: bool) -> None:
        super().__init__()
        self.later, self.last = later, last
        dims = [DIM * 2**depth for depth in range(DEPTH)]
        deepest = range(DEPTH - 1, -1, -1)
        for depth, dim in enumerate(dims):
            self.add_module(f"input_conv_{depth}", Conv(IMAGE, dim, 3))
            if later:
                fuse = CrossGating(dim, dim, dim, BLOCKS[depth], doubles=False)
                self.add_module(f"input_fuse_sam_{depth}", fuse)
        for depth, dim in enumerate(dims):
            # what the first step takes are its picture's features, twice
            inputs = dim + dims[max(depth - 1, 0)]
            step = Encoder(inputs, dim, BLOCKS[depth], gated=later, down=True)
            self.add_module(f"encoder_block_{depth}", step)
        for index in range(BOTTLENECKS):
            self.add_module(f"global_block_{index}", Bottleneck(dims[-1], BLOCKS[-1]))
        before = dims[-1]
        for depth in deepest:
            for source in range(DEPTH):
                ratio = 2.0 ** (source - depth)
                self.add_module(f"up_{depth}_{source}", Resize(dims[source], dims[depth], ratio))
            gate = CrossGating(
                DEPTH * dims[depth], before, dims[depth], BLOCKS[depth], doubles=True
            )
            self.add_module(f"cross_gating_block_{depth}", gate)
            before = dims[depth]
        before = dims[-1]
        for depth in deepest:
            for index, source in enumerate(deepest):
                ratio = 2.0 ** (source - depth)
                self.add_module(f"skip_{depth}_{index}", Resize(dims[source], dims[depth], ratio))
            self.add_module(f"decoder_block_{depth}", Decoder(before, dims[depth], BLOCKS[depth]))
            before = dims[depth]
            if not last:
                self.add_module(f"supervised_attention_module_{depth}", Supervised(dims[depth]))
        if last:
            self.output_conv_0 = Conv(dims[0], IMAGE, 3)

    def _part(self, name: str, *inputs: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(name)(*inputs)
        return y

    def crossing(self, encoded: list[Tensor], x: Tensor) -> list[Tensor]:
        """Features of each depth, gated by coarser ones, the deepest first."""
        found: list[Tensor] = []
        for depth in range(DEPTH - 1, -1, -1):
            ups = [self._part(f"up_{depth}_{source}", y) for source, y in enumerate(encoded)]
            gate = self.get_submodule(f"cross_gating_block_{depth}")
            crossed, x = gate(torch.cat(ups, -1), x)
            found.append(crossed)
        return found

    def forward(self, pictures: list[Tensor], before: Made | None) -> Made | Tensor:
        """
        Args:
            pictures: (B, H, W, 3) at each depth.
            before: of the U before.

        Returns:
            What it has made; the last one the restored picture.
        """
        inputs = [self._part(f"input_conv_{i}", picture) for i, picture in enumerate(pictures)]
        if before is not None:
            for depth, told in enumerate(before.supervised):
                fuse = self.get_submodule(f"input_fuse_sam_{depth}")
                inputs[depth] = fuse(inputs[depth], told)[0]
        encoded: list[Tensor] = []
        x = inputs[0]
        for depth in range(DEPTH):
            step = cast("Encoder", self.get_submodule(f"encoder_block_{depth}"))
            joined = None if before is None else before.encoded[depth] + before.decoded[depth]
            encoded.append(step.mix([x, inputs[depth]], joined))
            x = step.Conv_1(encoded[-1])
        for index in range(BOTTLENECKS):
            x = self._part(f"global_block_{index}", x)
        crossing = self.crossing(encoded, x)
        made = Made(encoded, [], [])
        for depth in range(DEPTH - 1, -1, -1):
            skips = [self._part(f"skip_{depth}_{i}", y) for i, y in enumerate(crossing)]
            x = self._part(f"decoder_block_{depth}", x, torch.cat(skips, -1))
            made.decoded.insert(0, x)
            if not self.last:
                name = f"supervised_attention_module_{depth}"
                made.supervised.insert(0, self._part(name, x, pictures[depth]))
        return self._part("output_conv_0", x) + pictures[0] if self.last else made


class Maxim(nn.Module):
    """Images in [0, 1], (B, 3, H, W) -> the same restored; H and W are multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            Stage(later=index > 0, last=index == STAGES - 1) for index in range(STAGES)
        )

    def forward(self, image: Tensor) -> Tensor:
        picture = image.permute(0, 2, 3, 1)
        pictures = [picture]
        for scale in range(1, SCALES):
            step = 2**scale
            pictures.append(picture[:, step // 2 :: step, step // 2 :: step])
        made: Made | None = None
        for stage in self.stages[:-1]:
            made = stage(pictures, made)
        restored: Tensor = self.stages[-1](pictures, made)
        return restored.permute(0, 3, 1, 2)


def maxim_2s(*, in_chans: int = IMAGE) -> Maxim:
    """MAXIM-2S: 14.1 M parameters.

    Raises:
        ValueError: the images have other than three channels.
    """
    if in_chans != IMAGE:
        raise ValueError(f"in_chans is {in_chans}; images have {IMAGE} channels")
    return Maxim()
