"""A composition as a source: the input of its backbone, the outputs of its head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mobile_export import api
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.errors import MobileExportError, SourceError, UsageError
from mobile_export.sources.again import request_again
from mobile_export.sources.facts import model_facts
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import kind_of, load_source, require_name
from mobile_export.sweep.run import full_name

BACKBONE = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in ((3, 8), (8, 12), (12, 16), (16, 24), (24, 32))
        )

    def forward(self, x):
        maps = []
        for step in self.steps:
            x = step(x)
            maps.append(x)
        return maps


def maps(width=1):
    torch.manual_seed(7)
    return Tiny()


def image():
    return nn.Conv2d(3, 8, 3)


def backwards():
    class Back(Tiny):
        def forward(self, x):
            return super().forward(x)[::-1]

    return Back()


def vector():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4))
"""


def load(spec: str, **asked: object):  # type: ignore[no-untyped-def]
    return load_source(ModelRequest.of(spec, **asked))


def test_a_segmenter_on_a_built_in_backbone() -> None:
    source = load("emo_1m+semantic_fpn?output=labels", size=64)
    assert source.task == "segmentation"
    assert source.output_names == ("labels",)
    assert source.labels is not None
    assert len(source.labels) == 150
    assert source.asked["kind"] == "composition"
    with torch.no_grad():
        assert source.module(torch.zeros(1, 3, 64, 64)).shape == (1, 64, 64)


def test_a_detector_takes_the_number_of_classes() -> None:
    source = load("freenet_s1+retinanet", size=64, num_classes=3)
    assert source.output_names == ("boxes", "scores")
    assert source.labels is None
    with torch.no_grad():
        found = source.module(torch.zeros(1, 3, 64, 64))
    anchors = 9 * (8 * 8 + 4 * 4 + 2 * 2 + 1 + 1)
    assert found["boxes"].shape == (1, anchors, 4)
    assert found["scores"].shape == (1, anchors, 3)


def test_the_parts_of_a_detector_of_two_stages_fit_together() -> None:
    """One part's outputs are the next one's inputs, and all have the same weights."""
    first = load("freenet_s1+mask_rcnn", size=(64, 96), num_classes=3)
    assert first.output_names == ("boxes", "scores", "map4", "map8", "map16", "map32")
    with torch.no_grad():
        found = first.module(torch.rand(1, 3, 64, 96))
    assert found["boxes"].shape == (1, 3 * (16 * 24 + 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2), 4)
    maps = [found[name] for name in first.output_names[2:]]
    shapes = {"boxes": (1, 5, 3, 4), "masks": (1, 5, 3, 28, 28)}
    for output, shape in shapes.items():
        spec = f"freenet_s1+mask_rcnn?output={output}&regions=5"
        part = load(spec, size=(64, 96), num_classes=3)
        assert [each.shape for each in part.inputs] == [*[x.shape for x in maps], (1, 5, 4)]
        assert (part.others[-1].role, part.others[-1].highest) == ("boxes", 64)
        with torch.no_grad():
            second = part.module(*maps, torch.tensor([[[4.0, 4, 40, 60]] * 5]))
        assert second[output].shape == shape
        state = first.module.state_dict()
        assert all(torch.equal(x, state[name]) for name, x in part.module.state_dict().items())
    with pytest.raises(UsageError, match="takes no regions"):
        load("freenet_s1+mask_rcnn?regions=5", size=64)


def test_the_input_is_the_backbones() -> None:
    pytest.importorskip("timm")
    source = load("timm/mobilevitv2_050+fcn?width=16", size=64)
    assert source.input.mean == (0.0, 0.0, 0.0), "timm's MobileViT takes pixels without a mean"
    assert source.input.shape == (1, 3, 64, 64)


def test_the_users_own_backbone_keeps_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownmaps.py").write_text(BACKBONE)
    monkeypatch.chdir(tmp_path)
    source = load("ownmaps:maps?width=2+deeplabv3plus?width=16", size=64)
    torch.manual_seed(7)
    own = load("ownmaps:maps", size=64).module.state_dict()
    for key, value in source.module.backbone.state_dict().items():
        torch.testing.assert_close(value, own[key], rtol=0, atol=0)
    assert source.weights.kind == "own"
    with torch.no_grad():
        assert source.module(torch.zeros(1, 3, 64, 64)).shape == (1, 150, 16, 16)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ownmaps:image+retinanet", "takes feature maps of strides 8, 16, 32"),
        ("ownmaps:vector+fcn", "where feature maps (B, C, h, w) belong"),
        ("ownmaps:backwards+fcn", "the finest must come first"),
        ("ownmaps:maps+fcn?output_stride=8", "says itself how it is dilated"),
    ],
)
def test_a_backbone_of_the_user_that_returns_no_maps(
    spec: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownmaps.py").write_text(BACKBONE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        load(spec, size=64)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("emo_1m+semantic_fnp", SourceError, "no head called"),
        ("emo_1x+fcn", SourceError, "no model called 'emo_1x'"),
        ("u2netp+fcn", UsageError, "gives no feature maps"),
        ("torchvision/alexnet+fcn", UsageError, "gives no feature maps"),
        ("emo_1m+fcn?output_stride=8", UsageError, "cannot be dilated"),
        ("emo_1m+fcn+fcn", UsageError, "gives no feature maps"),
    ],
)
def test_a_name_is_refused_before_anything_is_built(
    spec: str, error: type[MobileExportError], said: str
) -> None:
    for ask in (require_name, load, model_facts):
        with pytest.raises(error) as caught:
            ask(spec)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"), [({"pretrained": True}, "no official weights"), ({"num_classes": 0}, "0")]
)
def test_what_a_composition_does_not_take(asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load("emo_1m+fcn", size=64, **asked)


def test_options_of_timm_that_change_the_maps_go_behind_the_head() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match="output_stride in timm/resnet18") as caught:
        load("timm/resnet18?output_stride=8+fcn", size=64)
    assert "timm/resnet18+fcn?output_stride=16" in str(caught.value.hint)


def test_facts_of_a_composition() -> None:
    facts = model_facts("emo_5m+retinanet")
    assert (facts.task, facts.num_classes) == ("detection", 80)
    assert facts.input_shape == (1, 3, 512, 512)
    assert [row.place for row in facts.printed] == ["EMO, Table 9"]
    assert "emo_5m+ssdlite" in facts.variants
    assert "output_stride" in model_facts("timm/resnet50+fcn").options


def test_names_in_lists_of_the_matrix() -> None:
    assert full_name("emo_1m+fcn") == "emo_1m+fcn"
    assert full_name("resnet18+fcn?output_stride=8") == "timm/resnet18+fcn?output_stride=8"


def test_a_file_is_verified_by_its_manifest_alone_and_runs_no_code_for_it(tmp_path: Path) -> None:
    """A composition of a built-in model is a name; one of somebody's own code is code."""
    report = api.export("emo_1m+lraspp?width=16", "onnx", tmp_path, size=64)
    file = tmp_path / "emo_1m+lraspp_width_16.onnx"
    assert file.is_file()
    assert report.exit_code == 0
    assert api.verify(file).parity.passed

    place = file.with_name(f"{file.name}.manifest.json")
    content = json.loads(place.read_text())
    content["source"] = "ownmaps:maps+fcn"
    place.write_text(json.dumps(content))
    assert kind_of("ownmaps:maps+fcn") == "composition"
    with pytest.raises(UsageError, match="the name of code"):
        request_again(read_manifest(file), file, {})
