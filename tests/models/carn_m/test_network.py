"""CARN-M against the official code (nmhkahn/CARN-pytorch@40d3514) and the paper's table."""

from __future__ import annotations

import pytest

from mobile_export.errors import UsageError
from mobile_export.models import table
from mobile_export.models.cost import measure_entry
from tests.conftest import load_source
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("carn_m")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["carn_m_x2", "carn_m_x3", "carn_m_x4"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", ["carn_m_x2", "carn_m_x3", "carn_m_x4"])
def test_parameters_are_the_papers(name: str) -> None:
    assert cost_of(name).parameters / 1e6 == pytest.approx(
        table.get(name).published.params_m, rel=0.03
    )


@pytest.mark.parametrize(
    ("name", "size", "macs_g"),
    [
        ("carn_m_x2", (360, 640), 91.2),
        ("carn_m_x3", (240, 426), 46.1),
        ("carn_m_x4", (180, 320), 32.5),
    ],
)
def test_mult_adds_of_carn_m(name: str, size: tuple[int, int], macs_g: float) -> None:
    """The paper's table (assets/table.png of the official code), for a result of 720x1280."""
    assert measure_entry(table.get(name), size).macs / 1e9 == pytest.approx(macs_g, rel=0.01)


def test_takes_colours_only() -> None:
    with pytest.raises(UsageError, match="takes RGB images, not 1 channels"):
        load_source("carn_m_x2", size=(16, 16), channels=1)
