"""The options of the TFLite format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import require_known

if TYPE_CHECKING:
    pass

__all__ = ["TFLiteOptions"]


_LAYOUTS = ("nhwc", "nchw")


@dataclass(frozen=True)
class TFLiteOptions:
    """Choices of the TFLite exporter: the layout of the image input, ``nhwc`` or ``nchw``."""

    layout: str = "nhwc"

    def __post_init__(self) -> None:
        require_known("--layout", self.layout, _LAYOUTS)
