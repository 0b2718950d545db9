"""The package's metadata agrees with its code."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import mobile_export
from mobile_export.exporters.row import Target
from mobile_export.exporters.table import TARGETS, get_target
from mobile_export.system.versions import _CORE, _check, _release, diagnose, installed_versions

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_extras_have_the_tested_ranges(target: Target) -> None:
    wanted = {f"{name}>={low},<{high}" for name, low, high in target.modules.values()}
    assert set(PROJECT["optional-dependencies"][target.extra]) == wanted


def test_all_takes_every_target() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert {target.extra for target in TARGETS} <= set(re.findall(r"\w+", everything))


def test_core_ranges() -> None:
    wanted = {f"{name}>={low},<{high}" for name, low, high in _CORE.values()}
    assert wanted <= set(PROJECT["dependencies"])


def test_versions_agree() -> None:
    assert metadata.version("mobile-export") == mobile_export.__version__


@pytest.mark.parametrize(
    ("text", "release"),
    [("2.14.1+cu130", (2, 14, 1)), ("1.0.20261020", (1, 0, 20261020)), ("9.0b1", (9,))],
)
def test_releases(text: str, release: tuple[int, ...]) -> None:
    assert _release(text) == release


def test_what_is_not_installed_names_the_command() -> None:
    check = _check("surely-not-installed", "1", "2", "onnx")
    assert not check.ok
    assert check.fix == "pip install 'mobile-export[onnx]'"


def test_what_is_too_new_names_the_range() -> None:
    check = _check("pytest", "0.1", "0.2", None)
    assert not check.ok
    assert check.fix == "pip install 'pytest>=0.1,<0.2'"


def test_diagnosis_covers_every_target() -> None:
    facts = diagnose()
    assert [target["name"] for target in facts["targets"]] == [target.name for target in TARGETS]
    for row in facts["targets"]:
        assert row["export"] is not bool(get_target(row["name"]).missing())


def test_versions_for_the_manifest() -> None:
    found = installed_versions(get_target("onnx"))
    assert found["torch"] == metadata.version("torch")


def test_the_code_is_licensed_and_its_data_attributed() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "imagenet1k.txt" in (ROOT / "NOTICE").read_text()
