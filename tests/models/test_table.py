"""The table of models: complete, correct, and cheap to read."""

from __future__ import annotations

import gzip
import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from mobile_export.errors import SourceError
from mobile_export.models import table
from tests.models.modules import modules_after

MODELS = Path(table.__file__).parent


def family(name: str) -> ModuleType:
    return importlib.import_module(f"mobile_export.models.{name}")


def test_every_row_of_every_folder_is_in_the_table_once() -> None:
    """Counted in the folders themselves: every family's file says ``ROWS``."""
    others = {"data", "heads"}
    folders = sorted({p.parent.name for p in MODELS.glob("*/__init__.py")} - others)
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


STRIDES = {"EMO": 32, "SeaFormer": 8, "SeaFormer++": 8, "TopFormer": 8, "LinkNet": 1} | {
    "MobileNetV3": 8,
    "U-Net": 1,
    "HiFormer": 1,
    "ParaTransCNN": 1,
    "PP-MobileSeg": 16,
}

"""Of the logits of each family of segmenters, as their papers say."""

MEASURES = {
    "classification": "top1",
    "video classification": "top1",
    "segmentation": "miou",
    "detection": "box_ap",
}
"""What a paper measures of each task's accuracy; the tasks without a row have none of these."""

FOREIGN = {"Gather-Excite", "MAXIM", "MOAT", "Monodepth", "UViT", "XNOR-Net"}
"""Their official code is of Caffe, JAX, TensorFlow or Torch 7 and has no state dict; what it says
of them is tested beside them."""

UNMEASURED = {"All-CNN", "CRATE", "HiFormer", "MiT", "NiNformer", "U-Net", "ViT-ResNAS"}
UNMEASURED |= {"DCGAN", "DCNv2", "Gather-Excite", "ParaTransCNN", "SPD-Conv"}
UNMEASURED |= {"Pixel Transformer", "SparseNet", "UViT"}
UNMEASURED |= {"2-D SSM", "CCNN", "FlexNet", "KAN convolutions", "SN-Netv2", "Spatial transformer"}
"""Their accuracy is in no table that can be cited here, or of other data than the others'."""


def expected_shape(entry: table.ModelEntry) -> tuple[int, ...]:
    """Of the output for seven classes and the row's own size."""
    height, width = entry.size
    match entry.task:
        case "classification" | "video classification":
            return (1, 7)
        case "segmentation":
            stride = STRIDES[entry.family]
            return (1, 7, height // stride, width // stride)
        case "saliency" | "depth":
            return (1, 1, height, width)
        case "super-resolution":
            scale = int(entry.name.rpartition("_x")[2])
            return (1, entry.channels, scale * height, scale * width)
        case "restoration":
            return (1, entry.channels, height, width)
        case "embedding":
            return (1, 512)
    raise AssertionError(entry.task)


@pytest.mark.parametrize("name", table.names())
def test_every_row_builds_what_it_says(name: str) -> None:
    import torch

    entry = table.get(name)
    entry.check_size(entry.size)
    with torch.device("meta"):
        module = entry.build(None if entry.num_classes is None else 7)
        module.eval()
        output = module(torch.empty(entry.input_shape()))
    if entry.task == "detection":
        # Cells of the maps of strides 16 and 32 and of four halvings, six anchors in each.
        anchors = 6 * sum(side**2 for side in (20, 10, 5, 3, 2, 1))
        if entry.family == "CoDeNet":
            anchors = (512 // 4) ** 2  # each pixel of stride 4 is one
        assert output["boxes"].shape == (1, anchors, 4)
        assert output["scores"].shape == (1, anchors, 7)
    else:
        assert tuple(output.shape) == expected_shape(entry)


@pytest.mark.parametrize("entry", table.entries(), ids=lambda entry: entry.name)
def test_every_row_says_where_its_figures_stand(entry: table.ModelEntry) -> None:
    published = entry.published
    measured = {m for m in ("top1", "miou", "box_ap") if getattr(published, m) is not None}
    expected = {MEASURES[entry.task]} if entry.task in MEASURES else set()
    assert measured == (set() if entry.family in UNMEASURED else expected)
    assert re.search(r"arXiv \d{4}\.\d{4,5}|AAAI 2025", published.source)
    assert published.code is None or published.code.startswith("https://github.com/")
    assert len(entry.mean) == len(entry.std) == entry.channels


def test_every_model_with_public_code_is_compared_with_it() -> None:
    """State dicts and sampled outputs in tests/models/data: of all of them, and of no other."""
    data = Path(__file__).parent / "data"
    shapes, outputs = set(), set()
    for path in data.iterdir():
        packed = path.read_bytes()
        content = json.loads(gzip.decompress(packed) if path.suffix == ".gz" else packed)
        if re.fullmatch(r"emo_\dm\.json", path.name):  # one model a file
            shapes.add(path.stem)
        else:
            found = outputs if path.name.startswith("golden_") else shapes
            found |= {spec.partition("?")[0] for spec in content}
    public = {e.name for e in table.entries() if e.published.code and e.family not in FOREIGN}
    assert shapes == outputs == public


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
