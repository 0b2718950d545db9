"""What rounding alone does to a model: its outputs in float32, and with float16 results.

An error of a file that is large beside what the image changes is either rounding or a fault. The
model itself tells which: it is run in the precision of the file, and what that changes is what
rounding explains (`parity.judge`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from ..errors import MobileExportError
from ..graph.capture import flatten_outputs
from ..graph.float64 import deep_copy
from ..graph.ties import TiesInOrder, ties_in_order
from ..graph.user_code import guarded
from ..system.torch_private import TorchDispatchMode, tree_map
from .samples import Sample

__all__ = ["Float16Results", "Outputs", "Rounded", "rounded_outputs"]

Outputs = tuple[tuple[np.ndarray, ...], ...]
"""Per sample, one array per output."""

Rounded = Callable[[int], Outputs | None]
"""The outputs of a model with results of so many bits; None where it does not run so."""


class Float16Results(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode under which every floating result is rounded to float16; it stays float32.

    An operator computes in float32 and is rounded once, as Core ML's evaluator does it. Equal
    elements are ordered by their index (`ties_in_order`).
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = ties_in_order(func)(*args, **(kwargs or {}))
        aliases = [returned.alias_info for returned in func._schema.returns]
        if any(alias is not None and not alias.is_write for alias in aliases):
            return result  # a view of what is rounded
        return tree_map(_round, result)


def _round(value: Any) -> Any:
    """``value`` itself with what float16 holds of its elements, in place."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        value.copy_(value.half())
    return value


def rounded_outputs(module: torch.nn.Module, samples: Sequence[Sample]) -> Rounded:
    """The outputs of ``module`` for ``samples``: with 32 bits as they are, with 16 those of
    float16 weights and results. Each is computed when it is first asked for."""

    @cache
    def outputs(bits: int) -> Outputs | None:
        try:
            return _outputs(module, samples, bits)
        except MobileExportError:
            return None

    return outputs


def _outputs(module: torch.nn.Module, samples: Sequence[Sample], bits: int) -> Outputs:
    copied = deep_copy(module).float()
    if bits == 16:
        for tensor in (*copied.parameters(), *copied.buffers()):
            if tensor.ndim > 1:  # of fewer axes are norms and biases, which files fold
                _round(tensor.data)
    mode = Float16Results if bits == 16 else TiesInOrder
    found = []
    for sample in samples:
        image = sample.image.float().clone()
        with guarded(_as_error), torch.no_grad(), mode():
            result = copied(_round(image) if bits == 16 else image)
        found.append(tuple(tensor.numpy() for tensor in flatten_outputs(result)[1]))
    return tuple(found)


def _as_error(error: BaseException) -> MobileExportError:
    return MobileExportError(str(error))
