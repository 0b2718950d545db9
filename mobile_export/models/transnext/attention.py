"""TransNeXt's two attentions (arXiv 2311.17132, §3): of all tokens, and aggregated.

Queries and keys have length one; a learnt vector is added to the queries, and they are scaled by a
learnt temperature and the logarithm of how many keys there are. Biases of position come of a small
network on the logarithm of the distance, so they hang on weights alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import from_map, to_map

__all__ = ["AggregatedAttention", "GlobalAttention"]

WINDOW = 3
NEAR = WINDOW**2
BIAS_MIDDLE = 512
BIAS_REACH = 8
"""What a distance of a whole map is scaled to before its logarithm is taken."""
TEMPERATURE = 0.24
OUTSIDE = -1e4
"""Added to the similarity of a neighbour beyond the border: its weight is 0 in any type."""


def _offsets(queries: int, pool: int, trained: int, like: Tensor) -> Tensor:
    """Distances of queries to averages of ``pool`` keys each, along one axis, on a scale of
    logarithms: each that there is, in order."""
    first = (queries // pool - 1) * pool
    count = queries + first
    apart = torch.arange(count, dtype=like.dtype, device=like.device) - first - (pool - 1) / 2
    scaled = apart * (BIAS_REACH / (trained - 1))
    return scaled.sign() * torch.log2(scaled.abs() + 1) / math.log2(BIAS_REACH)


def _indices(queries: int, pool: int, device: torch.device) -> Tensor:
    """Which of `_offsets` belongs to a query and a key: (queries, keys)."""
    keys = queries // pool
    places = torch.arange(keys, device=device) * pool
    return torch.arange(queries, device=device)[:, None] - places + (keys - 1) * pool


def _border(size: tuple[int, int], like: Tensor) -> Tensor:
    """0 where a neighbour is within the map, `OUTSIDE` elsewhere: (9, N)."""
    inside = F.unfold(
        torch.ones(1, 1, *size, dtype=like.dtype, device=like.device), WINDOW, 1, WINDOW // 2
    )
    return (1 - inside[0]) * OUTSIDE


class _CosineAttention(nn.Module):
    """What both share.

    Args:
        trained: height and width of the map in training, which the biases are scaled by.
        pool: height and width of what a key is an average of.
    """

    cpb_fc1: nn.Linear
    cpb_fc2: nn.Linear

    def __init__(self, dim: int, heads: int, trained: int, pool: int) -> None:
        super().__init__()
        self.heads, self.trained, self.pool = heads, trained, pool
        start = math.log(math.exp(1 / TEMPERATURE) - 1)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), start))
        self.query_embedding = nn.Parameter(torch.empty(heads, 1, dim // heads))
        nn.init.trunc_normal_(self.query_embedding, std=0.02)

    def position_bias(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Of every query and key of a map: (heads, N, M)."""
        height, width = size
        down = _offsets(height, self.pool, self.trained, like)
        across = _offsets(width, self.pool, self.trained, like)
        table = torch.stack(
            [down[:, None].expand(-1, len(across)), across.expand(len(down), -1)], -1
        )
        biases = self.cpb_fc2(F.relu(self.cpb_fc1(table.flatten(0, 1))))
        rows = _indices(height, self.pool, like.device)
        columns = _indices(width, self.pool, like.device)
        index = rows[:, None, :, None] * len(across) + columns[None, :, None, :]
        found: Tensor = biases.T[:, index.flatten()].reshape(self.heads, height * width, -1)
        return found

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, heads·d) -> (B, heads, N, d)."""
        parts: Tensor = torch.unflatten(x, -1, (self.heads, -1))
        return parts.transpose(1, 2)

    def scaled(self, q: Tensor, keys: Tensor) -> Tensor:
        """Queries of length one, ready for products.

        Args:
            keys: how many each of them has: (N, 1) or ().
        """
        queries: Tensor = (q + self.query_embedding) * F.softplus(self.temperature)
        return queries * torch.log(keys)


class GlobalAttention(_CosineAttention):
    """Every token attends to every other: (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int, heads: int, trained: int) -> None:
        super().__init__(dim, heads, trained, 1)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.cpb_fc1 = nn.Linear(2, BIAS_MIDDLE)
        self.cpb_fc2 = nn.Linear(BIAS_MIDDLE, heads)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        q, k, v = (self.split_heads(part) for part in self.qkv(x).chunk(3, -1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        q = self.scaled(q, torch.tensor(float(x.shape[1]), dtype=x.dtype, device=x.device))
        weights = (q @ k.transpose(-2, -1) + self.position_bias(size, x)).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return y


class AggregatedAttention(_CosineAttention):
    """Every token attends to its neighbourhood and to averages: (B, N, dim) -> (B, N, dim).

    The weights of neighbours have a part that the softmax does not bind (§3.4): what the query
    says of each place, and a bias.
    """

    def __init__(self, dim: int, heads: int, trained: int, pool: int) -> None:
        super().__init__(dim, heads, trained, pool)
        self.relative_pos_bias_local = nn.Parameter(torch.empty(heads, NEAR))
        self.learnable_tokens = nn.Parameter(torch.empty(heads, dim // heads, NEAR))
        self.learnable_bias = nn.Parameter(torch.zeros(heads, 1, NEAR))
        nn.init.trunc_normal_(self.relative_pos_bias_local, std=0.0004)
        nn.init.trunc_normal_(self.learnable_tokens, std=0.02)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, 1)
        self.norm = nn.LayerNorm(dim)
        self.cpb_fc1 = nn.Linear(2, BIAS_MIDDLE)
        self.cpb_fc2 = nn.Linear(BIAS_MIDDLE, heads)

    def neighbours(self, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Keys and values of each token's neighbourhood: (B, heads, d, 9, N) each."""
        k, v = self.kv(x).chunk(2, -1)
        k = F.normalize(torch.unflatten(k, -1, (self.heads, -1)), dim=-1).flatten(2)
        unfolded = F.unfold(to_map(torch.cat([k, v], -1), size), WINDOW, 1, WINDOW // 2)
        grouped = unfolded.reshape(x.shape[0], 2 * self.heads, -1, NEAR, x.shape[1])
        keys, values = grouped.chunk(2, 1)
        return keys, values

    def averages(self, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Keys and values of averages: (B, heads, M, d) each."""
        pooled = F.avg_pool2d(F.gelu(self.sr(to_map(x, size))), self.pool)
        k, v = self.kv(self.norm(from_map(pooled))).chunk(2, -1)
        return F.normalize(self.split_heads(k), dim=-1), self.split_heads(v)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        q = F.normalize(self.split_heads(self.q(x)), dim=-1)
        far_keys, far_values = self.averages(x, size)
        border = _border(size, x)
        inside = (border == 0).to(x.dtype).sum(0)[:, None]
        scaled = self.scaled(q, inside + far_keys.shape[2])
        near_keys, near_values = self.neighbours(x, size)
        near = (scaled.transpose(-2, -1)[:, :, :, None] * near_keys).sum(2)
        near = near + (self.relative_pos_bias_local[:, :, None] + border)
        far = scaled @ far_keys.transpose(-2, -1) + self.position_bias(size, x)
        weights = torch.cat([near.transpose(-2, -1), far], -1).softmax(-1)
        near, far = torch.split(weights, [NEAR, far.shape[-1]], -1)
        near = near + (q @ self.learnable_tokens + self.learnable_bias)
        local = (near.transpose(-2, -1)[:, :, None] * near_values).sum(3)
        mixed = local.transpose(-2, -1) + far @ far_values
        y: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return y
