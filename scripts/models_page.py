"""Write docs/models.md: the built-in models as tables.

    python scripts/models_page.py

From the table of models, the stored counts and docs/matrix.json, which is what
`mobile-export matrix` found; a model without a row there is "not measured".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mobile_export.models import table
from mobile_export.models.cost import stored_cost
from mobile_export.models.entry import ModelEntry
from mobile_export.models.heads import HEADS
from mobile_export.models.papers import paper_rows

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "models.md"
MATRIX = DOCS / "matrix.json"

INTRODUCTION = """\
# The zoo

Every built-in model, from `mobile_export/models/table.py`; this page is written by
`python scripts/models_page.py`, do not edit it.

- Parameters and MACs (multiply-accumulates, normalisations included) of one input of the default
  size are our own count, in millions, with the source's figure in brackets; "-": it prints none.
- Accuracy: in percent as printed by the source (of the official weights) or, with its place, by a
  paper's table; of other data than the default's classes, with the number of classes. We have not
  measured it: `mobile-export evaluate` does, on your data.
- Formats: those whose file, made with random weights at the default size, was executed and agreed
  with the original model in float64 ("at 64": at that size only); in brackets what became of the
  others ("not measured" where nothing was run). Any format takes any name.
- Options go behind the name: `seaformer_tiny_seg?output=labels`; the first value is the default.
- `BACKBONE+HEAD` is a name, too: a head on feature maps, at the end of this page.
"""

COMPOSITIONS = """\
## Compositions

`BACKBONE+HEAD` puts a head on the feature maps of a backbone: `emo_5m+semantic_fpn`,
`timm/resnet50+retinanet`, `mynet:maps+deeplabv3plus?output=labels`. Such a name works wherever a
model's does. A backbone is a classifier of
{families},
a model of timm's that has `features_only`, a ResNet or ShuffleNetV2 of torchvision's, or your own
`MODULE:FUNCTION` whose forward returns a list of feature maps, the finest first. Options: `output`
as above; `output_stride=8` or `16` (the later stages dilated instead of strided, where timm can);
`width`, the head's channels. Default
sizes are 512x512, and 320x320 for SSDLite. Names of weights are those of mmsegmentation and
mmdetection (`backbone.`, `neck.`, `decode_head.`, `bbox_head.`), whose heads these are key for key,
compared in float64.

| head | task | strides of its maps | width | classes | source |
| --- | --- | --- | ---: | ---: | --- |
{heads}
"""


def measured_formats(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Model -> format -> status, of exports at default precision, at the models' own size; of a
    model that was exported at another size only, "passed at SIZE"."""
    found: dict[str, dict[str, str]] = {}
    smaller: dict[str, dict[str, str]] = {}
    for row in rows:
        if row.get("precision") is not None or row.get("judge") is not None:
            continue
        size = row.get("size")
        status = row["status"] if size is None else f"{row['status']} at {size}"
        kept = found if size is None else smaller
        kept.setdefault(row["model"], {})[row["format"]] = status
    return {**smaller, **found}


def models_page(rows: Iterable[Mapping[str, Any]]) -> str:
    """The page as Markdown.

    Args:
        rows: of docs/matrix.json.
    """
    measured = measured_formats(rows)
    families: dict[str, list[ModelEntry]] = {}
    for entry in table.entries():
        families.setdefault(entry.family, []).append(entry)
    parts = [INTRODUCTION]
    parts += [_family(name, families[name], measured) for name in sorted(families)]
    return "\n".join([*parts, _compositions()])


def _compositions() -> str:
    families = sorted({entry.family for entry in table.entries() if entry.strides})
    return COMPOSITIONS.format(
        families=", ".join(families),
        heads="\n".join(
            f"| `{head.name}` | {head.task} | "
            f"{', '.join('the finest' if s == 0 else str(s) for s in head.strides)} | "
            f"{head.width or 'fixed'} | {head.num_classes} | {head.source} |"
            for head in HEADS.values()
        ),
    )


def _family(name: str, entries: list[ModelEntry], measured: Mapping[str, Mapping[str, str]]) -> str:
    lines = [f"## {name}", ""]
    codes = {entry.published.code for entry in entries}
    code = codes.pop() if len(codes) == 1 else None
    if code:
        lines += [f"Official code: <{code}>", ""]
    lines += [
        "| name | task | parameters M | MACs M | size | accuracy | formats that hold | options "
        "| source |",
        "| --- | --- | ---: | ---: | ---: | --- | --- | --- | --- |",
    ]
    lines += [_row(entry, measured.get(entry.name, {})) for entry in entries]
    return "\n".join([*lines, ""])


def _row(entry: ModelEntry, statuses: Mapping[str, str]) -> str:
    cost = stored_cost(entry.name, entry.size, entry.num_classes)
    if cost is None:
        raise SystemExit("First run: python scripts/count_models.py")
    published = entry.published
    clip = "" if entry.frames is None else f"{entry.frames}x"
    options = "; ".join(f"{key}={', '.join(values)}" for key, values in entry.options)
    cells = (
        f"`{entry.name}`",
        entry.task,
        f"{cost.parameters / 1e6:.3f} ({_printed(published.params_m)})",
        f"{cost.macs / 1e6:.0f} ({_printed(published.macs_m)})",
        f"{clip}{entry.size[0]}x{entry.size[1]}",
        _accuracy(entry),
        _formats(statuses),
        options,
        published.source,
    )
    return f"| {' | '.join(cells)} |"


def _accuracy(entry: ModelEntry) -> str:
    """Every accuracy that is printed for a model, each once."""
    of = entry.published
    own = {"top-1": of.top1, "mIoU": of.miou, "box AP": of.box_ap}
    found = {(metric, value): "" for metric, value in own.items() if value is not None}
    for row in paper_rows():
        if row.name == entry.name and row.value is not None:
            classes = "" if row.classes is None else f", {row.classes} classes"
            found.setdefault((row.metric, row.value), f" ({row.place}{classes})")
    return (
        "; ".join(f"{metric} {value:g}{place}" for (metric, value), place in found.items()) or "-"
    )


def _printed(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _formats(statuses: Mapping[str, str]) -> str:
    if not statuses:
        return "not measured"
    passed = {name: status for name, status in statuses.items() if status.startswith("passed")}
    held = [f"{name}{status.removeprefix('passed')}" for name, status in passed.items()]
    others = [f"{name}: {status}" for name, status in statuses.items() if name not in passed]
    return ", ".join(held or ["none"]) + (f" ({', '.join(others)})" if others else "")


def read_rows(path: Path = MATRIX) -> list[dict[str, Any]]:
    """The rows of a matrix; none where there is no file."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"]
    return rows


if __name__ == "__main__":
    PAGE.write_text(models_page(read_rows()), "utf-8")
