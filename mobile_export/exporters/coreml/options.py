"""The options of the Core ML format."""

from __future__ import annotations

from dataclasses import dataclass

from ...system.options import option
from ..row import FileOptions

__all__ = ["COREML_TARGETS", "CoreMLOptions"]

COREML_TARGETS = ("ios15", "ios16", "ios17", "ios18")


@dataclass(frozen=True)
class CoreMLOptions(FileOptions):
    """Choices of the Core ML exporter.

    With ``image_input`` the input is of Core ML's image type; with ``classifier`` the outputs are
    ``classLabel`` and a dictionary of probabilities.

    Attributes:
        target: minimum deployment target, one of `COREML_TARGETS`.
    """

    target: str = option(
        "ios16",
        help=f"Minimum deployment target: {', '.join(COREML_TARGETS)}.",
        valid=COREML_TARGETS,
    )
