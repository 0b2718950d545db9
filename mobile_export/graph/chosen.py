"""Some of the outputs of a model, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..errors import UsageError
from .capture import named_outputs
from .source import Source

__all__ = ["with_outputs"]


class _Chosen(torch.nn.Module):
    """Returns a dict of the outputs that are wanted."""

    def __init__(self, source: Source, wanted: Sequence[str]) -> None:
        super().__init__()
        self.module = source.module
        self._source = replace(source, module=torch.nn.Identity(), exported=None)
        self._wanted = tuple(wanted)

    def forward(self, *tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        names, outputs = named_outputs(self._source, self.module(*tensors))
        found = dict(zip(names, outputs, strict=True))
        unknown = [name for name in self._wanted if name not in found]
        if unknown:
            raise UsageError(
                f"`outputs` names {', '.join(unknown)}; {self._source.spec} returns "
                f"{', '.join(found)}.",
                hint="Choose among these.",
            )
        return {name: found[name] for name in self._wanted}


def with_outputs(source: Source, wanted: Sequence[str]) -> Source:
    """``source`` that returns these outputs only, in this order.

    What only the others need is not captured. That one of them is not there is found when the
    model runs: a `UsageError`.
    """
    return replace(source, module=_Chosen(source, wanted).eval(), exported=None, output_names=None)
