"""The spatial transformer: PyTorch's tutorial, and its sampling against one pixel by pixel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mobile_export.models.stn.network import stn_mnist


def turned(image: Tensor, theta: Tensor) -> Tensor:
    """(H, W) along (2, 3): Equations 1 and 5 of the paper, pixel by pixel."""
    height, width = image.shape
    result = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            place = [(2 * column + 1) / width - 1, (2 * row + 1) / height - 1, 1.0]
            x, y = (theta @ torch.tensor(place, dtype=torch.float64)).tolist()
            x, y = ((x + 1) * width - 1) / 2, ((y + 1) * height - 1) / 2
            for m in range(math.floor(y), math.floor(y) + 2):
                for n in range(math.floor(x), math.floor(x) + 2):
                    if 0 <= m < height and 0 <= n < width:
                        share = max(0, 1 - abs(x - n)) * max(0, 1 - abs(y - m))
                        result[row, column] += share * image[m, n]
    return result


def test_the_image_is_sampled_along_the_map_that_is_found() -> None:
    torch.manual_seed(0)
    module = stn_mnist().eval().double()
    image = torch.rand(1, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(module.upright(image), image, rtol=0, atol=1e-12)
    theta = torch.tensor([0.8, 0.3, 0.1, -0.2, 1.1, -0.3], dtype=torch.float64)
    module.fc_loc[2].bias.data = theta
    expected = turned(image[0, 0], theta.view(2, 3))
    torch.testing.assert_close(module.upright(image)[0, 0], expected, rtol=0, atol=1e-12)


def test_it_is_the_tutorials_network() -> None:
    torch.manual_seed(0)
    module = stn_mnist().eval().double()
    torch.nn.init.normal_(module.fc_loc[2].weight, std=0.1)
    weights = dict(module.named_parameters())
    image = torch.rand(2, 1, 28, 28, dtype=torch.float64)

    def layer(name: str) -> tuple[Tensor, Tensor]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    y = F.relu(F.max_pool2d(F.conv2d(image, *layer("localization.0")), 2))
    y = F.relu(F.max_pool2d(F.conv2d(y, *layer("localization.3")), 2))
    y = F.relu(F.linear(y.reshape(2, 90), *layer("fc_loc.0")))
    theta = F.linear(y, *layer("fc_loc.2")).view(2, 2, 3)
    y = torch.stack([turned(x[0], t)[None] for x, t in zip(image, theta, strict=True)])
    y = F.relu(F.max_pool2d(F.conv2d(y, *layer("conv1")), 2))
    y = F.relu(F.max_pool2d(F.conv2d(y, *layer("conv2")), 2))
    y = F.linear(F.relu(F.linear(y.reshape(2, 320), *layer("fc1"))), *layer("fc2"))
    torch.testing.assert_close(module(image), y, rtol=0, atol=1e-10)
