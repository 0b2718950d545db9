"""LinkNet against the official code (e-lab/pytorch-linknet@99a7c81), before the log-softmax."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobile_export.errors import WeightsError
from mobile_export.models import table
from mobile_export.sources.weights import load_weights
from tests.models.costs import cost_of
from tests.models.official import Official, build, same_weights

OFFICIAL = Official("linknet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["linknet"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_parameters_are_the_papers() -> None:
    assert cost_of("linknet").parameters / 1e6 == pytest.approx(
        table.get("linknet").published.params_m, rel=0.03
    )


def test_outputs_of_linknet() -> None:
    logits, upsampled, labels = same_weights(
        "linknet", "output=logits", "output=upsampled", "output=labels", size=(32, 64)
    )
    assert logits.shape == (1, 19, 32, 64)
    assert torch.equal(logits, upsampled)
    assert torch.equal(labels, logits.argmax(1))


def test_checkpoint_of_another_number_of_classes(tmp_path: Path) -> None:
    """A transposed convolution has its classes on the second axis."""
    state = OFFICIAL.zeros("linknet")
    state["tp_conv2.weight"] = torch.zeros(32, 11, 2, 2)
    state["tp_conv2.bias"] = torch.zeros(11)
    path = tmp_path / "camvid.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError) as caught:
        load_weights(build("linknet"), path)
    assert "add `num_classes=11`" in str(caught.value.hint)
    assert load_weights(table.get("linknet").build(num_classes=11), path).kind == "checkpoint"
