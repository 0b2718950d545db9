"""AMT, CVPR 2023 (arXiv 2304.09790): the frame in the middle between two.

"AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation", Li et al. All pixels of
stride 8 of one frame are compared with all of the other (§3.2). A decoder finds, from stride 16 to
stride 2, how the middle frame's pixels move to the two frames; at each step it looks at the
comparisons around where they lead. At last three pairs of movements fetch pixels from the frames,
and what they fetch is combined (§3.4). AMT-S: the configuration of the official code.

Where the official code samples the comparisons of each pixel at 49 places, a square grid between
pixels, this multiplies them by the shares of their rows and columns, which are the same numbers.

Parameter names are those of the official checkpoints (github.com/MCG-NKU/AMT).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AMT", "amt_s", "look_up"]

IMAGE = 3
TIME = 0.5
"""When the new frame is, between 0 and 1."""
DIMS = (20, 32, 44, 56)
SKIP = 20
FLOWS = 3
LEVELS, RADIUS = 4, 3
FEATURE_DIM = 84
ENCODER_DIMS = (32, 64, 96)
HIDDEN, FLOW_DIM, LOOKUP_DIM, FUSED_DIM = 76, 20, 64, 68
SLOPE = 0.1


def resize(x: Tensor, scale: float) -> Tensor:
    """Bilinear, by a power of two."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Column and row of every pixel: (1, 2, height, width)."""
    rows = torch.arange(height, dtype=like.dtype, device=like.device)[:, None]
    columns = torch.arange(width, dtype=like.dtype, device=like.device)
    return torch.stack([columns.expand(height, width), rows.expand(height, width)])[None]


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """What is at every pixel's position plus ``flow`` (B, 2, H, W), in pixels along width and
    height; outside, the border: (B, C, H, W) -> the same."""
    height, width = image.shape[2:]
    last = torch.tensor([width - 1, height - 1], dtype=flow.dtype, device=flow.device)
    still = 2 * pixel_grid(height, width, flow).permute(0, 2, 3, 1) / last - 1
    grid = still + flow.permute(0, 2, 3, 1) * (2 / last)
    return F.grid_sample(image, grid, "bilinear", "border", align_corners=True)


def shares(centre: Tensor, extent: int) -> Tensor:
    """How much each of ``extent`` pixels in a row counts at places 3 before to 3 behind each
    centre: (…, 1) -> (…, 7, extent)."""
    steps = torch.arange(-RADIUS, RADIUS + 1, dtype=centre.dtype, device=centre.device)
    pixels = torch.arange(extent, dtype=centre.dtype, device=centre.device)
    distance = (centre + steps)[..., None] - pixels
    return F.relu(1 - distance.abs())


def look_up(maps: Tensor, places: Tensor) -> Tensor:
    """Values of a map for each pixel on a 7x7 grid around its place, between pixels, 0 outside.

    Args:
        maps: (B, N, h, w), one for each of N pixels.
        places: (B, N, 2): column and row, in pixels.

    Returns:
        (B, N, 49), row by row of places whose rows are the official code's: along the height of the
        map go its columns' steps.
    """
    rows = shares(places[..., 1:], maps.shape[2])
    columns = shares(places[..., :1], maps.shape[3])
    # the official grid's first axis moves along width, its second along height
    values = columns @ (rows @ maps).transpose(2, 3)
    return values.flatten(2)


