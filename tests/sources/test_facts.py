"""What `mobile-export info` knows of a model, against timm itself and the papers' tables."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mobile_export.cli.completion import names
from mobile_export.cli.main import app
from mobile_export.errors import SourceError, UsageError
from mobile_export.models import table
from mobile_export.sources.facts import model_facts
from tests.models.modules import modules_after


def test_a_classifier() -> None:
    """EMO, Table 7: 2.3 M parameters, 439 M FLOPs, 75.1 top-1."""
    facts = model_facts("emo_2m")
    assert (facts.family, facts.task, facts.num_classes) == ("EMO", "classification", 1000)
    assert facts.input_shape == (1, 3, 224, 224)
    assert facts.params_m == pytest.approx(2.377, abs=5e-4)
    (weights,) = facts.weights
    assert weights.startswith("net.pth: https://github.com/zhangzjn/EMO/raw/")
    assert {"emo_1m", "emo_2m_ssdlite"} <= set(facts.variants)
    (row,) = [row for row in facts.printed if row.place == "EMO, Table 7"]
    assert (row.params_m, row.macs_m, row.metric, row.value) == (2.3, 439, "top-1", 75.1)


def test_options_and_sizes() -> None:
    facts = model_facts("seaformer_large_seg?output=labels")
    assert facts.options == {"output": ("logits", "upsampled", "labels")}
    entry = table.get("u2netp")
    assert model_facts("u2netp").sizes == entry.sizes


@pytest.mark.parametrize("entry", table.entries(), ids=lambda entry: entry.name)
def test_every_built_in_model_is_counted_and_printable(entry: table.ModelEntry) -> None:
    done = CliRunner().invoke(app, ["info", entry.name])
    assert done.exit_code == 0
    assert entry.name in done.stdout
    said = CliRunner().invoke(app, ["info", entry.name, "--json"]).stdout
    assert "`" not in said, "an argument of Python, where the option is --pretrained"
    facts = json.loads(said)
    assert facts["params_m"] > 0
    assert facts["input_shape"] == list(entry.input_shape())


def test_one_of_timms() -> None:
    timm = pytest.importorskip("timm")
    facts = model_facts("timm/mobilenetv4_conv_small")
    config = timm.get_pretrained_cfg("mobilenetv4_conv_small")
    assert facts.input_shape == (1, *config.input_size)
    assert facts.mean == config.mean
    tags = timm.list_pretrained("mobilenetv4_conv_small.*")
    assert len(facts.weights) == len(tags)
    for tag, said in zip(tags, facts.weights, strict=True):
        assert said.startswith(f"timm/{tag}: https://huggingface.co/timm/{tag}")


@pytest.mark.parametrize("name", ["package.module:build", "model.pt2"])
def test_code_and_files_have_no_facts_here(name: str) -> None:
    with pytest.raises(UsageError, match="not a name of a built-in model"):
        model_facts(name)


def test_a_misspelt_name_finds_the_right_one() -> None:
    with pytest.raises(SourceError, match="emo_2m"):
        model_facts("emo-2m")


def test_built_in_models_need_no_torch() -> None:
    code = "from mobile_export.sources.facts import model_facts; model_facts('emo_2m')"
    assert not modules_after(code) & {"torch", "timm"}


def test_names_are_completed() -> None:
    assert names("emo_1") == ["emo_1m", "emo_1m_deeplabv3", "emo_1m_pspnet", "emo_1m_ssdlite"]
    assert names("tim") == ["timm/"]
    timm = pytest.importorskip("timm")
    found = names("timm/mobilenetv3_large")
    assert found == [f"timm/{name}" for name in timm.list_models("mobilenetv3_large*")]


def test_the_shell_is_given_the_names() -> None:
    """As bash asks (click's protocol, typer.completion)."""
    words = {"COMP_WORDS": "mobile-export onnx emo_2", "COMP_CWORD": "2"}
    asked = {"_MOBILE_EXPORT_COMPLETE": "complete_bash", **words}
    done = CliRunner().invoke(app, [], prog_name="mobile-export", env=asked)
    assert "emo_2m_deeplabv3" in done.stdout.split()
