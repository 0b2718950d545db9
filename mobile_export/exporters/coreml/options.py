"""The options of the Core ML format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import require_known

if TYPE_CHECKING:
    pass

__all__ = ["COREML_TARGETS", "CoreMLOptions"]


COREML_TARGETS = ("ios15", "ios16", "ios17", "ios18")


@dataclass(frozen=True)
class CoreMLOptions:
    """Choices of the Core ML exporter.

    Attributes:
        target: minimum deployment target, one of `COREML_TARGETS`.
        image_input: take an 8-bit image and normalise it inside the program.
        classifier: attach class labels; the outputs become ``classLabel`` and probabilities.
    """

    target: str = "ios16"
    image_input: bool = False
    classifier: bool = False

    def __post_init__(self) -> None:
        require_known("--target", self.target, COREML_TARGETS)
