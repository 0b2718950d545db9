"""From a specification to jobs, and what changes the hash of a cell."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from mobile_export.errors import UsageError
from mobile_export.sweep import plan as planning
from mobile_export.sweep.job import Job
from mobile_export.sweep.plan import make_plan

pytest.importorskip("onnxruntime")


def planned(folder: Path, text: str) -> planning.Plan:
    (folder / "spec.toml").write_text(text)
    return make_plan(folder / "spec.toml")


def test_every_model_size_format_and_precision(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        """
formats = ["onnx", "tnn"]
[[models]]
names = ["emo_1m", "emo_1m"]
sizes = [64, "64x96"]
seed = 3
pretrained = false
mean = [0.5, 0.25]
""",
    )
    assert [job.title for job in plan.jobs] == [
        "emo_1m 64 onnx", "emo_1m 64 tnn", "emo_1m 64x96 onnx", "emo_1m 64x96 tnn",
    ]  # fmt: skip
    assert plan.name == "spec"
    assert plan.jobs[0].model_words == ("--seed=3", "--mean", "0.5,0.25", "--size", "64")
    assert plan.jobs[0].steps == ("export",)
    assert len({job.cell for job in plan.jobs}) == len({job.kind for job in plan.jobs}) == 4


def test_placement_is_a_step_of_formats_that_have_it(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        """
formats = ["onnx", "tnn"]
steps = ["placement", "verify"]
[[models]]
names = ["emo_1m"]
""",
    )
    assert [job.steps for job in plan.jobs] == [
        ("export", "verify", "placement"), ("export", "verify"),
    ]  # fmt: skip


def test_steps_and_devices(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "names.txt").write_text("cat\n")
    plan = planned(
        tmp_path,
        """
steps = ["bench", "evaluate", "verify"]
no_passes = ["fold_norms"]
formats = [{name = "onnx", precisions = ["fp32"], options = {softmax = true}}]
memory_limit = 2
[[models]]
names = ["emo_1m"]
labels = "names.txt"
[verify]
runtime = "openvino"
[evaluate]
data = "pictures"
limit = 10
[bench]
devices = ["local", "adb:R5"]
""",
    )
    (export,), measurements = plan.exports, plan.measurements
    assert export.steps == ("export", "verify", "evaluate")
    assert export.memory_limit == 2 * 2**30
    assert export.words == {
        "export": (
            "--no-pass", "fold_norms", "--softmax", "--precision", "fp32", "--labels", "{labels}",
        ),
        "verify": ("--precision", "fp32", "--runtime", "openvino"),
        "evaluate": ("--data", "{data}", "--limit", "10", "--labels", "{labels}"),
    }  # fmt: skip
    assert set(export.files) == {"labels", "data"}
    assert [job.steps for job in measurements] == [("export", "bench")] * 2
    assert [job.needs for job in measurements] == [{"measure": 1.0}, {"phone:R5": 1.0}]
    assert measurements[1].words["bench"][:2] == ("--device", "adb:R5")


SPEC = 'formats = ["onnx"]\n[[models]]\nnames = ["emo_1m"]\nweights = "w.pth"\n'


def only(folder: Path, text: str = SPEC) -> Job:
    (job,) = planned(folder, text).jobs
    return job


def test_what_changes_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and versions make another cell of the same kind; options make another kind."""
    (tmp_path / "w.pth").write_bytes(b"1")
    first = only(tmp_path)
    assert only(tmp_path).cell == first.cell
    assert only(tmp_path, "time_limit = 7\n" + SPEC).cell == first.cell
    seeded = only(tmp_path, SPEC + "seed = 1\n")
    assert seeded.cell != first.cell
    assert seeded.kind != first.kind
    from mobile_export.sweep import models

    models._hashed.cache_clear()
    (tmp_path / "w.pth").write_bytes(b"2")
    other = only(tmp_path)
    assert (other.cell != first.cell, other.kind) == (True, first.kind)
    monkeypatch.setattr(planning, "code_digest", lambda: {"mobile-export": "9.9+abc"})
    newer = only(tmp_path)
    assert (newer.cell != other.cell, newer.kind) == (True, first.kind)
    assert newer.versions["mobile-export"] == "9.9+abc"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('formats = ["onxx"]\n[[models]]\nnames = ["emo_1m"]', "line 1: "),
        ('formats = ["onnx:fp8"]\n[[models]]\nnames = ["emo_1m"]', "line 1: "),
        (
            '[[models]]\nnames = ["emo_1m"]\n[[formats]]\nname = "onnx"\n[formats.options]\n'
            "softmx = true",
            "line 6: ONNX has no option 'softmx'.\nDid you mean softmax?",
        ),
        ('[[models]]\nnames = ["emo_1m"]\nsizes = ["big"]', "line 3: sizes has 'big'"),
        ('[[models]]\nnames = ["emo_1m"]\nweights = "no.pth"', "line 3: There is no file"),
        ('[[models]]\nnames = ["emo_1m"]\nweights = "."', "line 3: "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    if said == "line 3: ":
        (tmp_path / "pipe").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match=re.escape(said)):
        planned(tmp_path, text)


def test_too_many_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MOST_CELLS", 3)
    with pytest.raises(UsageError, match="asks for 4 cells; at most 3"):
        planned(
            tmp_path, 'formats = ["onnx"]\n[[models]]\nnames = ["emo_1m"]\nsizes = [1, 2, 3, 4]'
        )


def test_a_job_is_json(tmp_path: Path) -> None:
    job = only(tmp_path, 'formats = ["onnx"]\n[[models]]\nnames = ["emo_1m"]')
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
