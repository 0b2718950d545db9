"""FreeNet against the tables of its paper (AAAI 2025) and its mixers written out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export.models.cost import measure
from mobile_export.models.freenet.network import S2Mixer, ShiftFFN, freenet_s1
from tests.models.costs import cost_of

# Table 2: five modules in a row; c, h = w, FLOPs (M) of ShiftFFN and of S2-Mixer.
TABLE_2 = [
    (48, 512, 18245, 1604),
    (96, 256, 18182, 1604),
    (192, 128, 18151, 1604),
    (384, 64, 18135, 1604),
    (512, 32, 8059, 713),
    (1024, 16, 8060, 713),
    (2048, 8, 8075, 713),
]


@pytest.mark.parametrize(
    ("name", "params_m", "macs_g"),
    [
        ("freenet_s1", 2.4, 0.28),  # parameters of Table 1, FLOPs of Table 3
        ("freenet_s2", 6.8, 0.90),
        ("freenet_s3", 9.6, 1.31),
        ("freenet_s4", 15.3, 2.01),
    ],
)
def test_variants_agree_with_tables_1_and_3(name: str, params_m: float, macs_g: float) -> None:
    cost = cost_of(name)
    assert cost.parameters / 1e6 == pytest.approx(params_m, rel=0.02)
    assert cost.macs / 1e9 == pytest.approx(macs_g, rel=0.03)


@pytest.mark.parametrize(("dim", "size", "ffn_m", "mixer_m"), TABLE_2)
def test_mixers_agree_with_table_2(dim: int, size: int, ffn_m: int, mixer_m: int) -> None:
    with torch.device("meta"):
        ffn = nn.Sequential(*(ShiftFFN(dim) for _ in range(5)))
        mixer = nn.Sequential(*(S2Mixer(dim) for _ in range(5)))
    assert measure(mixer, (1, dim, size, size)).macs // 10**6 == mixer_m
    macs = measure(ffn, (1, dim, size, size)).macs
    assert macs / 1e6 == pytest.approx(ffn_m, rel=0.01)
    pooling = 5 * 2 * dim * size * size  # counted there, not by us
    assert (macs + pooling) // 10**6 == ffn_m, "cut off, to the last digit"


def test_s2_mixer_by_hand() -> None:
    """Every other pixel of a 5x5 and of a 9x9 neighbourhood, zeros outside; the rest unchanged."""
    torch.manual_seed(0)
    mixer = S2Mixer(16).double()
    x = torch.randn(1, 16, 7, 6, dtype=torch.float64)
    with torch.no_grad():
        got = mixer(x)
        padded = F.pad(x, (4, 4, 4, 4))
        for reach, weight, channels in ((2, mixer.conv1.weight, 0), (4, mixer.conv2.weight, 2)):
            for row, column in [(0, 0), (3, 2), (6, 5)]:
                window = padded[
                    0,
                    channels : channels + 2,
                    row + 4 - reach : row + 5 + reach : 2,
                    column + 4 - reach : column + 5 + reach : 2,
                ]
                expected = torch.einsum("oikl,ikl->o", weight, window)
                torch.testing.assert_close(got[0, channels : channels + 2, row, column], expected)
    assert torch.equal(got[:, 4:], x[:, 4:])


def test_shift_ffn_by_hand() -> None:
    torch.manual_seed(0)
    ffn = ShiftFFN(8).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)

    def matrix(conv: nn.Conv2d) -> torch.Tensor:
        return conv.weight[:, :, 0, 0]

    def bias(conv: nn.Conv2d) -> torch.Tensor:
        assert conv.bias is not None
        return conv.bias

    with torch.no_grad():
        pixels = x.flatten(2).transpose(1, 2) @ matrix(ffn.project_in).T + bias(ffn.project_in)
        neck = pixels.mean(1) @ matrix(ffn.neck_reduce).T + bias(ffn.neck_reduce)
        shift = F.gelu(neck) @ matrix(ffn.neck_expand).T + bias(ffn.neck_expand)
        wide = F.gelu(torch.cat([pixels, pixels + shift[:, None]], 2))
        expected = wide @ matrix(ffn.project_out).T + bias(ffn.project_out)
        torch.testing.assert_close(ffn(x).flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (224, 97)])
def test_any_input_size(size: tuple[int, int]) -> None:
    module = freenet_s1(num_classes=5).eval()
    with torch.no_grad():
        output = module(torch.randn(1, 3, *size))
        features = module.forward_features(torch.randn(1, 3, *size))
    assert output.shape == (1, 5)
    assert torch.isfinite(output).all()
    assert features.shape == (1, 256, -(-size[0] // 32), -(-size[1] // 32))


def test_trains() -> None:
    module = freenet_s1(num_classes=4, drop_path_rate=0.1, in_chans=1)
    module(torch.randn(2, 1, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_refuses_what_it_cannot_build() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        freenet_s1(num_classes=0)
    with pytest.raises(ValueError, match="20 channels do not divide by 8"):
        S2Mixer(20)


def test_captures_as_one_static_graph() -> None:
    module = freenet_s1().eval()
    x = torch.randn(1, 3, 64, 64)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
