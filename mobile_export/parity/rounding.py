"""What rounding alone does to a model: PyTorch's own runs of it in float32 and in float16.

An error of a file is either rounding or a fault. The model itself tells which: it is run on the
same samples as the file computes, and what that changes is what rounding explains
(`parity.judge`). Not every operator has a float16 kernel on every CPU, and those that have add up
in an order of their own; so every operator computes in float32, and its result is rounded once to
the nearest float16 (IEEE 754, ties to even). That is the same everywhere.

One float32 run is one way to round: other kernels of PyTorch, which add in another order, may be
six times as far off (docs/parity.md). So there are runs as well in which every operator's result is
moved at random by up to a unit in its last place, as another right kernel may return it (Monte
Carlo arithmetic: Parker, Pierce and Eggert, 2000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np
import torch

from ..errors import MobileExportError
from ..graph.capture import flatten_outputs
from ..graph.float64 import deep_copy
from ..graph.ties import TiesInOrder, ties_in_order
from ..graph.user_code import guarded
from ..system.torch_private import TorchDispatchMode, tree_map
from .samples import Sample

__all__ = [
    "Float16Results",
    "MovedResults",
    "Outputs",
    "Rounded",
    "Rounding",
    "float32_copy",
    "moved_outputs",
    "rounded_outputs",
    "rounding_of",
]

Outputs = tuple[tuple[np.ndarray, ...], ...]
"""Per sample, one array per output."""

Rounding = Literal["float32", "float16 weights", "float16"]
"""What is rounded: everything to float32; also the weights to float16, of two and more axes (of
fewer are norms and biases, which files fold into others or keep in float32); also the inputs and
every operator's result to float16."""

Rounded = Callable[[Rounding], Outputs | None]
"""The outputs of a model that rounds so; None where it does not run so."""


def rounding_of(bits: int, arithmetic: str) -> Rounding:
    """What a file rounds whose weights have ``bits`` and that is executed in ``arithmetic``.

    Args:
        arithmetic: ``fp32`` or ``fp16``.
    """
    if bits > 16:
        return "float32"
    return "float16" if arithmetic == "fp16" else "float16 weights"


_UNIT = 2.0**-23
"""A unit in the last place of a float32 number, relative to it, at most (IEEE 754: 24 bits)."""


class _ChangedResults(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode under which every result is changed in place; of a view, what it shows was.

    Equal elements are ordered by their index (`ties_in_order`).
    """

    def _change(self, value: Any) -> Any:
        raise NotImplementedError

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = ties_in_order(func)(*args, **(kwargs or {}))
        return result if _is_view(func) else tree_map(self._change, result)


class Float16Results(_ChangedResults):  # type: ignore[no-untyped-call]
    """Dispatch mode under which every floating result is rounded to float16; it stays float32.

    An operator computes in float32 and is rounded once, as Core ML's evaluator does it.
    """

    def _change(self, value: Any) -> Any:
        return _round(value)


class MovedResults(_ChangedResults):  # type: ignore[no-untyped-call]
    """Dispatch mode under which every floating result is moved by up to a unit in its last place.

    At random, by `seed`. Whole numbers stay: positions and counts are exact in every kernel.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = torch.Generator().manual_seed(seed)

    def _change(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            drawn = torch.rand(value.shape, generator=self._generator, dtype=torch.float64)
            moved = value.double() * (1 + (2 * drawn - 1) * _UNIT)
            value.copy_(torch.where(value == value.round(), value, moved.to(value.dtype)))
        return value


def _is_view(func: Any) -> bool:
    """Whether an operator's result is a view of what it was given."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _round(value: Any) -> Any:
    """``value`` itself with what float16 holds of its elements, in place."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        value.copy_(value.half())
    return value


def rounded_outputs(module: torch.nn.Module, samples: Sequence[Sample]) -> Rounded:
    """The outputs of ``module`` for ``samples``, each computed when it is first asked for."""

    @cache
    def outputs(rounding: Rounding) -> Outputs | None:
        try:
            return _outputs(module, samples, rounding)
        except MobileExportError:
            return None

    return outputs


def moved_outputs(module: torch.nn.Module, samples: Sequence[Sample], seed: int) -> Outputs | None:
    """The outputs of a float32 copy of ``module`` under `MovedResults`; None where it does not run
    so."""
    try:
        return _run(deep_copy(module).float(), samples, MovedResults(seed))
    except MobileExportError:
        return None


def _outputs(module: torch.nn.Module, samples: Sequence[Sample], rounding: Rounding) -> Outputs:
    copied = deep_copy(module).float()
    if rounding != "float32":
        for tensor in (*copied.parameters(), *copied.buffers()):
            if tensor.ndim > 1:
                _round(tensor.data)
    if rounding == "float16":
        return _run(copied, samples, Float16Results(), _round)  # type: ignore[no-untyped-call]
    return _run(copied, samples, TiesInOrder())  # type: ignore[no-untyped-call]


def _run(
    module: torch.nn.Module,
    samples: Sequence[Sample],
    mode: Any,
    given: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
) -> Outputs:
    """The outputs of ``module`` under a dispatch mode, of inputs as ``given`` makes them."""
    found = []
    for sample in samples:
        inputs = [given(float32_copy(tensor)) for tensor in sample.all_given()]
        with guarded(_as_error), torch.no_grad(), _lstm_in_steps(module), mode:
            result = module(*inputs)
        found.append(tuple(tensor.detach().numpy() for tensor in flatten_outputs(result)[1]))
    return tuple(found)


@contextmanager
def _lstm_in_steps(module: torch.nn.Module) -> Iterator[None]:
    """oneDNN runs an LSTM as one operator, which would be rounded once: without, each step is.

    Through ``flags``, which may be changed also where `torch.backends.disable_global_flags` was
    called, as PyTorch's own tests do.
    """
    if not any(isinstance(each, torch.nn.LSTM) for each in module.modules()):
        yield
        return
    backend: Any = torch.backends.mkldnn
    kept = {"deterministic": backend.deterministic, "allow_tf32": backend.allow_tf32}
    with backend.flags(enabled=False, **kept):
        yield


def float32_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that the model may write to: float32, or integers as they are."""
    return tensor.float().clone() if tensor.is_floating_point() else tensor.clone()


def _as_error(error: BaseException) -> MobileExportError:
    return MobileExportError(str(error))
