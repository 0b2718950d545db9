"""Names of models: what is read from the libraries' sources is what they themselves list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mobile_export.errors import MissingExtraError, SourceError
from mobile_export.sources import names
from mobile_export.sources.names import near_matches, timm_name, timm_names, torchvision_names
from mobile_export.sources.table import require_name


def test_timm_lists_the_same() -> None:
    timm = pytest.importorskip("timm")
    assert list(timm_names()) == sorted(timm.list_models())


def test_torchvision_lists_the_same() -> None:
    models = pytest.importorskip("torchvision.models")
    assert list(torchvision_names()) == sorted(models.list_models())


def test_old_names_and_weights_of_timm_are_known() -> None:
    pytest.importorskip("timm")
    assert timm_name("timm/adv_inception_v3") == "adv_inception_v3"
    assert timm_name("timm/resnet18.a1_in1k?features_only=True") == "resnet18.a1_in1k"
    with pytest.raises(SourceError, match="no model called 'ResNet18'"):
        timm_name("timm/ResNet18")


def test_what_only_stands_in_the_sources_is_still_no_model() -> None:
    """A word of the sources that is no model is refused when timm itself is asked."""
    pytest.importorskip("timm")
    from mobile_export.sources.timm import known_name

    assert timm_name("timm/nn") == "nn"
    with pytest.raises(SourceError, match="no model called 'nn'"):
        known_name("timm/nn")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=f"pip install .*{library}"):
        require_name(f"{library}/resnet18")


def test_near_matches_ignore_case_and_dashes() -> None:
    assert near_matches("Resnet-18", ["resnet_18", "vgg"]) == ["resnet_18"]
    assert near_matches("zzz", ["resnet_18", "vgg"]) == []


@pytest.mark.parametrize(
    "command",
    [
        ("onnx", "{}"),
        ("all", "{}"),
        ("prepare", "{}", "-o", "x.pt2"),
        ("run", "{}", "x.png"),
        ("verify", "x.onnx", "{}"),
        ("evaluate", "{}", "--data", "."),
        ("evaluate", "x.onnx", "--model", "{}", "--data", "."),
        ("app", "android", "{}", "-o", "x"),
        ("info", "{}"),
    ],
)
@pytest.mark.parametrize("model", ["emo_9m", "timm/emo_9m", "torchvision/emo_9m"])
def test_a_wrong_name_costs_no_import(command: tuple[str, ...], model: str, tmp_path: Path) -> None:
    """Every command that takes a model says so before torch, timm or torchvision is imported."""
    if "/" in model:
        pytest.importorskip(model.partition("/")[0])
        if command[0] not in ("onnx", "info"):
            pytest.skip("asked once for each source")
    (tmp_path / "x.onnx").write_bytes(b"")
    words = [word.format(model) for word in command]
    script = (
        "import sys\nfrom mobile_export.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True
    )
    name = model.rpartition("/")[2]
    assert done.returncode == 2
    assert f"no model called '{name}'" in done.stderr.lower()
    assert done.stdout.splitlines()[-1] == "[]"
