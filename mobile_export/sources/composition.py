"""``BACKBONE+HEAD[?key=value]``: a head of `models.heads` on the feature maps of a built-in model,
of timm's or torchvision's, or of the user's own code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..graph.source import Source
from ..graph.specs import InputSpec, Meaning, WeightsInfo
from ..models.composition import Composition, compose, parse
from ..models.entry import outputs_of
from .build import build_with_weights
from .labels import known_labels
from .names import composition_name, entry_of, prefix_of, torchvision_name
from .request import ModelRequest

if TYPE_CHECKING:
    import torch

    from ..models.heads.network import Backbone

__all__ = ["load_composition"]


def load_composition(request: ModelRequest) -> Source:
    """Build a backbone and a head; see `mobile_export.sources.table.load_source`."""
    composition_name(request.spec)
    parts = parse(request.spec)
    if request.pretrained:
        raise UsageError(
            f"There are no official weights of {request.spec}.",
            hint="Leave `pretrained` out, or give a file with `weights='FILE'`.",
        )
    if request.num_classes == 0:
        raise UsageError(
            f"`num_classes` 0: {parts.head.name} tells classes apart.", hint="Leave it out."
        )
    load = {
        "timm": _of_timm,
        "torchvision": _of_torchvision,
        "factory": _of_factory,
        "built-in": _of_zoo,
    }
    spec, build, own = load[prefix_of(parts.backbone)](parts, request)

    whole = replace(parts, output=parts.head.options[0][1][0])

    def composed() -> torch.nn.Module:
        # norms of a part behind the image get their statistics from images, too
        return compose(whole if parts.head.regions else parts, build(), request.num_classes)

    module, info = build_with_weights(composed, spec, request)
    if own is not None and request.weights is None:
        own(module)
        info = WeightsInfo("own", seed=request.seed, notes=(_OWN,))
    if parts.head.regions:
        return _part(request, parts, spec, module, info)
    return _source(request, parts, spec, module, info)


_OWN = "The backbone's weights are those that its factory gives; the head's are random."

Build = Callable[[], "Backbone"]
Restore = Callable[["torch.nn.Module"], None]
Found = tuple[InputSpec, Build, Restore | None]
"""The input, what builds the backbone, and what gives it its own weights back, if it has some."""


def _of_zoo(parts: Composition, request: ModelRequest) -> Found:
    from ..models.backbones import built_in_backbone

    entry, options = entry_of(parts.backbone)
    spec = request.input_spec(
        size=parts.head.size,
        channels=entry.channels,
        channel_order=entry.channel_order,
        mean=entry.mean,
        std=entry.std,
    )
    for size in (spec.size, *request.other_sizes):
        entry.check_size(size)
    return (
        spec,
        lambda: built_in_backbone(
            entry,
            options,
            in_chans=spec.channels,
            size=spec.size,
            output_stride=parts.output_stride,
        ),
        None,
    )


def _of_timm(parts: Composition, request: ModelRequest) -> Found:
    from ..models.backbones import timm_backbone
    from .timm import default_config, known_name, options_of

    name = known_name(parts.backbone)
    options = options_of(parts.backbone)
    taken = sorted(set(options) - {"out_indices"})
    if taken:
        raise UsageError(
            f"{', '.join(taken)} in {parts.backbone} is nothing that a backbone takes.",
            hint="output_stride goes behind the head: "
            f"timm/{name}+{parts.head.name}?output_stride=16",
        )
    facts = default_config(name)
    spec = request.input_spec(
        size=parts.head.size,
        channels=int(facts["input_size"][0]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
    )
    return (
        spec,
        lambda: timm_backbone(
            name,
            options,
            in_chans=spec.channels,
            size=spec.size,
            output_stride=parts.output_stride,
        ),
        None,
    )


def _of_torchvision(parts: Composition, request: ModelRequest) -> Found:
    from ..models.backbones import torchvision_backbone
    from .torchvision import facts_of

    name = torchvision_name(parts.backbone)
    facts = facts_of(name)
    spec = request.input_spec(size=parts.head.size, channels=3, mean=facts.mean, std=facts.std)
    return spec, lambda: torchvision_backbone(name, size=spec.size), None


def _of_factory(parts: Composition, request: ModelRequest) -> Found:
    """The user's own backbone, as its factory fills it."""
    import torch

    from ..models.heads.network import backbone_of
    from .factory import load_factory

    if parts.output_stride is not None:
        raise UsageError(
            f"output_stride: {parts.backbone} says itself how it is dilated.", hint="Leave it out."
        )
    own = request.input_spec(size=parts.head.size)
    asked = replace(
        request,
        model=parts.backbone,
        weights=None,
        allow_missing=False,
        num_classes=None,
        labels=None,
        outputs=None,
        size=own.size,
    )
    source = load_factory(asked)
    state = {key: value.clone() for key, value in source.module.state_dict().items()}

    def build() -> Backbone:
        image = torch.zeros(1, *source.input.shape[1:])
        try:
            return backbone_of(source.module, image)
        except ValueError as error:
            raise UsageError(
                f"{parts.backbone}: {error}.",
                hint="Return a list of feature maps (B, C, h, w), the finest first.",
            ) from error

    def restore(module: Any) -> None:
        module.backbone.load_state_dict(state)

    return source.input, build, restore


def _source(
    request: ModelRequest,
    parts: Composition,
    spec: InputSpec,
    module: torch.nn.Module,
    info: WeightsInfo,
) -> Source:
    head = parts.head
    default = request.num_classes in (None, head.num_classes)
    outputs = outputs_of(parts.output)
    return Source(
        request.spec,
        module,
        spec,
        outputs,
        known_labels(head.classes) if default else None,
        info,
        task=head.task,
        meanings={meaning: meaning for meaning in outputs},
    )


def _part(
    request: ModelRequest, parts: Composition, spec: InputSpec, module: Any, info: WeightsInfo
) -> Source:
    """One part of a detector of two stages; see `models.heads.mask_rcnn`."""
    import torch

    from ..models.heads.mask_rcnn import MAP_NAMES

    module.output = parts.output
    inputs: tuple[InputSpec, ...] = (spec,)
    meanings: dict[str, Meaning] = {"masks": "probabilities"}
    if parts.output != "masks":
        meanings = {"boxes": "boxes", "scores": "scores"}
    if parts.regions is None:
        meanings |= dict.fromkeys(MAP_NAMES, "features")
    else:
        with torch.no_grad():
            maps = module.pyramid(torch.zeros(spec.shape))
        shapes = [tuple(x.shape) for x, _ in zip(maps, MAP_NAMES, strict=False)]
        inputs = tuple(
            InputSpec(shape, (), (), name, role="values")
            for name, shape in zip(MAP_NAMES, shapes, strict=True)
        )
        regions = (1, parts.regions, 4)
        boxes = InputSpec(regions, (), (), "regions", role="boxes", highest=min(spec.size))
        inputs = (*inputs, boxes)
    default = request.num_classes in (None, parts.head.num_classes)
    return Source(
        request.spec,
        module,
        inputs[0],
        tuple(meanings),
        known_labels(parts.head.classes) if default and parts.output == "boxes" else None,
        info,
        task=parts.head.task,
        meanings=meanings,
        others=inputs[1:],
    )
