"""All-CNN-C against the paper's Table 2, written out with PyTorch's functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mobile_export.models.all_cnn.network import all_cnn_c


def test_it_is_the_papers_table() -> None:
    torch.manual_seed(0)
    module = all_cnn_c().eval().double()
    weights = iter(module.parameters())
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    y = image
    shapes = []
    for stride, padding in ((1, 1), (1, 1), (2, 1), (1, 1), (1, 1), (2, 1), (1, 1), (1, 0), (1, 0)):
        y = F.relu(F.conv2d(y, next(weights), next(weights), stride, padding))
        shapes.append(tuple(y.shape[1:]))
    assert shapes == [
        *[(96, 32, 32)] * 2,
        (96, 16, 16),
        *[(192, 16, 16)] * 2,
        *[(192, 8, 8)] * 3,
        (10, 8, 8),
    ]
    torch.testing.assert_close(module(image), F.avg_pool2d(y, 8).flatten(1), rtol=0, atol=1e-12)


def test_it_has_the_papers_size() -> None:
    """1.4 M parameters (Table 3)."""
    assert round(sum(p.numel() for p in all_cnn_c().parameters()) / 1e6, 1) == 1.4
