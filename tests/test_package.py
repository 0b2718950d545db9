"""The package's metadata agrees with its code."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import typer

import mobile_export
from mobile_export.api import diagnose
from mobile_export.bench.cli.main import app as bench
from mobile_export.exporters.row import Format
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.system import versions
from mobile_export.system.install import install_command
from mobile_export.system.versions import (
    CORE,
    OPTIONAL,
    Extra,
    Library,
    check_library,
    installed_versions,
)

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("target", FORMATS, ids=lambda t: t.name)
def test_extras_have_the_tested_ranges(target: Format) -> None:
    wanted = {f"{lib.distribution}{lib.versions}" for lib in target.libraries}
    assert set(PROJECT["optional-dependencies"][target.extra]) == wanted


@pytest.mark.parametrize("extra", OPTIONAL, ids=lambda extra: extra.name)
def test_optional_extras_have_the_tested_ranges(extra: Extra) -> None:
    wanted = {f"{lib.distribution}{lib.versions}" for lib in extra.libraries}
    assert set(PROJECT["optional-dependencies"][extra.name]) == wanted


def test_doctor_names_commands_that_exist() -> None:
    named = {
        word
        for extra in OPTIONAL
        for word in re.findall(r"mobile-bench ([a-z][a-z-]*)", extra.purpose)
    }
    known = typer.main.get_command(bench).commands  # type: ignore[attr-defined]
    assert len(named) >= 3
    assert named <= set(known)


def test_every_extra_is_of_a_format_or_optional() -> None:
    known = {row.extra for row in FORMATS} | {extra.name for extra in OPTIONAL}
    assert set(PROJECT["optional-dependencies"]) - {"all", "dev", "fuzz"} == known


def test_all_takes_every_target() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert {target.extra for target in FORMATS} <= set(re.findall(r"\w+", everything))


def test_core_ranges() -> None:
    wanted = {f"{library.distribution}{library.versions}" for library in CORE}
    assert wanted <= set(PROJECT["dependencies"])


def test_versions_agree() -> None:
    assert metadata.version("mobile-export") == mobile_export.__version__


@pytest.mark.parametrize(
    ("installed", "tested", "ok"),
    [
        ("2.14.1+cu130", ">=2.13,<2.15", True),
        ("1.0.20261020", ">=1.0.20250503,<1.1", True),
        ("9.0b1", ">=9.0,<10", True),
        ("2.15.0", ">=2.13,<2.15", False),
        ("0.9", ">=0.10,<0.11", False),
        ("somebody's own", ">=1", False),
    ],
)
def test_versions_against_ranges(
    installed: str, tested: str, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "version_of", lambda name: installed)
    check = check_library(Library("x", "x", tested))
    assert check.ok is ok
    assert check.installed == installed


def test_what_is_not_installed_names_the_command() -> None:
    check = check_library(Library("x", "surely-not-installed", ">=1,<2"), "onnx")
    assert not check.ok
    assert check.fix == install_command("onnx")


def test_what_is_too_new_names_the_range() -> None:
    check = check_library(Library("pytest", "pytest", ">=0.1,<0.2"))
    assert not check.ok
    assert check.fix == "pip install 'pytest>=0.1,<0.2'"


def test_diagnosis_covers_every_target() -> None:
    facts = diagnose()
    assert [target["name"] for target in facts["targets"]] == [target.name for target in FORMATS]
    for row in facts["targets"]:
        assert row["export"] is not bool(get_format(row["name"]).missing())


def test_versions_for_the_manifest() -> None:
    found = installed_versions(get_format("onnx").libraries)
    assert found["torch"] == metadata.version("torch")


def test_the_code_is_licensed_and_its_data_attributed() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "imagenet1k.txt" in (ROOT / "NOTICE").read_text()
