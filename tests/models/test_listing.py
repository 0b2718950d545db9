"""The rows of `mobile-export list`: our counts beside what the papers print, and how they look."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from mobile_export.errors import UsageError
from mobile_export.models import listing, table
from mobile_export.models.cost import measure_named
from mobile_export.models.papers import PaperRow, paper_rows
from tests.models.modules import modules_after

ROWS = paper_rows()


def in_zoo(row: PaperRow) -> bool:
    libraries = ("timm/", "torchvision/", "hf/")
    return row.name is not None and not row.name.startswith(libraries) and row.size is not None


def test_rows_of_the_zoo_put_our_counts_beside_the_papers() -> None:
    """A sample typed from EMO's Table 7, with the counts of its official training log."""
    rows = listing.list_zoo()
    assert [row.name for row in rows] == list(table.names())
    (emo,) = [row for row in rows if row.name == "emo_2m"]
    assert (emo.family, emo.size) == ("EMO", (224, 224))
    assert (emo.paper_params_m, emo.paper_macs_m, emo.paper_top1) == (2.3, 439, 75.1)
    assert emo.params_m == pytest.approx(2.377, abs=5e-4)
    assert round(emo.macs_m) == 439
    assert json.loads(json.dumps(emo.to_dict()))["size"] == [224, 224]


def test_counts_of_the_zoo_agree_with_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 8 %, or to the one digit that a table prints; the tables differ among themselves."""
    monkeypatch.setattr(listing, "paper_rows", lambda: tuple(filter(in_zoo, ROWS)))
    for counted in listing.list_papers():
        row = counted.row
        assert counted.params_m is not None
        assert counted.macs_m is not None
        if row.params_m is not None:
            assert counted.params_m == pytest.approx(row.params_m, rel=0.06), row
        if elsewhere := re.search(r"FLOPs: those of images of (\d+) x (\d+), though", row.remark):
            assert row.name is not None
            size = (int(elsewhere[1]), int(elsewhere[2]))
            macs = measure_named(row.name, size, None).macs / 1e6
            assert macs == pytest.approx(row.macs_m, rel=0.01)
        elif row.macs_m is not None and "the official counter" not in row.remark:
            near = counted.macs_m == pytest.approx(row.macs_m, rel=0.08)
            if row.head in ("DeepLabv3", "PSPNet", "SSDLite"):  # tests/models/emo/heads.py
                assert_explained(counted)
                continue  # counted there as those tables do: by mmcv
            assert near or round(counted.macs_m, -2) == row.macs_m, row
        assert_explained(counted)


def assert_explained(counted: listing.CountedPaperRow) -> None:
    """A count that is more than 5 % off comes with its reason."""
    remark = counted.row.remark
    assert not counted.differs or "parameters" in remark or "FLOPs" in remark, counted.row


def test_counts_of_timm_agree_or_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = [
        row
        for row in ROWS
        if row.paper != "related papers" and (row.name or "").startswith("timm/") and row.size
    ]
    monkeypatch.setattr(listing, "paper_rows", lambda: printed)
    for counted in listing.list_papers():
        assert counted.params_m is not None
        assert_explained(counted)


def test_timm_models_are_counted_with_their_branches_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr(listing.cost, "stored_cost", lambda *key: None)
    rows = [r for r in ROWS if r.model in {"MobileOne-S0", "MoCoViT-1.0", "MNetv1"} and not r.head]
    monkeypatch.setattr(listing, "paper_rows", lambda: tuple(rows))
    stages: list[str] = []
    counted = listing.list_papers(None, stages.append)
    assert stages == ["counting timm/mobileone_s0"], "once for both tables"
    assert [one.row for one in counted] == rows
    for one in counted:
        if one.row.model == "MobileOne-S0":
            assert one.params_m == pytest.approx(2.1, rel=0.02)  # 5.3 before merging
        else:
            assert one.params_m is None
            assert one.reason
        assert one.to_dict()["paper_params_m"] == one.row.params_m


def test_a_model_of_the_zoo_at_a_size_that_is_not_stored_is_counted_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Convolutions alone grow with the pixels: a quarter of them, a quarter of the MACs."""
    from dataclasses import replace

    row = replace(ROWS[0], name="espcn_x2", size=(90, 160))
    rows = (row, replace(row, size=(180, 320)))
    monkeypatch.setattr(listing, "paper_rows", lambda: rows)
    small, full = listing.list_papers()
    assert small.macs_m is not None
    assert full.macs_m is not None
    assert 4 * small.macs_m == pytest.approx(full.macs_m, rel=1e-9)


