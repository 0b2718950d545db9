"""The row of a built-in model, `ModelEntry`, and the figures of its paper, `Published`.

Importable without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import UsageError
from ..graph.specs import IMAGENET_MEAN, IMAGENET_STD, Meaning, Recipe, Task

if TYPE_CHECKING:
    import torch

__all__ = ["DETECTION", "SEGMENTATION", "TWO_STAGES", "ModelEntry", "Published", "outputs_of"]

SEGMENTATION = (("output", ("logits", "upsampled", "labels")),)
"""The options of every segmenter: see `models.segmentation.finish`."""

DETECTION = (("output", ("boxes", "raw")),)
"""The options of every detector: see `heads.detector.DetectionOutput`."""

TWO_STAGES = (("output", ("proposals", "boxes", "masks")),)
"""The parts of a detector of two stages: see `heads.mask_rcnn.MaskRCNN`."""

_OUTPUTS: dict[str, tuple[Meaning, ...]] = {
    "upsampled": ("logits",),
    "boxes": ("boxes", "scores"),
    "raw": ("logits", "deltas"),
    "super-resolution": ("upscaled",),
    "restoration": ("upscaled",),
    "embedding": ("embedding",),
    "classification": ("logits",),
    "video classification": ("logits",),
}
"""What a network returns, by the value of its option ``output`` or, without one, by its task."""


def outputs_of(chosen: str) -> tuple[Meaning, ...]:
    """What a network returns, in order, which are also the names of its outputs.

    Args:
        chosen: the value of its option ``output`` or, without one, its task.
    """
    return _OUTPUTS.get(chosen) or (cast("Meaning", chosen),)


@dataclass(frozen=True)
class Published:
    """What a paper says about a model, to be shown beside what we count.

    Attributes:
        source: paper and table, or whatever else defines the architecture.
        params_m: parameters in millions, as printed there; None: not printed.
        macs_m: multiply-accumulates of one input of the row's size in millions, as printed there
            ("FLOPs"); None: not printed for this size.
        code: where the official code and weights are; None: neither is public.
        top1: top-1 accuracy in percent of the official weights, on ImageNet-1k (a video
            classifier: on Kinetics-400).
        miou: mean intersection over union in percent, for segmentation.
        box_ap: average precision of boxes on COCO in percent, for detection.
    """

    source: str
    params_m: float | None
    macs_m: float | None
    code: str | None
    top1: float | None = None
    miou: float | None = None
    box_ap: float | None = None


@dataclass(frozen=True)
class ModelEntry:
    """One built-in model: a row of its family's ``ROWS``.

    Attributes:
        name: what the user types.
        family: the paper's name of the family.
        builder: ``FAMILY.module:function`` below ``mobile_export.models``; the function takes
            ``num_classes`` (unless there are no classes) and ``in_chans`` and returns an
            ``nn.Module`` of one input and one output (docs/adding-a-model.md).
        published: the paper's figures.
        task: "classification", "video classification", "segmentation", "detection",
            "saliency", "depth", "super-resolution", "restoration" or "embedding".
        size: default (height, width) in pixels.
        size_step: height and width must be multiples of it.
        min_size: the least height and width, a multiple of it.
        sized: whether the weights depend on the size; if so, the builder takes it as ``size``.
        channels: of the input image; ``channel_order``: "RGB", or "BGR" where the official code
            reads images so.
        frames: of a video clip, which is (N, C, frames, H, W); None: the input is an image.
        mean, std: normalisation of pixels scaled to [0, 1], in the model's order.
        num_classes: of the official weights; None: the model tells no classes apart.
        classes: the names of these, a list of `sources.labels`; None: not known here.
        recipe: how the authors bring pictures to the model's size; None: not known, or not to a
            fixed size.
        strides: of the feature maps that it gives a head of `heads`, finest first; empty: it gives
            none.
        options: further keywords of the builder that users may give, ``NAME?key=value``, with the
            values that each can have; the first is the default. ``weight_options`` names those
            that change the names or shapes of the weights.
    """

    name: str
    family: str
    builder: str
    published: Published
    task: Task = "classification"
    size: tuple[int, int] = (224, 224)
    size_step: int = 1
    min_size: int = 1
    sized: bool = False
    channels: int = 3
    channel_order: str = "RGB"
    frames: int | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    num_classes: int | None = 1000
    classes: str | None = None
    recipe: Recipe | None = None
    strides: tuple[int, ...] = ()
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    weight_options: tuple[str, ...] = ()

    def input_shape(self, size: tuple[int, int] | None = None) -> tuple[int, ...]:
        """The shape of the input: (1, C, H, W), or (1, C, frames, H, W) for a clip.

        Args:
            size: (height, width) in pixels; None is the default.
        """
        clip = () if self.frames is None else (self.frames,)
        return (1, self.channels, *clip, *(size or self.size))

    def outputs(self, options: Mapping[str, str]) -> tuple[Meaning, ...]:
        """What the network returns with these `options`, in order; also the outputs' names."""
        return outputs_of(
            options.get("output") or dict(self.options).get("output", (self.task,))[0]
        )

    @property
    def sizes(self) -> str:
        """Which heights and widths it takes, in words."""
        step, least = self.size_step, max(self.min_size, self.size_step)
        steps = f"multiples of {step}" if step > 1 else ""
        floor = f"{least} or more" if least > step else ""
        return " and ".join(filter(None, (steps, floor))) or "any"

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse a size that the model cannot take.

        Raises:
            UsageError: height or width is below `min_size` or no multiple of `size_step`; it names
                the nearest size.
        """
        step, least = self.size_step, max(self.min_size, self.size_step)
        if all(extent % step == 0 and extent >= least for extent in size):
            return
        height, width = (max(least, round(extent / step) * step) for extent in size)
        raise UsageError(
            f"{self.name} cannot take images of {size[0]}x{size[1]}: height and width must be "
            f"{self.sizes}.",
            hint=f"The nearest `size` is {height}x{width}.",
        )

    def parse_options(self, query: str) -> dict[str, str]:
        """Keywords for `build`, from what a user types: ``key=value&key=value``.

        Raises:
            UsageError: a key or a value that this model does not have.
        """
        known = dict(self.options)
        chosen: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            key, _, value = part.partition("=")
            if key not in known:
                raise UsageError(
                    f"{self.name} has no option {key!r}.",
                    hint=f"It has: {', '.join(known)}." if known else "It has no options.",
                )
            if value not in known[key]:
                raise UsageError(
                    f"{self.name} has no {key} {value!r}.",
                    hint=f"{key} can be {', '.join(known[key])}: {self.name}?{key}={known[key][0]}",
                )
            chosen[key] = value
        return chosen

    def weight_variants(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each set of weights that the model can have: what the user types, and its options.

        ``("cas_vit_s", {})``, then ``("cas_vit_s?heads=1", {"heads": "1"})``.
        """
        yield self.name, {}
        for key, values in self.options:
            if key in self.weight_options:
                yield from ((f"{self.name}?{key}={value}", {key: value}) for value in values[1:])

    def build(
        self,
        num_classes: int | None = None,
        *,
        size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> torch.nn.Module:
        """Return a new module, initialised from the current random state.

        Args:
            num_classes: None is the official number.
            size: (height, width) that the module will be called with, None is the default; only
                the weights of a `sized` model depend on it.
            kwargs: further keywords of the builder.

        Raises:
            UsageError: classes for a model that tells none apart; or the builder's refusal of a
                value.
        """
        module_name, function_name = self.builder.split(":")
        module = importlib.import_module(f"mobile_export.models.{module_name}")
        if self.num_classes is not None:
            kwargs["num_classes"] = self.num_classes if num_classes is None else num_classes
        elif num_classes is not None:
            raise UsageError(
                f"{self.name} tells no classes apart ({self.task}).",
                hint="Leave `num_classes` out.",
            )
        if self.sized:
            kwargs["size"] = size or self.size
        try:
            return cast("torch.nn.Module", getattr(module, function_name)(**kwargs))
        except ValueError as error:
            raise UsageError(f"{self.name} cannot be built so: {error}.") from error
