"""Calibration data: what is read, what is kept to judge by, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobile_export.errors import UsageError
from mobile_export.graph.specs import InputSpec
from mobile_export.quantization.samples import calibration_data

SPEC = InputSpec((1, 3, 8, 8), (0.5,) * 3, (0.5,) * 3)
RNG = np.random.default_rng(0)


def write_pictures(folder: Path, count: int) -> Path:
    for index in range(count):
        np.save(folder / f"{index:03}.npy", RNG.integers(0, 255, (20, 30, 3), np.uint8))
    return folder


def test_a_quarter_is_kept(tmp_path: Path) -> None:
    found = calibration_data(write_pictures(tmp_path, 8), [SPEC], None)
    assert [each.name for each in found.unseen] == ["003.npy", "007.npy"]
    assert len(found.calibration) == 6
    assert not {s.name for s in found.calibration} & {s.name for s in found.unseen}
    assert [len(each.sha256) for each in found.records] == [64] * 6
    assert len({each.sha256 for each in found.records}) == 6


def test_pictures_of_the_user_judge(tmp_path: Path) -> None:
    found = calibration_data(write_pictures(tmp_path, 8), [SPEC], None)
    other = calibration_data("synthetic", [SPEC], None).unseen[0]
    assert not found.given
    judged = found.judged_by([*found.calibration[:2], other])
    assert judged.given
    assert judged.unseen == (other,)
    assert judged.calibration == found.calibration
    assert found.judged_by(found.calibration) == found
    assert found.judged_by(()) == found


def test_a_folder_that_is_larger_is_read_evenly(tmp_path: Path) -> None:
    found = calibration_data(write_pictures(tmp_path, 300), [SPEC], 10)
    names = [int(each.name[:3]) for each in found.calibration]
    assert len(names) == 10
    assert found.calibration[0].image.shape == SPEC.shape
    gaps = np.diff(names)
    assert gaps.max() <= 2 * 300 // 74 + 2


def test_an_archive_of_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "batch.npz"
    batch = RNG.standard_normal((9, 3, 8, 8)).astype(np.float32)
    np.savez(path, images=batch)
    found = calibration_data(path, [SPEC], None)
    assert found.data == "arrays"
    assert len(found.calibration) + len(found.unseen) == 9
    assert (found.calibration[0].image.numpy() == batch[:1]).all()


def test_synthetic_samples_repeat() -> None:
    one, other = (calibration_data("synthetic", [SPEC], 5) for _ in range(2))
    assert one.records == other.records
    assert len(one.records) == 5
    assert one.data == "synthetic"
    assert one.unseen


@pytest.mark.parametrize(
    ("count", "files", "said"),
    [(None, 0, "has no picture"), (None, 1, "1 samples"), (9, 8, "9 are to be calibrated on")],
)
def test_too_few(tmp_path: Path, count: int | None, files: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        calibration_data(write_pictures(tmp_path, files), [SPEC], count)


def test_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        calibration_data(tmp_path / "none", [SPEC], None)


def test_pictures_of_one_colour(tmp_path: Path) -> None:
    for index in range(5):
        np.save(tmp_path / f"{index}.npy", np.full((8, 8, 3), 40 * index, np.uint8))
    with pytest.raises(UsageError, match="of one colour"):
        calibration_data(tmp_path, [SPEC], None)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"x\.png of `calibration`"):
        calibration_data(tmp_path, [SPEC], None)


def test_a_model_of_other_inputs(tmp_path: Path) -> None:
    mask = InputSpec((1, 4), (), (), name="mask", role="mask")
    with pytest.raises(UsageError, match="the model takes"):
        calibration_data(tmp_path, [SPEC, mask], None)
    assert calibration_data("synthetic", [SPEC, mask], 3).calibration[0].others
