"""Two linear layers in a row become one, exactly and when that does not cost more."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mobile_export.passes.compose_layers import compose_layers
from tests.passes.graphs import apply, ops, reasons

IMAGE = (1, 4, 9, 7)


def conv(inputs: int, outputs: int, kernel: int = 1, **options: int | bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type]


class Alone(nn.Module):
    """Two layers; what lies between them is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(4, 4), conv(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        return self.two(y) + y.exp()


COMPOSED: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1x1, 1x1": (nn.Sequential(conv(4, 8), conv(8, 6)), IMAGE),
    "three in a row": (nn.Sequential(conv(4, 8), conv(8, 8), conv(8, 4)), IMAGE),
    "3x3 with padding, 1x1": (nn.Sequential(conv(4, 8, 3, padding=1), conv(8, 4)), IMAGE),
    "both with a stride": (
        nn.Sequential(conv(4, 8, 3, stride=2, padding=1), conv(8, 8, 1, stride=2)),
        IMAGE,
    ),
    "1x1, 3x3 without padding": (nn.Sequential(conv(4, 64), conv(64, 4, 3)), IMAGE),
    "1x1 without bias, 3x3 with padding": (
        nn.Sequential(conv(4, 64, bias=False), conv(64, 4, 3, padding=1)),
        IMAGE,
    ),
    "dilated": (nn.Sequential(conv(4, 32, bias=False), conv(32, 4, 3, dilation=2)), IMAGE),
    "groups": (nn.Sequential(conv(4, 8, groups=2), conv(8, 4, groups=4)), IMAGE),
    "linear": (nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3, bias=False)), (1, 6, 5)),
    "1d": (nn.Sequential(nn.Conv1d(4, 8, 1), nn.Conv1d(8, 4, 1)), (1, 4, 9)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_two_become_one(name: str) -> None:
    module, shape = COMPOSED[name]
    result = apply(compose_layers, module, shape)
    assert sum(ops(result.program).values()) == 1


KEPT: dict[str, tuple[nn.Module, str]] = {
    "a bias before padding": (
        nn.Sequential(conv(4, 64), conv(64, 4, 3, padding=1)),
        "pads with zeros (padding [1, 1]) after a bias",
    ),
    "a narrow middle": (nn.Sequential(conv(4, 1), conv(1, 4)), "instead of"),
    "depthwise, 1x1": (nn.Sequential(conv(4, 4, 3, groups=4), conv(4, 8)), "instead of"),
    "3x3, 3x3": (nn.Sequential(conv(4, 4, 3), conv(4, 4, 3)), "both look at neighbours"),
    "1x1 with padding": (
        nn.Sequential(conv(4, 4, 3), conv(4, 4, 1, padding=1)),
        "both look at neighbours",
    ),
    "an activation between": (nn.Sequential(conv(4, 8), nn.ReLU(), conv(8, 4)), ""),
    "two users": (Alone(), ""),
}


@pytest.mark.parametrize("name", KEPT)
def test_two_stay_two(name: str) -> None:
    module, reason = KEPT[name]
    result = apply(compose_layers, module, IMAGE)
    assert result.changes == ()
    assert reason in reasons(result)


@st.composite
def pairs(draw: st.DrawFn) -> nn.Module:
    """Two convolutions with one middle; any kernels, strides, paddings and groups."""
    widths = [draw(st.sampled_from([2, 4, 8])) for _ in range(3)]
    layers = []
    for inputs, outputs in ((4, widths[1]), (widths[1], widths[2])):
        groups = draw(st.sampled_from([g for g in (1, 2, 4) if not inputs % g + outputs % g]))
        layers.append(
            conv(
                inputs,
                outputs,
                draw(st.sampled_from([1, 1, 3])),
                stride=draw(st.integers(1, 3)),
                padding=draw(st.integers(0, 1)),
                dilation=draw(st.integers(1, 2)),
                groups=groups,
                bias=draw(st.booleans()),
            )
        )
    return nn.Sequential(*layers)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pairs())
def test_any_pair_is_exact(module: nn.Module) -> None:
    apply(compose_layers, module, (1, 4, 33, 29))
