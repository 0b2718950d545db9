"""SeaFormer against the official code: names and shapes of its checkpoints, and what it returns.

``data/seaformer.json`` holds the official state dicts' keys and shapes, ``golden_seaformer.json``
sampled outputs of the official code in float64 for the weights and the input of ``fill.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobile_export.errors import UsageError, WeightsError
from mobile_export.models import table
from mobile_export.models.cost import measure
from mobile_export.models.seaformer.network import AxialPosition, SeaAttention, seaformer_tiny
from mobile_export.models.seaformer.segmenter import seaformer_tiny_seg
from mobile_export.sources.weights import load_weights
from tests.models.costs import cost_of
from tests.models.fill import fill_input, fill_state_dict

DATA = Path(__file__).parent / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_seaformer.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = json.loads((DATA / "seaformer.json").read_text())


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_state_dict_is_the_official_one(name: str) -> None:
    with torch.device("meta"):
        state = table.get(name).build().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == SHAPES[name]
    assert list(state) == list(SHAPES[name]), "same order, too"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_outputs_are_the_official_ones(name: str) -> None:
    golden = GOLDEN[name]
    module = table.get(name).build()
    values = fill_state_dict(SHAPES[name])
    module.load_state_dict({key: torch.from_numpy(value) for key, value in values.items()})
    assert sum(p.numel() for p in module.parameters()) == golden["params"]
    image = torch.from_numpy(fill_input(golden["input_shape"])).double()
    with torch.no_grad():
        output = module.eval().double()(image)
    assert list(output.shape) == golden["output_shape"]
    expected = torch.tensor(golden["values"], dtype=torch.float64)
    torch.testing.assert_close(output.flatten()[golden["indices"]], expected, rtol=0, atol=1e-9)
    assert float(output.abs().mean()) == pytest.approx(golden["mean_abs"], abs=1e-9)
    assert float(output.abs().max()) == pytest.approx(golden["max_abs"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "params_m", "macs_g", "digits"),
    [
        ("seaformer_tiny", 1.8, 0.1, 1),  # Table 14
        ("seaformer_small", 4.1, 0.2, 1),
        ("seaformer_base", 8.7, 0.3, 1),
        ("seaformer_large", 14.0, 1.2, 1),
        ("seaformer_tiny_seg", 1.7, 0.6, 1),  # Table 2
        ("seaformer_small_seg", 4.0, 1.1, 1),
        ("seaformer_base_seg", 8.6, 1.8, 1),
        ("seaformer_large_seg", 14.0, 6.5, 1),
    ],
)
def test_agrees_with_the_papers_tables(
    name: str, params_m: float, macs_g: float, digits: int
) -> None:
    cost = cost_of(name)
    assert round(cost.parameters / 1e6, 1) == params_m
    assert round(cost.macs / 1e9, digits) == macs_g
    assert table.get(name).published.params_m == params_m


@pytest.mark.parametrize(
    ("name", "macs_g"),
    [("seaformer_tiny_seg", 0.60), ("seaformer_small_seg", 1.10), ("seaformer_base_seg", 1.82)],
)
def test_segmentation_agrees_with_table_13(name: str, macs_g: float) -> None:
    assert cost_of(name).macs / 1e9 == pytest.approx(macs_g, rel=0.03)


@pytest.mark.parametrize(
    ("name", "pixels", "classes", "macs_g"),
    [
        ("seaformer_tiny_seg", 480, 59, 0.51),  # Table 4
        ("seaformer_base_seg", 480, 59, 1.57),
        ("seaformer_tiny_seg", 512, 171, 0.62),  # Table 5
        ("seaformer_base_seg", 512, 171, 1.81),
    ],
)
def test_agrees_with_tables_4_and_5(name: str, pixels: int, classes: int, macs_g: float) -> None:
    cost = measure(table.get(name).build(num_classes=classes), (1, 3, pixels, pixels))
    assert cost.macs / 1e9 == pytest.approx(macs_g, rel=0.03)


@pytest.mark.parametrize(("pixels", "classes", "printed"), [(480, 59, 0.98), (512, 171, 1.15)])
def test_small_follows_table_13_where_tables_4_and_5_do_not(
    pixels: int, classes: int, printed: float
) -> None:
    """Official configurations differ in size and classes only: 128 channels to each class at stride
    8. With Table 13's 1.10 G for 150 classes at 512 pixels that leaves no room for Tables 4 and 5.
    """
    implied = (1.10 + (classes - 150) * 128 * 64**2 / 1e9) * (pixels / 512) ** 2
    module = table.get("seaformer_small_seg").build(num_classes=classes)
    assert measure(module, (1, 3, pixels, pixels)).macs / 1e9 == pytest.approx(implied, rel=0.03)
    assert implied < 0.97 * printed


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (65, 97), (200, 72)])
def test_any_input_size(size: tuple[int, int]) -> None:
    height, width = size
    image = torch.randn(1, 3, height, width)
    with torch.no_grad():
        assert seaformer_tiny(num_classes=5).eval()(image).shape == (1, 5)
        for output, shape in (
            ("logits", (1, 6, -(-height // 8), -(-width // 8))),
            ("upsampled", (1, 6, height, width)),
            ("labels", (1, height, width)),
        ):
            module = table.get("seaformer_tiny_seg").build(num_classes=6, output=output)
            y = module.eval()(image)
            assert y.shape == shape
            assert torch.isfinite(y).all()


def test_outputs_of_a_segmenter_agree() -> None:
    torch.manual_seed(0)
    modules = [
        seaformer_tiny_seg(num_classes=6, output=output).eval()
        for output in ("logits", "upsampled", "labels")
    ]
    for module in modules[1:]:
        module.load_state_dict(modules[0].state_dict())
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        logits, upsampled, labels = (module(image) for module in modules)
    expected = F.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsampled, expected)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, expected.argmax(1))


def test_refuses_what_it_cannot_build() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        seaformer_tiny(num_classes=0)
    with pytest.raises(ValueError, match="num_classes is -1"):
        seaformer_tiny_seg(num_classes=-1)
    with pytest.raises(UsageError, match="one of logits, upsampled, labels"):
        table.get("seaformer_tiny_seg").build(output="mask")


def test_checkpoint_of_another_variant_is_named(tmp_path: Path) -> None:
    """As mmsegmentation saves it, and with another data set's classes."""
    state = {k: torch.zeros(v) for k, v in SHAPES["seaformer_small_seg"].items()}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "small.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(seaformer_tiny_seg(), tmp_path / "small.pth")
    assert "fits seaformer_small_seg." in str(caught.value.hint or caught.value)
    for leaf in ("weight", "bias"):
        state[f"decode_head.conv_seg.{leaf}"] = state[f"decode_head.conv_seg.{leaf}"][:19].clone()
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "cityscapes.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(seaformer_tiny_seg(), tmp_path / "cityscapes.pth")
    assert "fits seaformer_small_seg --num-classes 19." in str(caught.value.hint or caught.value)


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
    module = seaformer_tiny_seg().eval()
    x = torch.randn(1, 3, 64, 64)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
