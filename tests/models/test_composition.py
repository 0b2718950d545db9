"""``BACKBONE+HEAD``: the name, and the network that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export import api
from mobile_export.errors import SourceError, UsageError
from mobile_export.models import table
from mobile_export.models.backbones import built_in_backbone, named_backbone
from mobile_export.models.composition import compose, is_composition, parse
from mobile_export.models.cost import measure_named
from tests.models.modules import modules_after


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("emo_1m+fcn", True),
        ("timm/resnet50+retinanet?output=raw", True),
        ("pkg.mod:factory?width=2+fcn?output=labels", True),
        ("pkg.mod:factory?text=a+b", False),
        ("emo_1m", False),
        ("a+b.pt2", False),
        ("emo_1m+no_such_head", True),
    ],
)
def test_names_that_are_compositions(spec: str, expected: bool) -> None:
    assert is_composition(spec) is expected


def test_the_parts_of_a_name() -> None:
    parts = parse("timm/x?out_indices=(1,2)+pspnet?output=labels&output_stride=8&width=256")
    assert (parts.backbone, parts.head.name) == ("timm/x?out_indices=(1,2)", "pspnet")
    assert (parts.output, parts.output_stride, parts.width) == ("labels", 8, 256)
    plain = parse("emo_1m+retinanet")
    assert (plain.output, plain.output_stride, plain.width) == ("boxes", None, None)


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("emo_1m+deeplab_v3", SourceError, "no head called 'deeplab_v3'"),
        ("+fcn", UsageError, "without a backbone"),
        ("emo_1m+fcn?outputs=labels", UsageError, "no option 'outputs'"),
        ("emo_1m+fcn?output=boxes", UsageError, "no output 'boxes'"),
        ("emo_1m+retinanet?width=3", UsageError, "no option 'width'"),
        ("emo_1m+fcn?output_stride=7", UsageError, "output_stride '7'"),
        ("emo_1m+fcn?width=99999999999", UsageError, "width '99999999999'"),
        ("emo_1m+fcn?width=²", UsageError, "width '²'"),
    ],
)
def test_a_wrong_name_says_what_is_valid(spec: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("?", r"\?")) as caught:
        parse(spec)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_close_heads_are_named() -> None:
    with pytest.raises(SourceError) as caught:
        parse("emo_1m+semantic-fnp")
    assert "Did you mean emo_1m+semantic_fpn?" in str(caught.value.hint)


def test_reading_a_name_imports_no_torch() -> None:
    code = "from mobile_export.models.composition import parse; parse('emo_1m+fcn')"
    assert not modules_after(code) & {"torch", "timm", "numpy"}


BACKBONES = [
    next(entry.name for entry in table.entries() if entry.strides and entry.family == family)
    for family in sorted({entry.family for entry in table.entries() if entry.strides})
]


@pytest.mark.parametrize("name", [*BACKBONES, "recnext_t"])
def test_every_backbone_gives_the_maps_that_its_row_says(name: str) -> None:
    entry = table.get(name)
    step = max(64, entry.size_step)
    size = height, width = 2 * step, 3 * step
    with torch.device("meta"):
        found = built_in_backbone(entry, {}, in_chans=3, size=size)
        maps = found.module.feature_maps(torch.zeros(1, 3, *size))  # type: ignore[operator]
    assert [tuple(x.shape[2:]) for x in maps] == [(height // s, width // s) for s in entry.strides]
    assert found.channels == tuple(x.shape[1] for x in maps)


def test_what_only_the_classifier_needs_is_left_out() -> None:
    """A head's last map goes on where the classifier would."""
    whole = table.get("emo_1m").build()
    entry = table.get("emo_1m")
    backbone = built_in_backbone(entry, {}, in_chans=3, size=(64, 64)).module
    missing = set(whole.state_dict()) - set(backbone.state_dict())
    assert missing == {"norm.norm.weight", "norm.norm.bias", "head.weight", "head.bias"}
    assert set(backbone.state_dict()) < set(whole.state_dict())


