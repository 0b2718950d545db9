"""The backbones of compositions: built-in models and timm's without their classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from . import table
from .cost import TIMM, TORCHVISION
from .entry import ModelEntry

if TYPE_CHECKING:
    from .heads.network import Backbone

__all__ = [
    "built_in_backbone",
    "named_backbone",
    "require_maps",
    "require_stages",
    "timm_backbone",
    "torchvision_backbone",
]

_RESNET = ("layer1", "layer2", "layer3", "layer4")
_STAGES = {
    "shufflenet_v2": ("maxpool", "stage2", "stage3", "stage4"),
    "resnet": _RESNET,
    "resnext": _RESNET,
    "wide_resnet": _RESNET,
}
"""Of torchvision's models, by the beginning of their names: the parts whose outputs are the maps of
strides 4 to 32."""


def require_maps(entry: ModelEntry, output_stride: int | None) -> None:
    """Refuse a built-in model that gives no feature maps, or none of that output stride.

    Raises:
        UsageError: it is one.
    """
    if not entry.strides:
        known = sorted({row.family for row in table.entries() if row.strides})
        raise UsageError(
            f"{entry.name} gives no feature maps for a head to stand on.",
            hint=f"Those of {', '.join(known)} do (their classifiers), timm/NAME, and your own "
            "MODULE:FUNCTION that returns a list of feature maps.",
        )
    if output_stride not in (None, entry.strides[-1]):
        raise UsageError(
            f"{entry.name} cannot be dilated to an output stride of {output_stride}.",
            hint="Leave output_stride out, or take a convolutional backbone of timm's.",
        )


def named_backbone(name: str, size: tuple[int, int], output_stride: int | None = None) -> Backbone:
    """The feature maps of a built-in model, ``timm/NAME`` or ``torchvision/NAME``, as it is.

    Args:
        name: options behind it are of one kind: those of the model, or timm's ``out_indices``.

    Raises:
        SourceError: there is no such model.
        UsageError: it gives no maps.
    """
    from ast import literal_eval

    plain, _, query = name.partition("?")
    if plain.startswith(TORCHVISION):
        require_stages(name, output_stride)
        return torchvision_backbone(plain.removeprefix(TORCHVISION), size=size)
    if not plain.startswith(TIMM):
        entry = table.get(plain)
        options = entry.parse_options(query)
        return built_in_backbone(
            entry, options, in_chans=entry.channels, size=size, output_stride=output_stride
        )
    pairs = (part.partition("=") for part in query.split("&") if part)
    return timm_backbone(
        plain.removeprefix(TIMM),
        {key: literal_eval(value) for key, _, value in pairs},
        in_chans=3,
        size=size,
        output_stride=output_stride,
    )


def built_in_backbone(
    entry: ModelEntry,
    options: Mapping[str, Any],
    *,
    in_chans: int,
    size: tuple[int, int],
    output_stride: int | None = None,
) -> Backbone:
    """A built-in model's feature maps; what only its classifier needs is taken out.

    Raises:
        UsageError: it has none.
    """
    import torch

    from .heads.network import backbone_of

    require_maps(entry, output_stride)
    module: Any = entry.build(size=size, in_chans=in_chans, **options)
    for name in module.classifier_parts:
        delattr(module, name)
    image = torch.zeros(1, in_chans, *size, device=next(module.parameters()).device)
    return backbone_of(module, image, entry.strides)


def require_stages(spec: str, output_stride: int | None) -> tuple[str, ...]:
    """The parts of ``torchvision/NAME`` whose outputs are its feature maps.

    Raises:
        UsageError: it is of a family whose parts are not known here, or is to be dilated.
    """
    name = spec.removeprefix(TORCHVISION)
    found = next((parts for key, parts in _STAGES.items() if name.startswith(key)), None)
    if found is None or "quantized" in name:
        raise UsageError(
            f"{spec} gives no feature maps for a head to stand on.",
            hint=f"Of torchvision's models those of {', '.join(_STAGES)} do, and timm/NAME.",
        )
    if output_stride not in (None, 32):
        raise UsageError(
            f"{spec} cannot be dilated to an output stride of {output_stride}.",
            hint="Leave output_stride out, or take a convolutional backbone of timm's.",
        )
    return found


def torchvision_backbone(name: str, *, size: tuple[int, int]) -> Backbone:
    """The feature maps of torchvision's model, with its own names of weights.

    Raises:
        UsageError: it gives none (`require_stages`).
    """
    import torch
    from torchvision import models
    from torchvision.models.feature_extraction import create_feature_extractor

    from .heads.network import backbone_of

    stages = require_stages(name, None)
    whole = models.get_model_builder(name)(weights=None)
    module = create_feature_extractor(whole, {stage: stage for stage in stages})
    image = torch.zeros(1, 3, *size, device=next(module.parameters()).device)
    return backbone_of(module, image, (4, 8, 16, 32))


def timm_backbone(
    name: str,
    options: Mapping[str, Any],
    *,
    in_chans: int,
    size: tuple[int, int],
    output_stride: int | None = None,
) -> Backbone:
    """The feature maps of timm's model, as timm cuts it.

    Args:
        name: as timm calls it.
        options: further arguments of `timm.create_model`.

    Raises:
        UsageError: it gives no maps, or cannot be dilated.
    """
    import timm
    import torch

    from .heads.network import backbone_of, nominal_strides

    kwargs: dict[str, Any] = {"in_chans": in_chans, **options}
    if output_stride is not None:
        kwargs["output_stride"] = output_stride
    try:
        module: Any = _created(timm, name, kwargs, size)
    except (RuntimeError, TypeError, NotImplementedError, AssertionError, AttributeError) as error:
        dilated = "" if output_stride is None else f" with an output stride of {output_stride}"
        raise UsageError(
            f"timm's {name} gives no feature maps{dilated}: {str(error)[:200]}",
            hint="Leave output_stride out." if output_stride else "Take another backbone.",
        ) from error
    info = module.feature_info
    strides = [int(stride) for stride in info.reduction()]
    if output_stride is not None:
        strides = nominal_strides(strides)
    image = torch.zeros(1, in_chans, *size, device=next(module.parameters()).device)
    try:
        return backbone_of(module, image, strides, [int(dim) for dim in info.channels()])
    except (ValueError, RuntimeError, AssertionError) as error:
        native = timm.get_pretrained_cfg(name)
        own = "" if native is None else f"; its own is {'x'.join(map(str, native.input_size[1:]))}"
        raise UsageError(
            f"timm's {name} gives no feature maps of a {size[0]}x{size[1]} image: "
            f"{str(error)[:200]}",
            hint=f"Take another backbone or `size`{own}.",
        ) from error


def _created(timm: Any, name: str, kwargs: dict[str, Any], size: tuple[int, int]) -> Any:
    """The model of this image size, where its weights depend on the size."""
    facts = timm.get_pretrained_cfg(name)
    native = None if facts is None else facts.input_size[1:]
    if facts is not None and facts.fixed_input_size and native != size:
        try:
            return timm.create_model(name, features_only=True, img_size=size, **kwargs)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
    return timm.create_model(name, features_only=True, **kwargs)
