"""Lite-Mono against the official code (noahzn/Lite-Mono@4874b35), its first output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.errors import UsageError, WeightsError
from mobile_export.models import table
from mobile_export.sources.weights import load_weights
from tests.conftest import load_source
from tests.models.costs import cost_of
from tests.models.official import Official, build, same_weights

OFFICIAL = Official("lite_mono")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["lite_mono_tiny", "lite_mono?trained=1024x320"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def dilations(spec: str) -> list[list[int]]:
    """Of the 3x3 depthwise convolutions of each stage, read from the module."""
    encoder = build(spec).get_submodule("encoder.stages")
    return [
        [
            module.dilation[0]
            for module in stage.modules()
            if isinstance(module, torch.nn.Conv2d) and module.groups > 1
        ]
        for stage in encoder.children()
    ]


def test_dilations_follow_the_training_size() -> None:
    """As networks/depth_encoder.py of the official code has them; 8M ignores the size."""
    narrow = [[1, 2, 3], [1, 2, 3], [1, 2, 3, 1, 2, 3, 2, 4, 6]]
    wide = [[1, 2, 5], [1, 2, 5], [1, 2, 5, 1, 2, 5, 2, 4, 10]]
    assert dilations("lite_mono") == narrow
    assert dilations("lite_mono?trained=1024x320") == wide
    assert dilations("lite_mono_small") == [*narrow[:2], [1, 2, 3, 2, 4, 6]]
    assert dilations("lite_mono_small?trained=1024x320") == [*wide[:2], [1, 2, 5, 2, 4, 10]]
    assert dilations("lite_mono_8m") == dilations("lite_mono_8m?trained=1024x320") == narrow


@pytest.mark.parametrize("name", ["lite_mono", "lite_mono_small", "lite_mono_tiny", "lite_mono_8m"])
def test_parameters_are_the_papers(name: str) -> None:
    assert cost_of(name).parameters / 1e6 == pytest.approx(
        table.get(name).published.params_m, rel=0.03
    )


def test_outputs_of_a_depth_model() -> None:
    logits, disparity, depth = same_weights(
        "lite_mono_tiny", "output=logits", "output=disparity", "output=depth", size=(32, 64)
    )
    torch.testing.assert_close(disparity, logits.sigmoid())
    scaled = 0.01 + (10 - 0.01) * disparity  # the official disp_to_depth with 0.1 and 100
    torch.testing.assert_close(depth, 1 / scaled)
    assert depth.shape == (1, 1, 32, 64)


def test_options_that_are_refused() -> None:
    with pytest.raises(UsageError, match="has no trained '320'"):
        load_source("lite_mono?trained=320", size=(32, 64))
    with pytest.raises(UsageError, match="trained is '320'"):
        table.get("lite_mono").build(trained="320")
    with pytest.raises(UsageError, match="output is 'mask'"):
        table.get("lite_mono").build(output="mask")


def test_a_folder_of_parts(tmp_path: Path) -> None:
    """Lite-Mono's official training saves encoder.pth, with facts beside the tensors, and more."""
    state = {k: torch.full(v, 0.5) for k, v in OFFICIAL.shapes["lite_mono_tiny"].items()}
    parts: dict[str, dict[str, Any]] = {
        "encoder": {"height": 192, "use_stereo": False},
        "depth": {},
    }
    for key, value in state.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    for part, content in parts.items():
        torch.save(content, tmp_path / f"{part}.pth")
    (tmp_path / "pose.pth").write_bytes(b"left alone")
    module = build("lite_mono_tiny")
    info = load_weights(module, tmp_path)
    assert info.path == str(tmp_path)
    assert info.sha256 is not None
    assert all(bool((p == 0.5).all()) for p in module.parameters())
    (tmp_path / "depth.pth").rename(tmp_path / "depth_decoder.pth")
    with pytest.raises(WeightsError, match="needs one file for 'depth'"):
        load_weights(module, tmp_path)
    with pytest.raises(WeightsError, match=r"is a folder, not a checkpoint; .*encoder\.pth"):
        load_weights(build("espcn_x2"), tmp_path)
