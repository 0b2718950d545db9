"""Source: a model before anything is done to it; made by `mobile_export.sources`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .specs import InputSpec, Meaning, Recipe, Task, Thresholds, WeightsInfo
from .values import zeros_of

if TYPE_CHECKING:
    import torch

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """A model, before anything is done to it.

    Attributes:
        spec: as typed, e.g. ``emo_2m``, ``seaformer_tiny_seg?output=labels``, ``timm/resnet18``,
            ``mynet:build?width=2``, ``file.pt2``.
        module: eval mode, CPU, float32; takes one tensor for each of ``inputs``, in their order.
        input: the first input: the image, where there is one.
        others: the inputs behind it.
        example: values of all inputs that the user gave; None of zeros.
        output_names: None when they follow from what the module returns.
        labels: the user's class names, or ImageNet's for a classifier of 1000 classes, or None.
        labels_given: the labels are the user's; a wrong number of them is an error.
        task: what the model is for; None where nobody said.
        meanings: what the outputs are, by name.
        recipe: how its authors make pictures ready for it.
        asked: what was asked of the source beside its name and weights, JSON-ready.
        exported: the program of a ``.pt2`` file, of which ``module`` is a view.
        suppression: what a detector's authors suppress its boxes with.
    """

    spec: str
    module: torch.nn.Module
    input: InputSpec
    output_names: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    weights: WeightsInfo
    exported: torch.export.ExportedProgram | None = None
    labels_given: bool = False
    task: Task | None = None
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    recipe: Recipe | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[InputSpec, ...] = ()
    example: tuple[torch.Tensor, ...] | None = None
    suppression: Thresholds | None = None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """All inputs, in the order in which the module takes them."""
        return (self.input, *self.others)

    def at_size(self, size: tuple[int, int]) -> Source:
        """The same module for images of (height, width).

        Raises:
            UsageError: it takes something else than one image.
        """
        if self.others or self.input.role != "image" or self.exported is not None:
            raise UsageError(
                f"`size` names several sizes of one image; {self.spec} takes "
                f"{', '.join(map(str, self.inputs))}.",
                hint="Give one size, or leave it out.",
            )
        return self._of_shape(self.input.of_size(size).shape)

    def with_open(self, what: str) -> tuple[Source, ...]:
        """The same module for other numbers of images ("batch") or images of other sizes ("size"):
        what a file that leaves this open is made from, the first two, and what it is checked at.

        Sizes are larger by multiples of the largest power of two that divides height and width, at
        most 64, in which height and width grow apart.

        Raises:
            UsageError: it takes something else than one image.
        """
        if self.others or self.input.role != "image" or self.exported is not None:
            raise UsageError(
                f"`dynamic` is for a model of one image; {self.spec} takes "
                f"{', '.join(map(str, self.inputs))}"
                + (", and is a program of these shapes." if self.exported is not None else "."),
                hint="Leave it out.",
            )
        if what == "batch":
            images = self.input.shape[0]
            least = max(images, 2)  # one image is captured as one, for good
            counts = dict.fromkeys((least, least + 1, images, 1, least + 3))
            return tuple(self._of_shape((n, *self.input.shape[1:])) for n in counts)
        height, width = self.input.size
        step = math.gcd(height, width, 64)
        grown = ((0, 0), (1, 2), (2, 1), (3, 0))
        sizes = [(height + step * down, width + step * across) for down, across in grown]
        return tuple(self.at_size(size) for size in sizes)

    def _of_shape(self, shape: tuple[int, ...]) -> Source:
        return replace(self, input=replace(self.input, shape=shape), example=None)

    @property
    def examples(self) -> tuple[torch.Tensor, ...]:
        """Values that the module takes: the user's, or zeros."""
        return self.example or zeros_of(self.inputs)
