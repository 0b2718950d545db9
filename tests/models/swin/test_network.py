"""Swin and the attentions in its place: timm's Swin, ACmix's own code and the printed figures."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from mobile_export.models.cost import measure_named
from mobile_export.models.swin.crossed import (
    CrissCrossAttention,
    DoubleAttention,
    InterlacedAttention,
    Mixing,
)
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
        ("ccnet", 41.6, 37.4),
        ("a2", 37.2, 31.1),
    ],
)
def test_counts_are_those_of_table_8(attention: str, params_m: float, macs_g: float) -> None:
    """Of SeaFormer++, which prints the backbone's: parameters within 1 %, FLOPs within 3 %."""
    counted = measure_named(f"swin_tiny?attention={attention}", (512, 512), None)
    assert (counted.parameters - CLASSIFIER) / 1e6 == pytest.approx(params_m, rel=0.01)
    assert counted.macs / 1e9 == pytest.approx(macs_g, rel=0.03)


def test_counts_of_issa() -> None:
    """Its FLOPs are 3.01 % below those of the table, which does not say how it is set up."""
    counted = measure_named("swin_tiny?attention=issa", (512, 512), None)
    assert (counted.parameters - CLASSIFIER) / 1e6 == pytest.approx(31.8, rel=0.01)
    assert counted.macs / 1e9 == pytest.approx(33.3, rel=0.031)


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


def test_criss_cross_attention_pixel_by_pixel() -> None:
    """CCNet's §3.2: a softmax over the row and the column of a pixel, itself once."""
    torch.manual_seed(0)
    module = CrissCrossAttention(16).double()
    x = torch.randn(1, 4, 5, 16, dtype=torch.float64)
    q, k, v = (
        conv(x.permute(0, 3, 1, 2))[0]
        for conv in (module.query_conv, module.key_conv, module.value_conv)
    )
    found = module(x)[0]
    for row in range(4):
        for column in range(5):
            seen = [(row, other) for other in range(5)]
            seen += [(other, column) for other in range(4) if other != row]
            likeness = torch.stack([q[:, row, column] @ k[:, r, c] for r, c in seen])
            shares = likeness.softmax(0)
            expected = sum(share * v[:, r, c] for share, (r, c) in zip(shares, seen, strict=True))
            torch.testing.assert_close(found[row, column], expected, rtol=0, atol=1e-12)


def test_double_attention_by_hand() -> None:
    """A2-Nets' equation 6: Z = (A softmax(B)ᵀ) softmax(V), channels by pixels."""
    torch.manual_seed(0)
    module = DoubleAttention(32).double()
    x = torch.randn(2, 3, 4, 32, dtype=torch.float64)
    tokens = x.reshape(2, 12, 32)
    a, b, v = (
        layer(tokens).transpose(1, 2)
        for layer in (module.features, module.gathering, module.handing)
    )
    z = torch.einsum("bmn,bkn,bkp->bmp", a, b.softmax(2), v.softmax(1))
    expected = module.proj(z.transpose(1, 2)).reshape(x.shape)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)


def test_interlaced_attention_meets_every_fourth_pixel_then_squares() -> None:
    """ISSA's §3.1: with the second attention left out, pixel (0, 0) hears of (4, 4) and not of
    (1, 1); with the first one left out, the other way round."""
    torch.manual_seed(0)
    x = torch.randn(1, 8, 8, 16)

    def heard(without: str, row: int, column: int) -> bool:
        module = InterlacedAttention(16, 2)
        setattr(module, without, nn.Identity())
        changed = x.clone()
        changed[:, row, column] += 1
        return bool((module(changed) - module(x))[0, 0, 0].abs().max() > 1e-6)

    assert heard("short", 4, 4)
    assert not heard("short", 1, 1)
    assert heard("long", 1, 1)
    assert not heard("long", 4, 4)
    module = InterlacedAttention(16, 2)
    assert module(torch.randn(1, 5, 7, 16)).shape == (1, 5, 7, 16)


def test_mixing_is_torchs_attention() -> None:
    torch.manual_seed(0)
    module = Mixing(16, 2).double()
    x = torch.randn(3, 9, 16, dtype=torch.float64)
    heads = [
        layer(x).reshape(3, 9, 2, -1).transpose(1, 2) for layer in (module.q, module.k, module.v)
    ]
    mixed = nn.functional.scaled_dot_product_attention(*heads)
    expected = module.proj(mixed.transpose(1, 2).reshape(3, 9, 16))
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)
