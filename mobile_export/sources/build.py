"""The weights of zoo and timm models: a checkpoint's, or sane random ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..graph.specs import InputSpec, WeightsInfo
from .request import ModelRequest

if TYPE_CHECKING:
    import torch

__all__ = ["build_with_weights"]


def build_with_weights(
    factory: Callable[[], torch.nn.Module], spec: InputSpec, request: ModelRequest
) -> tuple[torch.nn.Module, WeightsInfo]:
    """The module of ``factory`` in eval mode, with the weights asked for."""
    import torch

    from .initialize import initialize_randomly
    from .weights import load_weights

    if request.weights is None:
        module = initialize_randomly(factory, spec.shape, request.seed)
        return module, WeightsInfo("random", seed=request.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        module = factory().eval()
    info = load_weights(
        module, request.weights, allow_missing=request.allow_missing, seed=request.seed
    )
    return module, info
