"""Folders of transformers: expected are transformers' own modules; nothing in a folder is code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.errors import MobileExportError, SourceError, UsageError, WeightsError
from tests.conftest import load_source

transformers = pytest.importorskip("transformers")

PICTURES = {
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.3],
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A classifier of three classes as transformers saves it, and the model."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "cow"},
        label2id={"cat": 0, "dog": 1, "cow": 2},
    )
    model = transformers.ViTForImageClassification(config).eval()
    folder = tmp_path_factory.mktemp("hf") / "vit"
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PICTURES))
    return folder, model


def _with(folder: Path, there: Path, **changes: Any) -> Path:
    """A copy of the folder with another configuration."""
    there.mkdir()
    for file in folder.iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    content = json.loads((there / "config.json").read_text()) | changes
    (there / "config.json").write_text(json.dumps(content))
    return there


def test_a_folder_is_the_model_that_was_saved(saved: tuple[Path, Any]) -> None:
    folder, model = saved
    source = load_source(str(folder))
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(source.module(image).logits, model(image).logits)
    assert (source.input.name, source.input.shape) == ("image", (1, 3, 32, 32))
    assert source.input.mean == (0.5, 0.4, 0.3)
    assert source.input.std == (0.2, 0.2, 0.3)
    assert source.labels == ("cat", "dog", "cow")
    assert source.recipe is not None
    assert (source.recipe.crop_pct, source.recipe.interpolation) == (32 / 36, "bicubic")
    assert source.weights.kind == "checkpoint"


def test_another_number_of_classes_leaves_a_random_classifier(saved: tuple[Path, Any]) -> None:
    source = load_source(str(saved[0]), num_classes=7)
    assert source.module(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 7)
    assert source.weights.notes == ("2 tensors are RANDOM (seed 0).",)


def test_weights_that_do_not_fill_the_model_are_refused(
    saved: tuple[Path, Any], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="missing or of another shape"):
        load_source(str(_with(saved[0], tmp_path / "deep", num_hidden_layers=2)))


def test_code_in_a_folder_is_not_run(saved: tuple[Path, Any], tmp_path: Path) -> None:
    trap = _with(saved[0], tmp_path / "trap", auto_map={"AutoModel": "trap.Trap"})
    (trap / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    load_source(str(trap))
    odd = _with(saved[0], tmp_path / "odd", architectures=["trap.Trap"])
    with pytest.raises(SourceError, match="none of the"):
        load_source(str(odd))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["BertModel"]},
        {"architectures": [{}]},
        {"architectures": ["Path"]},
        {"hidden_size": 10**12},
        {"num_hidden_layers": 10**6},
        {"hidden_size": "wide"},
        {"model_type": "nothing"},
        {"model_type": ["vit"]},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"id2label": ["a", "b"]},
    ],
    ids=str,
)
def test_a_bad_configuration_is_one_message(
    saved: tuple[Path, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(MobileExportError):
        load_source(str(_with(saved[0], tmp_path / "bad", **changes)))


def test_pickles_are_not_read(saved: tuple[Path, Any], tmp_path: Path) -> None:
    folder = _with(saved[0], tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert load_source(str(folder)).weights.kind == "random"


@pytest.mark.parametrize("name", ["hf/../x", "hf/a/b/c", "hf/-x", "hf/a b", "hf/"])
def test_names_of_repositories(name: str) -> None:
    with pytest.raises(UsageError, match="hf/ORG/NAME"):
        load_source(name)


def test_without_a_network_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(SourceError, match=r"could not be had from https://huggingface\.co/google"):
        load_source("hf/google/vit-base-patch16-224")
