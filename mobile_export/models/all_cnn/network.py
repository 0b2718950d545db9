"""All-CNN-C (arXiv 1412.6806).

"Striving for Simplicity: The All Convolutional Net", Springenberg et al. Seven 3x3 convolutions,
two of which halve the map where others pool, two 1x1 convolutions, and an average (Table 2). Its
last convolution, of one channel per class, has a ReLU behind it, too ("1x1 conv. 10 ReLU", Table
1), so no logit is negative. The paper trains it on CIFAR-10; there is no official code in PyTorch,
so names of weights are ours.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["AllCNN", "all_cnn_c"]

LAYERS = (
    (96, 3, 1),
    (96, 3, 1),
    (96, 3, 2),
    (192, 3, 1),
    (192, 3, 1),
    (192, 3, 2),
    (192, 3, 1),
    (192, 1, 1),
)
"""Channels, kernel and stride of each convolution but the last, which has one channel per class."""


class AllCNN(nn.Module):
    """All-CNN-C: images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(self, *, num_classes: int, in_chans: int) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        layers: list[nn.Module] = []
        before = in_chans
        for dim, kernel, stride in LAYERS:
            layers += [nn.Conv2d(before, dim, kernel, stride, kernel // 2), nn.ReLU()]
            before = dim
        layers += [nn.Conv2d(before, num_classes, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.features(x).mean((2, 3))
        return logits


def all_cnn_c(num_classes: int = 10, *, in_chans: int = 3) -> AllCNN:
    """All-CNN-C for CIFAR-10."""
    return AllCNN(num_classes=num_classes, in_chans=in_chans)
