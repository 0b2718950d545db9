"""The rows of the papers' tables: complete, and named rightly."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from mobile_export.models import table
from mobile_export.models.composition import is_composition
from mobile_export.models.papers import PAPERS, paper_rows
from mobile_export.sources.table import require_name
from tests.models.modules import modules_after

ROWS = paper_rows()

# Lines of the tables as one counts them in the papers; two heads in a line are two rows.
PRINTED = {
    "FreeNet": {"1": 4, "3": 28, "4": 9, "5": 8},
    "EMO": {"3": 4, "4": 3, "5": 4, "7": 30, "8": 13, "9": 4, "10": 14, "11": 6, "12": 4}
    | {"§3.3": 14},
    "SeaFormer++": {"1": 4, "2": 35, "3": 17, "4": 12, "5": 12, "6": 6, "7": 3, "8": 10, "9": 7}
    | {"10": 5, "11": 4, "12": 5, "13": 15, "14": 32, "15": 17, "16": 11, "17": 3},
}
WITHOUT_FIGURES = {("EMO", "4"), ("SeaFormer++", "1")}


def test_rows_are_complete() -> None:
    for paper, tables in PRINTED.items():
        assert Counter(row.table for row in ROWS if row.paper == paper) == tables
    assert list(PAPERS) == list(dict.fromkeys(row.paper for row in ROWS))
    assert {row.metric for row in ROWS} == {"", "top-1", "mIoU", "box AP"}
    for row in ROWS:
        figures = row.params_m or row.macs_m or row.value
        expected = row.paper in PRINTED and (row.paper, row.table) not in WITHOUT_FIGURES
        assert bool(figures) == expected, row
        assert (row.name is None) == bool(row.reason), row


@pytest.mark.parametrize(
    ("paper", "number", "model", "params_m", "macs_m", "value", "name"),
    [
        ("FreeNet", "3", "FreeNet-S2", 6.8, 900, 78.8, "freenet_s2"),
        ("FreeNet", "3", "EfficientNet-B2", 9.2, 1000, 80.1, "timm/efficientnet_b2"),
        ("EMO", "3", "PVT-Tiny", 13.2, 1943, 75.1, "pvt_tiny"),
        ("EMO", "7", "MFormer-294M", 11.4, 294, 77.9, "mobile_former_294m"),
        ("EMO", "7", "tiny-MOAT-0", 3.4, 800, 75.5, "tiny_moat_0"),
        ("SeaFormer++", "2", "SeaFormer-B++(KD)", 10.2, 900, 39.5, "seaformerpp_base_kd_seg"),
        ("SeaFormer++", "14", "EdgeViT-XS", 6.8, 1100, 77.5, "edgevit_xs"),
        ("SeaFormer++", "14", "MobileOne-S4", 14.8, 3000, 79.4, "timm/mobileone_s4"),
        (
            "FreeNet",
            "5",
            "PVTv2-b2-li with both in the last stage",
            18.2,
            3651,
            82.104,
            "pvt_v2_b2_li_freenet",
        ),
        ("EMO", "12", "EMO-5M with depth 2-2-12-2", 5.0, 970, 77.8, "emo_5m?depths=2-2-12-2"),
        ("SeaFormer++", "17", "SeaFormer-T++(KD) with direct interpolation", 1.7, 300, 33.7, None),
    ],
)
def test_samples_read_from_the_papers(
    paper: str,
    number: str,
    model: str,
    params_m: float,
    macs_m: float,
    value: float,
    name: str | None,
) -> None:
    found = [r for r in ROWS if (r.paper, r.table, r.model) == (paper, number, model)]
    assert [(r.params_m, r.macs_m, r.value, r.name) for r in found] == [
        (params_m, macs_m, value, name)
    ]


def test_places_are_as_a_reader_writes_them() -> None:
    places = {row.place for row in ROWS}
    assert {"SeaFormer++, Table 14", "EMO, §3.3", "related papers, title"} <= places


def test_related_papers_have_what_timm_has() -> None:
    """A paper of the list whose network timm has under its own name is not called unavailable."""
    timm = pytest.importorskip("timm")
    rows = [row for row in ROWS if row.paper == "related papers"]
    assert {row.table for row in rows} == {"title", "abstract"}
    families = (
        "twins convnext inception_next visformer crossvit convit deit efficientnet levit pvt_v2 "
        "xcit swin mixer convmixer pit seresnet xception vgg fasternet swiftformer dla beit"
    )
    named = " ".join(row.name for row in rows if row.name)
    assert [family for family in families.split() if family not in named] == []
    ours = {"CAS-ViT", "RecNeXt", "TVConv", "SqueezeTime", "Lite-Mono", "ESPCN", "CARN-M"}
    ours |= {"LinkNet", "PVT", "U²-Net", "All-CNN", "CRATE", "HorNet", "PatchConvNet", "RedNet"}
    ours |= {"T2T-ViT", "U-Net", "UniFormer", "UniRepLKNet", "SReT", "CSWin", "ParCNetV2"}
    ours |= {"DAT (super-resolution)", "MedViT", "Restormer"}
    ours |= {"CAT (image restoration)", "WaveMix", "SPANet", "SMPConv", "NiNformer", "BTS"}
    ours |= {"TransNeXt", "CoC", "ViT-ResNAS", "HiFormer", "ParaTransCNN", "SCNet", "SPD-Conv"}
    ours |= {"Spatial transformer", "Monodepth", "Gather-Excite", "DeepMAD", "DCNv2", "InternImage"}
    ours |= {"TEED", "AGG-Net", "DCGAN", "GLNet", "KAN convolutions", "XNOR-Net"}
    ours |= {"CCNN", "SVT", "SN-Netv2", "AMT", "AANet", "CoDeNet"}
    ours |= {"MAXIM", "2-D SSM", "FlexNet", "Pixel Transformer", "SparseNet", "UViT"}
    zoo = {table.get(row.name).family for row in rows if row.name in table.names()}
    assert zoo == ours
    stems = {name.split("_")[0] for name in timm.list_models()} - {"pvt"}  # its second version
    for row in rows:
        if row.name is None:
            assert row.model.split(" ")[0].replace("-", "").lower() not in stems, row


def test_every_name_exists() -> None:
    timm = pytest.importorskip("timm")
    models = pytest.importorskip("torchvision").models
    known = {*table.names(), *(f"timm/{name}" for name in timm.list_models())}
    known |= {f"torchvision/{name}" for name in models.list_models()}
    named = {row.name for row in ROWS if row.name}
    long = {name for name in named if is_composition(name) or "?" in name or "hf/" in name}
    assert named - long <= known
    for name in long:
        require_name(name)


def test_every_family_of_the_zoo_is_in_a_table() -> None:
    named = {re.split(r"[?+]", row.name)[0] for row in ROWS if row.name}
    families = {entry.family for entry in table.entries()}
    assert {entry.family for entry in table.entries() if entry.name in named} == families


def test_reading_the_rows_imports_no_torch() -> None:
    found = modules_after("from mobile_export.models.papers import paper_rows; paper_rows()")
    assert not found & {"torch", "timm"}
