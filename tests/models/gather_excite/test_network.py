"""GE-ResNet-50 against torchvision's ResNet-50 and the official Caffe files' layers.

github.com/hujie-frank/GENet, models/RN50-GEP.prototxt (GE-θ), RN50-GEPP (GE-θ⁺), RN50-GEPF (GE-θ⁻).
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from mobile_export.models.gather_excite.network import ge_resnet50

torchvision = pytest.importorskip("torchvision")
SIZE = (64, 96)


def excited(excite: nn.Module, gather: str, _: nn.Module, __: object, x: Tensor) -> Tensor:
    """The layers of one "gather" and "excite" of the Caffe files, by PyTorch's functions."""
    weights = dict(excite.named_parameters()) | dict(excite.named_buffers())
    if gather == "mean":
        return x * x.mean((2, 3), keepdim=True).sigmoid()
    y = torch.einsum("bchw,chw->bc", x, weights["gather.0.weight"][:, 0])
    mean, var = weights["gather.1.running_mean"], weights["gather.1.running_var"]
    y = (y - mean) / (var + 1e-5).sqrt() * weights["gather.1.weight"] + weights["gather.1.bias"]
    if gather == "learnt_plus":
        y = y.relu() @ weights["down.weight"].flatten(1).T + weights["down.bias"]
        y = y.relu() @ weights["up.weight"].flatten(1).T + weights["up.bias"]
    return x * y.sigmoid()[:, :, None, None]


@pytest.mark.parametrize("gather", ["learnt", "learnt_plus", "mean"])
def test_outputs_are_those_of_the_caffe_files(gather: str) -> None:
    torch.manual_seed(0)
    module = ge_resnet50(7, size=SIZE, gather=gather).eval().double()  # type: ignore[arg-type]
    reference = torchvision.models.resnet50(num_classes=7).eval().double()
    state = {key: value for key, value in module.state_dict().items() if ".excite." not in key}
    reference.load_state_dict(state)
    for name, block in reference.named_modules():
        if hasattr(block, "bn3"):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
            excite = module.get_submodule(f"{name}.excite")
            block.bn3.register_forward_hook(partial(excited, excite, gather))
    image = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected, found = reference(image), module(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_parameters_are_the_papers() -> None:
    """Besides ResNet-50's 25.6 M (Table 4 of the paper: 31.1 M of GE-θ, 33.7 M of GE-θ⁺)."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in ge_resnet50(gather=gather).parameters()) / 1e6
            for gather in ("mean", "learnt", "learnt_plus")
        ]
    assert counts == pytest.approx([25.6, 31.1, 33.7], rel=0.005)
