"""Other attentions in the place of SEA attention: SeaFormer++ (arXiv 2301.13156), Table 9.

The paper says that their windows have 4 pixels and that channels were changed until the FLOPs
agreed, and prints neither these channels nor how the attentions are set up. Here they are those of
`models.swin`, whose queries, keys and values together have three times the map's channels, which
makes the printed parameters without any change; where there is a convolution alone, it is the
detail enhancement kernel with so many channels as make the printed parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from ..swin.network import AxialAttention, GlobalAttention
from ..swin.windows import ACmix, LocalAttention, MixingAttention
from .ablation import AblatedAttention
from .network import MakeAttention
from .variants import TINY

__all__ = ["CONVOLVED", "OTHERS", "OfMap"]

WINDOW = 4

CONVOLVED = replace(TINY, key_dims=(16, 48))
"""SeaFormer-T where the detail enhancement kernel is alone."""


class OfMap(nn.Module):
    """An attention of a map whose channels are last, for one whose channels are first."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


def _of_map(make: Callable[[int, int], nn.Module]) -> MakeAttention:
    return lambda dim, _key_dim, heads: OfMap(make(dim, heads))


OTHERS: dict[str, MakeAttention] = {
    "conv": lambda dim, key_dim, heads: AblatedAttention(dim, key_dim, heads, enhance="alone"),
    "local": _of_map(lambda dim, heads: LocalAttention(dim, heads, WINDOW)),
    "axial": _of_map(AxialAttention),
    "global": _of_map(GlobalAttention),
    "acmix": _of_map(lambda dim, heads: ACmix(dim, heads, shifted=False, window=WINDOW)),
    "mixformer": _of_map(
        lambda dim, heads: MixingAttention(dim, heads, shifted=False, window=WINDOW)
    ),
}
"""By the row of the table."""
