"""The options of the Core ML format."""

from __future__ import annotations

from dataclasses import dataclass

from ...system.options import check_options, option

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

    target: str = option(
        "ios16",
        help=f"Minimum deployment target: {', '.join(COREML_TARGETS)}.",
        valid=COREML_TARGETS,
    )
    image_input: bool = option(
        False, help="Take an 8-bit image, normalised inside the program.", flag="--image-input"
    )
    classifier: bool = option(
        False, help="Add the class labels; the output is probabilities.", flag="--classifier"
    )

    def __post_init__(self) -> None:
        check_options(self)
