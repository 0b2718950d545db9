"""``mobile-bench rank``, ``estimate`` and ``prepare-qemu`` as a user calls them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mobile_export.artifacts.expected import seeded_input
from mobile_export.bench.arm import estimate as estimating
from mobile_export.bench.arm.prices import calibrate, get_soc
from mobile_export.bench.arm.stored import StoredCount, stored_counts
from mobile_export.bench.cli.main import app
from mobile_export.errors import ArtifactError, DeviceError, MobileExportError, UsageError
from tests.bench.examples import make_manifest, write_manifest


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, MobileExportError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def write_artifact(folder: Path, source: str) -> Path:
    """A file that nobody will run, with a manifest that vouches for it."""
    file = folder / f"{source.removeprefix('timm/')}.onnx"
    file.write_bytes(source.encode())
    image = seeded_input((1, 3, 224, 224), 0)
    write_manifest(file, make_manifest(file, image, {"logits": image}, source=source))
    return file


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> StoredCount:
    """What "qemu" counts in these tests: MobileNetV2's own stored count, under another name."""
    (known,) = [c for c in stored_counts() if c.model == "timm/mobilenetv2_100"]

    class Machine:
        def close(self) -> None:
            pass

    def count(machine: Any, artifact: Any) -> StoredCount:
        return replace(known, model=artifact.model, sha256=artifact.manifest.sha256)

    monkeypatch.setattr(estimating, "connect", lambda spec: Machine())
    monkeypatch.setattr(estimating, "count_artifact", count)
    return known


def test_rank_json_says_how_good_the_order_is() -> None:
    both = json.loads(run("rank", "--json"))
    assert [one["soc"] for one in both] == ["snapdragon-865", "snapdragon-8cx-gen-3"]
    for one in both:
        assert one["models"] == len(one["rows"]) > 20
        assert (
            0
            < one["leave_one_family_out"]["median_error"]
            < one["leave_one_family_out"]["worst_error"]
        )
        assert all(price >= 0 for price in one["ms_per_event"].values())
    assert both[0]["citation"].endswith(", Table 14")


def test_rank_for_people_names_the_table_and_every_model() -> None:
    text = run("rank", "--soc", "snapdragon-865")
    assert "SeaFormer++" in text
    assert "Table 14" in text
    assert "rank correlation" in text
    for row in get_soc("snapdragon-865").latencies():
        assert row.name is None or row.model in text


def test_rank_of_what_the_papers_timed() -> None:
    text = run("rank", "--runtime", "TNN")
    assert "SeaFormer++" in text
    assert "31 models, TNN f0cb0812 for aarch64" in text


def test_an_estimate_is_called_one_and_comes_with_its_error(
    counted: StoredCount, tmp_path: Path
) -> None:
    file = write_artifact(tmp_path, "my.package:net")
    text = run("estimate", str(file), "--soc", "snapdragon-865")
    expected = calibrate(get_soc("snapdragon-865")).model.milliseconds(counted.count)
    assert "ESTIMATES for one core of a Snapdragon 865" in text
    assert f"{expected:.1f}" in text
    assert "(median;" in text
    assert "(worst)" in text


def test_an_estimate_as_json(counted: StoredCount, tmp_path: Path) -> None:
    file = write_artifact(tmp_path, "timm/mobilenetv2_100")
    (one,) = json.loads(run("estimate", str(file), "--soc", "snapdragon-865", "--json"))
    low, high = one["estimate_ms_80_percent"]
    assert low < one["estimate_ms"] < high
    assert one["counts"] == counted.count.to_dict()
    assert "among the models of the fit (17 ms printed)" in one["notes"][0]


def test_an_estimate_outside_the_range_says_so(
    counted: StoredCount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    huge = replace(counted, model="x", count=replace(counted.count, instructions=10**12))
    monkeypatch.setattr(estimating, "count_artifact", lambda machine, artifact: huge)
    text = run("estimate", str(write_artifact(tmp_path, "x")), "--soc", "snapdragon-865")
    assert "outside the range of the fit" in text


def test_an_unknown_soc_is_refused_before_anything_is_counted(tmp_path: Path) -> None:
    for command in (["rank"], ["estimate", str(write_artifact(tmp_path, "x"))]):
        with pytest.raises(UsageError, match="apple-a16") as caught:
            run(*command, "--soc", "apple-a16")
        assert "snapdragon-8cx-gen-3" in str(caught.value)


def test_an_estimate_needs_a_prepared_qemu(tmp_path: Path) -> None:
    file = write_artifact(tmp_path, "x")
    with pytest.raises(DeviceError, match="not prepared") as caught:
        run("estimate", str(file), "--soc", "snapdragon-865", "--folder", str(tmp_path / "none"))
    assert "mobile-bench prepare-qemu" in str(caught.value)


def test_an_estimate_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        run("estimate", str(tmp_path / "absent.onnx"), "--soc", "snapdragon-865")


def test_prepare_leaves_a_foreign_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(ArtifactError, match="was not made by prepare-qemu"):
        run("prepare-qemu", "--folder", str(tmp_path))
