"""Tensors of what a program takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .specs import InputSpec

__all__ = ["zeros_of"]


def zeros_of(specs: Sequence[InputSpec]) -> tuple[torch.Tensor, ...]:
    """Zeros of the right shapes and dtypes."""
    import torch

    return tuple(torch.zeros(each.shape, dtype=getattr(torch, each.dtype)) for each in specs)
