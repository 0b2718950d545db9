"""Small layers that several families share."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ConvBNAct", "DropPath", "attend", "check_classes", "drop_rates"]


class ConvBNAct(nn.Module):
    """Convolution with "same" padding of odd kernels, batch norm, activation; named as in mmcv.

    (B, dim_in, H, W) -> (B, dim_out, ⌈H/stride⌉, ⌈W/stride⌉)
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        eps: float = 1e-5,
        act: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(
            dim_in, dim_out, kernel, stride, padding, dilation, groups, bias=False
        )
        self.bn = nn.BatchNorm2d(dim_out, eps=eps)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


def check_classes(num_classes: int) -> None:
    """Refuse a head without classes."""
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; it must be at least 1")


def drop_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth's rates of ``depth`` blocks: from 0 to ``last`` in equal steps."""
    return [last * index / max(1, depth - 1) for index in range(depth)]


class DropPath(nn.Module):
    """Stochastic depth: while training, drops a residual branch per sample with this rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention, channels first: (B, C, N), (B, C, M), (B, D, M) -> (B, D, N).

    Every head mixes its values: Σ softmax(q·k / √d) v, with d = C / heads channels of a key.
    """
    batch, channels, length = q.shape
    queries = q.reshape(batch, heads, -1, length).transpose(-2, -1)
    keys = k.reshape(batch, heads, -1, k.shape[2])
    values = v.reshape(batch, heads, -1, v.shape[2])
    scale: float = (channels // heads) ** -0.5
    weights = (queries @ keys * scale).softmax(-1)
    return (values @ weights.transpose(-2, -1)).reshape(batch, -1, length)
