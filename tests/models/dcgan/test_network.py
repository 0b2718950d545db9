"""DCGAN's discriminator, written out with PyTorch's functions (pytorch/examples, dcgan/main.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mobile_export.models.dcgan.network import dcgan_discriminator


def test_it_is_the_examples_network() -> None:
    torch.manual_seed(0)
    module = dcgan_discriminator().eval().double()
    state = module.state_dict()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    y = F.leaky_relu(F.conv2d(image, state["main.0.weight"], stride=2, padding=1), 0.2)
    for conv, norm in ((2, 3), (5, 6), (8, 9)):
        y = F.conv2d(y, state[f"main.{conv}.weight"], stride=2, padding=1)
        parts = [state[f"main.{norm}.{part}"] for part in ("running_mean", "running_var")]
        parts += [state[f"main.{norm}.{part}"] for part in ("weight", "bias")]
        y = F.leaky_relu(F.batch_norm(y, *parts), 0.2)
    assert y.shape == (2, 512, 4, 4)
    logits = F.conv2d(y, state["main.11.weight"])
    torch.testing.assert_close(module(image), logits.view(2, 1), rtol=0, atol=1e-12)
    module.output = "probabilities"
    torch.testing.assert_close(module(image), logits.sigmoid().view(2, 1), rtol=0, atol=1e-12)
