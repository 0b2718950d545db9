"""The operations, one module per section of the MIL op reference. Importing this fills ``OPS``."""

from __future__ import annotations

from . import (
    activation,
    attention,
    constexpr,
    conv,
    elementwise,
    layout,
    linear,
    normalization,
    pool,
    quantization,
    recurrent,
    reduction,
    resize,
    sampling,
    scatter_gather,
    slicing,
    sorting,
    tensor,
)

__all__ = [
    "activation",
    "attention",
    "constexpr",
    "conv",
    "elementwise",
    "layout",
    "linear",
    "normalization",
    "pool",
    "quantization",
    "recurrent",
    "reduction",
    "resize",
    "sampling",
    "scatter_gather",
    "slicing",
    "sorting",
    "tensor",
]
