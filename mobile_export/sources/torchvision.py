"""``torchvision/NAME``: a model of torchvision, with the size, normalisation and class names of its
official weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import SourceError, UsageError
from ..graph.source import Source
from ..graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec, Recipe, Task, WeightsInfo
from .build import build_with_weights
from .labels import distinct_labels, labels_for
from .names import torchvision_name
from .request import ModelRequest

if TYPE_CHECKING:
    import torch

__all__ = ["VisionFacts", "facts_of", "load_torchvision"]

_PREFIX = "torchvision/"
_FRAMES = 16
"""Of a clip: what torchvision's video models were trained with, most of them"""
_TRAINING_ONLY = ("aux_classifier.", "aux1.", "aux2.", "AuxLogits.")
"""Prefixes of tensors in official files that only the loss needs"""


@dataclass(frozen=True)
class VisionFacts:
    """What torchvision says of a model, by its best official weights.

    Attributes:
        kind: the part of torchvision's registry: "classification", "segmentation", "video",
            "detection", "optical_flow" or "quantization".
        url: of the weights; None: there are none.
        categories: class names; empty: none are given.
    """

    name: str
    kind: str
    weights: str | None
    url: str | None
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe | None
    categories: tuple[str, ...]


def facts_of(name: str) -> VisionFacts:
    """What torchvision's registry and the metadata of its official weights say of a model."""
    from torchvision import models

    package = models.get_model_builder(name).__module__.split(".")
    kind = package[2] if package[2] in _KINDS else "classification"
    best = getattr(models.get_model_weights(name), "DEFAULT", None)
    transforms: Any = None if best is None else best.transforms()
    crop, resize = _pixels(transforms, "crop_size"), _pixels(transforms, "resize_size")
    shown = tuple(best.meta.get("categories") or ()) if best is not None else ()
    if kind == "detection":
        return _detector_facts(name, best, shown)
    recipe = None
    if crop and resize and resize[0] == resize[1] and kind == "classification":
        way = str(transforms.interpolation.value)
        recipe = Recipe(crop[0] / resize[0], "center", way, f"torchvision's transforms of {best}")
    flow = kind == "optical_flow"
    return VisionFacts(
        name,
        kind,
        None if best is None else str(best),
        None if best is None else str(best.url),
        crop or resize or _KINDS.get(kind, (224, 224)),
        tuple(getattr(transforms, "mean", None) or ((0.5,) if flow else IMAGENET_MEAN)),
        tuple(getattr(transforms, "std", None) or ((0.5,) if flow else IMAGENET_STD)),
        recipe,
        shown if len(set(shown)) == len(shown) else (),
    )


def _detector_facts(name: str, best: Any, categories: tuple[str, ...]) -> VisionFacts:
    """Of a detector, which says itself how it makes pictures ready.

    The classes are those of the columns of its scores.
    """
    from .dense_detector import ways_of

    ways = ways_of(_outline(name))
    return VisionFacts(
        name,
        "detection",
        None if best is None else str(best),
        None if best is None else str(best.url),
        ways.size,
        ways.mean,
        ways.std,
        None,
        distinct_labels(categories[ways.first_label :]),
    )


@cache
def _outline(name: str) -> torch.nn.Module:
    """A detector without values."""
    import torch
    from torchvision import models

    with torch.device("meta"):
        return models.get_model_builder(name)(weights=None, weights_backbone=None)  # type: ignore[no-any-return]


_KINDS = {
    "classification": (224, 224),
    "segmentation": (520, 520),
    "video": (112, 112),
    "detection": (800, 800),
    "optical_flow": (128, 128),
    "quantization": (224, 224),
}
"""The packages of torchvision's models, and the size of the image where the weights say none"""


def _pixels(transforms: Any, name: str) -> tuple[int, int] | None:
    found = getattr(transforms, name, None)
    if not found:
        return None
    numbers = [found] if isinstance(found, int) else list(found)
    return int(numbers[0]), int(numbers[-1])


def load_torchvision(request: ModelRequest) -> Source:
    """Build ``torchvision/NAME``; see `mobile_export.sources.table.load_source`."""
    facts = facts_of(torchvision_name(request.spec))
    _refuse(facts, request)
    input_spec = request.input_spec(
        size=facts.size,
        frames=_FRAMES if facts.kind == "video" else None,
        mean=facts.mean,
        std=facts.std,
    )
    weighed, official = _weighed(facts, request)

    def build() -> torch.nn.Module:
        module = _built(facts, request, input_spec.size, official)
        module.training_only = _TRAINING_ONLY  # type: ignore[assignment]
        return module

    try:
        module, info = _filled(build, facts, input_spec, weighed)
    except SourceError:
        raise
    except Exception as error:  # torchvision's builders raise whatever arguments provoke
        raise SourceError(
            f"torchvision could not build {facts.name}: {type(error).__name__}: {error}",
            hint=f"Its own size is {facts.size[0]}x{facts.size[1]}; try without `size` and "
            "`num_classes`.",
        ) from error
    if request.pretrained:
        info = replace(info, kind="pretrained", path=facts.url)
    return _source(module, input_spec, info, facts, request)


