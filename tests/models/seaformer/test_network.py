"""SeaFormer's classifiers against the official code, and SEA attention written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.models import table
from mobile_export.models.seaformer.network import AxialPosition, SeaAttention, seaformer_tiny
from tests.models.costs import cost_of
from tests.models.seaformer.goldens import GOLDEN, SHAPES, check_outputs, check_state_dict


@pytest.mark.parametrize("name", [name for name in SHAPES if not name.endswith("_seg")])
def test_state_dict_is_the_official_one(name: str) -> None:
    check_state_dict(name)


@pytest.mark.parametrize("name", [name for name in GOLDEN if not name.endswith("_seg")])
def test_outputs_are_the_official_ones(name: str) -> None:
    check_outputs(name)


@pytest.mark.parametrize(
    ("name", "params_m", "macs_g"),
    [
        ("seaformer_tiny", 1.8, 0.1),
        ("seaformer_small", 4.1, 0.2),
        ("seaformer_base", 8.7, 0.3),
        ("seaformer_large", 14.0, 1.2),
    ],
)
def test_agrees_with_table_14(name: str, params_m: float, macs_g: float) -> None:
    cost = cost_of(name)
    assert round(cost.parameters / 1e6, 1) == params_m
    assert round(cost.macs / 1e9, 1) == macs_g
    assert table.get(name).published.params_m == params_m


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (65, 97), (200, 72)])
def test_any_input_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert seaformer_tiny(num_classes=5).eval()(torch.randn(1, 3, *size)).shape == (1, 5)


def test_refuses_no_classes() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        seaformer_tiny(num_classes=0)


@pytest.mark.parametrize("length", [1, 7, 16, 33])
def test_position_embedding_is_linear_in_between(length: int) -> None:
    """Sample i lies at (i + ½)·16/N - ½ of the embedding, clamped to its ends."""
    torch.manual_seed(0)
    position = AxialPosition(3).double()
    embedding = position.pos_embed.detach()[0]
    with torch.no_grad():
        got = position(torch.zeros(1, 3, length, dtype=torch.float64))[0]
    for i in range(length):
        at = min(max((i + 0.5) * 16 / length - 0.5, 0.0), 15.0)
        low = min(int(at), 14)
        expected = embedding[:, low] * (low + 1 - at) + embedding[:, low + 1] * (at - low)
        torch.testing.assert_close(got[:, i], expected)


def test_attention_by_hand() -> None:
    """Equation 6 by loops over heads, rows and columns, then expand, gate and details."""
    torch.manual_seed(0)
    heads, key_dim, height, width = 2, 3, 4, 5
    attention = SeaAttention(8, key_dim, heads).double().eval()
    for module in attention.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    x = torch.randn(1, 8, height, width, dtype=torch.float64)

    def mixed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(v)
        for head in range(heads):
            keys = slice(head * key_dim, (head + 1) * key_dim)
            values = slice(head * 2 * key_dim, (head + 1) * 2 * key_dim)
            for i in range(q.shape[1]):
                scores = [float(q[keys, i] @ k[keys, p]) / key_dim**0.5 for p in range(k.shape[1])]
                weights = torch.tensor(scores, dtype=torch.float64).exp()
                out[values, i] = v[values] @ (weights / weights.sum())
        return out

    with torch.no_grad():
        q, k, v = attention.to_q(x), attention.to_k(x), attention.to_v(x)
        rows = mixed(
            attention.pos_emb_rowq(q.sum(3) / width)[0],
            attention.pos_emb_rowk(k.sum(3) / width)[0],
            (v.sum(3) / width)[0],
        )
        columns = mixed(
            attention.pos_emb_columnq(q.sum(2) / height)[0],
            attention.pos_emb_columnk(k.sum(2) / height)[0],
            (v.sum(2) / height)[0],
        )
        y = v + attention.proj_encode_row(rows[None, :, :, None])
        y = attention.proj(y + attention.proj_encode_column(columns[None, :, None, :]))
        details = attention.dwconv(torch.cat([q, k, v], 1)).clamp(0, 6)
        expected = ((y + 3).clamp(0, 6) / 6) * attention.pwconv(details)
        torch.testing.assert_close(attention(x), expected, rtol=1e-10, atol=1e-12)


def test_drop_path_acts_in_training_only() -> None:
    torch.manual_seed(0)
    module = seaformer_tiny(num_classes=4, drop_path_rate=0.9)
    plain = seaformer_tiny(num_classes=4)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x), plain.eval()(x))


def test_captures_as_one_static_graph() -> None:
    module = seaformer_tiny().eval()
    x = torch.randn(1, 3, 64, 64)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
