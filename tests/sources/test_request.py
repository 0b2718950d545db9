"""`ModelRequest`: one object from the command or the call to the loader."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from torch import nn

from mobile_export.errors import UsageError
from mobile_export.sources.request import ModelRequest, parse_numbers
from mobile_export.sources.table import load_source


def test_looser_arguments_of_python() -> None:
    request = ModelRequest.of("emo_1m", size=64, weights="w.pth", mean=[0.5], labels=["a", "b"])
    assert request == ModelRequest(
        "emo_1m", size=(64, 64), weights=Path("w.pth"), mean=(0.5,), labels=("a", "b")
    )
    assert ModelRequest.of("emo_1m", size=[64, 96]).size == (64, 96)
    with pytest.raises(TypeError, match="wieghts"):
        ModelRequest.of("emo_1m", wieghts="w.pth")


def test_a_request_is_not_changed_but_replaced() -> None:
    request = ModelRequest("emo_1m")
    with pytest.raises(FrozenInstanceError):
        request.seed = 3  # type: ignore[misc]
    assert replace(request, size=(32, 48)).size == (32, 48)
    with pytest.raises(UsageError, match="`size`"):
        replace(request, size=(0, 3))


def test_a_module_is_named_after_its_class() -> None:
    assert ModelRequest(nn.Sequential()).spec == "Sequential"
    assert ModelRequest("emo_2m").spec == "emo_2m"


@pytest.mark.parametrize(
    ("labels", "said"), [((), "it is empty"), (("cat", "dog", "cat"), "'cat' occurs more than")]
)
def test_labels_are_checked_where_they_are_given(labels: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ModelRequest("emo_1m", labels=labels)


def test_labels_of_the_request_are_the_sources() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    request = ModelRequest(module, size=(8, 8), labels=("cat", "dog"))
    assert load_source(request).labels == ("cat", "dog")
    assert load_source(replace(request, labels=None)).labels is None


def test_numbers() -> None:
    assert parse_numbers("0.5, 1,2e-1") == (0.5, 1.0, 0.2)
    for text in ("", "a", "1,,2", "1;2"):
        with pytest.raises(UsageError, match="not a list of numbers"):
            parse_numbers(text)


def test_importable_without_torch() -> None:
    code = "import mobile_export.sources.table, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
