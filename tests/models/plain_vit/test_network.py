"""Plain vision transformers against timm's, which takes any patch and width, key for key.

UViT also against the layers of Google's code (google-research@1d4d2f1, moe_mtl/modeling/vit.py, of
JAX, run in float64), with the mean of its map and a linear layer behind it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.cost import measure_named
from tests.models.official import Official

timm_vit = pytest.importorskip("timm.models.vision_transformer")

TIMM: dict[str, dict[str, Any]] = {
    "pixel_transformer_tiny": {"patch_size": 1, "embed_dim": 192, "depth": 12, "num_heads": 3},
    "uvit_tiny": {
        "patch_size": 8,
        "embed_dim": 222,
        "depth": 18,
        "num_heads": 6,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
        "act_layer": partial(torch.nn.GELU, approximate="tanh"),
    },
}
SIZES = {"pixel_transformer_tiny": (6, 9), "uvit_tiny": (24, 40)}


def test_uvit_computes_what_googles_code_does() -> None:
    Official("uvit", Path(__file__).parent).check_outputs("uvit_tiny")


@pytest.mark.parametrize("name", sorted(TIMM))
def test_outputs_are_timms(name: str) -> None:
    torch.manual_seed(0)
    size = SIZES[name]
    theirs = timm_vit.VisionTransformer(img_size=size, num_classes=7, **TIMM[name])
    ours = table.get(name).build(7, size=size)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.double().eval()(image)
        got = ours.double().eval()(image)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_uvit_has_the_parameters_that_googles_code_says() -> None:
    """13.5 M of the backbone for images of 896x896."""
    classifier = 222 * 1000 + 1000
    counted = measure_named("uvit_tiny", (896, 896), None).parameters - classifier
    assert counted / 1e6 == pytest.approx(13.5, rel=0.01)


def test_a_pixel_transformer_is_as_large_as_deit_tiny_but_for_patches_and_positions() -> None:
    """DeiT-Tiny (arXiv 2012.12877) has 5,717,416 parameters."""
    patches, positions = 192 * 3 * (256 - 1), 192 * (28 * 28 - 14 * 14)
    counted = measure_named("pixel_transformer_tiny", (28, 28), None).parameters
    assert counted == 5_717_416 - patches + positions
