"""The options of the TFLite format."""

from __future__ import annotations

from dataclasses import dataclass

from ...system.options import option
from ..row import BytesOptions

__all__ = ["TFLiteOptions"]

_LAYOUTS = ("nhwc", "nchw")


@dataclass(frozen=True)
class TFLiteOptions(BytesOptions):
    """Choices of the TFLite exporter.

    Attributes:
        layout: of the image input, and of outputs of rank 4: ``nhwc`` or ``nchw``.
    """

    layout: str = option("nhwc", help="Layout of the image input: nhwc or nchw.", valid=_LAYOUTS)
