"""Good files of every kind, which the hostile ones are made from.

python -m tests.hostile.goods FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from mobile_export import export
from mobile_export.artifacts.names import manifest_path
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import FORMATS, format_of_file
from mobile_export.pipeline import ExportReport, export_program, prepare_program, save_program
from mobile_export.sweep.cell import Row
from mobile_export.sweep.ledger import open_ledger
from tests.bench.examples import measurement
from tests.conftest import make_source
from tests.sweep.jobs import make_job, make_result

__all__ = ["make_goods"]


def make_goods(folder: Path, reports: Iterable[ExportReport]) -> Path:
    """Fill a folder with what `tests.hostile.corpus` wants: exported files and everything else."""
    for report in reports:
        for artifact in report.artifacts:
            assert artifact.path is not None
            row = format_of_file(artifact.path)
            for each in (*row.files(artifact.path), manifest_path(artifact.path)):
                target = folder / each.name
                (shutil.copytree if each.is_dir() else shutil.copy)(each, target)
    state = make_source().module.state_dict()
    torch.save({"state_dict": state, "epoch": 3}, folder / "net.pth")
    torch.save(state, folder / "net.legacy.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "net.safetensors")
    program, _ = prepare_program(make_source, ExportConfig())
    save_program(program, folder / "tiny.pt2")
    shutil.copy(folder / "tiny.pt2", folder / "net.pt2")
    labels = [f"label {n}" for n in range(10)]
    export(make_source().module, "onnx", folder, name="classes", size=32, labels=labels)
    lines = (json.dumps(measurement(seed=n, model=f"emo_{n}m").to_dict()) for n in (1, 2, 2))
    (folder / "store.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "photo.png")
    for number in range(10):  # a class folder of every output
        made = folder / "pictures" / str(number) / "photo.png"
        made.parent.mkdir(parents=True)
        shutil.copy(folder / "photo.png", made)
    (folder / "models.txt").write_text("emo_1m 224 # small\nresnet18 3x224x224\ntimm/vit 64x32\n")
    rows = [
        Row("emo_1m", None, "onnx", None, "passed", 1e-6, 1e-5, "onnxruntime", False, None, 1),
        Row("emo_2m", "64", "tnn", "fp16", "failed", 1e-1, 1e-5, "ours", True, "why | not\nso"),
    ]
    facts = {"schema": 1, "mobile_export": "1", "rows": [asdict(row) for row in rows]}
    (folder / "matrix.json").write_text(json.dumps(facts))
    nothing = 'formats = ["nothing"]\n[[models]]\nnames = ["emo_1m"]\nsizes = [64, "64x96"]\n'
    (folder / "sweep.toml").write_text(f"time_limit = 60 # short\n{nothing}seed = 3\n")
    (folder / "one.toml").write_text('formats = ["onnx"]\n[[models]]\nnames = ["nets:no_such"]\n')
    jobs = [make_job("emo_1m"), make_job("emo_2m")]
    with open_ledger(folder / "sweep.sqlite", write=True) as ledger:
        ledger.begin("tried", jobs, "1")
        ledger.add([make_result(jobs[0]), make_result(jobs[1], "failed", reason="why | not\nso")])
    return folder


def main() -> None:
    """Entry point; see the module."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    config = ExportConfig(out_dir=folder / "made")
    rows = [row for row in FORMATS if not row.missing()]
    make_goods(folder, [export_program(make_source, "tiny", rows, config)])
    shutil.rmtree(folder / "made")


if __name__ == "__main__":
    main()
