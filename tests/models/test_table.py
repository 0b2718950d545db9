"""The table of models: complete, correct, and cheap to read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mobile_export.errors import SourceError, UsageError
from mobile_export.models import table as registry


def test_names_are_sorted_and_unique() -> None:
    names = registry.names()
    assert list(names) == sorted(set(names))
    assert {"emo_1m", "emo_2m", "emo_5m", "emo_6m"} <= set(names)
    assert [entry.name for entry in registry.entries()] == list(names)


@pytest.mark.parametrize("name", registry.names())
def test_every_row_builds_what_it_says(name: str) -> None:
    import torch

    entry = registry.get(name)
    entry.check_size(entry.size)
    with torch.device("meta"):
        module = entry.build(None if entry.num_classes is None else 7)
        module.eval()
        output = module(torch.empty(entry.input_shape()))
    height, width = entry.size
    if entry.task == "detection":
        anchors = output["boxes"].shape[1]
        assert output["boxes"].shape == (1, anchors, 4)
        assert output["scores"].shape == (1, anchors, 7)
    else:
        shapes = {
            "classification": [(1, 7)],
            "video classification": [(1, 7)],
            "segmentation": [(1, 7, height // n, width // n) for n in (1, 8, 32)],
            "saliency": [(1, 1, height, width)],
            "depth": [(1, 1, height, width)],
            "super-resolution": [(1, entry.channels, n * height, n * width) for n in (2, 3, 4)],
            "embedding": [(1, 512)],
        }
        assert tuple(output.shape) in shapes[entry.task]
    assert (entry.published.top1 is not None) == entry.task.endswith("classification")
    assert (entry.published.miou is not None) == (entry.task == "segmentation")
    assert (entry.published.box_ap is not None) == (entry.task == "detection")
    assert entry.published.source
    assert entry.published.code is None or entry.published.code.startswith("https://")
    assert len(entry.mean) == len(entry.std) == entry.channels


@pytest.mark.parametrize("name", registry.names())
def test_every_option_of_a_row_builds(name: str) -> None:
    import torch

    entry = registry.get(name)
    for key, values in entry.options:
        for value in values:
            assert entry.parse_options(f"{key}={value}") == {key: value}
            with torch.device("meta"):
                entry.build(**{key: value})


def test_unknown_options_name_the_known_ones() -> None:
    entry = registry.get("seaformer_tiny_seg")
    assert entry.parse_options("") == {}
    with pytest.raises(UsageError, match="no option 'head'") as caught:
        entry.parse_options("output=labels&head=2")
    assert "output" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no output ''") as caught:
        entry.parse_options("output")
    assert "logits, upsampled, labels" in str(caught.value.hint)
    with pytest.raises(UsageError, match="emo_1m has no option 'output'"):
        registry.get("emo_1m").parse_options("output=labels")


def test_a_segmenter_as_a_source_has_options_and_no_labels() -> None:
    from mobile_export.sources.table import load_source

    source = load_source("seaformer_tiny_seg?output=labels", size=(64, 64), num_classes=1000)
    assert source.labels is None
    assert source.spec == "seaformer_tiny_seg?output=labels"
    assert source.module.output == "labels"


def test_a_narrow_terminal_loses_no_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobile_export.cli.zoo_tables import print_zoo
    from mobile_export.models.listing import list_zoo

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = list_zoo()
    print_zoo(rows)
    out = capsys.readouterr().out
    assert "…" not in out
    for row in rows:
        line = next(line for line in out.splitlines() if line.startswith(f"{row.name} "))
        assert f"{row.params_m:.3f}" in line
        assert f" {row.macs_m:.0f} " in line


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"emo_2m"):
        registry.get("emo_3m")


@pytest.mark.parametrize("module", ["mobile_export.models.table", "mobile_export.sources.table"])
def test_importing_it_does_not_import_torch(module: str) -> None:
    code = f"import {module}, sys; print(sorted({{'torch', 'timm'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
