"""Sources: from what the user types to an ``nn.Module`` in eval mode and the facts about its input.

    NAME?output=labels            the built-in zoo; some models have options
    timm/NAME                     PyTorch Image Models
    package.module:factory?k=v    the user's own code, imported from the current folder
    file.pt2                      a saved torch.export program

Importable without torch; what each kind needs is imported when one is loaded.
"""

from __future__ import annotations

from pathlib import Path

from ..graph.source import Source
from .request import Request, parse_size

__all__ = ["Request", "Source", "load_source", "parse_size"]


def load_source(
    spec: str,
    *,
    size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    weights: Path | None = None,
    allow_missing: bool = False,
    pretrained: bool = False,
    seed: int = 0,
    channels: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Source:
    """Find, build and fill a model.

    Args:
        spec: one of the four forms in the module's docstring.
        size: (height, width) of the input in pixels; None takes the model's default.
        num_classes: of the classifier; None takes the model's default.
        weights: a checkpoint (`mobile_export.sources.weights`).
        allow_missing: keep random values where the checkpoint has none (a changed classifier).
        pretrained: download timm's weights.
        seed: of random weights.
        channels: of the input image; None takes the model's default.
        mean, std: normalisation of pixels scaled to [0, 1]; one value, or one per channel.

    Raises:
        UsageError: an argument that is not valid, or that this kind of source does not take.
        SourceError: the model cannot be found or built; `WeightsError` for its checkpoint.
    """
    request = Request(
        size, num_classes, weights, allow_missing, pretrained, seed, channels, mean, std
    )
    if spec.endswith(".pt2"):
        from .pt2.load import load_program

        return load_program(spec, request)
    if spec.startswith("timm/"):
        from .timm import load_timm

        return load_timm(spec, request)
    if ":" in spec:
        from .factory import load_factory

        return load_factory(spec, request)
    from .zoo import load_zoo

    return load_zoo(spec, request)
