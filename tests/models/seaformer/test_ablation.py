"""SeaFormer-T and -B as SeaFormer++'s Tables 6, 7, 11 and 12 change them."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.cost import measure_named
from mobile_export.models.seaformer.ablation import AblatedAttention
from mobile_export.models.seaformer.fusion import FusionBlock
from mobile_export.models.seaformer.network import SeaAttention


@pytest.mark.parametrize(
    ("name", "params_m", "macs_m"),
    [
        ("seaformer_tiny_seg?enhance=alone", 1.3, 580),
        ("seaformer_tiny_seg?enhance=none", 1.4, 570),
        ("seaformer_tiny_seg?enhance=conv", 1.6, 600),
        ("seaformer_tiny_seg?enhance=upconv", 1.8, 620),
        ("seaformer_tiny_seg?mode=add", 1.7, 600),
        ("seaformer_tiny_seg?squeeze=max", 1.7, 600),
        ("seaformer_tiny_seg?position=none", 1.65, 600),
        ("seaformer_base_seg?fuse_dims=64-96", 8.5, 1700),
        ("seaformer_base_seg?fuse_dims=192-256", 8.7, 2000),
    ],
)
def test_counts_are_the_papers(name: str, params_m: float, macs_m: float) -> None:
    """To the one digit that most are printed to: 1.46 M are there 1.4, 1.86 M 1.8."""
    counted = measure_named(name, (512, 512), None)
    assert counted.parameters / 1e6 == pytest.approx(params_m, abs=0.07)
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.015)


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """With values in every norm: the official initial gains of zero hide what is in front."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def test_the_defaults_are_sea_attention() -> None:
    plain, same = filled(SeaAttention(8, 4, 2)), filled(AblatedAttention(8, 4, 2))
    same.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(plain(x), same(x))


def test_what_the_options_say() -> None:
    """Table 6's parts by themselves and together, each from its definition."""
    whole = filled(AblatedAttention(8, 4, 2))
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)

    def of(**options: str) -> torch.Tensor:
        module = AblatedAttention(8, 4, 2, **options).double().eval()
        state = {k: v for k, v in whole.state_dict().items() if k in module.state_dict()}
        module.load_state_dict(state)
        with torch.no_grad():
            result: torch.Tensor = module(x)
        return result

    attended, details = of(enhance="none"), of(enhance="alone")
    gate = (attended / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(of(), gate * details)
    torch.testing.assert_close(of(mode="add"), attended + details)
    for key, value in (("squeeze", "max"), ("position", "none")):
        assert not torch.allclose(of(**{key: value}), of())


def test_the_maximum_of_a_row_is_its_token() -> None:
    """On an input that is the same along each row and column, mean and maximum are one."""
    mean, most = filled(AblatedAttention(8, 4, 2)), AblatedAttention(8, 4, 2, squeeze="max")
    most.double().eval().load_state_dict(mean.state_dict())
    x = torch.randn(1, 8, 1, 1, dtype=torch.float64).expand(1, 8, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(mean(x), most(x))


@pytest.mark.parametrize("fusion", ["sigmoid_multiply", "multiply", "add", "sigmoid_add"])
def test_fusion_is_that_of_table_11(fusion: str) -> None:
    block = filled(FusionBlock(4, 6, 8, fusion))
    x, context = torch.randn(1, 4, 6, 6).double(), torch.randn(1, 6, 6, 6).double()
    with torch.no_grad():
        local, other = block.local_embedding(x), block.global_act(context)
        if "sigmoid" in fusion:
            other = (other / 6 + 0.5).clamp(0, 1)
        expected = local + other if "add" in fusion else local * other
        torch.testing.assert_close(block(x, context), expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key, values in table.get("seaformer_tiny_seg").options
        for value in values
        if key != "output"
    ],
)
def test_every_option_gives_score_maps(key: str, value: str) -> None:
    module = table.get("seaformer_tiny_seg").build(3, **{key: value}).eval()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 8, 8)
