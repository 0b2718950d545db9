"""The layers, by what they do; importing this package fills the registry."""

from __future__ import annotations

from . import activation, binary, conv, integers, linear, movement, norm, reduce, resize

__all__ = [
    "activation",
    "binary",
    "conv",
    "integers",
    "linear",
    "movement",
    "norm",
    "reduce",
    "resize",
]
