"""The token mixers of RecNeXt against their definitions, written out."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mobile_export.models.recnext.mixers import LinearAttention


def test_linear_attention_is_the_same_in_either_order() -> None:
    """Against the definition: positive weights q·k, normalised, over all pixels."""
    torch.manual_seed(0)
    for height, width in ((2, 2), (5, 7)):  # fewer and more pixels than the 8 channels of a key
        module = LinearAttention(16, 2, key_dim=16, groups=2).double().eval()
        x = torch.randn(1, 16, height, width, dtype=torch.float64)
        with torch.no_grad():
            q, k = (F.elu(module.qk(x)) + 1).flatten(2).reshape(2, 2, 8, -1)
            weights = torch.einsum("hcn,hcm->hnm", q, k)
            weights = weights / (weights.mean(-1, keepdim=True) + 1e-6) / (height * width)
            mixed = torch.einsum("hnm,hcm->hcn", weights, x.reshape(2, 8, -1))
            expected = mixed.reshape(x.shape) + module.pe(x)
            torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-12)