def _refuse(facts: VisionFacts, request: ModelRequest) -> None:
    if facts.kind == "detection":
        from .dense_detector import require_dense

        require_dense(_outline(facts.name), request.spec)
    if facts.kind == "quantization":
        raise SourceError(
            f"{request.spec} computes with whole numbers of PyTorch's own, which no format has.",
            hint=f"Name the floating-point model: {_PREFIX}{facts.name.removeprefix('quantized_')}"
            "; `precision` and the formats' own options say what a file stores.",
        )
    if request.channels is not None:
        raise UsageError(
            "`channels`: torchvision's models have 3 input channels.", hint="Leave it out."
        )
    if request.num_classes is not None and (request.num_classes == 0 or facts.kind == _FLOW):
        raise UsageError(
            f"`num_classes` {request.num_classes} is nothing that {request.spec} takes.",
            hint="Leave it out, or choose with `outputs` among what the model returns.",
        )
    if request.pretrained and facts.url is None:
        raise SourceError(
            f"torchvision has no official weights of {facts.name}.",
            hint="Leave `pretrained` out, or give a file with `weights='FILE'`.",
        )


_FLOW = "optical_flow"


def _weighed(facts: VisionFacts, request: ModelRequest) -> tuple[ModelRequest, bool]:
    """The request with the downloaded file for ``pretrained``; and whether it is official.

    torchvision's names of files end with the first 8 digits of their SHA-256.
    """
    from .weights import checkpoint_sha256

    if request.pretrained and facts.url is not None:
        from ..models.checkpoints import PublicCheckpoint
        from .download import downloaded

        name = PurePosixPath(urlsplit(facts.url).path).name
        place = PublicCheckpoint(
            (facts.name,), name, facts.url, True, None, None, None, f"torchvision, {facts.weights}"
        )
        changed = request.num_classes not in (None, len(facts.categories) or 1000)
        request = replace(
            request, weights=downloaded(place), pretrained=False, allow_missing=changed
        )
    if request.weights is None or facts.url is None or not request.weights.is_file():
        return request, False
    digits = PurePosixPath(urlsplit(facts.url).path).stem.rpartition("-")[2]
    return request, checkpoint_sha256(request.weights).startswith(digits)


def _built(
    facts: VisionFacts, request: ModelRequest, size: tuple[int, int], official: bool
) -> torch.nn.Module:
    """The module with random weights.

    The official files of GoogLeNet and Inception are of an input that they scale themselves.
    """
    import inspect

    from torchvision import models
    from torchvision.models.detection._utils import overwrite_eps

    builder = models.get_model_builder(facts.name)
    taken = inspect.signature(builder).parameters
    kwargs: dict[str, Any] = {
        name: None for name in ("weights", "weights_backbone") if name in taken
    }
    if request.num_classes is not None:
        kwargs["num_classes"] = request.num_classes
    if facts.name in ("googlenet", "inception_v3"):
        kwargs |= {"transform_input": official, "init_weights": True}
    sized: list[Mapping[str, Any]] = [{}]
    if size != facts.size:
        square = [{"image_size": size[0]}] if size[0] == size[1] else []
        sized = [*square, {"input_size": size}, {}]
    if facts.kind == "detection":
        from .dense_detector import DenseDetector, enliven

        detector = builder(**kwargs)
        if official and facts.name == "retinanet_resnet50_fpn":
            overwrite_eps(detector, 0.0)  # as its builder does with this file
        if request.weights is None:
            enliven(detector.head)
        return DenseDetector(detector)
    for more in sized:
        try:
            return builder(**kwargs, **more)  # type: ignore[no-any-return]
        except TypeError as error:
            if not more or "unexpected keyword" not in str(error):
                raise
    raise AssertionError("the last call returns or raises")


def _filled(
    build: Any, facts: VisionFacts, spec: InputSpec, request: ModelRequest
) -> tuple[torch.nn.Module, WeightsInfo]:
    if facts.kind != _FLOW or request.weights is not None:
        return build_with_weights(build, spec, request)
    import torch  # which takes two images, and has no norm statistics to collect

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        return build().eval(), WeightsInfo("random", seed=request.seed)


def _source(
    module: Any,
    spec: InputSpec,
    info: WeightsInfo,
    facts: VisionFacts,
    request: ModelRequest,
) -> Source:
    if facts.kind == _FLOW:
        from .calls import bind_named
        from .inputs import NamedInput

        named = [NamedInput(name, spec.shape) for name in ("image1", "image2")]
        bound = bind_named(module, request.spec, named, spec.mean, spec.std)
        first, *others = bound.inputs
        return Source(request.spec, bound.module, first, None, None, info, others=tuple(others))
    if facts.kind == "detection":
        from .dense_detector import detector_source

        own = facts.categories if request.num_classes is None else ()
        return detector_source(module, request.spec, spec, info, own or None)
    classes = request.num_classes
    labels: tuple[str, ...] | None = facts.categories or None
    if classes not in (None, len(facts.categories)):
        labels = None
    if labels is None or facts.kind == "classification":
        labels = labels_for(classes or len(facts.categories) or 1000)
    task: Task | None = "segmentation" if facts.kind == "segmentation" else "classification"
    return Source(
        request.spec,
        module,
        spec,
        ("logits",),
        labels,
        info,
        task=task,
        meanings={"logits": "logits"},
        recipe=facts.recipe,
    )
