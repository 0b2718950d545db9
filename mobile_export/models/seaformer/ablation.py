"""SEA attention without a part or with another: SeaFormer++ (arXiv 2301.13156), Tables 6, 7, 12."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import VALUE_RATIO, ConvNorm, SeaAttention

__all__ = ["AblatedAttention"]

_AXIAL = (
    "proj",
    "proj_encode_row",
    "proj_encode_column",
    "pos_emb_rowq",
    "pos_emb_rowk",
    "pos_emb_columnq",
    "pos_emb_columnk",
)


class AblatedAttention(SeaAttention):
    """SEA attention of one row of a table: (B, dim, H, W) -> (B, dim, H, W).

    Args:
        enhance: what the detail enhancement kernel takes: "qkv" together, or the input behind a
            1x1 convolution, "conv" of as many channels and "upconv" of those of queries, keys and
            values; "none": there is no such kernel; "alone": there is no attention.
        mode: "multiply": the attention is a gate for the details; "add": the two are added.
        squeeze: "mean" or "max" of a row or column.
        position: "learnt" or "none".
    """

    def __init__(
        self,
        dim: int,
        key_dim: int,
        heads: int,
        *,
        enhance: str = "qkv",
        mode: str = "multiply",
        squeeze: str = "mean",
        position: str = "learnt",
    ) -> None:
        super().__init__(dim, key_dim, heads)
        self.enhance, self.mode, self.squeeze = enhance, mode, squeeze
        if enhance in ("conv", "upconv"):
            width = dim if enhance == "conv" else (2 + VALUE_RATIO) * key_dim * heads
            self.upconv = ConvNorm(dim, width)
            self.dwconv = ConvNorm(width, width, 3, groups=width)
            self.pwconv = ConvNorm(width, dim)
        if enhance == "none":
            del self.dwconv, self.pwconv
        if enhance == "alone":
            for name in _AXIAL:
                delattr(self, name)
        elif position == "none":
            for name in _AXIAL[3:]:
                setattr(self, name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        if self.enhance == "alone":
            return self.details(x, q, k, v)
        attended: Tensor = self.proj(v + self.axial(x, q, k, v))
        if self.enhance == "none":
            return attended
        details = self.details(x, q, k, v)
        return attended + details if self.mode == "add" else F.hardsigmoid(attended) * details

    def details(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Of the detail enhancement kernel: shape of ``x``."""
        joined = self.upconv(x) if hasattr(self, "upconv") else torch.cat([q, k, v], 1)
        y: Tensor = self.pwconv(F.relu6(self.dwconv(joined)))
        return y

    def axial(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.squeeze == "mean":
            return super().axial(x, q, k, v)
        rows = self.attend_rows(q.amax(-1), k.amax(-1), v.amax(-1))
        columns = self.attend_columns(q.amax(-2), k.amax(-2), v.amax(-2))
        return rows + columns
