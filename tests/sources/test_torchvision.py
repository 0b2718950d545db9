"""``torchvision/NAME``: expected are torchvision's own modules and the metadata of its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.cli.completion import names
from mobile_export.errors import SourceError, UsageError
from mobile_export.sources import download
from mobile_export.sources.facts import model_facts
from tests.conftest import load_source

models = pytest.importorskip("torchvision.models")


def test_a_segmenter_has_the_file_of_a_whole_model_and_the_classes_of_the_weights(
    tmp_path: Path,
) -> None:
    torch.manual_seed(1)
    own = models.segmentation.deeplabv3_mobilenet_v3_large(weights_backbone=None, aux_loss=True)
    torch.save(own.state_dict(), tmp_path / "own.pth")
    name = "torchvision/deeplabv3_mobilenet_v3_large"
    source = load_source(name, weights=tmp_path / "own.pth", size=64)
    best = models.get_model_weights("deeplabv3_mobilenet_v3_large").DEFAULT
    assert source.labels == tuple(best.meta["categories"])
    assert source.input.mean == pytest.approx(best.transforms().mean)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(source.module(image)["out"], own.eval()(image)["out"])
    assert "only training uses" in source.weights.notes[0]


def test_size_and_recipe_are_those_of_the_weights() -> None:
    source = load_source("torchvision/mobilenet_v3_small", num_classes=7)
    transforms = models.get_model_weights("mobilenet_v3_small").DEFAULT.transforms()
    assert source.input.shape == (1, 3, *(2 * transforms.crop_size))
    assert source.recipe is not None
    assert source.recipe.crop_pct == transforms.crop_size[0] / transforms.resize_size[0]
    assert source.recipe.interpolation == transforms.interpolation.value
    assert source.module(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert source.labels is None


def test_optical_flow_takes_two_pictures() -> None:
    source = load_source("torchvision/raft_small")
    assert [each.name for each in source.inputs] == ["image1", "image2"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("maskrcnn_resnet50_fpn", "second stage"),
        ("quantized_resnet18", "whole numbers"),
        ("resnet81", "Did you mean torchvision/resnet18"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_way_out(name: str, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        load_source(f"torchvision/{name}")
    assert said in f"{caught.value} {caught.value.hint}"
    with pytest.raises(UsageError):
        load_source("torchvision/resnet18", num_classes=0)


def test_pretrained_downloads_the_official_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "file.pth"
    torch.save(models.squeezenet1_1().state_dict(), place)
    asked = []

    def downloaded(checkpoint: object) -> Path:
        asked.append(checkpoint)
        return place

    monkeypatch.setattr(download, "downloaded", downloaded)
    source = load_source("torchvision/squeezenet1_1", pretrained=True)
    assert source.weights.kind == "pretrained"
    assert asked[0].url == models.SqueezeNet1_1_Weights.DEFAULT.url


def test_info_and_completion_know_it() -> None:
    facts = model_facts("torchvision/r3d_18")
    assert facts.input_shape == (1, 3, 16, 112, 112)
    assert facts.num_classes == 400
    assert "torchvision/r3d_18" in names("torchvision/r3")
