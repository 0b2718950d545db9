"""Spatial transformer network: a classifier that turns its image upright (arXiv 1506.02025).

"Spatial Transformer Networks", Jaderberg et al. A small network of the image (localisation, §3.1)
finds an affine map; the image is sampled along it (§3.2 and §3.3) and classified. The paper's own
layers for MNIST are not printed in full; these are of PyTorch's tutorial, and so are the names of
the parameters (github.com/pytorch/tutorials, intermediate_source/spatial_transformer_tutorial.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["SpatialTransformer", "stn_mnist"]

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def behind(size: tuple[int, int], kernels: tuple[int, ...]) -> int:
    """Pixels behind convolutions without a border, each followed by a pooling of 2."""
    height, width = size
    for kernel in kernels:
        height, width = (height - kernel + 1) // 2, (width - kernel + 1) // 2
    return height * width


class SpatialTransformer(nn.Module):
    """Spatial transformer: images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        size: (H, W) of the images, which the linear layers depend on.
    """

    def __init__(
        self, *, num_classes: int = 10, in_chans: int = 1, size: tuple[int, int] = (28, 28)
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_chans, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(20 * behind(size, (5, 5)), 50)
        self.fc2 = nn.Linear(50, num_classes)
        self.localization = nn.Sequential(
            nn.Conv2d(in_chans, 8, 7),
            nn.MaxPool2d(2, 2),
            nn.ReLU(),
            nn.Conv2d(8, 10, 5),
            nn.MaxPool2d(2, 2),
            nn.ReLU(),
        )
        last = nn.Linear(32, len(IDENTITY))
        self.fc_loc = nn.Sequential(nn.Linear(10 * behind(size, (7, 5)), 32), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor(IDENTITY)

    def upright(self, x: Tensor) -> Tensor:
        """The image along the affine map that the localisation finds in it."""
        theta = self.fc_loc(self.localization(x).flatten(1)).reshape(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(self.upright(x)), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        logits: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits


def stn_mnist(
    num_classes: int = 10, *, in_chans: int = 1, size: tuple[int, int] = (28, 28)
) -> SpatialTransformer:
    """A spatial transformer for MNIST's digits."""
    return SpatialTransformer(num_classes=num_classes, in_chans=in_chans, size=size)
