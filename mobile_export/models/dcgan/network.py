"""DCGAN's discriminator (arXiv 1511.06434): tells pictures from generated ones.

"Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks",
Radford et al. Convolutions of stride 2 instead of pooling, batch norm except in the first and the
last layer, LeakyReLU of slope 0.2 (§3). Its maps are the features that the paper classifies with
(§5.1). The generator takes 100 random numbers and no picture.

Parameter names are those of PyTorch's example (github.com/pytorch/examples, dcgan/main.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["Discriminator", "dcgan_discriminator"]

WIDTH = 64
STEPS = 4
SLOPE = 0.2


class Discriminator(nn.Module):
    """Images (B, in_chans, H, W) -> how sure they are no generated ones (B, 1).

    H and W are multiples of 64, the paper's size; of larger images the results of all places are
    averaged.

    Args:
        output: "logits", or "probabilities", their sigmoid.
    """

    def __init__(self, *, num_classes: int = 1, in_chans: int = 3, output: str = "logits") -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.output = output
        layers: list[nn.Module] = []
        dim = in_chans
        for index in range(STEPS):
            wide = WIDTH * 2**index
            layers.append(nn.Conv2d(dim, wide, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(wide)] if index else []
            layers.append(nn.LeakyReLU(SLOPE))
            dim = wide
        self.main = nn.Sequential(*layers, nn.Conv2d(dim, num_classes, 4, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.main(x)
        places = torch.sigmoid(logits) if self.output == "probabilities" else logits
        return places.mean((2, 3))


def dcgan_discriminator(
    num_classes: int = 1, *, in_chans: int = 3, output: str = "logits"
) -> Discriminator:
    """DCGAN's discriminator of images of 64x64 pixels."""
    return Discriminator(num_classes=num_classes, in_chans=in_chans, output=output)