class Pyramid:
    """Comparisons of all pixels of a map with all of another, of four sizes of the other.

    Args:
        first, second: features (B, C, h, w).
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        batch, channels, height, width = first.shape
        products = first.flatten(2).transpose(1, 2) @ second.flatten(2) * channels**-0.5
        self.maps = [products.reshape(batch, height * width, height, width)]
        for _ in range(LEVELS - 1):
            self.maps.append(F.avg_pool2d(self.maps[-1], 2, 2))

    def at(self, places: Tensor) -> Tensor:
        """Around places (B, 2, h, w) of the finest size: (B, 4·49, h, w)."""
        around = places.flatten(2).transpose(1, 2)
        found = [look_up(maps, around / 2**level) for level, maps in enumerate(self.maps)]
        values = torch.cat(found, 2).transpose(1, 2)
        return values.reshape(places.shape[0], -1, places.shape[2], places.shape[3])


class Bottleneck(nn.Module):
    """Three convolutions with instance norms, and a residual."""

    def __init__(self, dim_in: int, dim: int, stride: int) -> None:
        super().__init__()
        middle = dim // 4
        self.conv1 = nn.Conv2d(dim_in, middle, 1)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1)
        self.conv3 = nn.Conv2d(middle, dim, 1)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(dim_in, dim, 1, stride), nn.InstanceNorm2d(dim)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in (self.conv1, self.conv2, self.conv3):
            y = F.relu(F.instance_norm(conv(y)))
        return F.relu(self.downsample(x) + y)


class FeatureEncoder(nn.Module):
    """Features for the comparisons: (B, 3, H, W) -> (B, 84, H/8, W/8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(IMAGE, ENCODER_DIMS[0], 7, 2, 3)
        before = ENCODER_DIMS[0]
        for index, dim in enumerate(ENCODER_DIMS):
            blocks = Bottleneck(before, dim, 2 if index else 1), Bottleneck(dim, dim, 1)
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            before = dim
        self.conv2 = nn.Conv2d(before, FEATURE_DIM, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.instance_norm(self.conv1(x)))
        for index in range(len(ENCODER_DIMS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        y: Tensor = self.conv2(x)
        return y


def conv_prelu(dim_in: int, dim: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution with PReLU."""
    return nn.Sequential(nn.Conv2d(dim_in, dim, 3, stride, 1), nn.PReLU(dim))


class Encoder(nn.Module):
    """Features for the decoder: (B, 3, H, W) -> maps of strides 2 to 16."""

    def __init__(self) -> None:
        super().__init__()
        for index, (before, dim) in enumerate(zip((IMAGE, *DIMS), DIMS, strict=False), 1):
            step = nn.Sequential(conv_prelu(before, dim, 2), conv_prelu(dim, dim))
            self.add_module(f"pyramid{index}", step)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for part in self.children():
            x = part(x)
            maps.append(x)
        return maps


class SideBlock(nn.Module):
    """Five convolutions with a residual, of which two see the last 20 channels alone."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = conv_prelu(dim, dim)
        self.conv2 = conv_prelu(SKIP, SKIP)
        self.conv3 = conv_prelu(dim, dim)
        self.conv4 = conv_prelu(SKIP, SKIP)
        self.conv5 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.prelu = nn.PReLU(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = self.conv3(torch.cat([y[:, :-SKIP], self.conv2(y[:, -SKIP:])], 1))
        y = self.conv5(torch.cat([y[:, :-SKIP], self.conv4(y[:, -SKIP:])], 1))
        z: Tensor = self.prelu(x + y)
        return z


class Decoder(nn.Module):
    """Doubles a map: (B, dim_in, H, W) -> (B, dim, 2H, 2W)."""

    def __init__(self, dim_in: int, middle: int, dim: int) -> None:
        super().__init__()
        self.convblock = nn.Sequential(
            conv_prelu(dim_in, middle),
            SideBlock(middle),
            nn.ConvTranspose2d(middle, dim, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convblock(x)
        return y


class Update(nn.Module):
    """Corrects the decoder's map and flows by the comparisons around where the flows lead.

    Args:
        scale: how often the map is finer than the comparisons.
    """

    def __init__(self, dim: int, scale: int) -> None:
        super().__init__()
        self.scale = scale

        def head(dim_in: int, dim_out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(dim_in, HIDDEN, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(HIDDEN, dim_out, 3, padding=1),
            )

        self.convc1 = nn.Conv2d(2 * LEVELS * (2 * RADIUS + 1) ** 2, LOOKUP_DIM, 1)
        self.convf1 = nn.Conv2d(4, 2 * FLOW_DIM, 7, padding=3)
        self.convf2 = nn.Conv2d(2 * FLOW_DIM, FLOW_DIM, 3, padding=1)
        self.conv = nn.Conv2d(LOOKUP_DIM + FLOW_DIM, FUSED_DIM, 3, padding=1)
        self.gru = head(FUSED_DIM + 4 + dim, HIDDEN)
        self.feat_head = head(HIDDEN, dim)
        self.flow_head = head(HIDDEN, 4)
        self.lrelu = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor, flow: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: the decoder's map.
            flow: both flows at the comparisons' size.
            found: comparisons.

        Returns:
            What to add to the map and to the flows.
        """
        x = resize(x, 1 / self.scale) if self.scale > 1 else x
        moving = self.lrelu(self.convf2(self.lrelu(self.convf1(flow))))
        seen = torch.cat([self.lrelu(self.convc1(found)), moving], 1)
        hidden = self.gru(torch.cat([self.lrelu(self.conv(seen)), flow, x], 1))
        more, further = self.feat_head(hidden), self.flow_head(hidden)
        if self.scale > 1:
            more, further = resize(more, self.scale), self.scale * resize(further, self.scale)
        return more, further


class AMT(nn.Module):
    """Two frames in [0, 1], (B, 3, 2, H, W) -> the one in the middle between them, (B, 3, H, W).

    H and W are multiples of 16, 64 or more.
    """

    def __init__(self) -> None:
        super().__init__()
        one, two, three, four = DIMS
        self.feat_encoder = FeatureEncoder()
        self.encoder = Encoder()
        self.decoder4 = Decoder(2 * four + 1, 2 * four, three + 4)
        self.decoder3 = Decoder(3 * three + 4, 3 * three, two + 4)
        self.decoder2 = Decoder(3 * two + 4, 3 * two, one + 4)
        self.decoder1 = Decoder(3 * one + 4, 3 * one, 8 * FLOWS)
        self.update4 = Update(three, 1)
        self.update3 = Update(two, 2)
        self.update2 = Update(one, 4)
        self.comb_block = nn.Sequential(
            nn.Conv2d(IMAGE * FLOWS, 6 * FLOWS, 3, 1, 1),
            nn.PReLU(6 * FLOWS),
            nn.Conv2d(6 * FLOWS, IMAGE, 3, 1, 1),
        )

    def decode(
        self, level: int, x: Tensor, maps: Sequence[Tensor], flow: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step of the decoder: the map and both flows (B, 4, 2H, 2W), of twice the size.

        Args:
            level: 4 to 2.
            x: what it has made so far; at level 4 the time.
            maps: the encoder's of both frames.
            flow: both flows; None at level 4.
        """
        decoder = self.get_submodule(f"decoder{level}")
        if flow is None:
            y = decoder(torch.cat([*maps, x], 1))
            return y[:, 4:], y[:, :4]
        y = decoder(self._seen(x, maps, flow))
        return y[:, 4:], y[:, :4] + 2.0 * resize(flow, 2.0)

    def _seen(self, x: Tensor, maps: Sequence[Tensor], flow: Tensor) -> Tensor:
        moved = [warp(maps[0], flow[:, :2]), warp(maps[1], flow[:, 2:])]
        return torch.cat([x, *moved, flow], 1)

    def combine(self, frames: Sequence[Tensor], mean: Tensor, y: Tensor, flow: Tensor) -> Tensor:
        """The new frame, of what the last decoder found.

        Args:
            frames: both, without their mean.
            y: changes of three pairs of flows, which frame counts more, and what is to be added.
            flow: both flows of half the size.
        """
        doubled = 2.0 * resize(flow, 2.0)
        parts = torch.split(y, [2 * FLOWS, 2 * FLOWS, FLOWS, IMAGE * FLOWS], 1)
        first, second, mask, extra = parts
        mask = torch.sigmoid(mask)
        fetched: list[Tensor] = []
        for index in range(FLOWS):
            pair = slice(2 * index, 2 * index + 2)
            early = warp(frames[0], first[:, pair] + doubled[:, :2])
            late = warp(frames[1], second[:, pair] + doubled[:, 2:])
            share = mask[:, index : index + 1]
            added = extra[:, IMAGE * index : IMAGE * (index + 1)]
            fetched.append(share * early + (1 - share) * late + mean + added)
        average: Tensor = sum(fetched[1:], fetched[0]) / FLOWS
        corrected: Tensor = average + self.comb_block(torch.cat(fetched, 1))
        return corrected.clamp(0, 1)

    def forward(self, clip: Tensor) -> Tensor:
        mean = clip.mean((1, 2, 3, 4))[:, None, None, None]
        frames = [clip[:, :, index] - mean for index in range(2)]
        features = [self.feat_encoder(frame) for frame in frames]
        pyramids = Pyramid(*features), Pyramid(*reversed(features))
        height, width = features[0].shape[2:]
        grid = pixel_grid(height, width, features[0])
        first, second = (self.encoder(frame) for frame in frames)
        flow: Tensor | None = None
        x = torch.full_like(first[3][:, :1], TIME)
        for level in (4, 3, 2):
            x, flow = self.decode(level, x, (first[level - 1], second[level - 1]), flow)
            scale = 2 ** (4 - level)
            at_eighth = resize(flow, 1 / scale) / scale if scale > 1 else flow
            found = [
                pyramids[0].at(grid + at_eighth[:, 2:] / TIME),
                pyramids[1].at(grid + at_eighth[:, :2] / (1 - TIME)),
            ]
            update = self.get_submodule(f"update{level}")
            more, further = update(x, at_eighth, torch.cat(found, 1))
            x, flow = x + more, flow + further
        assert flow is not None
        y = self.decoder1(self._seen(x, (first[0], second[0]), flow))
        return self.combine(frames, mean, y, flow)


def amt_s(*, in_chans: int = IMAGE) -> AMT:
    """AMT-S: 3.0 M parameters.

    Raises:
        ValueError: the frames have other than three channels.
    """
    if in_chans != IMAGE:
        raise ValueError(f"in_chans is {in_chans}; frames have {IMAGE} channels")
    return AMT()
