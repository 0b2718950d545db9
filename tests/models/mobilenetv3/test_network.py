"""MobileNetV3 against torchvision 0.29.2, built with these widths and this last stage."""

from __future__ import annotations

import pytest

from mobile_export.models.cost import measure_named
from tests.models.official import Official

OFFICIAL = Official("mobilenetv3")
QUICK = (
    "mobilenetv3_large",
    "mobilenetv3_large?width=0.5",
    "mobilenetv3_large_lraspp",
    "mobilenetv3_small_lraspp",
)


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize(
    "spec",
    OFFICIAL.marked(QUICK),
)
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize(
    ("name", "size", "classes", "params_m", "macs_m"),
    [
        ("mobilenetv3_large?width=1.25", (224, 224), None, 7.5, 356),  # EMO, Table 7
        ("mobilenetv3_large_lraspp", (1024, 2048), 19, 1.51, 9740),
        ("mobilenetv3_small_lraspp", (1024, 2048), 19, 0.47, 2900),
        ("mobilenetv3_large_lraspp", (512, 512), 150, 1.53, 1300),  # SeaFormer++, Table 2: 1.6 M
    ],
)
def test_counts_are_the_papers(
    name: str, size: tuple[int, int], classes: int | None, params_m: float, macs_m: float
) -> None:
    """MobileNetV3's own Table 7, and papers that repeat it."""
    counted = measure_named(name, size, classes)
    assert counted.parameters / 1e6 == pytest.approx(params_m, rel=0.01)
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.03)


def test_the_narrow_one_has_the_printed_flops() -> None:
    """EMO's Table 7: 69 M, and 2.6 M parameters, where there are 2.68 M."""
    counted = measure_named("mobilenetv3_large?width=0.5", (224, 224), None)
    assert counted.macs / 1e6 == pytest.approx(69, rel=0.03)
