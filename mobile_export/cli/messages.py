"""What the arguments that a message names are called on the command line of ``mobile-export``."""

from __future__ import annotations

from functools import cache
from typing import Any

from ..errors import MobileExportError
from ..system import messages
from ..system.options import options_of

__all__ = ["flags", "said_of_options", "typed_error"]


@cache
def flags() -> dict[str, str]:
    """The option of every argument that a message may name."""
    from ..detection.options import NmsOptions
    from ..exporters.config import ExportConfig
    from ..exporters.table import FORMATS
    from ..quantization.options import QuantizationOptions
    from ..sources.request import ModelRequest

    shared = (NmsOptions, QuantizationOptions, ExportConfig, ModelRequest)
    owners = (*(row.options for row in FORMATS), *shared)
    found = {
        name: said.flag for owner in owners for name, said in options_of(owner).items() if said.flag
    }
    return {
        **found,
        "out_dir": "-o",
        "name": "--name",
        "nms": "--nms",
        "layers": "--layers",
        "annotations": "--annotations",
        "data": "--data",
        "reduce_zero": "--reduce-zero",
        "runtime": "--runtime",
    }


def said_of_options(value: Any) -> Any:
    """`system.messages.said_of_options` with the options of this program."""
    return messages.said_of_options(value, flags())


def typed_error(error: MobileExportError) -> MobileExportError:
    """`system.messages.typed_error` with the options of this program."""
    return messages.typed_error(error, flags())
