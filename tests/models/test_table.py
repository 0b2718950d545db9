"""The table of models: complete, correct, and cheap to read."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from mobile_export.errors import SourceError, UsageError
from mobile_export.models import table
from tests.models.modules import modules_after

MODELS = Path(table.__file__).parent


def family(name: str) -> ModuleType:
    return importlib.import_module(f"mobile_export.models.{name}")


def test_every_row_of_every_folder_is_in_the_table_once() -> None:
    """Counted in the folders themselves: every family's file says ``ROWS``."""
    folders = sorted(p.parent.name for p in MODELS.glob("*/__init__.py") if p.parent.name != "data")
    rows = [row for name in folders for row in family(name).ROWS]
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert list(table.names()) == sorted(names)
    assert [entry.name for entry in table.entries()] == sorted(names)
    assert all(table.get(row.name) is row for row in rows)


def test_builders_of_a_family_are_in_its_own_folder() -> None:
    for path in MODELS.glob("*/__init__.py"):
        for row in getattr(family(path.parent.name), "ROWS", ()):
            folder, module = row.builder.split(":")[0].split(".")
            assert folder == path.parent.name
            assert (path.parent / f"{module}.py").is_file()


def test_two_rows_of_one_name_are_refused() -> None:
    row = table.get("emo_1m")
    with pytest.raises(ValueError, match="more than one model is called emo_1m"):
        table.by_name([[row], [table.get("emo_2m"), replace(row, family="Another")]])


@pytest.mark.parametrize("name", table.names())
def test_every_row_builds_what_it_says(name: str) -> None:
    import torch

    entry = table.get(name)
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


@pytest.mark.parametrize("name", table.names())
def test_every_option_of_a_row_builds(name: str) -> None:
    import torch

    entry = table.get(name)
    for key, values in entry.options:
        for value in values:
            assert entry.parse_options(f"{key}={value}") == {key: value}
            with torch.device("meta"):
                entry.build(**{key: value})


def test_unknown_options_name_the_known_ones() -> None:
    entry = table.get("seaformer_tiny_seg")
    assert entry.parse_options("") == {}
    with pytest.raises(UsageError, match="no option 'head'") as caught:
        entry.parse_options("output=labels&head=2")
    assert "output" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no output ''") as caught:
        entry.parse_options("output")
    assert "logits, upsampled, labels" in str(caught.value.hint)
    with pytest.raises(UsageError, match="emo_1m has no option 'output'"):
        table.get("emo_1m").parse_options("output=labels")


def test_a_segmenter_as_a_source_has_options_and_no_labels() -> None:
    from mobile_export.sources.table import load_source

    source = load_source("seaformer_tiny_seg?output=labels", size=(64, 64), num_classes=1000)
    assert source.labels is None
    assert source.spec == "seaformer_tiny_seg?output=labels"
    assert source.module.output == "labels"


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"emo_2m"):
        table.get("emo_3m")


@pytest.mark.parametrize(
    "code",
    [
        "import mobile_export.models.table",
        "import mobile_export.sources.table",
        "import mobile_export.models.cost",
        "from mobile_export.models import table\ntry: table.get('emo_3m')\nexcept Exception: pass",
    ],
)
def test_reading_the_table_imports_no_torch(code: str) -> None:
    assert not modules_after(code) & {"torch", "timm", "numpy"}
