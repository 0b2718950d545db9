"""The table of built-in models.

Importable without torch, so that listing, completing and misspelling a name stays cheap: a
family's module is imported when one of its models is built. To add a family, write
``models/FAMILY.py`` with one builder function per variant, and add its rows here
(docs/adding-a-model.md).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import SourceError
from ..specs import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import torch

__all__ = ["ModelEntry", "Published", "entries", "get", "names"]


@dataclass(frozen=True)
class Published:
    """What a paper says about a model, to be shown beside what we count.

    Attributes:
        source: paper and table.
        params_m: parameters in millions, as printed there.
        macs_m: multiply-accumulates of one image in millions, as printed there ("FLOPs").
        top1: ImageNet-1k top-1 accuracy in percent of the official weights.
        code: where the official code and weights are.
    """

    source: str
    params_m: float
    macs_m: float
    top1: float
    code: str


@dataclass(frozen=True)
class ModelEntry:
    """One row of the zoo.

    Attributes:
        name: what the user types.
        family: the paper's name of the family.
        builder: ``module:function`` below ``mobile_export.models``; the function takes
            ``num_classes`` and returns an ``nn.Module``: (1, 3, H, W) -> (1, num_classes).
        published: the paper's figures.
        size: default (height, width) in pixels.
        mean, std: normalisation of pixels scaled to [0, 1], per channel (RGB).
        num_classes: of the official weights.
    """

    name: str
    family: str
    builder: str
    published: Published
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    num_classes: int = 1000

    def build(self, num_classes: int | None = None, **kwargs: Any) -> torch.nn.Module:
        """Make the module, with its own initialisation from the current random state."""
        module_name, function_name = self.builder.split(":")
        module = importlib.import_module(f"mobile_export.models.{module_name}")
        builder = getattr(module, function_name)
        classes = self.num_classes if num_classes is None else num_classes
        return cast("torch.nn.Module", builder(num_classes=classes, **kwargs))


def _emo(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}",
        family="EMO",
        builder=f"emo:emo_{variant}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/zhangzjn/EMO",
        ),
    )


_ENTRIES = {
    entry.name: entry
    for entry in (
        _emo("1m", 1.3, 261, 71.5),
        _emo("2m", 2.3, 439, 75.1),
        _emo("5m", 5.1, 903, 78.4),
        _emo("6m", 6.1, 961, 79.0),
    )
}


def names() -> tuple[str, ...]:
    """Names of all built-in models, sorted."""
    return tuple(sorted(_ENTRIES))


def entries() -> tuple[ModelEntry, ...]:
    """All rows, sorted by name."""
    return tuple(_ENTRIES[name] for name in names())


def get(name: str) -> ModelEntry:
    """The row of one model.

    Raises:
        SourceError: there is no such name.
    """
    try:
        return _ENTRIES[name]
    except KeyError:
        raise SourceError(
            f"No built-in model is called {name!r}.",
            hint=f"Built-in models: {', '.join(names())}.",
        ) from None
