"""The table of models: complete, correct, and cheap to read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mobile_export.errors import SourceError
from mobile_export.models import registry


def test_names_are_sorted_and_unique() -> None:
    names = registry.names()
    assert list(names) == sorted(set(names))
    assert {"emo_1m", "emo_2m", "emo_5m", "emo_6m"} <= set(names)
    assert [entry.name for entry in registry.entries()] == list(names)


@pytest.mark.parametrize("name", registry.names())
def test_every_row_builds_what_it_says(name: str) -> None:
    import torch

    entry = registry.get(name)
    with torch.device("meta"):
        module = entry.build(num_classes=7)
        module.eval()
        assert module(torch.empty(1, 3, *entry.size)).shape == (1, 7)
    assert entry.published.source
    assert entry.published.code.startswith("https://")
    assert len(entry.mean) == len(entry.std) == 3


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"emo_2m"):
        registry.get("emo_3m")


@pytest.mark.parametrize("module", ["mobile_export.models.registry", "mobile_export.sources"])
def test_importing_it_does_not_import_torch(module: str) -> None:
    code = f"import {module}, sys; print(sorted({{'torch', 'timm'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
