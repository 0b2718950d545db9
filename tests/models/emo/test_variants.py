"""EMO-5M of other depths, with attention in other stages and without a part; DeiT-Tiny and PVT-Tiny
with iRMB: the paper's own counts."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models.cost import measure_named
from mobile_export.models.emo.columnar import WholeMapBlock
from mobile_export.models.emo.network import InvertedResidualMobileBlock
from mobile_export.models.emo.pyramid import ReducedBlock
from tests.models.official import build


@pytest.mark.parametrize(
    ("name", "params_m", "macs_m"),
    [
        ("emo_5m?depths=2-2-10-3", 5.3, 901),
        ("emo_5m?depths=2-2-12-2", 5.0, 970),
        ("emo_5m?depths=4-4-8-3", 4.9, 905),
        ("emo_5m?attention=4", 4.697, 797),
        ("emo_5m?attention=234", 5.130, 931),
        ("emo_5m?attention=1234", 5.139, 992),
        ("deit_tiny_irmb", 4.9, 1102),
        ("pvt_tiny_irmb", 11.7, 1845),
    ],
)
def test_counts_are_the_papers(name: str, params_m: float, macs_m: float) -> None:
    """Table 12, the table of MHSA in different stages, and Table 3."""
    counted = measure_named(name, (224, 224), None)
    assert counted.parameters / 1e6 == pytest.approx(params_m, rel=0.01)
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.01)


def test_without_attention_nothing_projects_queries() -> None:
    with torch.device("meta"):
        state = build("emo_5m?attention=none").state_dict()
    assert not any(".qk." in key for key in state)
    assert any(".v." in key for key in state)


def test_without_depthwise_convolutions_only_what_halves_the_resolution_convolves() -> None:
    """Table 5: "almost composed of MLP layers with several DW-Conv for down-sampling"."""
    with torch.device("meta"):
        module = build("emo_5m?dw_conv=downsampling&attention=none")
    convolutions = [each for each in module.modules() if isinstance(each, torch.nn.Conv2d)]
    wide = [each for each in convolutions if each.kernel_size != (1, 1)]
    assert [each.stride for each in wide] == [(2, 2)] * 5, "the stem and one of each stage"
    assert [each.groups for each in wide] == [1, 96, 288, 576, 1280]
    assert not any(".qk." in key for key in module.state_dict())


def test_a_block_without_its_convolution_is_one_whose_convolution_is_zero() -> None:
    """F(y) = y + dw(y), and dw(y) = 0 where its norm has no scale and no shift."""
    options = {"expansion": 4, "kernel": 3, "norm": "layer", "activation": "gelu", "head_dim": 8}
    torch.manual_seed(0)
    without = InvertedResidualMobileBlock(16, 16, convolves=False, **options).eval()
    whole = InvertedResidualMobileBlock(16, 16, **options).eval()
    missing = whole.load_state_dict(without.state_dict(), strict=False)
    assert not missing.unexpected_keys
    torch.nn.init.zeros_(whole.get_submodule("conv_local.norm").weight)
    image = torch.randn(2, 16, 7, 14)
    with torch.no_grad():
        torch.testing.assert_close(without(image), whole(image))


def test_a_block_that_reduces_nothing_is_one_of_the_whole_map() -> None:
    options = {"expansion": 4, "head_dim": 8}
    torch.manual_seed(0)
    reduced = ReducedBlock(16, reduction=1, **options).eval()
    whole = WholeMapBlock(16, 16, kernel=3, norm="layer", activation="gelu", **options).eval()
    whole.load_state_dict(reduced.state_dict())
    image = torch.randn(2, 16, 6, 4)
    with torch.no_grad():
        torch.testing.assert_close(whole(image), reduced(image))
        assert ReducedBlock(16, reduction=2, **options)(image).shape == image.shape


def test_a_block_of_the_whole_map_is_one_of_a_window_as_large() -> None:
    """The window of the map's side is the map; another side than a window's works, too."""
    options = {"expansion": 4, "kernel": 3, "norm": "layer", "activation": "gelu", "head_dim": 8}
    torch.manual_seed(0)
    whole = WholeMapBlock(16, 16, **options).eval()
    window = InvertedResidualMobileBlock(16, 16, window=6, **options).eval()
    window.load_state_dict(whole.state_dict())
    image = torch.randn(2, 16, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(whole(image), window(image))
        assert whole(torch.randn(1, 16, 3, 5)).shape == (1, 16, 3, 5)


def test_deit_is_built_for_its_size() -> None:
    from mobile_export.models import table

    module = table.get("deit_tiny_irmb").build(7, size=(64, 96)).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 64, 96)).shape == (1, 7)
