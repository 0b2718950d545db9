"""TopFormer against the official code (hustvl/TopFormer@cc0f436), run with mmcv's ConvModule."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.cost import measure_named
from tests.models.costs import cost_of
from tests.models.official import Official, build, same_weights

OFFICIAL = Official("topformer")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize(
    "spec",
    OFFICIAL.marked(["topformer_tiny_seg", "topformer_base_seg", "topformer_base_seg?width=128"]),
)
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize(
    "name", ["topformer_tiny_seg", "topformer_small_seg", "topformer_base_seg"]
)
def test_counts_are_the_papers(name: str) -> None:
    """FLOPs within 3 % of SeaFormer++'s tables; small has 3.03 M, printed as 3.1."""
    published, counted = table.get(name).published, cost_of(name)
    if published.params_m is not None:
        assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.025)
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)


@pytest.mark.parametrize(
    ("name", "size", "classes", "macs_m"),
    [
        ("topformer_tiny_seg?fuse=dense", (480, 480), 60, 530),
        ("topformer_tiny_seg?fuse=dense", (512, 512), 171, 640),
        ("topformer_base_seg?width=128", (512, 1024), 19, 2700),
        ("topformer_base_seg?width=128", (1024, 2048), 19, 11200),
    ],
)
def test_counts_of_options_are_the_papers(
    name: str, size: tuple[int, int], classes: int, macs_m: float
) -> None:
    """SeaFormer++'s Tables 3 to 5; 2.79 G of Cityscapes' official configuration are there 2.7."""
    counted = measure_named(name, size, classes)
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.035)


def test_outputs_of_topformer() -> None:
    queries = ("output=logits", "output=upsampled", "output=labels")
    logits, upsampled, labels = same_weights("topformer_tiny_seg", *queries, size=(64, 96))
    assert logits.shape == (1, 150, 8, 12)
    assert upsampled.shape == (1, 150, 64, 96)
    assert torch.equal(labels, upsampled.argmax(1))


@pytest.mark.parametrize(
    ("name", "params_m", "macs_m"),
    [
        ("topformer_tiny_seg?fuse=dense&head=light", 1.4, 640),
        ("topformer_small_seg?head=light", 3.1, 1190),
        ("topformer_base_seg?head=light", 5.1, 1850),
    ],
)
def test_the_light_head_has_the_printed_figures(name: str, params_m: float, macs_m: float) -> None:
    """Table 13 of SeaFormer++: all three to the printed digit, and FLOPs within 3 %."""
    counted = measure_named(name, (512, 512), 150)
    assert round(counted.parameters / 1e6, 1) == params_m
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.03)


def test_the_light_head_gates_the_injected_maps() -> None:
    """Of SeaFormer's fusion blocks (its §3.1.3), by hand: each coarser map is a gate."""
    torch.manual_seed(0)
    module = build("topformer_small_seg?head=light").eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found = module(image)
        detail, *contexts = module.backbone(image)
        head = module.decode_head
        for block, context in zip((head.fuse1, head.fuse2), contexts, strict=True):
            gate = (block.global_act(context) + 3).clamp(0, 6) / 6
            gate = torch.nn.functional.interpolate(gate, (8, 12), mode="bilinear")
            detail = block.local_embedding(detail) * gate
        expected = head.conv_seg(head.linear_fuse(detail).clamp(min=0))
    torch.testing.assert_close(found, expected)
