"""SN-Netv2 against the official code (ziplab/SN-Netv2@dd17607, classification/snnet.py)."""

from __future__ import annotations

import pytest
import torch

from mobile_export.errors import UsageError
from mobile_export.models import table
from mobile_export.models.sn_net.network import Block, Stitch, parse_route
from tests.models.official import Official

OFFICIAL = Official("sn_net")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one_of_the_route(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked([]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("other", ["b6s6", "b4s4b4", "s9b3"])
def test_what_other_routes_read_is_left_out_of_a_checkpoint(other: str) -> None:
    """A checkpoint holds every route: each of its names is this one's or one to leave out."""
    with torch.device("meta"):
        module = table.get("sn_netv2_s_b").build()
        names = table.get("sn_netv2_s_b").build(route=other).state_dict()
    own = module.state_dict()
    assert all((name in own) != name.startswith(module.training_only) for name in names)
    assert not all(name in own for name in names)


def test_routes() -> None:
    assert parse_route("s4b4s4") == [(0, range(4)), (1, range(4, 8)), (0, range(8, 12))]
    for wrong in ("s6b5", "s6s6", "s3b3s3b3", "t6b6", "s6 b6", ""):
        with pytest.raises(UsageError, match="route is"):
            table.get("sn_netv2_s_b").build(route=wrong)


def test_a_route_goes_through_its_blocks_in_order() -> None:
    with torch.device("meta"):
        module = table.get("sn_netv2_s_b").build(num_classes=7, size=(32, 48), route="b4s4b4")
    seen: list[str] = []
    for name, part in module.named_modules():
        if isinstance(part, Block | Stitch):
            part.register_forward_hook(lambda *_, name=name: seen.append(name))
    assert module(torch.empty(2, 3, 32, 48, device="meta")).shape == (2, 7)
    base, small = "anchors.1.blocks.", "anchors.0.blocks."
    expected = [*(f"{base}{index}" for index in range(4)), "stitch_layers.1.3"]
    expected += [*(f"{small}{index}" for index in range(4, 8)), "stitch_layers.0.7"]
    expected += [f"{base}{index}" for index in range(8, 12)]
    assert seen == expected
