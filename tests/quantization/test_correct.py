"""Bias correction against the errors that PyTorch measures, and what it does for a network."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.graph.editor import GraphEditor
from mobile_export.passes.prove import float64_outputs
from mobile_export.quantization.assign import assign
from mobile_export.quantization.calibrate import measure
from mobile_export.quantization.correct import InputMeans, mean_error
from mobile_export.quantization.insert import insert
from mobile_export.quantization.make import make_plan
from mobile_export.quantization.plan import Chosen

from .nets import prepared, samples

LAYERS = (
    nn.Conv2d(3, 6, 3, 2, 1),
    nn.Conv2d(3, 6, (5, 3), (1, 2), (2, 0), dilation=(1, 2), groups=3),
    nn.Conv2d(3, 4, 1),
    nn.Linear(32, 5),
)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_mean_of_the_error_is_that_of_the_outputs(layer: nn.Module) -> None:
    """Both modules are run by PyTorch in float64: the means of their outputs differ by that."""
    torch.manual_seed(0)
    program = prepared(nn.Sequential(layer).eval())
    ((_, found),) = assign(GraphEditor(program)).layers.items()
    given = samples(program, 3)
    means = InputMeans([found])
    measure(program, given, [], means)
    other = found.weight + 0.01 * torch.rand_like(found.weight)
    measured = means[found]
    assert measured is not None
    got = mean_error(found, other, measured)
    exact, changed = layer.double(), type(layer)(**_arguments(layer)).double()
    changed.load_state_dict({"weight": other, "bias": layer.bias})
    with torch.no_grad():
        off = [changed(each.image.double()) - exact(each.image.double()) for each in given]
    axes = (0, 2, 3) if isinstance(layer, nn.Conv2d) else (0, 1, 2)
    assert torch.allclose(got, torch.cat(off).mean(axes), atol=1e-7)


def _arguments(layer: nn.Module) -> dict[str, object]:
    names = (
        ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        if isinstance(layer, nn.Conv2d)
        else ("in_features", "out_features")
    )
    return {name: getattr(layer, name) for name in names}


class Bright(nn.Module):
    """A depthwise layer of small weights beside a large one, on pictures whose mean is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv2d(3, 3, 3, groups=3)
        self.head = nn.Linear(3, 10)
        with torch.no_grad():
            self.depth.weight[:] = 0.0044 * torch.rand(3, 1, 3, 3)
            self.depth.weight[:, :, 1, 1] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.depth(torch.relu(x + 1)).mean((2, 3)))


def test_the_mean_error_of_a_network_goes() -> None:
    """Weights below half a step are lost; what they add on average is in the bias."""
    torch.manual_seed(0)
    program = prepared(Bright().eval())
    given = samples(program)
    plan = make_plan(program, "int16", given, Chosen("min-max", "synthetic"))
    assert any(each.shift for each in plan.tensors)
    without = [msgspec.structs.replace(each, shift=[]) for each in plan.tensors]
    errors = []
    for tensors in (plan.tensors, without):
        rounded = insert(program, msgspec.structs.replace(plan, tensors=tensors))
        off = [
            float64_outputs(rounded, each.image)[0] - float64_outputs(program, each.image)[0]
            for each in given
        ]
        errors.append(np.abs(np.mean(off, axis=0)).max())
    assert errors[0] < errors[1] / 10