def test_the_zoo_on_a_narrow_terminal_loses_no_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobile_export.cli.zoo_tables import print_zoo

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = listing.list_zoo()
    print_zoo(rows)
    out = capsys.readouterr().out
    assert "…" not in out
    for row in rows:
        line = next(line for line in out.splitlines() if line.startswith(f"{row.name} "))
        assert f"{row.params_m:.3f}" in line
        assert f" {row.macs_m:.0f} " in line


def test_rows_of_the_papers_as_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobile_export.cli.zoo_tables import print_papers

    rows = [r for r in ROWS if r.model in {"FreeNet-S1", "MoCoViT-1.0", "Mobile-Former508"}]
    monkeypatch.setattr(listing, "paper_rows", lambda: tuple(rows))
    print_papers(listing.list_papers())
    out = capsys.readouterr().out
    assert "freenet_s1" in out
    assert "SeaFormer++: SeaFormer++ (IJCV 2025, arXiv 2301.13156)" in out
    assert out.splitlines()[-2:] == [
        "* Our count is more than 5 % off the printed one:",
        "  SeaFormer++, Table 14, Mobile-Former508: parameters: its own authors' table has 14.0 M",
    ]
    assert "not available: no official code is public" in out


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("emo_1m*", ["emo_1m", "emo_1m_deeplabv3", "emo_1m_pspnet", "emo_1m_ssdlite"]),
        ("EMO_?m", ["emo_1m", "emo_2m", "emo_5m", "emo_6m"]),
        ("2netp", ["u2netp"]),
    ],
)
def test_a_pattern_chooses_names(pattern: str, names: list[str]) -> None:
    assert [row.name for row in listing.list_zoo(pattern)] == names


def test_a_pattern_of_the_papers_is_of_their_names_or_ours() -> None:
    found = listing.list_papers("mobileone*")
    assert {one.row.model for one in found} >= {"MobileOne-S0", "MobileOne-S4"}
    assert all("mobileone" in f"{one.row.model} {one.row.name}".lower() for one in found)


@pytest.mark.parametrize("lists", [listing.list_zoo, listing.list_papers])
def test_a_pattern_of_no_name_is_said(lists: Any) -> None:
    with pytest.raises(UsageError, match=r"No name is like 'no-such\*'"):
        lists("no-such*")


@pytest.mark.parametrize("option", ["--papers", "--seeds"])
def test_the_option_and_its_old_name(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from mobile_export.cli.main import app

    rows = tuple(r for r in ROWS if r.model == "FreeNet-S1")
    monkeypatch.setattr(listing, "paper_rows", lambda: rows)
    done = CliRunner().invoke(app, ["list", option, "--json"])
    assert done.exit_code == 0
    start = done.stdout.index("[")  # behind the progress line, which this runner mixes in
    found = json.loads(done.stdout[start:])
    assert [(row["paper"], row["table"]) for row in found] == [("FreeNet", "1"), ("FreeNet", "3")]
    assert {row["name"] for row in found} == {"freenet_s1"}


@pytest.mark.parametrize("rows", ["list_zoo", "list_papers"])
def test_listing_imports_no_torch(rows: str) -> None:
    """All counts are stored: importing torch and building timm's models took a minute."""
    found = modules_after(f"from mobile_export.models.listing import {rows}; {rows}()")
    assert not found & {"torch", "timm", "numpy"}
