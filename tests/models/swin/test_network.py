"""Swin and the attentions in its place: timm's Swin, ACmix's own code and the printed figures."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from mobile_export.models.cost import measure_named
from mobile_export.models.swin.network import Swin
from mobile_export.models.swin.windows import LocalAttention, MapWindows, MixingAttention
from tests.models.official import Official, build

OFFICIAL = Official("swin")
CLASSIFIER = 769_000


@pytest.mark.parametrize(
    ("attention", "params_m", "macs_g"),
    [
        ("window", 27.5, 25.6),
        ("axial", 36.2, 32.5),
        ("local", 27.5, 25.1),
        ("mixformer", 27.5, 24.9),
        ("acmix", 27.9, 26.6),
        ("global", 27.5, 144),
        ("seaformer", 34.0, 24.9),
    ],
)
def test_counts_are_those_of_table_8(attention: str, params_m: float, macs_g: float) -> None:
    """Of SeaFormer++, which prints the backbone's: parameters within 1 %, FLOPs within 3 %."""
    counted = measure_named(f"swin_tiny?attention={attention}", (512, 512), None)
    assert (counted.parameters - CLASSIFIER) / 1e6 == pytest.approx(params_m, rel=0.01)
    assert counted.macs / 1e9 == pytest.approx(macs_g, rel=0.03)


def test_state_dict_of_acmix_is_the_official_one() -> None:
    """LeapLabTHU/ACmix, swin_transformer_acmix.py, without the masks that it stores."""
    OFFICIAL.check_state_dict("swin_tiny?attention=acmix")


@pytest.mark.matrix
def test_outputs_of_acmix_are_the_official_ones() -> None:
    OFFICIAL.check_outputs("swin_tiny?attention=acmix")


def test_swin_is_timms() -> None:
    timm = pytest.importorskip("timm")
    official = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5).eval()
    module = build("swin_tiny").eval()
    module.head = nn.Linear(768, 5)
    weights = {_renamed(key): value for key, value in official.state_dict().items()}
    missing = module.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert {key.rpartition(".")[2] for key in missing.missing_keys} == {"relative_position_index"}
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(module(image), official(image), rtol=0, atol=1e-5)


def test_masks_of_official_checkpoints_are_left_out() -> None:
    """microsoft/Swin-Transformer stores one for every shifted block but those of the last stage."""
    stored = {f"layers.{stage}.blocks.1.attn_mask" for stage in range(3)}
    stored |= {f"layers.2.blocks.{index}.attn_mask" for index in (3, 5)}
    assert stored <= set(Swin.training_only)
    with torch.device("meta"):
        keys = build("swin_tiny").state_dict()
    assert not [key for key in keys if key.startswith(Swin.training_only)]


def _renamed(key: str) -> str:
    """timm puts the layer that makes a map smaller in front of a stage, not behind."""
    if found := re.match(r"layers\.(\d)\.downsample\.", key):
        return f"layers.{int(found[1]) - 1}.downsample.{key[found.end() :]}"
    return key.replace("head.fc.", "head.")


def test_padding_is_cut_off_again() -> None:
    """Pixels of the last, padded window: as if the map had zeros there."""
    torch.manual_seed(0)
    module = MapWindows(32, 2, shifted=False)
    x = torch.randn(1, 10, 14, 32)
    wide = torch.cat([x, torch.zeros(1, 4, 14, 32)], 1)
    torch.testing.assert_close(module(x), module(wide)[:, :10])


def test_local_attention_stays_in_its_window() -> None:
    torch.manual_seed(0)
    module = LocalAttention(32, 2)
    x = torch.randn(1, 14, 14, 32)
    y = module(x)
    changed = x.clone()
    changed[:, 7:, 7:] += 1
    differs = (module(changed) - y).abs().amax(-1)[0] > 1e-6
    assert differs[7:, 7:].all()
    assert not differs[:7].any()
    assert not differs[:, :7].any()


def test_mixing_attention_by_hand() -> None:
    """MixFormer's §3.1 on one window: each branch gates the other."""
    torch.manual_seed(0)
    module = MixingAttention(16, 2, shifted=False).eval()
    x = torch.randn(1, 7, 7, 16)
    tokens = x.reshape(49, 16)
    with torch.no_grad():
        local = module.proj_cnn_norm(module.proj_cnn(tokens)).T.reshape(1, 16, 7, 7)
        local = module.dwconv3x3(local)
        gate = module.channel_interaction(local.mean((2, 3), keepdim=True)).sigmoid()
        q, k, v = module.qkv(module.proj_attn_norm(module.proj_attn(tokens))).split(8, 1)
        v = v * gate.reshape(1, 8)
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            bias = module.relative_position_bias_table[module.relative_position_index, head]
            heads.append((q[:, part] @ k[:, part].T / 2 + bias).softmax(1) @ v[:, part])
        mixed = torch.cat(heads, 1)
        by_pixel = module.spatial_interaction(mixed.T.reshape(1, 8, 7, 7)).sigmoid()
        beside = module.conv_norm(by_pixel * module.projection(local)).reshape(8, 49).T
        expected = module.proj(torch.cat([module.attn_norm(mixed), beside], 1))
        torch.testing.assert_close(module(x).reshape(49, 16), expected)
