"""2-D SSM (arXiv 2306.06635): a vision transformer whose feed-forward mixes along rows and columns.

"2-D SSM: A General Spatial Layer for Visual Transformers", Baron et al. Roesser's model of linear
systems has one state that runs along rows and one along columns, each of which feeds the other
(§3.1). What it answers to a single bright pixel is a kernel as large as the map, one for each
channel and direction, so the layer is a depthwise convolution (§3.2); two directions: from the top
left and from the bottom right corner. Here in the place of the 3x3 convolution of a mixing
feed-forward, as in the official command for CIFAR-100. Files store the kernels.

Parameter names are those of the official code (github.com/ethanbar11/ssm_2d).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes, initialize_linear, to_map

__all__ = ["SSMViT", "StateSpace", "vit_ssm_2d"]

PATCH = 4
DIM, DEPTH, HEADS = 192, 9, 12
MLP_RATIO = 2
SYSTEMS, STATES = 2, 16
"""Of each direction; channels share the systems in turn."""
DIRECTIONS = 2


class StateSpace(nn.Module):
    """Depthwise convolution with the answers of two-dimensional linear systems, then a norm over
    the channels: (B, H·W, dim) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        systems = DIRECTIONS * SYSTEMS
        self.B_1 = nn.Parameter(torch.randn(systems, STATES) * 0.2)
        self.B_2 = nn.Parameter(torch.randn(systems, STATES) * 0.2)
        self.C_1 = nn.Parameter(torch.randn(DIRECTIONS * dim, STATES))
        self.C_2 = nn.Parameter(torch.randn(DIRECTIONS * dim, STATES))
        self.omega = nn.Parameter(torch.randn(dim))
        """Of a residual that this network does not have."""
        self.normalization = nn.LayerNorm(dim)
        self.A = nn.ParameterDict(
            {f"A_{index}": torch.randn(systems, STATES) * 0.2 for index in range(1, 5)}
        )

    def states(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Of all systems at each pixel behind a bright one at the top left, along rows and along
        columns: (height, width, systems, STATES) each.

        All pixels of a falling diagonal depend on those of the one before. Two states that meet are
        halved; the first of a row or column have no other one to meet.
        """
        a_1, a_2, a_3, a_4 = (self.A[f"A_{index}"].sigmoid() for index in range(1, 5))
        first = torch.zeros(height, 1, 1, dtype=a_1.dtype, device=a_1.device)
        first[0] = 1
        row, column = first * self.B_1.sigmoid(), first * self.B_2.sigmoid()
        rows, columns = [row], [column]
        line = torch.arange(height, device=a_1.device)
        for step in range(height + width - 2):
            place = step - line
            meet = ((line > 0) & (place > 0)) | ((line == 0) & (place == 0))
            half = (1 - 0.5 * meet.to(a_1.dtype))[:, None, None]
            next_row = half * (a_1 * row + a_2 * column)
            below = half * (a_3 * row + a_4 * column)
            row, column = next_row, F.pad(below[:-1], (0, 0, 0, 0, 1, 0))
            rows.append(row)
            columns.append(column)
        along, down = torch.stack(rows, 1), torch.stack(columns, 1)
        cells = [
            torch.stack([found[line, line : line + width] for line in range(height)])
            for found in (along, down)
        ]
        return cells[0], cells[1]

    def kernels(self, height: int, width: int) -> Tensor:
        """Answers (directions · dim, height, width) to a bright pixel at the top left."""
        along, down = self.states(height, width)
        channels = len(self.C_1)
        systems = along.shape[2]

        def answer(state: Tensor, weights: Tensor) -> Tensor:
            # channel c reads system c mod systems
            by_system = weights.reshape(-1, systems, STATES).permute(1, 2, 0)
            found = state.reshape(height * width, systems, STATES).transpose(0, 1) @ by_system
            return found.permute(2, 0, 1).reshape(channels, height, width)

        answers: Tensor = (answer(along, self.C_1) + answer(down, self.C_2)) * STATES**-0.5
        edge = torch.ones(height, width, dtype=answers.dtype, device=answers.device)
        edge[0], edge[:, 0] = 2, 2
        edge[0, 0] = 1
        return answers * edge

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = size
        dim = x.shape[2]
        answers = self.kernels(height, width)
        above, left = height - 1, width - 1
        # a convolution's kernel grows to the left and above where the answer grows to the right
        forth = F.pad(answers[:dim].flip((1, 2)), (0, left, 0, above))
        back = F.pad(answers[dim:], (left, 0, above, 0))
        kernel = (forth + back)[:, None]
        y = F.conv2d(to_map(x, size), kernel, padding=(above, left), groups=dim)
        z: Tensor = self.normalization(y.flatten(2).transpose(1, 2))
        return z


class SelfAttention(nn.Module):
    """Multi-head self-attention: (B, N, dim) -> the same."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.to_out = nn.Sequential(nn.Linear(DIM, DIM))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in self.to_qkv(x).chunk(3, 2)
        )
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(-1)
        y: Tensor = self.to_out((weights @ v).transpose(1, 2).flatten(2))
        return y


class MixingFeedForward(nn.Module):
    """Feed-forward with `StateSpace` between its layers, for all tokens but the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(DIM, MLP_RATIO * DIM)
        self.move = StateSpace(MLP_RATIO * DIM)
        self.fc2 = nn.Linear(MLP_RATIO * DIM, DIM)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.fc1(x)
        x = torch.cat([x[:, :1], self.move(x[:, 1:], size)], 1)
        y: Tensor = self.fc2(F.gelu(x))
        return y


class Normed(nn.Module):
    """A layer behind a norm."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.fn = layer

    def forward(self, x: Tensor, *more: tuple[int, int]) -> Tensor:
        y: Tensor = self.fn(self.norm(x), *more)
        return y


class Blocks(nn.Module):
    """Attention and feed-forward in turn, with residuals."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Normed(SelfAttention()), Normed(MixingFeedForward())])
            for _ in range(DEPTH)
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        for index in range(DEPTH):
            x = self.get_submodule(f"layers.{index}.0")(x) + x
            x = self.get_submodule(f"layers.{index}.1")(x, size) + x
        return x


class SSMViT(nn.Module):
    """Normalised images (B, in_chans, H, W) -> logits (B, num_classes); H and W multiples of 4."""

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        check_classes(num_classes)
        self.num_classes = num_classes
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(), nn.Linear(PATCH * PATCH * in_chans, DIM)
        )
        self.transformer = Blocks()
        self.mlp_head = nn.Sequential(nn.LayerNorm(DIM), nn.Linear(DIM, num_classes))
        self.apply(initialize_linear)

    def forward(self, image: Tensor) -> Tensor:
        batch, channels, height, width = image.shape
        size = (height // PATCH, width // PATCH)
        cut = image.reshape(batch, channels, size[0], PATCH, size[1], PATCH)
        patches = cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, size[0] * size[1], -1)
        token = self.cls_token.expand(batch, -1, -1)
        x = torch.cat([token, self.to_patch_embedding(patches)], 1)
        logits: Tensor = self.mlp_head(self.transformer(x, size)[:, 0])
        return logits


def vit_ssm_2d(num_classes: int = 100, *, in_chans: int = 3) -> SSMViT:
    """The vision transformer for CIFAR-100 with 2-D SSM."""
    return SSMViT(num_classes=num_classes, in_chans=in_chans)