def test_the_composed_heads_are_those_of_emo() -> None:
    """``emo_1m+deeplabv3`` of 256 channels is emo_1m_deeplabv3, weights and all."""
    parts = parse("emo_1m+deeplabv3?width=256")
    composed = compose(parts, named_backbone("emo_1m", (64, 64))).eval()
    built_in = table.get("emo_1m_deeplabv3").build().eval()
    composed.load_state_dict(built_in.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(composed(image), built_in(image))


def test_the_composed_detector_is_that_of_emo() -> None:
    composed = compose(parse("emo_1m+ssdlite"), named_backbone("emo_1m", (64, 64))).eval()
    built_in = table.get("emo_1m_ssdlite").build().eval()
    composed.load_state_dict(built_in.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        got, expected = composed(image), built_in(image)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("u2netp+fcn", "gives no feature maps"),
        ("emo_1m+fcn?output_stride=8", "cannot be dilated"),
        ("recnext_t+segformer", "takes feature maps of strides 4, 8, 16, 32"),
        ("timm/vgg11+lraspp?output_stride=8", "gives no feature maps with an output stride of 8"),
        ("torchvision/alexnet+fcn", "gives no feature maps"),
        ("torchvision/resnet18+fcn?output_stride=8", "cannot be dilated"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(spec: str, said: str) -> None:
    if "/" in spec:
        pytest.importorskip(spec.partition("/")[0])
    parts = parse(spec)
    with pytest.raises(UsageError, match=said):
        compose(parts, named_backbone(parts.backbone, (64, 64), parts.output_stride))


def test_dilation_keeps_the_last_map_large() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        backbone = named_backbone("timm/mobilenetv2_100", (64, 64), 8)
        maps = backbone.module(torch.zeros(1, 3, 64, 64))
    assert backbone.strides == (2, 4, 8, 16, 32)
    assert [x.shape[2] for x in maps] == [32, 16, 8, 8, 8]


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "resnet18"])
def test_backbones_of_torchvision_keep_its_names_of_weights(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    whole = models.get_model_builder(name)(weights=None).eval()
    found = named_backbone(f"torchvision/{name}", (64, 96))
    found.module.load_state_dict(whole.state_dict(), strict=False)
    assert set(found.module.state_dict()) < set(whole.state_dict())
    image = torch.rand(1, 3, 64, 96)
    seen: list[torch.Tensor] = []
    last = whole.stage4 if hasattr(whole, "stage4") else whole.layer4
    last.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        maps = list(found.module.eval()(image).values())
        whole(image)
    assert torch.equal(maps[-1], seen[0])
    assert [tuple(x.shape[2:]) for x in maps] == [(64 // s, 96 // s) for s in found.strides]
    assert found.channels == tuple(x.shape[1] for x in maps)


def test_a_backbone_of_torchvision_is_captured_as_it_computes(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    report = api.export("torchvision/shufflenet_v2_x0_5+fcn", "tnn", tmp_path, size=64)
    assert [each.parity.status for each in report.artifacts] == ["passed"]


def test_maps_with_channels_last_are_turned() -> None:
    """timm's Swin returns (B, h, w, C)."""
    pytest.importorskip("timm")
    with torch.device("meta"):
        backbone = named_backbone("timm/swin_tiny_patch4_window7_224", (224, 224))
        module = compose(parse("timm/swin_tiny_patch4_window7_224+segformer"), backbone)
        scores = module(torch.zeros(1, 3, 224, 224))
    assert backbone.last == (True,) * 4
    assert scores.shape == (1, 150, 56, 56)


@pytest.mark.parametrize(
    ("name", "size", "classes", "params_m", "macs_m"),
    [
        # mmsegmentation's and mmdetection's own tables, without frozen and auxiliary parts
        ("timm/resnet50+ssdlite", (320, 320), None, 26.6, 8800),  # EMO, Table 8
        ("timm/resnet50+retinanet", (800, 1280), None, 37.74 + 0.225, 239000),
        ("timm/mobilenetv2_100+deeplabv3?output_stride=8", (512, 512), None, 18.7 - 0.26, 75400),
        ("timm/mobilenetv2_100+pspnet?output_stride=8", (512, 512), None, 13.7 - 0.26, 53100),
        ("timm/mobilenetv2_100+deeplabv3plus?output_stride=16", (512, 512), None, 15.1, 25800),
        ("timm/mobilenetv2_100+fcn?output_stride=8", (1024, 2048), 19, 9.5, 317000),
        ("emo_5m+retinanet", (800, 1280), None, 14.4, 170485),
        # SeaFormer++, Tables 2 and 15, whose parameters hold layers that no map needs
        ("torchvision/shufflenet_v2_x1_5+deeplabv3plus", (512, 512), None, 16.0, 15300),
        ("torchvision/shufflenet_v2_x1_0+retinanet", (800, 1344), None, 10.9, 161000),
    ],
)
def test_counts_are_those_of_the_papers(
    name: str, size: tuple[int, int], classes: int | None, params_m: float, macs_m: float
) -> None:
    """Within 1 % of parameters and 3 % of MACs. SeaFormer++'s Table 15 prints RetinaNet's."""
    pytest.importorskip("timm")
    found = measure_named(name, size, classes)
    assert found.parameters / 1e6 == pytest.approx(params_m, rel=0.01)
    assert found.macs / 1e6 == pytest.approx(macs_m, rel=0.03)
