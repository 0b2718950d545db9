"""ConvNeXt-T and PVTv2-b2-li with FreeNet's mixers, against its Table 5 and timm's own modules."""

from __future__ import annotations

import pytest
import torch

from mobile_export.errors import MissingExtraError
from mobile_export.models import table
from mobile_export.models.cost import measure_named
from mobile_export.models.freenet.network import S2Mixer, ShiftFFN
from tests.models.official import build

timm = pytest.importorskip("timm")

LAST = "stages.3.blocks."


@pytest.mark.parametrize(
    ("name", "params_m", "macs_m", "near"),
    [
        ("pvt_v2_b2_li_freenet", 18.2, 3651, 0.01),
        ("pvt_v2_b2_li_freenet?depths=3-3-8-4", 22.5, 3934, 0.01),
        ("pvt_v2_b2_li_freenet?replaced=ffn", 21.3, 3827, 0.03),
        ("pvt_v2_b2_li_freenet?replaced=mixer", 19.5, 3743, 0.03),
        ("convnext_tiny_freenet", 26.2, 4292, 0.03),
        ("convnext_tiny_freenet?replaced=mixer", 28.6, 4474, 0.03),
    ],
)
def test_counts_are_those_of_the_table(
    name: str, params_m: float, macs_m: float, near: float
) -> None:
    """Parameters are exact with both mixers alone; the rows of the others say so in a remark."""
    counted = measure_named(name, (224, 224), None)
    assert counted.parameters / 1e6 == pytest.approx(params_m, rel=near)
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.03)


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ("pvt_v2_b2_li_freenet", {ShiftFFN, S2Mixer}),
        ("pvt_v2_b2_li_freenet?replaced=ffn", {ShiftFFN}),
        ("pvt_v2_b2_li_freenet?replaced=mixer", {S2Mixer}),
        ("convnext_tiny_freenet", {ShiftFFN}),
        ("convnext_tiny_freenet?replaced=mixer", {S2Mixer}),
    ],
)
def test_only_the_last_stage_is_another(spec: str, kinds: set[type]) -> None:
    with torch.device("meta"):
        module = build(spec)
        own = timm.create_model(spec.partition("_freenet")[0])
    found = {k: v.shape for k, v in module.state_dict().items() if not k.startswith(LAST)}
    assert found == {k: v.shape for k, v in own.state_dict().items() if not k.startswith(LAST)}
    for block in module.stages[3].blocks:
        inside = {type(each) for each in block.modules()}
        assert inside & {ShiftFFN, S2Mixer} == kinds


def test_tokens_are_laid_out_as_the_map_that_they_were() -> None:
    """On a map that is not square: a mixer of tokens is the mixer of the map."""
    from mobile_export.models.freenet.replaced import ChannelsLast, OfTokens

    torch.manual_seed(0)
    mixer = S2Mixer(16).eval()
    grid = torch.randn(2, 16, 3, 5)
    expected = mixer(grid)
    tokens = OfTokens(mixer)(grid.flatten(2).transpose(1, 2), (3, 5))
    torch.testing.assert_close(tokens, expected.flatten(2).transpose(1, 2))
    last = ChannelsLast(mixer)(grid.permute(0, 2, 3, 1))
    torch.testing.assert_close(last, expected.permute(0, 2, 3, 1))


def test_without_timm_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="FreeNet's mixers"):
        table.get("convnext_tiny_freenet").build()
